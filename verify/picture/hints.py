"""What tells a layer from others of its type, in a few characters, from the fields that the schema's sections share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from google.protobuf.message import Message

from prototxt.caffe_pb2 import LayerParameter

_ENUMS = ("pool", "operation")


def hint_of(param: LayerParameter) -> str:
    """`3×3/2, 64` for a window of 3 × 3, stride 2 and 64 channels; `max 3×3/2`; `sum`; empty for most layers."""
    for field, section in param.ListFields():
        if field.name.endswith("_param") and isinstance(section, Message):
            parts = [*_enums(section), _window(section)]
            made = " ".join(filter(None, parts)), _number(section, "num_output")
            if any(made):
                return ", ".join(filter(None, made))
    return ""


def _enums(section: Any) -> list[str]:
    known = section.DESCRIPTOR.fields_by_name
    fields = [known[name] for name in _ENUMS if name in known and known[name].enum_type is not None]
    values = [field.enum_type.values_by_number.get(getattr(section, field.name)) for field in fields]
    return [value.name.lower() for value in values if value is not None and len(value.name) < 8]


def _window(section: Any) -> str:
    if _first(section, "global_pooling"):
        return "global"
    size = _sides(section, "kernel")
    if not size:
        return ""
    strides = _sides(section, "stride") or [1]
    stride = "×".join(map(str, strides if len({*strides}) > 1 else strides[:1]))
    dilation = _first(section, "dilation") or 1
    made = "×".join(map(str, size if len(size) > 1 else [*size, *size])) + (f"/{stride}" if stride != "1" else "")
    return f"{made} d{dilation}" if dilation > 1 else made


def _sides(section: Any, name: str) -> list[int]:
    """Height and width, or one number for both; nothing where neither is stated."""
    pair = [_first(section, f"{name}_{side}") for side in "hw"]
    if all(pair):
        return [int(side or 0) for side in pair]
    return [int(side) for side in _all(section, f"{name}_size" if name == "kernel" else name)]


def _all(section: Any, name: str) -> Sequence[int]:
    field = section.DESCRIPTOR.fields_by_name.get(name)
    if field is None:
        return ()
    value = getattr(section, name)
    if not hasattr(value, "append"):
        return (value,) if section.HasField(name) else ()
    return tuple(value)


def _first(section: Any, name: str) -> int | None:
    return next(iter(_all(section, name)), None)


def _number(section: Any, name: str) -> str:
    return str(_first(section, name) or "")
