"""Options of the verbs that work on images or on many nets: evaluate, recalibrate, batch."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from typing import Literal

MOST_SECONDS = 10.0**7
"""Four months; the system's timers end soon after."""


@dataclass
class ImageArguments:
    """Which images, and what is done to them before the net; what is not given comes from the published protocol."""

    data: str = ""
    labels: str | None = None
    synsets: str | None = None
    resize: tuple[int, ...] | None = None
    interpolation: Literal["nearest", "linear", "cubic", "area", "lanczos"] = "linear"
    crop: tuple[int, int] | None = None
    mean: str | None = None
    scale: float | None = None
    order: str | None = None
    ignore_orientation: bool = False
    limit: int | None = None
    seed: int = 0
    batch_size: int | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"


@dataclass
class EvaluationArguments:
    """What is measured, how, and against what."""

    expect: str | None = None
    expect_top1: float | None = None
    expect_top5: float | None = None
    crops: Literal[1, 10] | None = None
    mirror: bool = False
    scales: list[int] = field(default_factory=list)
    engine: Literal["onnx", "onnxruntime", "torch", "interpreter", "opencv", "caffe"] = "onnx"
    model: str | None = None
    compiled: bool = False
    channels_last: bool = False
    threads: int = 0
    agree: int | None = None
    judge: Literal["interpreter", "opencv", "caffe"] = "interpreter"
    caffe_scores: str | None = None
    runner: Literal["local", "ray"] = "local"
    resume: bool = False
    journal: str | None = None
    scores: str | None = None
    report: str | None = None
    junit: str | None = None


@dataclass
class RecalibrationArguments:
    """How statistics are computed; `cache` is in megabytes."""

    precision: Literal["float32", "float64"] = "float64"
    cache: float | None = None


@dataclass
class BatchArguments:
    """A whole zoo."""

    manifest: str = ""
    output: str = ""
    to: str = "onnx"
    jobs: int = 0
    timeout: float = 3600.0
    runner: Literal["local", "ray"] = "local"
    again: bool = False
    no_verify: bool = False


def image_options(p: argparse.ArgumentParser) -> None:
    """Options of every verb that reads images."""
    g = p.add_argument_group("images")
    g.add_argument(
        "--data",
        dest="images.data",
        metavar="DATA",
        help="images or class folders, in a folder, .tar or .zip; an LMDB of convert_imageset; CIFAR binaries",
    )
    g.add_argument(
        "--labels",
        dest="images.labels",
        metavar="FILE",
        help="Caffe's val.txt, ILSVRC's ground-truth file, or a folder of XML annotations",
    )
    g.add_argument(
        "--synsets", dest="images.synsets", metavar="FILE", help="order of the classes: synsets.txt, meta.mat"
    )
    g.add_argument(
        "--resize",
        dest="images.resize",
        type=_resize,
        metavar="S|HxW|none",
        help="before the crop: the shorter side to S, or warp to H×W as convert_imageset does",
    )
    how = ["nearest", "linear", "cubic", "area", "lanczos"]
    g.add_argument("--interpolation", dest="images.interpolation", choices=how, help="of the resizing (linear)")
    g.add_argument(
        "--crop", dest="images.crop", type=_size, metavar="S|HxW", help="size that the net sees (its input's)"
    )
    g.add_argument("--mean", dest="images.mean", metavar="FILE|B,G,R", help="mean image or mean values to subtract")
    g.add_argument("--scale", dest="images.scale", type=float, metavar="S", help="factor, after the mean")
    g.add_argument(
        "--input-order", dest="images.order", choices=["bgr", "rgb"], help="order of channels that the net takes (bgr)"
    )
    g.add_argument(
        "--ignore-orientation",
        dest="images.ignore_orientation",
        action="store_true",
        help="leave images as their EXIF orientation finds them, as OpenCV 2.4 did",
    )
    g.add_argument("--limit", dest="images.limit", type=_count, metavar="N", help="a random sample of N images")
    g.add_argument("--seed", dest="images.seed", type=int, metavar="N", help="of that sample (0)")
    g.add_argument("--batch-size", dest="images.batch_size", type=_count, metavar="N", help="images in a batch")
    g.add_argument(
        "--device", dest="images.device", choices=["auto", "cpu", "cuda"], help="where the model runs (auto)"
    )


def evaluation_options(p: argparse.ArgumentParser) -> None:
    """Options of `evaluate` alone."""
    g = p.add_argument_group("what is expected")
    g.add_argument(
        "--expect", dest="evaluation.expect", metavar="NAME", help="a published model: resnet-50 … ('list' shows all)"
    )
    g.add_argument(
        "--expect-top1", dest="evaluation.expect_top1", type=_percent, metavar="E", help="top-1 error, in %%"
    )
    g.add_argument(
        "--expect-top5", dest="evaluation.expect_top5", type=_percent, metavar="E", help="top-5 error, in %%"
    )
    g.add_argument(
        "--agree",
        dest="evaluation.agree",
        type=_count,
        nargs="?",
        const=0,
        metavar="N",
        help="also compare the scores of N images (all without N) with a run of the Caffe files themselves",
    )
    judges = ["interpreter", "opencv", "caffe"]
    g.add_argument("--judge", dest="evaluation.judge", choices=judges, help="what runs them (interpreter)")
    g.add_argument(
        "--caffe-scores",
        dest="evaluation.caffe_scores",
        metavar="FILE.npy",
        help="scores that the original Caffe gave for the data set, N×K, to compare with",
    )
    g = p.add_argument_group("how it is measured")
    g.add_argument("--crops", dest="evaluation.crops", type=int, choices=[1, 10], help="centre, or ten averaged (1)")
    g.add_argument("--mirror", dest="evaluation.mirror", action="store_true", help="the mirror image as well, averaged")
    g.add_argument(
        "--multi-scale",
        dest="evaluation.scales",
        type=_sides,
        metavar="S,S",
        help="fully convolutional, at these lengths of the shorter side, averaged: 224,256,384,480,640",
    )
    engines = ["onnx", "onnxruntime", "torch", "interpreter", "opencv", "caffe"]
    g.add_argument(
        "--engine",
        dest="evaluation.engine",
        choices=engines,
        metavar="ENGINE",
        help=f"what runs the net: {', '.join(engines)} (onnx, which is onnxruntime)",
    )
    g.add_argument("--model", dest="evaluation.model", metavar="MODEL", help="a converted model, instead of converting")
    g.add_argument("--compile", dest="evaluation.compiled", action="store_true", help="torch.compile")
    g.add_argument(
        "--channels-last", dest="evaluation.channels_last", action="store_true", help="torch's memory format"
    )
    g.add_argument("--threads", dest="evaluation.threads", type=_count, metavar="N", help="of the model (all cores)")
    g.add_argument(
        "--runner",
        dest="evaluation.runner",
        choices=["local", "ray"],
        help="ray: on Ray Data, on this machine or on the cluster of RAY_ADDRESS",
    )
    g.add_argument("--resume", dest="evaluation.resume", action="store_true", help="go on with an interrupted run")
    g.add_argument("--journal", dest="evaluation.journal", metavar="FILE", help="where it keeps results as they come")
    g = p.add_argument_group("what is written")
    g.add_argument("--report", dest="evaluation.report", metavar="FILE.html", help="a page with chart and images")
    g.add_argument("--junit", dest="evaluation.junit", metavar="FILE.xml", help="the verdict for CI")
    g.add_argument("--scores", dest="evaluation.scores", metavar="FILE.npy", help="every score, N×K")


def recalibration_options(p: argparse.ArgumentParser) -> None:
    """Options of `recalibrate` alone."""
    p.add_argument(
        "--precision",
        dest="recalibration.precision",
        choices=["float32", "float64"],
        help="of the passes: float64 (default) gives the same numbers for any batch size, float32 is faster",
    )
    p.add_argument(
        "--cache",
        dest="recalibration.cache",
        type=float,
        metavar="MB",
        help="memory for what would else be computed again from the images (a quarter of the machine's)",
    )


def batch_options(p: argparse.ArgumentParser) -> None:
    """Options of `batch`."""
    p.add_argument(
        "batch.manifest",
        metavar="MANIFEST.csv",
        help="a net a row, under a head line: net and weights (paths from the manifest's folder), name, and options "
        "of a conversion by their names: to, fold, opset, input_shape, outputs, mean, plugin …",
    )
    p.add_argument(
        "-o",
        dest="batch.output",
        required=True,
        metavar="OUT",
        help="folder for summary.html, summary.json and OUT/NAME with the model, its comparison and its log",
    )
    forms = ["onnx", "torch", "safetensors", "npz", "hdf5", "caffe"]
    p.add_argument(
        "--to",
        dest="batch.to",
        choices=forms,
        metavar="FORM",
        help=f"what to write where a row does not say: {', '.join(forms)} (onnx)",
    )
    p.add_argument(
        "-j", "--jobs", dest="batch.jobs", type=_count, metavar="N", help="nets at a time (one for every two cores)"
    )
    p.add_argument(
        "--timeout",
        dest="batch.timeout",
        type=_seconds,
        metavar="S",
        help="seconds after which a net is given up (3600)",
    )
    p.add_argument(
        "--again",
        dest="batch.again",
        action="store_true",
        help="convert anew what an earlier run into OUT did and has not changed since",
    )
    p.add_argument("--no-verify", dest="batch.no_verify", action="store_true", help="skip the comparisons")
    p.add_argument(
        "--runner",
        dest="batch.runner",
        choices=["local", "ray"],
        help="ray: on Ray, on this machine or on the cluster of RAY_ADDRESS (local)",
    )


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= MOST_SECONDS:
        raise argparse.ArgumentTypeError(f"{text!r} is no time in seconds above 0")
    return value


def _percent(text: str) -> float:
    try:
        value = float(text.removesuffix("%"))
    except ValueError:
        value = -1.0
    if not 0 <= value <= 100:
        raise argparse.ArgumentTypeError(f"{text!r} is no error in percent")
    return value


def _size(text: str) -> tuple[int, int]:
    parts = text.lower().replace("×", "x").split("x")
    if len(parts) > 2 or not all(part.isdecimal() and 0 < int(part) < 1 << 15 for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is no size; expected 224 or 224x224 (height x width)")
    return int(parts[0]), int(parts[-1])


def _resize(text: str) -> tuple[int, ...]:
    """`256` -> (256,), `256x256` -> (256, 256), `none` -> ()."""
    if text == "none":
        return ()
    height, width = _size(text)
    return (height, width) if "x" in text.lower() or "×" in text else (height,)


def _sides(text: str) -> list[int]:
    return [_count(part.strip()) for part in text.split(",")]
