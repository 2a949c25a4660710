"""Pooling of forks whose kernel_size, stride and pad may stand once for each axis.

    pooling_param { kernel_size: 1 kernel_size: 3 stride: 1 dilation: 2 }
    ->  pooling_param { kernel_shape { dim: 1 dim: 3 } stride: 1 dilation: 2 }

They are Greentea's, which a `dilation` in the section tells, and those for films and volumes (R-C3D's, ECO's), which
state three numbers or more. In all other Caffes the fields hold one value, and what stands twice is a slip. Their
Caffes know no shapes in a Pooling, so they are written as they were read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from google.protobuf.message import Message

from prototxt.caffe_pb2 import PoolingParameter
from prototxt.repair import Edit
from prototxt.scan import Field

_SHAPES = {"kernel_size": "kernel_shape", "stride": "stride_shape", "pad": "pad_shape"}


def spread(root: Field) -> list[Edit]:
    """The edits that make shapes of what stands more than once; of the tree the first of each stays."""
    edits: list[Edit] = []
    for entry in root.children:
        if entry.name in ("layer", "layers"):
            for section in entry.find("pooling_param"):
                if section.find("dilation") or any(len(section.find(name)) > 2 for name in _SHAPES):
                    edits += _of_section(section)
    return edits


def gathered(message: Message, layer_type: str) -> Mapping[str, str]:
    """Shapes of a layer's section to write as fields that stand once for each number, and those fields' names."""
    if not isinstance(message, PoolingParameter) or layer_type != "Pooling":  # NdPooling states shapes
        return {}
    return {shape: name for name, shape in _SHAPES.items() if message.HasField(shape) and not message.HasField(name)}


def _of_section(section: Field) -> list[Edit]:
    edits: list[Edit] = []
    for name, shape in _SHAPES.items():
        given = section.find(name)
        repeated = len(given) > 1 or any(field.listed for field in given)
        if not repeated or not all(field.value and re.fullmatch(r"\d{1,9}", field.value) for field in given):
            continue
        dims = " ".join(f"dim: {field.value}" for field in given)
        first, *others = dict.fromkeys(field.span for field in given)
        edits += [(*first, f"{shape} {{ {dims} }} "), *((*span, " ") for span in others)]
        section.children = [child for child in section.children if child not in given[1:]]
        given[0].listed = False
    return edits
