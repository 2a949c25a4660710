"""The model that scores images, written for as long as it runs: any batch, and for whole images any size."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal, cast

from converter.api import prepare, write
from converter.fully_convolutional import Dense, fully_convolutional
from prototxt.errors import CaffeModelError, RequestError
from resnet_convert.images.subject import Subject
from resnet_convert.requests.images import ScoredRequest
from verify.engines.opening import opened_apart
from verify.evaluation.running.plan import UnfitImageError
from verify.evaluation.running.scorers import ScorerSpec
from verify.evaluation.running.transform import Transform
from verify.preprocessing import baked_order
from weights import Weights, open_weights, write_caffemodel

VIEWS_AT_ONCE = 32
"""Pictures in a batch; with ten crops these are 3 images."""


@contextmanager
def opened_model(subject: Subject, request: ScoredRequest, scales: Sequence[int] = ()) -> Iterator[ScorerSpec]:
    """The model to be scored, converted into a folder that is gone afterwards; fully convolutional for scales."""
    engine = "onnx" if request.engine == "onnxruntime" else request.engine
    common = ScorerSpec(
        engine,
        subject.net.path,
        subject.scores,
        threads=request.threads,
        device=request.device,
        compiled=request.compile,
        channels_last=request.channels_last,
    )
    if scales and engine in ("opencv", "caffe"):
        raise RequestError(f"--multi-scale runs in onnx, torch and the interpreter, not in {engine}")
    if request.model is not None:
        is_folder = Path(request.model).is_dir()
        yield replace(common, engine="torch" if is_folder else "onnx", path=str(request.model))
        return
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="resnet-convert-")))
        weights = None if subject.weights is None else stack.enter_context(open_weights(subject.weights))
        if scales:
            dense = fully_convolutional(subject.net, weights, subject.options)
            for side in scales:  # No image is smaller than the square.
                dense.check_size(side, side)
            stack.enter_context(_explained(dense))
            subject, weights = _dense_subject(subject, dense, engine, folder), dense.weights
        if engine in ("interpreter", "opencv", "caffe"):
            yield replace(common, net=subject.net, weights=subject.weights, batch=fixed_batch(engine, subject))
            return
        target = folder / ("model.onnx" if engine == "onnx" else "model")
        form = cast(Literal["onnx", "torch"], engine)
        size = ("H", "W") if scales else request.crop or subject.shape[2:]
        batch = _write_model(subject, weights, form, target, size)
        yield replace(common, path=str(target), batch=batch)


@contextmanager
def _explained(dense: Dense) -> Iterator[None]:
    """Say which layer it is that cannot work on an image, and where it stands, instead of what a runtime says."""
    try:
        yield
    except UnfitImageError as error:
        try:
            dense.check_size(*error.size)
        except RequestError as reason:
            raise RequestError(
                f"{error.image}: {reason.message}",
                position=reason.position,
                layer=reason.layer,
                layer_type=reason.layer_type,
            ) from error
        raise


def baked_into(request: ScoredRequest) -> str | None:
    """The order of channels that a given model takes, when its preprocessing is baked in."""
    if request.model is None:
        return None
    with opened_apart(request.model) as engine:
        return baked_order(engine.metadata, str(request.model))


def left_to_do(transform: Transform, order: str) -> Transform:
    """What is done to images before a model that has the rest baked in and takes its channels in an order."""
    return replace(transform, mean=None, scale=1.0, rgb=order == "rgb")


def _write_model(
    subject: Subject,
    weights: Weights | None,
    engine: Literal["onnx", "torch"],
    target: Path,
    size: tuple[int | str, int | str],
) -> int:
    """Convert with a free batch axis where the net allows it.

    Args:
        subject: the net.
        weights: its weights.
        engine: what the model is for.
        target: the file or folder.
        size: height and width of its input; letters leave them free.

    Returns:
        the batch that the model takes, 0 for any.

    Raises:
        CaffeModelError: the net cannot be converted.
    """
    for batch in (0, subject.shape[0]):  # Some nets name their batch in a Reshape layer.
        options = replace(subject.options, input_shapes={subject.input: (batch or "N", subject.shape[1], *size)})
        try:
            write(prepare(subject.net, weights, options), engine, target, None)
            break
        except CaffeModelError:
            if batch:
                raise
    return batch


def fixed_batch(engine: str, subject: Subject) -> int:
    """The batch that an engine of Caffe files takes, 0 for any.

    OpenCV and Caffe reshape the net to any batch, the interpreter likewise unless a Reshape layer fixes it.
    """
    fixed = any(layer.param.reshape_param.shape.dim[:1] not in ([0], [-1], []) for layer in subject.net.layers)
    return subject.shape[0] if fixed and engine == "interpreter" else 0


def _dense_subject(subject: Subject, dense: Dense, engine: str, folder: Path) -> Subject:
    """The net in fully convolutional form; for the interpreter with a weight file of its own in the folder."""
    path = None
    if engine == "interpreter" and dense.weights.layers:
        path = str(folder / "dense.caffemodel")
        write_caffemodel(path, dense.net.name, dense.weights.layers)
    return replace(subject, net=dense.net, weights=path)
