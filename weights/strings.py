"""Strings of a serialised message that are no UTF-8: Caffe's protobuf holds them, Python's does not.

    message = read_message(NetParameter, data)      such strings as `prototxt.names` has them
    data = message_bytes(message)                   their bytes again

Only fields that the schema has as `string` are touched; what is no message where one should be stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TypeVar, cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from prototxt.names import from_bytes, to_bytes
from weights.wire import LENGTH, Malformed, Wire, prefixed

DEEPEST = 100  # messages in each other; protobuf refuses more
M = TypeVar("M", bound=Message)
Rewrite = Callable[[bytes], bytes]


def read_message(cls: type[M], data: bytes) -> M:
    """A message; raises google.protobuf.message.DecodeError for bytes that are none."""
    return cls.FromString(_whole(data, cls, lambda text: from_bytes(text).encode()))


def message_bytes(message: Message) -> bytes:
    """A message as Caffe reads it: each string with the bytes that it had in its file."""
    return _whole(message.SerializeToString(deterministic=True), type(message), lambda text: to_bytes(text.decode()))


def _whole(data: bytes, cls: type[Message], rewrite: Rewrite) -> bytes:
    return _rewritten(Wire(data), (0, len(data)), cast(Descriptor, cls.DESCRIPTOR), rewrite, DEEPEST) or data


def _rewritten(wire: Wire, span: tuple[int, int], descriptor: Descriptor, rewrite: Rewrite, depth: int) -> bytes | None:
    """The message between two places with its strings rewritten; None where that changes nothing."""
    plan = _plan(descriptor)
    kept: list[bytes] = []
    copied = before = span[0]
    try:
        for number, kind, start, end in wire.records(*span):
            if kind == LENGTH and number in plan and not wire.piece(start, end).isascii():
                inner = plan[number]
                if inner is None:
                    new = _text(wire.piece(start, end), rewrite)
                else:
                    new = _rewritten(wire, (start, end), inner, rewrite, depth - 1) if depth else None
                if new is not None:
                    kept += [wire.piece(copied, before), prefixed(number, new)]
                    copied = end
            before = end
    except Malformed:
        return None  # protobuf says what is wrong with it
    return b"".join([*kept, wire.piece(copied, span[1])]) if kept else None


def _text(old: bytes, rewrite: Rewrite) -> bytes | None:
    new = rewrite(old)
    return None if new == old else new


@cache
def _plan(descriptor: Descriptor) -> dict[int, Descriptor | None]:
    """Field number -> None for a string, the message's own fields for a message; other fields are left out."""
    return {
        field.number: field.message_type
        for field in descriptor.fields
        if field.message_type is not None or field.type == FieldDescriptor.TYPE_STRING
    }
