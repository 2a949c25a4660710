"""A bounds-checked walk over protobuf's wire format: where the fields of a message lie, never what they hold.

A message is a run of records, each a key (field number << 3 | wire type, a varint) and a payload:

    0 varint    at most 10 bytes of 7 bits, lowest first
    1 fixed64   8 bytes
    2 length    a varint and that many bytes: string, message, packed numbers
    3, 4        start and end of a group, which may hold records in turn
    5 fixed32   4 bytes

Source: https://protobuf.dev/programming-guides/encoding. As in protobuf's own parser a key of field number 0, a key
above 32 bits, a group left open and nesting beyond 100 are malformed.
"""

from __future__ import annotations

from collections.abc import Iterator
from mmap import mmap
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

VARINT: Final = 0
FIXED64: Final = 1
LENGTH: Final = 2
GROUP: Final = 3
END_GROUP: Final = 4
FIXED32: Final = 5

Buffer: TypeAlias = bytes | mmap
ByteArray: TypeAlias = npt.NDArray[np.uint8]
# Field number, wire type, value and the position after the record. The value of a varint is its number, of all others
# the position of the first payload byte. (A plain tuple: a named one doubles the time of a walk.)
Record: TypeAlias = tuple[int, int, int, int]

MAX_RECORDS: Final = 1_000_000
MAX_NESTING: Final = 100
_WIDTH: Final = {FIXED32: 4, FIXED64: 8}


class Malformed(Exception):  # noqa: N818 (internal; callers turn it into a WeightsError that names the file)
    """Bytes that are no protobuf message, or more records than any net needs."""


class Wire:
    """Walks messages inside `data`; at most `MAX_RECORDS` in all, so that time and memory stay bounded.

    A context manager, since a map cannot be closed while this looks into it.
    """

    def __init__(self, data: Buffer) -> None:
        self.data = data
        self._left = MAX_RECORDS
        self._bytes: ByteArray = np.frombuffer(data, np.uint8)

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self._bytes = np.empty(0, np.uint8)

    def varint(self, pos: int, stop: int) -> tuple[int, int]:
        """The varint at `pos` (0 to 2**64 - 1) and the position after it."""
        data = self.data
        if pos < stop and data[pos] < 0x80:
            return data[pos], pos + 1
        start, value, shift = pos, 0, 0
        while pos < stop:
            byte = data[pos]
            pos += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if value >> 64:
                    break
                return value, pos
            shift += 7
            if shift == 70:
                break
        else:
            raise Malformed(f"the number at byte {start} is cut off")
        raise Malformed(f"the number at byte {start} is longer than 64 bits")

    def records(self, pos: int, stop: int) -> Iterator[Record]:
        """The records of the message in bytes `pos` to `stop`; groups are checked and skipped.

        Neighbouring records of one fixed-width field (with keys of one byte) come as a single record whose values
        repeat every `width + 1` bytes: so look floats that were written unpacked, and there may be millions of them.
        """
        while pos < stop:
            start = pos
            key, pos = self.varint(pos, stop)
            number, wire = self._checked(key, start)
            if wire == LENGTH:
                size, pos = self.varint(pos, stop)
                if size > stop - pos:
                    raise Malformed(f"{_amount(size)} should follow at byte {pos}, but only {stop - pos} are left")
                yield number, LENGTH, pos, pos + size
                pos += size
            elif wire == VARINT:
                value, pos = self.varint(pos, stop)
                yield number, VARINT, value, pos
            elif wire == GROUP:
                pos = self._skip_group(number, pos, stop)
            elif wire in _WIDTH:
                begin, pos = pos, self._end_of_run(start, pos, stop, _WIDTH[wire])
                yield number, wire, begin, pos
            else:
                raise Malformed(f"a group ends at byte {start} that never began")

    def _checked(self, key: int, start: int) -> tuple[int, int]:
        self._left -= 1
        if self._left < 0:
            raise Malformed(f"it holds more than {MAX_RECORDS:,} protobuf records beside its numbers")
        number, wire = key >> 3, key & 7
        if key >> 32 or number == 0 or wire > FIXED32:
            raise Malformed(f"byte {start} begins no protobuf field")
        return number, wire

    def _end_of_run(self, start: int, pos: int, stop: int, width: int) -> int:
        """The end of the last of the neighbouring records that are like the one at `start`."""
        if width > stop - pos:
            raise Malformed(f"{width} bytes should follow at byte {pos}, but only {stop - pos} are left")
        if pos - start > 1:
            return pos + width
        period, key = width + 1, self._bytes[start]
        whole = (stop - start) // period
        keys = self._bytes[start : start + whole * period : period]
        same, step = 1, 8
        while same < whole:  # growing blocks: short runs stay cheap, long ones go at numpy's speed
            other = np.flatnonzero(keys[same : same + step] != key)
            if other.size:
                same += int(other[0])
                break
            same, step = min(same + step, whole), step * 4
        return start + same * period

    def _skip_group(self, number: int, pos: int, stop: int) -> int:
        """The position after the group `number` that begins at `pos`, and all groups within."""
        open_groups = [number]
        while open_groups:
            if pos >= stop:
                raise Malformed(f"the group that should go on at byte {pos} is cut off")
            start = pos
            key, pos = self.varint(pos, stop)
            inner, wire = self._checked(key, start)
            if wire == GROUP:
                open_groups.append(inner)
                if len(open_groups) > MAX_NESTING:
                    raise Malformed(f"groups nest deeper than {MAX_NESTING} at byte {start}")
            elif wire == END_GROUP:
                if open_groups.pop() != inner:
                    raise Malformed(f"the wrong group ends at byte {start}")
            elif wire == VARINT:
                _, pos = self.varint(pos, stop)
            else:
                size = _WIDTH.get(wire, 0)
                if wire == LENGTH:
                    size, pos = self.varint(pos, stop)
                if size > stop - pos:
                    raise Malformed(f"{_amount(size)} should follow at byte {pos}, but only {stop - pos} are left")
                pos += size
        return pos


def encoded(value: int) -> bytes:
    """`value` (not negative) as a varint."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def prefixed(number: int, payload: bytes) -> bytes:
    """A length-delimited record of field `number`."""
    return encoded(number << 3 | LENGTH) + encoded(len(payload)) + payload


def signed(value: int, bits: int) -> int:
    """A varint as protobuf's int32 or int64 reads it: the low `bits`, in two's complement."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def _amount(size: int) -> str:
    return f"{size:,} bytes" if size != 1 else "1 byte"
