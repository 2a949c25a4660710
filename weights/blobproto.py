"""Caffe's BlobProto in binary form: a shape, and numbers in one of three encodings.

    1-4   num, channels, height, width    int32, the old form of a shape; present, it is the one that counts
    5     data                            float, packed or not
    6, 9  diff, double_diff               gradients, passed over
    7     shape                           message, field 1: int64 dimensions, packed or not
    8     double_data                     double, packed or not; present, it is used and not `data`
    10    raw_data_type                   NVIDIA's fork: 0 double, 1 float, 2 half
    12    raw_data                        NVIDIA's fork: bytes, used when 5 and 8 are empty
    11, 13                                NVIDIA's fork: the same of the gradients, passed over

Other forks have other fields under these numbers and above: a pruned blob's mask (11) and its values and indices in
compressed rows (13 to 17), whole numbers of 8 bits with their scale (10 as bytes, 13 as a float). None are read: beside
numbers of Caffe's own they are named (`BlobReader.left_out`), without such numbers the blob is refused.

C3D 1.0 has another message: num, channels, length, height and width in 1 to 5, data in 6, diff in 7. A 5 that is a
number, not floats, shows it.

Source: Blob::FromProto in BVLC's and NVIDIA's blob.cpp. Repeated fields that come in several pieces are joined, of a
repeated singular field the last counts, and a known field with the wrong wire type is an unknown one: protobuf's rules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from math import prod
from typing import Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from prototxt.words import format_shape, plural
from weights.model import Blob, FloatArray, Shape
from weights.wire import FIXED32, FIXED64, LENGTH, VARINT, Malformed, Wire, signed

_PART: Final = 1 << 16  # values that are looked at together, so that they stay in the processor's cache
MAX_AXES: Final = 32  # Caffe's kMaxBlobAxes
MOST_STRANGE: Final = 20  # fields of forks that are named
MAX_VALUES: Final = 2**31 - 1  # Caffe counts in int
_RAW_TYPES: Final = {0: "<f8", 1: "<f4", 2: "<f2"}
_LEGACY_FIELDS: Final = (1, 2, 3, 4)
_PASSED_OVER: Final = {6: (LENGTH, FIXED32), 9: (LENGTH, FIXED64), 11: (VARINT,), 13: (LENGTH,)}
"""Gradients, by the wire types that they have."""


class _Piece(NamedTuple):
    """So many numbers from byte `start` on, one every `period` bytes."""

    start: int
    numbers: int
    period: int


class BlobFault(Exception):  # noqa: N818 (internal; callers add file, layer and blob)
    """A blob that is a well-formed message and yet no array."""


ReadBytes: TypeAlias = Callable[[int, memoryview], None]
"""Fills some memory with the file's bytes from a position on."""


class _Values:
    """Where a blob's numbers lie and how they are written; calling it reads them."""

    def __init__(self, read: ReadBytes, shape: Shape, dtype: str, pieces: Sequence[_Piece]) -> None:
        self.read, self.shape, self.dtype, self.pieces = read, shape, dtype, pieces

    def __call__(self) -> FloatArray:
        width = int(self.dtype[2])
        joined = np.empty(sum(piece.numbers for piece in self.pieces), self.dtype)
        filled = 0
        for piece in self.pieces:
            part = joined[filled : filled + piece.numbers]
            if piece.period == width:
                self.read(piece.start, part.view(np.uint8).data)
            else:
                spread = np.empty((piece.numbers - 1) * piece.period + width, np.uint8)
                self.read(piece.start, spread.data)
                part[...] = np.ndarray((piece.numbers,), self.dtype, spread, 0, (piece.period,))
            filled += piece.numbers
        return _as_float32(joined.reshape(self.shape))

    def parts(self) -> Iterator[FloatArray]:
        """The numbers in their order, part by part in one piece of memory: each is gone when the next is asked for."""
        if self.dtype != "<f4" or any(piece.period != 4 for piece in self.pieces):
            yield self().reshape(-1)
            return
        memory = np.empty(_PART, self.dtype)
        for piece in self.pieces:
            for begin in range(0, piece.numbers, _PART):
                part = memory[: min(_PART, piece.numbers - begin)]
                self.read(piece.start + 4 * begin, part.view(np.uint8).data)
                yield part


def _as_float32(array: npt.NDArray[np.floating]) -> FloatArray:
    with np.errstate(over="ignore", invalid="ignore"):  # a double beyond float32 becomes infinity, as in C
        return array.astype("<f4", copy=False)


class BlobReader:
    """Reads BlobProtos out of one buffer. `read` reads from its file when a blob's numbers are wanted."""

    def __init__(self, wire: Wire, read: ReadBytes) -> None:
        self._wire = wire
        self._read = read
        self.left_out: tuple[str, ...] = ()
        """What the blob that was read last has besides, in words."""

    def read(self, start: int, stop: int) -> Blob:
        """The blob in bytes `start` to `stop`.

        Raises:
            Malformed: the bytes are no message.
            BlobFault: shape and numbers do not agree, or the shape is none.
        """
        legacy: dict[int, int] = {}
        dims: list[int] = []
        floats: list[_Piece] = []
        of_c3d: list[tuple[bool, int, int]] = []
        width_of_c3d: tuple[int, ...] = ()
        doubles: list[_Piece] = []
        strange: dict[str, None] = {}
        raw_type, raw = -1, None
        for number, kind, value, end in self._wire.records(start, stop):
            if number == 5 and kind in (LENGTH, FIXED32):
                floats.append(_piece(kind == LENGTH, value, end, 4))
            elif number == 7 and kind == LENGTH and not width_of_c3d:
                self._dims(value, end, dims, strange)
            elif number == 8 and kind in (LENGTH, FIXED64):
                doubles.append(_piece(kind == LENGTH, value, end, 8))
            elif number == 6 and kind in (LENGTH, FIXED32):
                of_c3d.append((kind == LENGTH, value, end))
            elif number in _LEGACY_FIELDS and kind == VARINT:
                legacy[number] = signed(value, 32)
            elif number == 5 and kind == VARINT:
                width_of_c3d = (signed(value, 32),)
            elif number == 10 and kind == VARINT and value in _RAW_TYPES:
                raw_type = value
            elif number == 12 and kind == LENGTH:
                raw = (value, end)
            elif kind not in _PASSED_OVER.get(number, ()) and (kind != LENGTH or end > value):
                _note(strange, f"field {number}")
        shape = tuple(legacy.get(n, 0) for n in _LEGACY_FIELDS) if legacy else tuple(dims)
        old_form = bool(legacy)
        if width_of_c3d and not floats:
            old_form = True
            shape = (*(legacy.get(n, 0) for n in _LEGACY_FIELDS), *width_of_c3d)
            floats = [_piece(packed, value, end, 4) for packed, value, end in of_c3d]
        dtype, pieces = _chosen(floats, doubles, raw_type, raw)
        self.left_out = (*strange, *(_beside(floats, doubles, raw) if doubles or raw else ()))
        _check(shape, sum(piece.numbers for piece in pieces), strange)
        return Blob(shape, old_form, _Values(self._read, shape, dtype, pieces))

    def _dims(self, start: int, stop: int, dims: list[int], strange: dict[str, None]) -> None:
        for number, kind, value, end in self._wire.records(start, stop):
            if number != 1:
                _note(strange, f"field {number} of its shape")
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


def _note(strange: dict[str, None], what: str) -> None:
    if len(strange) < MOST_STRANGE:
        strange[what] = None


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
        used = [piece for piece in pieces if piece.numbers]
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


def _beside(floats: list[_Piece], doubles: list[_Piece], raw: tuple[int, int] | None) -> list[str]:
    """Encodings of the numbers that another goes before."""
    have = [
        *["double_data"] * any(piece.numbers for piece in doubles),
        *["data"] * any(piece.numbers for piece in floats),
        *["raw_data"] * (raw is not None and raw[0] < raw[1]),
    ]
    return [f"{name} beside {have[0]}" for name in have[1:]]


def _check(shape: Shape, values: int, strange: Iterable[str]) -> None:
    if 0 < values == prod(shape) <= MAX_VALUES and min(shape, default=0) >= 0:
        return
    if any(dim < 0 for dim in shape):
        raise BlobFault(f"has a negative dimension: {format_shape(shape)}")
    if prod(dim for dim in shape if dim) > MAX_VALUES:
        raise BlobFault(f"is {format_shape(shape)}, more values than Caffe can count")
    if prod(shape) != values:
        fork = f"; it has {', '.join(strange)}, which only a fork of Caffe can read" if strange else ""
        stored = f"the file stores {plural(values, 'value')} for it{fork}"
        raise BlobFault(f"is {format_shape(shape)}, {plural(prod(shape), 'value')}, but {stored}")
