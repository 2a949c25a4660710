"""Caffe networks in ONNX and PyTorch, proven.

    import resnet_convert

    resnet_convert.convert("deploy.prototxt", "model.caffemodel", to="onnx")       # deploy.onnx
    model = resnet_convert.load("deploy.prototxt", "model.caffemodel")             # a torch.nn.Module
    report = resnet_convert.verify("deploy.prototxt", "model.caffemodel", "deploy.onnx")
    assert report.ok, report.first_bad
    found = resnet_convert.evaluate("deploy.prototxt", "model.caffemodel", "val", labels="val.txt", expect="resnet-50")
    assert found.verdict.outcome == "pass", found.verdict.reasons

Everything raised on purpose is a `CaffeModelError`; its docstring in `prototxt.errors` shows the tree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Literal

import numpy.typing as npt

from converter.api import Conversion, Options, Target, convert, load
from converter.plugins import load_plugin
from converter.preprocess import Preprocessing
from converter.training.module import Trainable, trainable
from converter.training.solver import Solver
from prototxt import CaffeModelError, Net, NetLayer, load_net, resnet
from verify import Report, verify_model
from verify.evaluation.records import Evaluation
from weights import Weights, load_mean, open_weights
from weights.layouts.port import Ported, port

__all__ = [
    "CaffeModelError",
    "Conversion",
    "Evaluation",
    "Net",
    "NetLayer",
    "Options",
    "Ported",
    "Preprocessing",
    "Report",
    "Solver",
    "Target",
    "Trainable",
    "Weights",
    "convert",
    "evaluate",
    "load",
    "load_mean",
    "load_net",
    "load_plugin",
    "open_weights",
    "port",
    "resnet",
    "trainable",
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


def evaluate(
    net: str | PathLike[str],
    weights: str | PathLike[str] | None,
    data: str | PathLike[str],
    *,
    labels: str | PathLike[str] | None = None,
    expect: str | None = None,
    engine: Literal["onnx", "torch", "interpreter", "opencv", "caffe"] = "onnx",
    mean: str | PathLike[str] | Sequence[float] | None = None,
    scale: float | None = None,
    input_order: Literal["bgr", "rgb"] | None = None,
    resize: int | tuple[int, int] | None = None,
    crops: Literal[1, 10] | None = None,
    agree: int | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> Evaluation:
    """Score images with a converted net as Caffe would, and hold the errors against published ones.

    Args:
        net: the .prototxt.
        weights: the .caffemodel or .caffemodel.h5.
        data: images in any form that `resnet-convert evaluate --data` takes.
        labels: Caffe's val.txt, ILSVRC's ground truth, or a folder of annotations; None where the data has its own.
        expect: name of a published model, whose protocol then holds for what is not given here.
        engine: what runs the net.
        mean: a mean file, or values in the net's order of channels.
        scale: factor after the mean.
        input_order: of the channels that the net takes.
        resize: length of the shorter side, or height and width.
        crops: 1 or 10.
        agree: number of images to compare with the interpreter's run of the Caffe files, 0 for all.
        limit, seed: a random sample of so many images.

    Returns:
        errors with their intervals, the verdict, and what else was seen.

    Raises:
        CaffeModelError: files that cannot be read, a net that takes no images, images that do not fit it.
        MissingDependencyError: OpenCV, or what runs the net, is not installed.
    """
    from converter.cli_evaluation import EvaluationArguments, ImageArguments
    from converter.cli_options import Arguments
    from converter.commands.evaluate import evaluation_of

    images = ImageArguments(
        data=str(data),
        labels=None if labels is None else str(labels),
        mean=_mean_text(mean),
        scale=scale,
        order=input_order,
        resize=(resize,) if isinstance(resize, int) else resize,
        limit=limit,
        seed=seed,
    )
    asked = EvaluationArguments(expect=expect, engine=engine, crops=crops, agree=agree)
    arguments = Arguments("evaluate", str(net), None if weights is None else str(weights), quiet=True)
    arguments.images, arguments.evaluation = images, asked
    return evaluation_of(arguments)


def _mean_text(mean: str | PathLike[str] | Sequence[float] | None) -> str | None:
    """A mean as the command line takes it."""
    if mean is None or isinstance(mean, (str, PathLike)):
        return None if mean is None else str(mean)
    return ",".join(repr(float(value)) for value in mean)
