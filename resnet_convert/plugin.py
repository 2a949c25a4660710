"""All that a plugin needs: what a layer of your own is made of, for the conversion and for its check.

`docs/plugins.md` explains it by an example. These names stay; what they are imported from may move.
"""

from __future__ import annotations

from converter.dims import Shape, is_free
from converter.emission import OnnxOps, TorchOps
from converter.layers.base import canonical_axis, fault, register, require, shortest, unsupported
from converter.node import Layer, Node, Parameter
from prototxt import NetLayer
from verify.layers.registry import Array, Call, Sensitivity, elementwise, jumps, narrow, wide
from verify.layers.registry import register as check

__all__ = [
    "Array",
    "Call",
    "Layer",
    "NetLayer",
    "Node",
    "OnnxOps",
    "Parameter",
    "Sensitivity",
    "Shape",
    "TorchOps",
    "canonical_axis",
    "check",
    "elementwise",
    "fault",
    "is_free",
    "jumps",
    "narrow",
    "register",
    "require",
    "shortest",
    "unsupported",
    "wide",
]
