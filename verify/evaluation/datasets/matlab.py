"""ILSVRC's `meta.mat`: a MATLAB 5 file whose struct array `synsets` has a row for each synset of the hierarchy.

    ILSVRC2012_ID    1 to 1000 for the classes, more for what lies above them
    WNID, words      `n02119789`, `kit fox, Vulpes macrotis`

Later kits name the ID after their year. Read here and not by scipy, whose reader ends the process (segmentation fault)
on some damaged files. Source: MAT-File Level 5 File Format, MathWorks; of it only what such a struct array needs.

    element      type and size of 4 bytes each, then the data, filled up to 8 bytes; up to 4 bytes of data take the
                 place of the size, which then stands in the upper half of the type
    matrix       elements: flags, dimensions, name, and what the class of the array asks for
    struct       ...: length of a field's name, the names, then a matrix for each field of each row
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from prototxt.errors import Position, RequestError

CLASSES: Final = 1000
LARGEST: Final = 256 << 20
"""Bytes of a variable; that of ILSVRC 2012 has some hundred thousand."""

MOST_ELEMENTS: Final = 100_000
MOST_FIELDS: Final = 1000

_ID: Final = re.compile(r"ILSVRC\d{4}\w*_ID", re.ASCII)
_HEADER: Final = 128
_MATRIX: Final = 14
_COMPRESSED: Final = 15
_STRUCT_CLASS: Final = 2
_CHAR_CLASS: Final = 4
_NUMBERS: Final = {1: "b", 2: "B", 3: "h", 4: "H", 5: "i", 6: "I", 7: "f", 9: "d", 12: "q", 13: "Q"}
_ENCODINGS: Final = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16"}
_WANTED: Final = "expected ILSVRC's meta.mat, with ILSVRC2012_ID, WNID and words"

ByteOrder: TypeAlias = Literal["<", ">"]


class _Damaged(Exception):  # noqa: N818 (what is wrong with the file, in words)
    """Bytes that do not follow the format."""


@dataclass(frozen=True)
class _Element:
    """A piece of the file, `kind` by the number of its type."""

    kind: int
    data: memoryview


def is_mat(data: bytes) -> bool:
    """Whether a file's content starts as MATLAB's files do."""
    return data.startswith(b"MATLAB ")


def read_meta(data: bytes, where: str) -> list[tuple[str, str]]:
    """Wnid and words of the classes, in the order of their IDs.

    Args:
        data: content of the file.
        where: its path, for messages.

    Raises:
        RequestError: the file is damaged, of MATLAB's HDF5 form, or holds something else.
    """
    if data.startswith(b"MATLAB 7.3"):
        raise _fault(where, "is a MATLAB 7.3 file; save it again with -v7, or give a list of wnids")
    try:
        for order, parts in _variables(data):
            if bytes(parts[2].data) == b"synsets" and _class_of(parts, order) == _STRUCT_CLASS:
                return _classes(_Structs(parts, order), where)
    except (_Damaged, zlib.error) as fault:
        raise _fault(where, f"is damaged or no MATLAB 5 file: {fault}") from fault
    raise _fault(where, f"has no struct array 'synsets'; {_WANTED}")


def _classes(structs: _Structs, where: str) -> list[tuple[str, str]]:
    ids = [name for name in structs.fields if _ID.fullmatch(name)]
    if len(ids) != 1 or not {"WNID", "words"} <= set(structs.fields):
        raise _fault(where, f"its 'synsets' have the fields {', '.join(structs.fields)[:100]!r}; {_WANTED}")
    rows: dict[int, tuple[str, str]] = {}
    seen: set[str] = set()
    for row in range(structs.count):
        identity = structs.number(row, ids[0])
        if not (1 <= identity <= CLASSES and identity == int(identity)):
            continue
        wnid, words = structs.text(row, "WNID"), structs.text(row, "words")
        if not re.fullmatch(r"n\d{8}", wnid, re.ASCII) or not words.strip() or not words.isprintable():
            raise _fault(where, f"has no wnid and words for {ids[0]} {identity:g}: {wnid[:40]!r}, {words[:40]!r}")
        if identity in rows or wnid in seen:
            raise _fault(where, f"has {ids[0]} {identity:g} or {wnid} twice")
        rows[int(identity)] = (wnid, words)
        seen.add(wnid)
    missing = next((identity for identity in range(1, CLASSES + 1) if identity not in rows), None)
    if missing:
        raise _fault(where, f"has no class with {ids[0]} {missing}; expected {CLASSES} of them")
    return [rows[identity] for identity in range(1, CLASSES + 1)]


class _Structs:
    """A struct array, row by row."""

    def __init__(self, parts: Sequence[_Element], order: ByteOrder) -> None:
        if len(parts) < 5:
            raise _Damaged("a struct array without fields")
        self.order = order
        width = int(_values(parts[3], order, 1)[0])
        names = bytes(parts[4].data)
        if width < 1 or len(names) % width or len(names) // width > MOST_FIELDS:
            raise _Damaged("the names of a struct array's fields are cut short, or too many")
        starts = range(0, len(names), width)
        self.fields = [names[at : at + width].split(b"\0")[0].decode("ascii", "backslashreplace") for at in starts]
        self.values = parts[5:]
        if not self.fields or len(self.values) % len(self.fields):
            raise _Damaged("a struct array is cut short")
        self.count = len(self.values) // len(self.fields)

    def number(self, row: int, field: str) -> float:
        """A field that holds one number."""
        _, data = self._value(row, field)
        return float(_values(data, self.order, 1)[0])

    def text(self, row: int, field: str) -> str:
        """A field that holds characters."""
        kind, data = self._value(row, field)
        encoding = _ENCODINGS.get(data.kind)
        if kind != _CHAR_CLASS or encoding is None:
            raise _Damaged(f"the field {field} holds no text")
        if encoding == "utf-16":
            encoding += "-le" if self.order == "<" else "-be"
        try:
            return bytes(data.data).decode(encoding)
        except UnicodeDecodeError as fault:
            raise _Damaged(f"the text in the field {field} is not {encoding}") from fault

    def _value(self, row: int, field: str) -> tuple[int, _Element]:
        """Class of the array that a field holds, and its data."""
        element = self.values[row * len(self.fields) + self.fields.index(field)]
        parts = _matrix(element, self.order)
        if len(parts) < 4:
            raise _Damaged(f"the field {field} is empty")
        return _class_of(parts, self.order), parts[3]


def _variables(data: bytes) -> Iterator[tuple[ByteOrder, list[_Element]]]:
    """The parts of each variable of a file."""
    orders: dict[bytes, ByteOrder] = {b"IM": "<", b"MI": ">"}
    order = orders.get(data[_HEADER - 2 : _HEADER])
    if order is None:
        raise _Damaged("its header is not that of a MAT-file")
    for element in _elements(memoryview(data)[_HEADER:], order):
        if element.kind == _COMPRESSED:
            inflater = zlib.decompressobj()
            whole = inflater.decompress(element.data, LARGEST)
            if not inflater.eof:
                raise _Damaged(f"a variable is cut short, or larger than {LARGEST >> 20} MiB")
            element = next(_elements(memoryview(whole), order), element)
        if element.kind == _MATRIX:
            yield order, _matrix(element, order)


def _matrix(element: _Element, order: ByteOrder) -> list[_Element]:
    """The elements of a matrix: flags, dimensions, name and more; none for an empty one."""
    if element.kind != _MATRIX:
        raise _Damaged(f"an element of type {element.kind} where an array belongs")
    parts = list(_elements(element.data, order))
    if parts and len(parts) < 3:
        raise _Damaged("an array without flags, dimensions and name")
    return parts


def _class_of(parts: Sequence[_Element], order: ByteOrder) -> int:
    return int(_values(parts[0], order, 1)[0]) & 0xFF


def _values(element: _Element, order: ByteOrder, least: int) -> tuple[float, ...]:
    """The first `least` numbers of an element."""
    code = _NUMBERS.get(element.kind)
    if code is None:
        raise _Damaged(f"an element of type {element.kind} where numbers belong")
    if len(element.data) < least * struct.calcsize(order + code):
        raise _Damaged("an array is cut short")
    return struct.unpack_from(f"{order}{least}{code}", element.data)


def _elements(data: memoryview, order: ByteOrder) -> Iterator[_Element]:
    """The elements that follow one another."""
    at = found = 0
    while at < len(data):
        found += 1
        if found > MOST_ELEMENTS:
            raise _Damaged(f"it has more than {MOST_ELEMENTS} elements in one")
        if len(data) - at < 8:
            raise _Damaged("it is cut short")
        kind, size = struct.unpack_from(order + "II", data, at)
        start = at + 8
        if kind >> 16:
            kind, size, start = kind & 0xFFFF, kind >> 16, at + 4
            at += 8
            if size > 4:
                raise _Damaged(f"a short element of {size} bytes")
        else:
            at = start + (size if kind == _COMPRESSED else -(-size // 8) * 8)
        if start + size > len(data):
            raise _Damaged("it is cut short")
        yield _Element(kind, data[start : start + size])


def _fault(where: str, message: str) -> RequestError:
    return RequestError(message, position=Position(where))
