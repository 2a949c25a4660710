"""Converted models beside an independent run of the Caffe net, as one request."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from converter.options import File
from converter.reading import load_parsed, weights_of
from prototxt import Net
from prototxt.errors import RequestError
from resnet_convert.gating import gated
from resnet_convert.guarding import guard
from resnet_convert.images.means import mean_of
from resnet_convert.option import takes
from resnet_convert.plugins import load_plugins
from resnet_convert.provenance import provenance
from resnet_convert.requests import FedRequest, Mean, NetRequest, VerificationRequest
from verify import Report, verify_models
from verify import judge as judged
from verify.engines.engine import Engine
from verify.inputs import load_image
from verify.parity import OnPart, verify_engine
from verify.report.records import Json
from weights import Outputs, Weights, open_weights, unused_warnings


@takes(VerificationRequest)
def verify(request: VerificationRequest) -> Report:
    """Compare a converted model, blob by blob, with an independent run of the Caffe net.

    Arguments are the fields of `VerificationRequest`: those of the command line's verb, with arrays where it has files.

    Returns:
        a report whose `ok` is True when every blob is within the bound that float32 explains.

    Raises:
        CaffeModelError: a file that cannot be read, a model that is not this net's.
        MissingDependencyError: the model's runtime is not installed.

    Example:
        >>> net, weights = "examples/digits/deploy.prototxt", "examples/digits/digits_resnet.caffemodel"
        >>> _ = resnet_convert.convert(net, weights, to="onnx", output="digits.onnx")
        >>> report = resnet_convert.verify(net, weights, "digits.onnx")
        >>> report.ok, len(report.rows), report.inputs
        (True, 41, {'data': (1, 1, 16, 16)})
    """
    (report,) = verified(request, [request.model])
    return report


def verified(
    request: VerificationRequest,
    models: Sequence[File],
    by: Literal["opencv", "caffe"] | None = None,
    progress: OnPart | None = None,
    warn: Callable[[str], None] | None = None,
    tell: Callable[[Report], None] | None = None,
) -> list[Report]:
    """Compare several models, and what `by` names with the net too; write what the request asks for.

    `warn` is told of weights that the net does not use, `tell` what was found, before it is written.
    """
    with gated(request, "verify", request.net, reading=models) as gate:
        if request.report is not None:
            guard(request, report=pages_of(request.report, len(models) + (by is not None)), reading=models)
        with opened(request) as (net, weights):
            if warn is not None:
                for warning in unused_warnings(weights, (layer.name for layer in net.layers)):
                    warn(warning)
            reports = [] if by is None else [judge(net, weights, by, request)]
            reports += compare(net, weights, models, request, request.mean, progress, time_limit=request.timeout)
        if tell is not None:
            for report in reports:
                tell(report)
        _write_pages(reports, request, models)
        gate.tell_reports(reports)
    return reports


def provenance_of(report: Report, request: VerificationRequest, models: Sequence[File]) -> Json:
    """Of the report on one of the models, or on another reader of the Caffe files."""
    names = [str(Path(model)) for model in models]
    return provenance(replace(request, model=models[names.index(report.model)]) if report.model in names else request)


def _write_pages(reports: Sequence[Report], request: VerificationRequest, models: Sequence[File]) -> None:
    if request.report is not None:
        from verify import write_html

        with Outputs() as outputs:
            for report, page in zip(reports, pages_of(request.report, len(reports)), strict=True):
                write_html(report, outputs.file(page), provenance_of(report, request, models))


def pages_of(path: File, count: int) -> list[Path]:
    """The pages for some reports: FILE.html, FILE-2.html …"""
    target = Path(path)
    more = (target.with_name(f"{target.stem}-{number}{target.suffix}") for number in range(2, count + 1))
    return [target, *more]


@contextmanager
def opened(request: NetRequest) -> Iterator[tuple[Net, Weights | None]]:
    """The net that a request names, and its weights while the block runs."""
    load_plugins(request.plugins)
    net = load_parsed(request.net, request.to_options(), request.weights)
    path = weights_of(request.net, request.weights)
    if path is None:
        yield net, None
        return
    with open_weights(path) as weights:
        yield net, weights


def compare(
    net: Net,
    weights: Weights | None,
    models: Sequence[File],
    request: FedRequest,
    mean: Mean | None,
    progress: OnPart | None = None,
    *,
    apart: bool = True,
    time_limit: float | None = None,
) -> list[Report]:
    """Compare models with one run of the Caffe net, on what the request asks to feed it.

    Models from elsewhere run `apart`, in processes of their own, with a time limit; those just written need not.
    """
    image = mean_of(mean)
    return verify_models(
        net,
        weights,
        models,
        feeds=_feeds(net, request),
        seed=request.seed,
        shapes=_asked_shapes(request),
        mean=image if image is not None and image.ndim == 3 else None,
        progress=progress,
        apart=apart,
        time_limit=time_limit,
    )


def compare_engine(
    net: Net,
    weights: Weights | None,
    engine: Engine,
    path: str,
    request: FedRequest,
    progress: OnPart | None = None,
) -> Report:
    """Compare what an engine has loaded with one run of the Caffe net, on what the request asks to feed it."""
    return verify_engine(
        net,
        weights,
        engine,
        path,
        feeds=_feeds(net, request),
        seed=request.seed,
        shapes=_asked_shapes(request),
        progress=progress,
    )


def judge(net: Net, weights: Weights | None, by: Literal["opencv", "caffe"], request: FedRequest) -> Report:
    """Compare the interpreter itself with OpenCV 4 or the original Caffe."""
    name: Literal["opencv", "pycaffe"] = "opencv" if by == "opencv" else "pycaffe"
    return judged(net, weights, name, seed=request.seed, shapes=_asked_shapes(request))


def _feeds(net: Net, request: FedRequest) -> Mapping[str, npt.ArrayLike] | None:
    if request.image is None:
        return request.feeds
    images = [top for layer in net.layers if not layer.bottoms for top in layer.tops]
    if len(images) != 1:
        raise RequestError(f"--image feeds one input, but the net's are {', '.join(images)}")
    if isinstance(request.image, np.ndarray):
        return {images[0]: request.image}
    shape = _fixed_shapes(request).get(images[0])
    layer = next(x for x in net.layers if images[0] in x.tops)
    stated = tuple(layer.param.input_param.shape[0].dim) if layer.param.input_param.shape else None
    if shape is None and stated is None:
        raise RequestError(f"the size of {images[0]!r} is unknown; give it with --input-shape")
    return {images[0]: load_image(request.image, shape or stated or ())}


def _fixed_shapes(request: NetRequest) -> dict[str, tuple[int, ...]]:
    """The input shapes that are asked for without free axes; those come from the prototxt."""
    fixed = {}
    for name, dims in request.input_shapes.items():
        sizes = tuple(d for d in dims if isinstance(d, int))
        if len(sizes) == len(dims):
            fixed[name] = sizes
    return fixed


def _asked_shapes(request: NetRequest) -> dict[str, tuple[int | None, ...]]:
    """The input shapes that are asked for; a free axis is as the model or the prototxt has it."""
    asked = request.input_shapes.items()
    return {name: tuple(d if isinstance(d, int) else None for d in dims) for name, dims in asked}
