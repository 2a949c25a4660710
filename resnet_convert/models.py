"""The model that an evaluation scores, written for as long as it runs: any batch, and for whole images any size."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

from converter.api import prepare, write
from converter.fully_convolutional import Dense
from prototxt.errors import CaffeModelError
from resnet_convert.subject import Subject
from weights import Weights, write_caffemodel


def write_model(
    subject: Subject, weights: Weights | None, engine: Literal["onnx", "torch"], target: Path, *, any_size: bool
) -> int:
    """Convert with a free batch axis where the net allows it.

    Args:
        subject: the net.
        weights: its weights.
        engine: what the model is for.
        target: the file or folder.
        any_size: leave height and width free too.

    Returns:
        the batch that the model takes, 0 for any.

    Raises:
        CaffeModelError: the net cannot be converted.
    """
    sizes = ("H", "W") if any_size else subject.shape[2:]
    for batch in (0, subject.shape[0]):  # Some nets name their batch in a Reshape layer.
        options = replace(subject.options, input_shapes={subject.input: (batch or "N", subject.shape[1], *sizes)})
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


def dense_subject(subject: Subject, dense: Dense, engine: str, folder: Path) -> Subject:
    """The net in fully convolutional form; for the interpreter with a weight file of its own in the folder."""
    path = None
    if engine == "interpreter" and dense.weights.layers:
        path = str(folder / "dense.caffemodel")
        write_caffemodel(path, dense.net.name, dense.weights.layers)
    return replace(subject, net=dense.net, weights=path)
