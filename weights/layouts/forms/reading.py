"""What the readers of all forms share: arrays that are read when asked for, limits, and damage as one error of ours."""

from __future__ import annotations

import lzma
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import prod
from tokenize import TokenError
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from prototxt.errors import Position, WeightsError
from prototxt.words import first_line, format_shape, unreadable
from weights.blobproto import MAX_AXES, MAX_VALUES
from weights.layouts.arrays import LazyArray

MAX_ARRAYS: Final = 200_000
MAX_EXPANSION: Final = 1100  # deflate reaches 1032:1
ALWAYS_FINE: Final = 1 << 16  # bytes; a chunked dataset that nobody wrote to has its fill value
DAMAGE: Final = (
    *(OSError, RuntimeError, ValueError, TypeError, LookupError, AttributeError, OverflowError, EOFError, MemoryError),
    *(SyntaxError, TokenError, RecursionError, struct.error, zlib.error, lzma.LZMAError, zipfile.BadZipFile),
)
"""What libraries raise at a damaged file, each in a way of its own."""


def fault(path: str, message: str) -> WeightsError:
    """An error about a file."""
    return WeightsError(message, position=Position(path))


@contextmanager
def undamaged(path: str) -> Iterator[None]:
    """Give what libraries raise at a damaged file as an error of ours."""
    try:
        yield
    except DAMAGE as error:
        raise fault(path, f"is damaged: {first_line(error)}") from error


def lazy(path: str, name: str, shape: tuple[int, ...], load: Callable[[], npt.NDArray[Any]]) -> LazyArray:
    """An array of a file that is read when it is asked for; bool counts as 0 and 1.

    Raises:
        WeightsError: more values or axes than Caffe can hold; when it is read: damage, and what are no numbers.
    """
    if len(shape) > MAX_AXES or prod(dim for dim in shape if dim) > MAX_VALUES:
        raise fault(path, f"{name!r} is {format_shape(shape)}, more than Caffe can hold")

    def read() -> npt.NDArray[Any]:
        try:
            values = np.asarray(load())
        except DAMAGE as error:
            raise fault(path, f"{name!r} {unreadable(error)}") from error
        if values.dtype.kind not in "fiub" or values.shape != shape:
            raise fault(path, f"{name!r} holds {values.dtype} values; expected numbers")
        return values

    return LazyArray(tuple(map(int, shape)), read)


def refuse_expansion(path: str, name: str, needed: int, stored: int) -> None:
    """Refuse an array of more bytes than its stored ones can unpack to.

    Raises:
        WeightsError: it is a bomb, or a header lies.
    """
    if needed > max(stored * MAX_EXPANSION, ALWAYS_FINE):
        raise fault(path, f"{name!r} needs {needed:,} bytes, but {stored:,} are stored")
