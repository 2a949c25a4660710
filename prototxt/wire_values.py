"""Values as the usual prototxt writes them, in protobuf's wire form: each record is a key and content.

    pad: 300  ->  18 AC 02      field 3 << 3 | 0 for a varint, and 300 as one: seven bits a byte, the lowest first
    name: "a" ->  0A 01 61      field 1 << 3 | 2 for bytes behind their length

Source: https://protobuf.dev/programming-guides/encoding. What is written in a rarer way, or wrong, is refused: the
numbers in hexadecimal, infinity, the bytes that are no UTF-8.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from functools import partial

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor

from prototxt.names import is_unicode
from prototxt.strings import may_be_odd, unescape

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5

Content = Callable[[str], bytes]

_WHOLE = re.compile(r"-?(?:0|[1-9][0-9]{0,19})\Z")
_DECIMAL = re.compile(r"-?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?\Z")
_TRUTHS = {"true": b"\1", "True": b"\1", "1": b"\1", "false": b"\0", "False": b"\0", "0": b"\0"}


class Unusual(Exception):  # noqa: N818 (no fault)
    """The text holds something that only the careful parser reads, or refuses."""


def key(field: FieldDescriptor, wire_type: int) -> bytes:
    """What a field's record begins with."""
    return varint(field.number << 3 | wire_type)


def varint(number: int) -> bytes:
    """Seven bits of a number a byte, the lowest first; of a negative one its 64 bits."""
    if 0 <= number < 128:
        return bytes((number,))
    number &= (1 << 64) - 1
    made = bytearray()
    while number > 127:
        made.append(number & 127 | 128)
        number >>= 7
    return bytes((*made, number))


def content_of(field: FieldDescriptor) -> tuple[int, Content]:
    """The wire type of a scalar field, and what makes content from a value as written.

    Both raise Unusual: this for a kind of field that nets do not have, the other for a value.
    """
    if field.enum_type is not None:
        return VARINT, partial(_enum, field.enum_type)
    if field.type not in _CONTENTS:
        raise Unusual
    return _CONTENTS[field.type]


def _string(value: str) -> bytes:
    if value[0] not in "\"'":
        raise Unusual
    if "\\" not in value and is_unicode(value):
        content = value[1:-1].encode()
    else:
        content = _unescaped(value)
    return varint(len(content)) + content


def _unescaped(value: str) -> bytes:
    try:
        content = unescape(value)
    except ValueError:
        raise Unusual from None
    if may_be_odd(value) or not content.isascii():
        raise Unusual
    return content


def _enum(enum: EnumDescriptor, value: str) -> bytes:
    named = enum.values_by_name.get(value)
    if named is not None:
        return varint(named.number)
    if not (_WHOLE.match(value) and int(value) in enum.values_by_number):
        raise Unusual
    return varint(int(value))


def _truth(value: str) -> bytes:
    if value not in _TRUTHS:
        raise Unusual
    return _TRUTHS[value]


def _whole(least: int, most: int, value: str) -> bytes:
    if not (_WHOLE.match(value) and least <= int(value) <= most):
        raise Unusual
    return varint(int(value))


def _decimal(pack: Callable[[float], bytes], value: str) -> bytes:
    if not _DECIMAL.match(value):
        raise Unusual
    try:
        return pack(float(value))
    except OverflowError:  # of a float32, for which protobuf's parser takes infinity
        raise Unusual from None


_CONTENTS: dict[int, tuple[int, Content]] = {
    FieldDescriptor.TYPE_STRING: (LENGTH, _string),
    FieldDescriptor.TYPE_BOOL: (VARINT, _truth),
    FieldDescriptor.TYPE_INT32: (VARINT, partial(_whole, -(1 << 31), (1 << 31) - 1)),
    FieldDescriptor.TYPE_INT64: (VARINT, partial(_whole, -(1 << 63), (1 << 63) - 1)),
    FieldDescriptor.TYPE_UINT32: (VARINT, partial(_whole, 0, (1 << 32) - 1)),
    FieldDescriptor.TYPE_UINT64: (VARINT, partial(_whole, 0, (1 << 64) - 1)),
    FieldDescriptor.TYPE_FLOAT: (FIXED32, partial(_decimal, struct.Struct("<f").pack)),
    FieldDescriptor.TYPE_DOUBLE: (FIXED64, partial(_decimal, struct.Struct("<d").pack)),
}
