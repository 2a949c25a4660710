"""Converted models beside an independent run of the Caffe net, as one request."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal

import numpy as np
import numpy.typing as npt

from converter.api import load_parsed, weights_of
from converter.options import File
from prototxt import Net
from prototxt.errors import RequestError
from resnet_convert.means import mean_of
from resnet_convert.option import takes
from resnet_convert.plugins import load_plugins
from resnet_convert.requests import FedRequest, Mean, NetRequest, VerificationRequest
from verify import Report, load_image, verify_models
from verify import judge as judged
from verify.engines.engine import Engine
from verify.parity import OnPart, verify_engine
from weights import Weights, open_weights


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
    with opened(request) as (net, weights):
        (report,) = compare(net, weights, [request.model], request, request.mean, time_limit=request.timeout)
        return report


@contextmanager
def opened(request: NetRequest) -> Iterator[tuple[Net, Weights | None]]:
    """The net that a request names, and its weights while the block runs."""
    load_plugins(request.plugins)
    net = load_parsed(request.net, request.to_options(), request.weights, cut=True)
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
