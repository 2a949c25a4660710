"""Today's names of the layer types of old weight files: V1 has them as numbers, V0 in lower case."""

from __future__ import annotations

from prototxt import upgrade_v0, upgrade_v1
from prototxt.caffe_pb2 import V1LayerParameter


def v1_type(number: int) -> str | None:
    """The type behind a V1 enum value; None for one that no Caffe has, which protobuf passes over too."""
    name = V1LayerParameter.LayerType.DESCRIPTOR.values_by_number.get(number)
    return None if name is None else upgrade_v1.TYPES.get(name.name, "")


def v0_type(name: str) -> str:
    """The type behind a V0 name; an unknown one stays as it is."""
    found = upgrade_v0.TYPES.get(name)
    return name if found is None else upgrade_v1.TYPES[found]
