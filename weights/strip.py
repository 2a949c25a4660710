"""A net's message without its weights: small enough for protobuf itself, whatever the file's size."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TypeAlias, Union

from prototxt.errors import Position, WeightsError
from weights.pieces import PiecewiseFile
from weights.wire import LENGTH, Malformed, Wire, prefixed

# Field number to what becomes of it: None is left out, a plan is followed inside the submessage; others stay.
Stripping: TypeAlias = Mapping[int, Union["Stripping", None]]

_V2: Stripping = {7: None}
_V1: Stripping = {6: None, 1: {50: None}}
_NET: Stripping = {100: _V2, 2: _V1}


def net_without_blobs(path: str | os.PathLike[str], *, emptied: bool = False) -> bytes:
    """The NetParameter of a `.caffemodel`, serialised, with all blobs left out: layers, bottoms, tops and settings.

    With `emptied` each blob stays, with nothing in it, so that one sees which layers have some.

    Raises:
        WeightsError: the file cannot be read or is damaged.
    """
    with PiecewiseFile(path) as file:
        try:
            return _stripped(file.wire(), 0, file.size, _NET, emptied=emptied)
        except Malformed as fault:
            raise WeightsError(f"is damaged or cut short: {fault}", position=Position(file.path)) from fault


def has_blobs(path: str | os.PathLike[str]) -> bool:
    """Whether a binary NetParameter holds weights, as a net's text that was saved in binary form does not.

    Raises:
        WeightsError: the file cannot be read or is damaged.
    """
    with PiecewiseFile(path) as file:
        try:
            return _meets(file.wire(), 0, file.size, _NET)
        except Malformed as fault:
            raise WeightsError(f"is damaged or cut short: {fault}", position=Position(file.path)) from fault


def _meets(wire: Wire, start: int, stop: int, plan: Stripping) -> bool:
    """Whether the message has a field that the plan leaves out."""
    for number, kind, value, end in wire.records(start, stop):
        if number in plan and kind == LENGTH:
            inner = plan[number]
            if inner is None or _meets(wire, value, end, inner):
                return True
    return False


def without_fields(message: bytes, numbers: set[int]) -> bytes:
    """A serialised message without the fields of these numbers; the others keep their order and form.

    Raises:
        Malformed: the bytes are no message.
    """
    return _stripped(Wire(message), 0, len(message), dict.fromkeys(numbers))


def _stripped(wire: Wire, start: int, stop: int, plan: Stripping, *, emptied: bool = False) -> bytes:
    kept: list[bytes] = []
    copied = start
    for number, kind, value, end in wire.records(start, stop):
        if number not in plan:
            kept.append(wire.piece(copied, end))
        elif (inner := plan[number]) is not None and kind == LENGTH:
            kept.append(prefixed(number, _stripped(wire, value, end, inner, emptied=emptied)))
        elif inner is None and emptied and kind == LENGTH:
            kept.append(prefixed(number, b""))
        copied = end
    kept.append(wire.piece(copied, stop))
    return b"".join(kept)
