"""A single pass over protobuf text that keeps what protobuf's own parser forgets: where each field stands.

The grammar is that of text_format: `name: value`, `name { … }`, `name < … >`, `[a, b]`, adjacent strings, `#` comments,
`;` and `,` between fields.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field

from prototxt.errors import Position, PrototxtError

DEEPEST = 100

_TOKEN = re.compile(
    r"""[ \t\r\n\f\v]*(?:\#[^\n]*[ \t\r\n\f\v]*)*
    (?P<token>[A-Za-z_][\w./-]*|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|[-+]?[\d.][\w.+-]*|-(?=\s*[A-Za-z])|[{}<>\[\]:;,]|\Z)""",
    re.X | re.S,
)


@dataclass
class Field:
    """One field as written.

    Attributes:
        name: as written, `[extension.name]` included.
        offset: where the name begins, in characters.
        value: the token of a scalar, as written; None for a message.
        value_offset: where the value begins.
        children: the fields of a message, in order; empty for a scalar.
    """

    name: str
    offset: int
    value: str | None = None
    value_offset: int = 0
    children: list[Field] = field(default_factory=list)

    def find(self, name: str) -> list[Field]:
        """The children of this name."""
        return [child for child in self.children if child.name == name]


class Lines:
    """Offsets as lines and columns, both from 1."""

    def __init__(self, text: str, path: str) -> None:
        self._starts = [0, *(m.end() for m in re.finditer("\n", text))]
        self._path = path

    def position(self, offset: int) -> Position:
        """Where an offset stands in the file."""
        line = bisect_right(self._starts, offset)
        return Position(self._path, line, offset - self._starts[line - 1] + 1)


def scan(text: str, path: str) -> tuple[Field, Lines]:
    """The fields of a text as a tree under a nameless root.

    Raises:
        PrototxtError: where the grammar is broken.
    """
    lines = Lines(text, path)
    root = Field("", 0)
    _Scanner(text, lines).body(root)
    return root, lines


class _Scanner:
    def __init__(self, text: str, lines: Lines) -> None:
        self.lines = lines
        self.tokens = self._tokenize(text)
        self.token, self.offset = "", 0
        self.advance()

    def _tokenize(self, text: str) -> Iterator[tuple[str, int]]:
        at, match = 0, _TOKEN.match
        while True:
            found = match(text, at)
            if found is None:
                blank = re.compile(r"(?:\s+|#[^\n]*)*").match(text, at)
                where = blank.end() if blank else at
                raise self.error(f"unexpected character {text[where : where + 1]!r}", where)
            token, start = found["token"], found.start("token")
            yield token, start
            at = found.end()
            if not token:
                return

    def error(self, message: str, offset: int | None = None) -> PrototxtError:
        return PrototxtError(message, position=self.lines.position(self.offset if offset is None else offset))

    def advance(self) -> None:
        self.token, self.offset = next(self.tokens, ("", self.offset))

    def body(self, parent: Field) -> None:
        """Fields up to the bracket that closes `parent`; the stack holds the open messages."""
        stack: list[tuple[Field, str, int]] = [(parent, "", 0)]
        while True:
            message, closing, opened = stack[-1]
            if self.token in (";", ","):
                self.advance()
            elif self.token == closing:
                if not closing:
                    return
                stack.pop()
                self.advance()
                if closing != "]" and len(stack) > 1 and stack[-1][1] == "]" and self.token == ",":
                    self.advance()
            elif not self.token:
                raise self.error(f"'{message.name} {{' of line {self.lines.position(opened).line} is never closed")
            elif closing == "]":
                self._element(message, stack)
            else:
                self._field(message, stack)
            if len(stack) > DEEPEST:
                raise self.error(f"messages nested more than {DEEPEST} deep")

    def _field(self, parent: Field, stack: list[tuple[Field, str, int]]) -> None:
        made = Field(self._name(), self.offset)
        made.offset = self._name_offset
        colon = self.token == ":"
        if colon:
            self.advance()
        made.value_offset = self.offset
        parent.children.append(made)
        if self.token in ("{", "<"):
            stack.append((made, "}" if self.token == "{" else ">", made.offset))
            self.advance()
        elif not colon:
            raise self.error(f"expected ':' or '{{' after {made.name!r}, found {self.token or 'the end'!r}")
        elif self.token == "[":
            parent.children.pop()
            self.advance()
            holder = Field(made.name, made.offset)
            holder.children = parent.children
            stack.append((holder, "]", made.offset))
        else:
            made.value = self._scalar()

    def _element(self, holder: Field, stack: list[tuple[Field, str, int]]) -> None:
        """One entry of a `[a, b]` list; each counts as a field of its own."""
        made = Field(holder.name, holder.offset, value_offset=self.offset)
        holder.children.append(made)
        if self.token in ("{", "<"):
            stack.append((made, "}" if self.token == "{" else ">", made.offset))
            self.advance()
        else:
            made.value = self._scalar()

    def _name(self) -> str:
        name, self._name_offset = self.token, self.offset
        if name == "[":
            parts = []
            self.advance()
            while self.token not in ("]", ""):
                parts.append(self.token)
                self.advance()
            name = f"[{''.join(parts)}]"
        elif not (name[:1].isalpha() or name[:1] == "_"):
            raise self.error(f"expected a field name, found {name!r}")
        self.advance()
        return name

    def _scalar(self) -> str:
        value = self.token
        if value in ("", "}", ">", "]", ":", "{", "<", "["):
            raise self.error(f"expected a value, found {value or 'the end'!r}")
        self.advance()
        if value[0] in "\"'":
            while self.token[:1] in ("'", '"') and self.token:
                value += self.token
                self.advance()
        elif value == "-":
            value += self.token
            self.advance()
        return value
