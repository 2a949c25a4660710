"""Weights under another framework's names, or back in Caffe's, and weight files side by side, as requests."""

from __future__ import annotations

import os
from pathlib import Path

from prototxt.errors import RequestError
from resnet_convert.guarding import guard
from resnet_convert.option import takes
from resnet_convert.requests import DiffRequest, PortRequest
from weights.layouts.compare import Comparison, compare
from weights.layouts.port import CAFFE, Ported
from weights.layouts.port import port as port_file

ARRAY_SUFFIXES = (".safetensors", ".npz", ".tar", ".pth", ".pt", ".ckpt", ".pkl", ".msgpack")
"""Of files that `--from` reads; a default output has none of them in its name."""


@takes(PortRequest)
def port(request: PortRequest) -> Ported:
    """Write a ResNet's weights in another layout.

    Arguments are the fields of `PortRequest`: those of the command line's verb, with arrays where it has files.

    Raises:
        WeightsError: a file that cannot be read, or that is no ResNet in that layout.
        RequestError: names or suffixes that make no sense, or a target that cannot be written.

    Example:
        >>> from pathlib import Path
        >>> _ = Path("net.prototxt").write_text(str(resnet_convert.resnet(18, classes=10)))
        >>> _ = resnet_convert.convert("net.prototxt", to="caffe", fold="none", random_weights=0, output="net")
        >>> done = resnet_convert.port("net/model.caffemodel", "resnet18.safetensors", to="torchvision")
        >>> done.depth, done.classes, done.arrays
        (18, 10, 102)
    """
    return ported(request)


def ported(request: PortRequest) -> Ported:
    """What `port` does."""
    if request.to is None and request.source is None:
        raise RequestError("nothing to do: name the layout to write (--layout), or the one that is read (--from)")
    to = request.to or CAFFE
    output = request.output or _default_output(request.weights, to)
    guard(request, output=[output])
    return port_file(
        request.weights,
        output,
        to=to,
        source=request.source or CAFFE,
        preprocessing=request.to_preprocessing(),
        net=request.net,
        prototxt=request.prototxt,
    )


@takes(DiffRequest)
def diff(request: DiffRequest) -> Comparison:
    """Compare two weight files, whatever frameworks they are of: which layers differ, and by how much.

    Arguments are the fields of `DiffRequest`.

    Raises:
        CaffeModelError: a file that cannot be read, or that holds no weights.

    Example:
        >>> weights = "examples/digits/digits_resnet.caffemodel"
        >>> found = resnet_convert.diff(weights, weights)
        >>> found.compared, found.different
        (62, [])
    """
    return compared(request)


def compared(request: DiffRequest) -> Comparison:
    """What `diff` does."""
    return compare(request.first, request.second, tolerance=request.tolerance)


def _default_output(weights: str | os.PathLike[str], to: str) -> str:
    stem = Path(weights).name
    for suffix in (".h5", ".weights", ".caffemodel", *ARRAY_SUFFIXES):
        stem = stem.removesuffix(suffix)
    if to == CAFFE:
        return f"{stem}.caffemodel"
    return f"{stem}_{to}{'.weights.h5' if to == 'keras' else '.safetensors'}"
