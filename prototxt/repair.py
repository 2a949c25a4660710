"""Layers half way between two forms: a V1 `layers` with a V2 type in quotes, a V2 `layer` with a V1 type's bare name.

    layers { type: "Softmax" … }  ->  layer { type: "Softmax" … }
    layer { type: DROPOUT … }     ->  layer { type: "Dropout" … }

Caffe reads neither. Files like that are about all the same, left so by hand or by half a conversion, and each means one
thing only.
"""

from __future__ import annotations

import logging

from prototxt.change import warn_of
from prototxt.scan import Field, Lines
from prototxt.upgrade_v1 import TYPES

log = logging.getLogger(__name__)


Edit = tuple[int, int, str]
"""Start and end of what is to be replaced in a text, and what by."""


def repair(root: Field, lines: Lines) -> list[Edit]:
    """The edits that bring such layers to the present form; the tree is changed at once, and keeps its places.

    Each repair is logged as a warning, those of a hundred layers at most.
    """
    edits: list[Edit] = []
    said: list[tuple[int, str]] = []
    for entry in root.children:
        kind = next((child for child in entry.find("type") if child.value), None)
        if kind is None or not kind.value or entry.find("layer"):
            continue
        if entry.name == "layers" and kind.value[0] in "\"'":
            edits.append((entry.offset, entry.offset + len("layers"), "layer "))
            entry.name = "layer"
            what = f"`layers` with the type {kind.value} of the present form is read as `layer`"
            said.append((entry.offset, what))
        elif entry.name == "layer" and TYPES.get(kind.value):
            new = f'"{TYPES[kind.value]}"'
            edits.append((kind.value_offset, kind.value_offset + len(kind.value), new))
            said.append((kind.value_offset, f"the old type {kind.value} in a `layer` is read as {new}"))
            kind.value = new
    warn_of(log, lines.path, (f"{lines.position(offset)}: warning: {what}" for offset, what in said))
    return edits
