"""Options of the verbs that move weights between frameworks: port, diff."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from typing import Literal

LAYOUTS = ("torchvision", "timm", "keras", "detectron2", "mmdet", "flax")


@dataclass
class PortArguments:
    """From which file and layout to which, and what is folded in."""

    weights: str = ""
    layout: str | None = None
    source: str | None = None
    output: str | None = None
    fold_preprocessing: bool = False
    order: Literal["bgr", "rgb"] | None = None
    mean: str | None = None
    scale: float | None = None
    net: Literal["msra", "own"] | None = None
    prototxt: str | None = None


@dataclass
class DiffArguments:
    """Which files, and how far apart their values may be."""

    files: list[str] = field(default_factory=list)
    tolerance: float = 0.0


def port_options(p: argparse.ArgumentParser) -> None:
    """Options of `port`."""
    p.add_argument(
        "port.weights",
        metavar="WEIGHTS",
        help="a .caffemodel or .caffemodel.h5 with MSRA's layer names; with --from a .safetensors, .npz or .weights.h5",
    )
    p.add_argument(
        "--layout",
        dest="port.layout",
        choices=LAYOUTS,
        metavar="NAME",
        help=f"whose names and layout to write: {', '.join(LAYOUTS)}",
    )
    p.add_argument(
        "--from",
        dest="port.source",
        choices=LAYOUTS,
        metavar="NAME",
        help="whose names and layout WEIGHTS has (Caffe's); without --layout the port goes back to Caffe",
    )
    p.add_argument(
        "-o",
        dest="port.output",
        metavar="OUT",
        help="OUT.safetensors, for Keras also OUT.weights.h5, for Caffe OUT.caffemodel or OUT.caffemodel.h5; "
        "by default named after WEIGHTS and the layout",
    )
    g = p.add_argument_group("preprocessing")
    g.add_argument(
        "--fold-preprocessing",
        dest="port.fold_preprocessing",
        action="store_true",
        help="fold what follows into the first convolution: exact but for conv1's border, which Caffe pads with the "
        "mean and the new model with black",
    )
    g.add_argument(
        "--input-order", dest="port.order", choices=["bgr", "rgb"], help="rgb: the model takes RGB instead of BGR"
    )
    g.add_argument("--mean", dest="port.mean", metavar="B,G,R|FILE", help="what is subtracted, in the net's own order")
    g.add_argument("--scale", dest="port.scale", type=float, metavar="S", help="factor, after the mean")
    g = p.add_argument_group("back to Caffe")
    g.add_argument(
        "--net",
        dest="port.net",
        choices=["msra", "own"],
        help="the net that the weights are for: msra (default), or the framework's own, with its strides and its "
        "padded first pooling",
    )
    g.add_argument("--prototxt", dest="port.prototxt", metavar="FILE", help="write that net as well")


def diff_options(p: argparse.ArgumentParser) -> None:
    """Options of `diff`."""
    p.add_argument(
        "diff.files",
        metavar="FILE",
        nargs=2,
        help="two weight files: .caffemodel, .h5 of Caffe or Keras, .safetensors, .npz, of any layout",
    )
    p.add_argument(
        "--tolerance",
        dest="diff.tolerance",
        type=_share,
        metavar="T",
        help="values count as equal up to T times the largest of their arrays (0)",
    )


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of 0 or more")
    return value
