"""Caffe networks in ONNX and PyTorch, proven.

    import resnet_convert

    resnet_convert.convert("deploy.prototxt", "model.caffemodel", to="onnx")       # deploy.onnx
    model = resnet_convert.load("deploy.prototxt", "model.caffemodel")             # a torch.nn.Module
    report = resnet_convert.verify("deploy.prototxt", "model.caffemodel", "deploy.onnx")
    assert report.ok, report.first_bad

Everything raised on purpose is a `CaffeModelError`; its docstring in `prototxt.errors` shows the tree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path

import numpy.typing as npt

from converter.api import Conversion, Options, Target, convert, load
from converter.plugins import load_plugin
from converter.preprocess import Preprocessing
from prototxt import CaffeModelError, Net, NetLayer, load_net, resnet
from verify import Report, verify_model
from weights import Weights, load_mean, open_weights

__all__ = [
    "CaffeModelError",
    "Conversion",
    "Net",
    "NetLayer",
    "Options",
    "Preprocessing",
    "Report",
    "Target",
    "Weights",
    "convert",
    "load",
    "load_mean",
    "load_net",
    "load_plugin",
    "open_weights",
    "resnet",
    "verify",
]


def verify(
    net: str | PathLike[str],
    weights: str | PathLike[str] | None,
    model: str | PathLike[str],
    *,
    feeds: Mapping[str, npt.ArrayLike] | None = None,
    seed: int = 0,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    mean: npt.ArrayLike | None = None,
) -> Report:
    """Compare a converted model, blob by blob, with an independent run of the Caffe net.

    Args:
        net: the .prototxt.
        weights: the .caffemodel or .caffemodel.h5; None for a net without weights.
        model: an .onnx file, or a folder that `convert(..., to="torch")` wrote (its model.py is executed).
        feeds: what to feed, by input blob, float32; seeded numbers by default.
        seed: of those numbers.
        input_shapes: sizes of inputs, where neither prototxt nor model says.
        mean: the mean image (C×H×W) that was baked in, if one was.

    Returns:
        a report whose `ok` is True when every blob is within the bound that float32 explains.

    Raises:
        CaffeModelError: a file that cannot be read, a model that is not this net's.
        MissingDependencyError: the model's runtime is not installed.
    """
    shapes = {name: tuple(dims) for name, dims in (input_shapes or {}).items()}
    parsed = load_net(Path(net))
    if weights is None:
        return verify_model(parsed, None, model, feeds=feeds, seed=seed, shapes=shapes, mean=mean)
    with open_weights(weights) as source:
        return verify_model(parsed, source, model, feeds=feeds, seed=seed, shapes=shapes, mean=mean)
