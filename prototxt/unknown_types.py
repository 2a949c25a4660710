"""What is said of a layer type that a side does not have: a near name, and what can be done instead.

Converter and interpreter say it in the same words. A few types that nets bear cannot be had: no public source defines
them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from prototxt.errors import UnsupportedError

if TYPE_CHECKING:
    from prototxt.net import NetLayer

NO_SOURCE = "nets bear it, and no published Caffe has it"

UNDEFINED = {
    "Yolo": "in TensorRT-Yolov3's plugin its classes, anchors, sizes and threshold are constants of the program "
    "(YoloConfigs.h), which differ from one version to the next",
    "FrcnnProposal": "its anchors, their stride, its thresholds and how many boxes it gives stand in a JSON file that "
    "the program of its Caffe (src/caffe/FRCNN) is started with, as anchors, feat_stride and test_rpn_…, and its code "
    "for CPUs drops other boxes than that for GPUs",
    "DReLU": NO_SOURCE,
    "Null": NO_SOURCE,
    "RoIAlign": "one fork's takes Detectron's regions, another's has rows of 4 and gives each image num_roi_per_image "
    "of them, and their fields are told apart by nothing",
}
"""By type, why: what is missing, in words that follow a colon."""

BEYOND = {"DenseCRF": "inference in a conditional random field over all pairs of pixels, which no model holds"}
"""By type, what it is: a step behind the net, on its first bottom."""

SHORTEST_WITH_SLIPS = 6
"""Letters of a name that may be another one misspelt; shorter ones, such as RReLU and CReLU, are types of their own."""


def unknown_type(
    layer: NetLayer, known: Iterable[str] = (), ends: Sequence[str] = (), *, reader: str = ""
) -> UnsupportedError:
    """The error about a layer of a type that nobody registered.

    Args:
        layer: as the net has it.
        known: the types that somebody registered.
        ends: those of its bottoms with which a net can end in its place.
        reader: who does not know it, in words, where that is not the converter.
    """
    where = f" in {reader}" if reader else ""
    if layer.type == "Python":
        code = layer.kind.removeprefix("Python ")
        what, place = f"the Python layer {code} is code that only its owner has", layer.where("python_param")
        joint = f", unknown{where}; " if where else "; "
    else:
        what, place = f"unknown layer type {layer.type!r}{where}", layer.where("type")
        joint = _about(layer.type, known)
    message = f"{what}{joint}{_way_out(layer, ends)}"
    return UnsupportedError(message, position=place, layer=layer.name, layer_type=layer.type)


def _about(kind: str, known: Iterable[str]) -> str:
    """What is known of a type, between its name and the way out."""
    if kind in BEYOND:
        return f": {BEYOND[kind]}; "
    if kind in UNDEFINED:
        return f": no public source defines it for a net alone: {UNDEFINED[kind]}; "
    close = _near(kind, known)
    return f"; did you mean {close}? If not, " if close else "; "


def _near(kind: str, known: Iterable[str]) -> str | None:
    """A type that is likely meant; not one that differs in a number, as Yolov3 and Yolov4 do."""
    from prototxt.check import near

    close = near(kind, known)
    if close is None or re.sub(r"\D", "", kind) != re.sub(r"\D", "", close):
        return None
    return close if len(kind) >= SHORTEST_WITH_SLIPS or kind.lower() == close.lower() else None


def _way_out(layer: NetLayer, ends: Sequence[str]) -> str:
    if layer.type in BEYOND and layer.bottoms:
        return f"--outputs {layer.bottoms[0]} gives the blob before it"
    supplied = "--plugin FILE.py supplies it"
    if ends:
        return f"{supplied}, or --outputs {','.join(dict.fromkeys(ends))} gives what it reads"
    if layer.tops and not layer.bottoms:
        return f"{supplied} (if it only brings data in, --input-shape {layer.tops[0]}=N,C,H,W makes it an input)"
    return supplied
