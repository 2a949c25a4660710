"""What a process that runs somebody's model, and the one that started it, say to each other.

    8 bytes     length of the head, little-endian
    the head    JSON: fields, and under `arrays` the dtype and shape of each array
    the arrays  in that order, C-contiguous

Nothing is unpickled: the model's code may write into the stream what it likes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from prototxt.json_text import read_json

LARGEST_HEAD = 1 << 28
NUMBERS = re.compile(r"\|b1|[<>|][iuf](1|2|4|8)")
"""Dtypes whose bytes are numbers and nothing else."""

AnyArray = npt.NDArray[Any]


@dataclass(frozen=True)
class Message:
    """Fields that JSON can hold, and arrays."""

    fields: dict[str, Any]
    arrays: tuple[AnyArray, ...] = ()


def write_message(stream: IO[bytes], fields: dict[str, Any], arrays: Sequence[AnyArray] = ()) -> None:
    """Send a message.

    Raises:
        OSError: the other side is gone.
    """
    whole = [np.asarray(array, order="C") for array in arrays]
    described = [[array.dtype.str, list(array.shape)] for array in whole]
    head = json.dumps({**fields, "arrays": described}).encode()
    stream.write(len(head).to_bytes(8, "little") + head)
    for array in whole:
        stream.write(array.reshape(-1).view(np.uint8).data)
    stream.flush()


def read_message(stream: IO[bytes]) -> Message | None:
    """The next message; None at the end of the stream.

    Raises:
        ValueError: what comes is no message, or breaks off.
    """
    first = stream.read(8)
    if not first:
        return None
    size = int.from_bytes(first, "little")
    if size > LARGEST_HEAD:
        raise ValueError("no message")
    fields = read_json(stream.read(size))
    try:
        arrays = tuple(_array(stream, str(kind), shape) for kind, shape in fields.pop("arrays"))
    except (AttributeError, KeyError, TypeError, MemoryError) as error:
        raise ValueError("no message") from error
    return Message(fields, arrays)


def _array(stream: IO[bytes], kind: str, shape: list[int]) -> AnyArray:
    if not NUMBERS.fullmatch(kind):
        raise ValueError(f"an array of {kind}")
    array: AnyArray = np.empty(shape, kind)
    left = array.reshape(-1).view(np.uint8).data
    while left:
        count = stream.readinto(left)  # type: ignore[attr-defined]
        if not count:
            raise ValueError("a message that breaks off")
        left = left[count:]
    return array
