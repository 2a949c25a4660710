r"""Prototxt in its usual form, read in one pass: to protobuf's wire form, and to the places of the outermost fields.

    layer {\n  bias { dim: 300 }\n}    ->  pieces     'layer {'  '\n  bias {'  ' dim: 300'  ' }'  '\n}'

One regular expression cuts the text into pieces that hold a field each, or its beginning or end. A net says the same
things over and over, so what a piece means is found out once and looked up from then on. The bytes are read by protobuf
itself. Whatever is not the usual form, be it wrong or only rare (lists in brackets, `<`, strings side by side, numbers
in hexadecimal, fields that the schema lacks), is left to the parser that tells faults apart (`prototxt.careful`); here
nothing is judged. What stands within a layer is scanned when it is asked for, since most runs ask for nothing.
"""

from __future__ import annotations

import re
from functools import partial
from itertools import accumulate
from typing import TypeAlias, TypeVar, cast

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from prototxt.scan import LONGEST_TOKEN, MOST_FIELDS, Field, Lines, scan_inside
from prototxt.wire_values import LENGTH, Content, Unusual, content_of, key, varint

M = TypeVar("M", bound=Message)

_BLANK = r"[ \t\r\n\f\v]*"
_STRING = r""" "[^"\\\n]*(?:\\.[^"\\\n]*){0,1000}" | '[^'\\\n]*(?:\\.[^'\\\n]*){0,1000}' """
_PIECE = rf"""{_BLANK} (?:
    (?P<name>[A-Za-z_]\w*) {_BLANK} (?:
        : {_BLANK} (?: (?P<value>{_STRING} | [-+.\w]+) [,;]? | \{{ )  # name: value, or name: with a bracket
      | \{{ )
    | (?P<closing>\}}) [,;]?
    | \#[^\n]*
    | \Z )"""
_ONE = re.compile(_PIECE, re.A | re.X)
_CUT = re.compile(re.sub(r"\(\?P<\w+>", "(?:", rf"{_PIECE} | (?s:.+)"), re.A | re.X)


def read_usual(text: str, cls: type[M], lines: Lines) -> tuple[M, Field] | None:
    """The message of a text and the tree of its fields; None for a text that is wrong or unusual.

    Args:
        text: prototxt, with names as in `prototxt.names`.
        cls: the message class.
        lines: of the text.
    """
    if sum(map(text.count, ":{}#")) > MOST_FIELDS:
        return None
    try:
        wire, root = _Reader(text, lines).read(cast(Descriptor, cls.DESCRIPTOR))
    except Unusual:
        return None
    message = cls.FromString(wire)
    # A field that stands twice though it holds one value counts once in the message.
    return (message, root) if message.ByteSize() == len(wire) else None


class _Reader:
    """Goes through the pieces of a text once, and gathers what they mean."""

    def __init__(self, text: str, lines: Lines) -> None:
        self._text, self._lines = text, lines
        pieces = _CUT.findall(text)
        if not all(map(_ONE.fullmatch, pieces[-2:])):  # all that follows the usual form is one piece
            raise Unusual
        self._pieces = zip(pieces, accumulate(map(len, pieces)), strict=True)

    def read(self, descriptor: Descriptor) -> tuple[bytes, Field]:
        """The whole as a message of this type in wire form, and the tree of its fields."""
        meanings = _Meanings(descriptor, {})
        parts, fields, start = list[bytes](), list[Field](), 0
        for piece, end in self._pieces:
            meaning = meanings[piece]
            if type(meaning) is bytes:
                parts.append(meaning)
                fields += _scalar(piece, start)
            elif type(meaning) is _Section:
                body, end = self._body(meaning.inside)
                parts += (meaning.key, varint(len(body)), body)
                fields.append(self._late(meaning, start, end))
            else:
                raise Unusual
            start = end
        return b"".join(parts), Field("", 0, None, 0, fields)

    def _body(self, meanings: _Meanings) -> tuple[bytes, int]:
        """The message that the last piece began, in wire form, and where it ends in the text.

        Calls itself for messages within, which the schema has but a few of in each other.
        """
        parts, packed = list[bytes](), list[bytes]()
        for piece, end in self._pieces:
            meaning = meanings[piece]
            if type(meaning) is bytes:
                parts.append(meaning)
            elif type(meaning) is _Section:
                body, _ = self._body(meaning.inside)
                parts += (meaning.key, varint(len(body)), body)
            elif type(meaning) is _Packed:
                packed.append(meaning)
            else:
                if packed:
                    numbers = b"".join(packed)
                    parts += (meanings.packed, varint(len(numbers)), numbers)
                return b"".join(parts), end
        raise Unusual

    def _late(self, opened: _Section, start: int, end: int) -> Field:
        """The field of a message whose own fields are scanned when they are asked for."""
        name, brace = start + opened.name_offset, start + opened.brace_offset
        stop = self._text.rindex("}", start, end)
        inside = partial(scan_inside, self._text, self._lines, brace + 1, stop)
        return Field(opened.name, name, None, brace, inside, span=(name, end))


def _scalar(piece: str, start: int) -> list[Field]:
    """The field of a piece that is no message, none for a comment; `start` is where the piece begins in the text."""
    found = _ONE.fullmatch(piece)
    if found is None or found["value"] is None:
        return []
    name, (value, value_end) = start + found.start("name"), found.span("value")
    span = (name, start + len(piece))
    return [Field(found["name"], name, found["value"], start + value, span=span, value_end=start + value_end)]


class _Section:
    """The beginning of a message within another, `name {`, with the places of both words in the piece."""

    __slots__ = ("brace_offset", "inside", "key", "name", "name_offset")

    def __init__(self, key: bytes, inside: _Meanings, piece: re.Match[str]) -> None:
        self.key, self.inside, self.name = key, inside, piece["name"]
        self.name_offset, self.brace_offset = piece.start("name"), piece.end() - 1


class _End:
    """The end of a message."""


class _Packed(bytes):
    """A number that shares one record with the others of its field."""


_Meaning: TypeAlias = bytes | _Packed | _Section | _End


class _Meanings(dict[str, _Meaning]):
    """Piece of text -> what it means within messages of one type: a scalar's record, or where a message begins or ends.

    A comment means no bytes. `packed` is the key of the record that packed numbers share.
    """

    def __init__(self, descriptor: Descriptor, types: dict[str, _Meanings]) -> None:
        super().__init__()
        self._descriptor, self._types = descriptor, types
        self._scalars: dict[str, tuple[bytes, Content]] = {}  # by what stands before the colon
        self.packed = b""

    def __missing__(self, piece: str) -> _Meaning:
        if len(piece) > LONGEST_TOKEN:
            raise Unusual
        before, _, value = piece.partition(":")
        known = self._scalars.get(before)
        if known is None:
            meaning = self._first(piece, before)
        else:
            made = known[0] + known[1](value.strip().rstrip(",;"))
            meaning = made if known[0] else _Packed(made)
        self[piece] = meaning
        return meaning

    def _first(self, piece: str, before: str) -> _Meaning:
        """What the first piece of its kind means."""
        found = _ONE.fullmatch(piece)
        if found is None:
            raise Unusual
        if found["closing"]:
            return _End()
        if found["name"] is None:
            return b""
        field = self._descriptor.fields_by_name.get(found["name"])
        if field is None or (field.message_type is None) != (found["value"] is not None):
            raise Unusual
        if field.message_type is not None:
            return _Section(key(field, LENGTH), self._inside(field.message_type), found)
        wire_type, content = content_of(field)
        if not field.is_packed:
            self._scalars[before] = key(field, wire_type), content
        elif self.packed in (b"", key(field, LENGTH)):
            self.packed = key(field, LENGTH)
            self._scalars[before] = b"", content
        else:
            raise Unusual
        return self.__missing__(piece)

    def _inside(self, descriptor: Descriptor) -> _Meanings:
        if descriptor.full_name not in self._types:
            self._types[descriptor.full_name] = _Meanings(descriptor, self._types)
        return self._types[descriptor.full_name]
