"""The bytes of one section of a layer: whether they are what a message says, and written again as another says it.

Protobuf takes any bytes for any message: numbers that it does not know, and forms that do not go with a number, are put
aside without a word. Here they are named.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Any

from weights.wire import FIXED32, FIXED64, LENGTH, VARINT, Malformed, Wire, encoded, prefixed

_FORMS = {1: FIXED64, 6: FIXED64, 16: FIXED64, 2: FIXED32, 7: FIXED32, 15: FIXED32, 9: LENGTH, 11: LENGTH, 12: LENGTH}
"""Descriptor's type -> form on the wire; all others are VARINT."""
_FLOAT, _BOOL, _MESSAGE, _ENUM = 2, 8, 11, 14
_DIM = 1 << 3 | VARINT
"""The key of one of a BlobShape's sizes; records of one such message join."""
_TRAINING_ONLY = {"FillerParameter"}


def fields_of(data: bytes) -> Iterator[tuple[int, int, int, bytes, bytes]]:
    """The records of a message: number, form, value of a VARINT, payload, and all its bytes.

    Raises:
        Malformed: the bytes are no message.
    """
    start = 0
    for number, form, value, stop in Wire(data).records(0, len(data)):
        payload = b"" if form == VARINT else data[value:stop]
        yield number, form, value if form == VARINT else 0, payload, data[start:stop]
        start = stop


def fits(field: Any, form: int) -> bool:
    """Whether a record of this form can be the field."""
    if not field.has_presence and form == LENGTH:  # Repeated, and so perhaps packed.
        return True
    return _FORMS.get(field.type, VARINT) == form


def misfits(message: Any, data: bytes) -> list[str]:
    """What in the bytes a message's descriptor does not explain, in words; none where they are such a message."""
    try:
        return list(_misfits(message, data))
    except Malformed:
        return ["the whole"]


def _misfits(message: Any, data: bytes) -> Iterator[str]:
    """Of what stands twice and holds one value protobuf would take the last; it is a list of another message."""
    seen: set[int] = set()
    for number, form, value, payload, _ in fields_of(data):
        field = message.fields_by_number.get(number)
        again = number in seen
        seen.add(number)
        if field is None:
            yield f"field {number}"
        elif again and field.has_presence and field.type != _MESSAGE:
            yield f"field {number} ({field.name} more than once)"
        elif not fits(field, form):
            yield f"field {number} ({field.name} in another form)"
        elif field.type == _BOOL and form == VARINT and value > 1:
            yield f"field {number} ({field.name}, but {value} is no truth value)"
        elif field.type == _ENUM and form == VARINT and value not in field.enum_type.values_by_number:
            yield f"field {number} ({field.name}, which has no value {value})"
        elif field.type == _MESSAGE and field.message_type.name not in _TRAINING_ONLY:
            yield from (f"{field.name}'s {what}" for what in misfits(field.message_type, payload))


def translated(message: Any, layout: Mapping[int, str], data: bytes) -> tuple[bytes, list[str], list[str]]:
    """The bytes of a fork's section under the message's own numbers (`prototxt.fork_numbers` has the layouts).

    Returns:
        The bytes; names of stored fields that the message lacks; what the layout does not explain.
    """
    out: list[bytes] = []
    unread: list[str] = []
    wrong: list[str] = []
    for number, form, value, payload, _ in fields_of(data):
        name = layout.get(number, "")
        field = message.fields_by_name.get(name.lstrip("#*"))
        if not name:
            wrong.append(f"field {number}")
        elif name.endswith("filler") and form != LENGTH:
            wrong.append(f"field {number} ({name.lstrip('-')} in another form)")
        elif name.startswith("-"):
            continue
        elif field is None:
            unread += [name] if value or form != VARINT else []
        elif name.startswith("*") and form == VARINT:
            out.append(prefixed(field.number, encoded(_DIM) + encoded(value)))
        elif name.startswith("#"):
            if form == VARINT:
                out.append(_number(field, value))
            else:
                wrong.append(f"field {number} ({field.name} in another form)")
        elif fits(field, form):
            out.append(_record(field.number, form, value, payload))
        else:
            wrong.append(f"field {number} ({field.name} in another form)")
    return b"".join(out), unread, wrong


def _number(field: Any, value: int) -> bytes:
    """A whole number as the field has it."""
    if field.type == _FLOAT:
        return encoded(field.number << 3 | FIXED32) + struct.pack("<f", value)
    return _record(field.number, VARINT, value, b"")


def _record(number: int, form: int, value: int, payload: bytes) -> bytes:
    key = encoded(number << 3 | form)
    if form == VARINT:
        return key + encoded(value)
    if form == LENGTH:
        return prefixed(number, payload)
    width = 4 if form == FIXED32 else 8  # Neighbouring values come as one record, a byte of key between them.
    return b"".join(key + payload[at : at + width] for at in range(0, len(payload), width + 1))
