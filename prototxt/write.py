"""A message as text, the way Caffe writes it.

Fields stand in the order of their numbers, two spaces to a level, one field a line. A float has the fewest of 6 to 9
digits that give it back: 0.1, not 0.100000001. Text outside ASCII stays readable; quotes, backslashes and control
characters are escaped. Reading the text again gives an equal message.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from prototxt.caffe_pb2 import LayerParameter
from prototxt.names import to_bytes
from prototxt.repeated import gathered
from prototxt.strings import octal, quote


def format_net(message: Message) -> str:
    """The text of a net, a solver or any other message, with a line end after the last field.

    Bytes that are no UTF-8, and characters that do not print, are written as octal escapes, so that the text may be
    shown and stored like any other. Fields of unknown number, which only a binary file can bring, are left out.
    """
    lines = (line if line[:-1].isprintable() else _escaped(line[:-1]) + "\n" for line in _lines(message, ""))
    return "".join(lines)


def net_bytes(net: Message, declared: Sequence[Mapping[str, Message]] = ()) -> bytes:
    """The same as a file's content, with the bytes of names as the net's own file had them.

    Args:
        net: the net.
        declared: for each of its layers, sections of plugins, which the schema does not know, by their names.
    """
    return to_bytes("".join(_lines(net, "", declared)))


def _escaped(text: str) -> str:
    return "".join(c if c.isprintable() else octal(c) for c in text)


def _lines(
    message: Message, indent: str, declared: Sequence[Mapping[str, Message]] = (), layer_type: str = ""
) -> Iterator[str]:
    """Of a section, `layer_type` is its layer's."""
    repeated = gathered(message, layer_type)
    inner = message.type if isinstance(message, LayerParameter) else ""
    for field, value in message.ListFields():
        if field.name in repeated:
            yield from (f"{indent}{repeated[field.name]}: {dim}\n" for dim in value.dim)
            continue
        for number, item in enumerate(value if _is_list(value) else [value]):
            if field.message_type is None:
                yield f"{indent}{field.name}: {_scalar(item, field)}\n"
                continue
            own = declared[number] if declared and field.name == "layer" else {}
            sections = [line for name, section in own.items() for line in _section(name, section, indent + "  ")]
            yield from _section(field.name, item, indent, sections, inner)


def _section(name: str, message: Message, indent: str, more: Sequence[str] = (), layer_type: str = "") -> Iterator[str]:
    yield f"{indent}{name} {{\n"
    yield from _lines(message, indent + "  ", layer_type=layer_type)
    yield from more
    yield f"{indent}}}\n"


def _is_list(value: Any) -> bool:
    return hasattr(value, "append") or hasattr(value, "add")


def _scalar(value: Any, field: FieldDescriptor) -> str:
    if field.enum_type is not None:
        known = field.enum_type.values_by_number.get(value)
        return known.name if known else str(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _float(value, single=field.cpp_type == FieldDescriptor.CPPTYPE_FLOAT)
    return quote(value) if isinstance(value, (bytes, str)) else str(value)


def _float(value: float, *, single: bool) -> str:
    """The first of a few lengths that reads back as the same value."""
    if not math.isfinite(value):
        return str(value)
    for digits in range(6, 9) if single else range(15, 17):
        text = f"{value:.{digits}g}"
        if (_to_single(float(text)) if single else float(text)) == value:
            return text
    return f"{value:.{9 if single else 17}g}"


def _to_single(value: float) -> float:
    try:
        return float(struct.unpack("<f", struct.pack("<f", value))[0])
    except OverflowError:  # a rounding up past the largest float32
        return math.inf
