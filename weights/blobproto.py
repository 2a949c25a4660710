"""Caffe's BlobProto in binary form: a shape, and numbers in one of three encodings.

    1-4   num, channels, height, width    int32, the old form of a shape; present, it is the one that counts
    5     data                            float, packed or not
    6, 9  diff, double_diff               gradients, passed over
    7     shape                           message, field 1: int64 dimensions, packed or not
    8     double_data                     double, packed or not; present, it is used and not `data`
    10    raw_data_type                   NVIDIA's fork: 0 double, 1 float, 2 half
    12    raw_data                        NVIDIA's fork: bytes, used when 5 and 8 are empty

Source: Blob::FromProto in BVLC's and NVIDIA's blob.cpp. Repeated fields that come in several pieces are joined, of a
repeated singular field the last counts, and a known field with the wrong wire type is an unknown one: protobuf's rules.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Final

import numpy as np
import numpy.typing as npt

from .model import Blob, FloatArray, Shape
from .wire import FIXED32, FIXED64, LENGTH, VARINT, ByteArray, Malformed, Wire, signed

MAX_AXES: Final = 32  # Caffe's kMaxBlobAxes
MAX_VALUES: Final = 2**31 - 1  # Caffe counts in int
_RAW_TYPES: Final = {0: "<f8", 1: "<f4", 2: "<f2"}
_LEGACY_FIELDS: Final = (1, 2, 3, 4)


@dataclass(frozen=True, slots=True)
class _Piece:
    """`count` numbers from byte `start` on, one every `period` bytes."""

    start: int
    count: int
    period: int


class BlobFault(Exception):  # noqa: N818 (internal; callers add file, layer and blob)
    """A blob that is a well-formed message and yet no array."""


@dataclass(frozen=True)
class _Values:
    """Where a blob's numbers lie and how they are written; calling it reads them."""

    data: Callable[[], ByteArray]
    shape: Shape
    dtype: str
    pieces: tuple[_Piece, ...]

    def __call__(self) -> FloatArray:
        width = int(self.dtype[2])
        data = self.data()
        if len(self.pieces) == 1 and self.pieces[0].period == width:
            view: npt.NDArray[np.floating] = np.ndarray(self.shape, self.dtype, data, self.pieces[0].start)
            return _as_float32(view)
        joined = np.empty(sum(piece.count for piece in self.pieces), self.dtype)
        filled = 0
        for piece in self.pieces:
            values = np.ndarray((piece.count,), self.dtype, data, piece.start, (piece.period,))
            joined[filled : filled + piece.count] = values
            filled += piece.count
        return _as_float32(joined.reshape(self.shape))


def _as_float32(array: npt.NDArray[np.floating]) -> FloatArray:
    with np.errstate(over="ignore", invalid="ignore"):  # a double beyond float32 becomes infinity, as in C
        return array.astype("<f4", copy=False)


class BlobReader:
    """Reads BlobProtos out of one buffer. `data` hands out its bytes when a blob's numbers are wanted."""

    def __init__(self, wire: Wire, data: Callable[[], ByteArray]) -> None:
        self._wire = wire
        self._data = data

    def read(self, start: int, stop: int) -> Blob:
        """The blob in bytes `start` to `stop`.

        Raises:
            Malformed: the bytes are no message.
            BlobFault: shape and numbers do not agree, or the shape is none.
        """
        legacy: dict[int, int] = {}
        dims: list[int] = []
        floats: list[_Piece] = []
        doubles: list[_Piece] = []
        raw_type, raw = -1, None
        for number, kind, value, end in self._wire.records(start, stop):
            if number == 5 and kind in (LENGTH, FIXED32):
                floats.append(_piece(kind == LENGTH, value, end, 4))
            elif number == 7 and kind == LENGTH:
                self._dims(value, end, dims)
            elif number == 8 and kind in (LENGTH, FIXED64):
                doubles.append(_piece(kind == LENGTH, value, end, 8))
            elif number in _LEGACY_FIELDS and kind == VARINT:
                legacy[number] = signed(value, 32)
            elif number == 10 and kind == VARINT and value in _RAW_TYPES:
                raw_type = value
            elif number == 12 and kind == LENGTH:
                raw = (value, end)
        shape = tuple(legacy.get(n, 0) for n in _LEGACY_FIELDS) if legacy else tuple(dims)
        dtype, pieces = _chosen(floats, doubles, raw_type, raw)
        _check(shape, sum(piece.count for piece in pieces))
        return Blob(shape, bool(legacy), _Values(self._data, shape, dtype, tuple(pieces)))

    def _dims(self, start: int, stop: int, dims: list[int]) -> None:
        for number, kind, value, end in self._wire.records(start, stop):
            if number != 1:
                continue
            if kind == VARINT:
                dims.append(signed(value, 64))
            elif kind == LENGTH:
                pos = value
                while pos < end and len(dims) <= MAX_AXES:
                    dim, pos = self._wire.varint(pos, end)
                    dims.append(signed(dim, 64))
            if len(dims) > MAX_AXES:
                raise BlobFault(f"has more than {MAX_AXES} dimensions")


def _piece(packed: bool, start: int, stop: int, width: int) -> _Piece:
    if not packed:
        return _Piece(start, (stop - start + 1) // (width + 1), width + 1)
    count, rest = divmod(stop - start, width)
    if rest:
        raise Malformed(f"{stop - start:,} bytes at byte {start} are no whole number of {width}-byte numbers")
    return _Piece(start, count, width)


def _chosen(
    floats: list[_Piece], doubles: list[_Piece], raw_type: int, raw: tuple[int, int] | None
) -> tuple[str, list[_Piece]]:
    """Which of the encodings counts: Caffe asks for doubles, then floats, then raw bytes."""
    for dtype, pieces in (("<f8", doubles), ("<f4", floats)):
        used = [piece for piece in pieces if piece.count]
        if used:
            return dtype, used
    if raw is None or raw[0] == raw[1]:
        return "<f4", []
    if raw_type not in _RAW_TYPES:
        raise BlobFault("has raw_data of no type that Caffe has for weights (double, float or half)")
    dtype = _RAW_TYPES[raw_type]
    width = int(dtype[2])
    if (raw[1] - raw[0]) % width:
        raise BlobFault(f"has {raw[1] - raw[0]:,} bytes of raw_data, no whole number of {width}-byte values")
    return dtype, [_Piece(raw[0], (raw[1] - raw[0]) // width, width)]


def _check(shape: Shape, values: int) -> None:
    if any(dim < 0 for dim in shape):
        raise BlobFault(f"has a negative dimension: {format_shape(shape)}")
    if prod(dim for dim in shape if dim) > MAX_VALUES:
        raise BlobFault(f"is {format_shape(shape)}, more values than Caffe can count")
    if prod(shape) != values:
        raise BlobFault(
            f"is {format_shape(shape)}, {_values(prod(shape))}, but the file stores {_values(values)} for it"
        )


def _values(count: int) -> str:
    return "1 value" if count == 1 else f"{count:,} values"


def format_shape(shape: tuple[int, ...]) -> str:
    """A shape as messages show it: `64×3×7×7`; a blob without dimensions is `a single value`."""
    return "×".join(map(str, shape)) or "a single value"
