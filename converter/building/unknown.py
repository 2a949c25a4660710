"""What is said of a layer type that is not converted: a near name, a plugin, or that no public source defines it."""

from __future__ import annotations

from collections.abc import Mapping

from converter.node import Layer
from prototxt import NetLayer
from prototxt.errors import UnsupportedError
from prototxt.words import nearest

NO_SOURCE = "nets bear it, and no published Caffe has it"

UNDEFINED = {
    "Yolo": "in TensorRT-Yolov3's plugin its classes, anchors, sizes and threshold are constants of the program "
    "(YoloConfigs.h), which differ from one version to the next",
    "DReLU": NO_SOURCE,
    "Null": NO_SOURCE,
    "RoIAlign": "one fork's takes Detectron's regions, another's has rows of 4 and gives each image num_roi_per_image "
    "of them, and their fields are told apart by nothing",
}
"""By type, why: what is missing, in words that follow a colon."""

BEYOND = {"DenseCRF": "inference in a conditional random field over all pairs of pixels, which no model holds"}
"""By type, what it is: a step behind the net, on its first bottom."""


def _undefined(source: NetLayer) -> str:
    """The end of a sentence about a layer of such a type, with what can be done; empty for any other type."""
    if source.type in BEYOND and source.bottoms:
        return f": {BEYOND[source.type]}; --outputs {source.bottoms[0]} gives the blob before it"
    why = UNDEFINED.get(source.type)
    if why is None:
        return ""
    outputs = ",".join(dict.fromkeys(source.bottoms))
    instead = f", or --outputs {outputs} gives what it reads" if outputs else ""
    return f": no public source defines it for a net alone: {why}; --plugin FILE.py supplies it{instead}"


def unknown_type(source: NetLayer, known: Mapping[str, type[Layer]]) -> UnsupportedError:
    """The error about a layer of a type that nobody registered; `known` are those that somebody did."""
    feed = "" if source.bottoms or not source.tops else _hint_to_feed(source)
    if source.type == "Python":
        code = source.kind.removeprefix("Python ")
        message = f"the Python layer {code} is code that only its owner has; --plugin FILE.py supplies it{feed}"
        place = source.where("python_param")
    else:
        close = nearest(source.type, known)
        lower = [k for k in known if k.lower() == source.type.lower()]
        near = f"; did you mean {(lower or close)[0]}?" if lower or close else ""
        message = f"unknown layer type {source.type!r}{_undefined(source) or near}{feed}"
        place = source.where("type")
    return UnsupportedError(message, position=place, layer=source.name, layer_type=source.type)


def _hint_to_feed(source: NetLayer) -> str:
    return f" (if it only brings data in, --input-shape {source.tops[0]}=N,C,H,W makes it an input)"
