"""A net's message without its weights: small enough for protobuf itself, whatever the file's size."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import closing
from typing import TypeAlias, Union

from prototxt.errors import Position, WeightsError

from .caffemodel import MappedFile
from .wire import LENGTH, Malformed, Wire, prefixed

# Field number to what becomes of it: None is left out, a plan is followed inside the submessage; others stay.
Plan: TypeAlias = Mapping[int, Union["Plan", None]]

_V2: Plan = {7: None}
_V1: Plan = {6: None, 1: {50: None}}
_NET: Plan = {100: _V2, 2: _V1}


def net_without_blobs(path: str | os.PathLike[str]) -> bytes:
    """The NetParameter of a `.caffemodel`, serialised, with all blobs left out: layers, bottoms, tops and settings.

    Raises:
        WeightsError: the file cannot be read or is damaged.
    """
    with closing(MappedFile(path)) as file, Wire(file.map) as wire:
        try:
            return _stripped(wire, 0, len(file.map), _NET)
        except Malformed as fault:
            raise WeightsError(f"is damaged or cut short: {fault}", position=Position(file.path)) from fault


def without_fields(message: bytes, numbers: set[int]) -> bytes:
    """A serialised message without the fields of these numbers; the others keep their order and form.

    Raises:
        Malformed: the bytes are no message.
    """
    return _stripped(Wire(message), 0, len(message), dict.fromkeys(numbers))


def _stripped(wire: Wire, start: int, stop: int, plan: Plan) -> bytes:
    kept: list[bytes] = []
    copied = start
    for number, kind, value, end in wire.records(start, stop):
        if number not in plan:
            kept.append(wire.data[copied:end])
        elif (inner := plan[number]) is not None and kind == LENGTH:
            kept.append(prefixed(number, _stripped(wire, value, end, inner)))
        copied = end
    kept.append(wire.data[copied:stop])
    return b"".join(kept)
