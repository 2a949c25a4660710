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

from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

from prototxt.words import plural

VARINT: Final = 0
FIXED64: Final = 1
LENGTH: Final = 2
GROUP: Final = 3
END_GROUP: Final = 4
FIXED32: Final = 5

ReadPiece: TypeAlias = Callable[[int, int], bytes]
"""Gives the bytes between two positions."""

# Field number, wire type, value and the position after the record. The value of a varint is its number, of all others
# the position of the first payload byte. (A plain tuple: a named one doubles the time of a walk.)
WireRecord: TypeAlias = tuple[int, int, int, int]

MAX_RECORDS: Final = 1_000_000
MAX_NESTING: Final = 100
_WIDTH: Final = {FIXED32: 4, FIXED64: 8}
_WINDOW: Final = 1 << 12  # bytes that are read around what is looked at: few, since weights lie in between
_LONGEST_HEAD: Final = 20  # bytes of a key and a length
_LONGEST_LOOK: Final = 1 << 16  # keys of a run that are looked at together


class Malformed(Exception):  # noqa: N818 (internal; callers turn it into a WeightsError that names the file)
    """Bytes that are no protobuf message, or more records than any net needs."""


class Wire:
    """Walks messages inside some bytes; at most `MAX_RECORDS` in all, so that time and memory stay bounded.

    The bytes lie in memory (`Wire(data)`), or in a file, of which the pieces that are looked at are read
    (`Wire.over(read, size)`).
    """

    def __init__(self, data: bytes | memoryview) -> None:
        self.size = len(data)
        self._read: ReadPiece | None = None
        self._left = MAX_RECORDS
        self._window = data
        self._base = 0  # where the window begins
        self._last = self.size  # up to where the head of a record that begins in the window ends in it

    @classmethod
    def over(cls, read: ReadPiece, size: int) -> Wire:
        """A walk through `size` bytes that `read` gives piece by piece."""
        wire = cls(b"")
        wire.size, wire._read, wire._last = size, read, -1
        return wire

    def piece(self, start: int, stop: int) -> bytes:
        """The bytes between two positions."""
        if self._read is None or self._base <= start <= stop <= self._base + len(self._window):
            return bytes(self._window[start - self._base : stop - self._base])
        return self._read(start, stop)

    def _fill(self, pos: int) -> None:
        """Move the window so that a record's head at `pos` lies in it."""
        if self._read is not None:
            end = min(pos + _WINDOW, self.size)
            self._window, self._base = self._read(pos, end), pos
            self._last = end if end == self.size else end - _LONGEST_HEAD

    def varint(self, pos: int, stop: int) -> tuple[int, int]:
        """The varint at `pos` (0 to 2**64 - 1) and the position after it."""
        if not self._base <= pos <= self._last:
            self._fill(pos)
        window, base = self._window, self._base
        if pos < stop and (byte := window[pos - base]) < 0x80:
            return byte, pos + 1
        start, value, shift = pos, 0, 0
        while pos < stop:
            byte = window[pos - base]
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

    def records(self, pos: int, stop: int) -> Iterator[WireRecord]:
        """The records of the message in bytes `pos` to `stop`; groups are checked and skipped.

        Neighbouring records of one fixed-width field (with keys of one byte) come as a single record whose values
        repeat every `width + 1` bytes: so look floats that were written unpacked, and there may be millions of them.
        """
        while pos < stop:
            start = pos
            if not self._base <= pos <= self._last:
                self._fill(pos)
            window, base = self._window, self._base
            key = window[pos - base]
            if key < 0x80:  # one byte, as most keys and many lengths are
                pos += 1
            else:
                key, pos = self.varint(pos, stop)
            self._left -= 1
            number, wire = key >> 3, key & 7
            if self._left < 0 or number == 0 or wire > FIXED32 or key >> 32:
                raise self._refused(start)
            if wire == LENGTH:
                size = window[pos - base] if pos < stop else 0x80
                if size < 0x80:
                    pos += 1
                else:
                    size, pos = self.varint(pos, stop)
                if size > stop - pos:
                    raise Malformed(
                        f"{plural(size, 'byte')} should follow at byte {pos}, but only {stop - pos} are left"
                    )
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

    def _refused(self, start: int) -> Malformed:
        if self._left < 0:
            return Malformed(f"it holds more than {MAX_RECORDS:,} protobuf records beside its numbers")
        return Malformed(f"byte {start} begins no protobuf field")

    def _end_of_run(self, start: int, pos: int, stop: int, width: int) -> int:
        """The end of the last of the neighbouring records that are like the one at `start`."""
        if width > stop - pos:
            raise Malformed(f"{width} bytes should follow at byte {pos}, but only {stop - pos} are left")
        if pos - start > 1:
            return pos + width
        period, key = width + 1, self.piece(start, start + 1)
        whole = (stop - start) // period
        same, step = 1, 8
        while same < whole:  # growing looks: short runs stay cheap, of long ones many keys are compared at once
            step = min(step, whole - same)
            keys = self.piece(start + same * period, start + (same + step) * period)[::period]
            like = step - len(keys.lstrip(key))
            same += like
            if like < step:
                break
            step = min(step * 4, _LONGEST_LOOK)
        return start + same * period

    def _skip_group(self, number: int, pos: int, stop: int) -> int:
        """The position after the group `number` that begins at `pos`, and all groups within."""
        open_groups = [number]
        while open_groups:
            if pos >= stop:
                raise Malformed(f"the group that should go on at byte {pos} is cut off")
            start = pos
            key, pos = self.varint(pos, stop)
            self._left -= 1
            inner, wire = key >> 3, key & 7
            if self._left < 0 or inner == 0 or wire > FIXED32 or key >> 32:
                raise self._refused(start)
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
                    raise Malformed(
                        f"{plural(size, 'byte')} should follow at byte {pos}, but only {stop - pos} are left"
                    )
                pos += size
        return pos


def encoded(value: int) -> bytes:
    """`value` (not negative) as a varint."""
    if value < 0x80:
        return _ONE_BYTE[value]
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


_ONE_BYTE: Final = [bytes((value,)) for value in range(0x80)]


def prefixed(number: int, payload: bytes) -> bytes:
    """A length-delimited record of field `number`."""
    size = len(payload)
    if size < 0x80 and number < 16:  # two bytes, as most such records begin
        return bytes((number << 3 | LENGTH, size)) + payload
    return encoded(number << 3 | LENGTH) + encoded(size) + payload


def signed(value: int, bits: int) -> int:
    """A varint as protobuf's int32 or int64 reads it: the low `bits`, in two's complement."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value
