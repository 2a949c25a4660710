"""One pass over protobuf text that keeps what protobuf's own parser forgets: where each field stands.

The grammar is that of text_format: `name: value`, `name { … }`, `name < … >`, `name: [a, b]`, strings side by side that
are one string, `#` comments, `;` or `,` between fields, `[extension.name]`. Values stay as written; what they mean, the
schema decides later. Open messages are kept on a list, so depth costs no stack.
"""

from __future__ import annotations

import re
import unicodedata
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

from prototxt.errors import Position, PrototxtError
from prototxt.names import is_utf8, to_bytes
from prototxt.strings import end_of_string
from prototxt.words import quoted, shortened

DEEPEST = 100
MOST_FIELDS = 500_000
LONGEST_TOKEN = 1 << 20
LONGEST_LINE = 2000
"""Characters of a line that are searched for placeholders of a template."""

# Compiled when a text is scanned, which one in the usual form never is, or is found wrong.
_BLANK = r"[ \t\r\n\f\v]*"
_TOKEN = r"""(?ax)[ \t\r\n\f\v]*(?P<token>
        [A-Za-z_][\w/-]*                # a field, an enum value, true
      | [-+]?(?:\d|\.\d)[\w.+-]*        # a number
      | -[A-Za-z]\w*                   # -inf
      | [{}<>\[\]:;,."']
      | \#[^\n]*                        # a comment
      | \Z)"""
_IN_QUOTES = r"""#.*|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'"""
_TEMPLATE = r"""(?x)
    \{\{.*?\}\} | \{\{ | \{%.*?%\} | \{% | <%.*?%> | \$\{[^{}]*\} | \$\(?\w+\)? | %\(\w+\)\w | %[sdfi]\b |
    @\w+@ | \{(?:[A-Za-z_][\w.]*|\d+)\}"""
_QUOTES = ("'", '"')
_CLOSES = {"{": "}", "<": ">"}
_NO_VALUE = frozenset(("", "}", ">", "]", ":", "{", "<", "[", ",", ";", "."))


class Field:
    """One field as written.

    Attributes:
        name: as written; an extension with its brackets.
        offset: where it begins: its name, or for an entry of a list the entry itself.
        value: the token of a scalar, as written; None for a message.
        value_offset, value_end: where the value begins and ends.
        listed: whether it is an entry of `[a, b]`.
        span: where the whole field begins and ends, with the `,` or `;` after it; an entry of a list has the list's.
    """

    __slots__ = ("_children", "listed", "name", "offset", "span", "value", "value_end", "value_offset")

    def __init__(
        self,
        name: str,
        offset: int,
        value: str | None = None,
        value_offset: int = 0,
        children: list[Field] | Callable[[], list[Field]] | None = None,
        *,
        listed: bool = False,
        span: tuple[int, int] = (0, 0),
        value_end: int = 0,
    ) -> None:
        self.name, self.offset, self.span, self.listed = name, offset, span, listed
        self.value, self.value_offset, self.value_end = value, value_offset, value_end
        self._children = [] if children is None else children

    @property
    def children(self) -> list[Field]:
        """The fields of a message, in order; empty for a scalar."""
        if not isinstance(self._children, list):
            self._children = self._children()
        return self._children

    @children.setter
    def children(self, children: list[Field]) -> None:
        self._children = children

    def find(self, name: str) -> list[Field]:
        """The children of this name, in order."""
        return [child for child in self.children if child.name == name]


class Lines:
    """Offsets in a text as positions in its file."""

    def __init__(self, text: str, path: str) -> None:
        self.path, self._text = path, text

    @cached_property
    def _starts(self) -> array[int]:
        return array("L", accumulate(map((1).__add__, map(len, self._text.split("\n"))), initial=0))

    def position(self, offset: int) -> Position:
        """Line and column of an offset, both from 1; a column is one character."""
        line = bisect_right(self._starts, offset)
        return Position(self.path, line, offset - self._starts[line - 1] + 1)


def scan(text: str, path: str) -> tuple[Field, Lines]:
    """The fields of a text as a tree under a nameless root.

    Args:
        text: protobuf text.
        path: its name in positions.

    Raises:
        PrototxtError: the grammar is broken, messages are nested more than 100 deep, there are over 500,000 fields.
    """
    lines = Lines(text, path)
    return _Scanner(text, lines).run(), lines


def scan_inside(text: str, lines: Lines, start: int, stop: int) -> list[Field]:
    """The fields of a message that is known to be well-formed, from behind its opening bracket to its closing one."""
    return _Scanner(text, lines, start, stop).run().children


@dataclass(eq=False, repr=False, slots=True)
class _Open:
    """A message or list that waits for its closing bracket."""

    message: Field
    opening: str
    offset: int
    closing: str
    colon: bool
    before: int


class _Scanner:
    def __init__(self, text: str, lines: Lines, start: int = 0, stop: int | None = None) -> None:
        self.text, self.lines = text, lines
        self.stop = len(text) if stop is None else stop
        self.end = self.previous_end = start
        self.fields = 0
        self.token, self.offset = "", 0
        self.match = re.compile(_TOKEN).match
        self.stack = [_Open(Field("", 0), "", 0, "", True, 0)]
        self.advance()

    def run(self) -> Field:
        root = self.stack[0].message
        while True:
            now = self.stack[-1]
            if self.token == now.closing:
                if not now.closing:
                    return root
                self.close(self.stack.pop())
            elif not self.token:
                raise self.unclosed()
            elif now.closing == "]":
                self.value(now.message, Field(now.message.name, self.offset, None, self.offset, listed=True))
            else:
                self.field(now)

    def error(self, message: str, offset: int | None = None) -> PrototxtError:
        offset = self.offset if offset is None else offset
        start = self.text.rfind("\n", 0, offset) + 1
        template = re.search(_TEMPLATE, re.sub(_IN_QUOTES, lambda found: " " * len(found[0]), self.line(start)))
        if template is not None:
            offset, message = start + template.start(), f"'{template[0]}' belongs to a template; fill it in first"
        return PrototxtError(shortened(message, 300), position=self.lines.position(offset))

    def line(self, start: int) -> str:
        """The line that begins there, or as much of it as a template has."""
        stop = self.text.find("\n", start, start + LONGEST_LINE)
        return self.text[start : stop if stop >= 0 else start + LONGEST_LINE]

    def advance(self) -> None:
        self.previous_end = self.end
        self.token = "#"
        while self.token.startswith("#"):
            found = self.match(self.text, self.end, self.stop)
            if found is None:
                raise self.strange_character()
            self.token, self.offset, self.end = found["token"], found.start("token"), found.end()
        if self.token in _QUOTES:
            self.end = end_of_string(self.text, self.offset)
            if not self.end:
                raise self.error("the string is not closed on its line")
            self.token = self.text[self.offset : self.end]
        if len(self.token) > LONGEST_TOKEN:
            raise self.error(f"a word or string of {len(self.token)} characters; expected at most {LONGEST_TOKEN}")

    def field(self, now: _Open) -> None:
        made = Field(self.name(now), self.name_offset)
        colon = self.token == ":"
        if colon:
            self.advance()
        made.value_offset = self.offset
        if self.token == "[":
            holder = Field(made.name, made.offset)
            holder.children = now.message.children
            self.open(holder, made.offset, "]", colon=colon)
        elif colon or self.token in _CLOSES:
            self.value(now.message, made)
        else:
            raise self.error(f"expected ':' or '{{' after {made.name!r}, found {self.found()}")

    def name(self, now: _Open) -> str:
        name, self.name_offset = self.token, self.offset
        if name == "[":
            return self.extension()
        if not (name[0].isalpha() or name[0] == "_"):
            if name in ("}", ">", "]"):
                what = f"'{now.message.name} {now.opening}' of line {self.lines.position(now.offset).line} is open"
                raise self.error(f"unexpected {name!r}; {what if now.closing else 'nothing is open here'}")
            raise self.error(f"expected a field name, found {self.found()}")
        self.advance()
        return name

    def extension(self) -> str:
        closing = self.text.find("]", self.offset, self.offset + 400)
        if closing < 0 or not re.fullmatch(r"[\w./\s-]+", self.text[self.offset + 1 : closing]):
            raise self.error("expected a field name, found '['")
        name = "".join(self.text[self.offset : closing + 1].split())
        self.end = closing + 1
        self.advance()
        return name

    def value(self, parent: Field, made: Field) -> None:
        """What stands after the colon, or the whole of a list's entry."""
        self.count()
        if self.token in _CLOSES:
            parent.children.append(made)
            self.open(made, made.offset, _CLOSES[self.token])
            return
        if not self.stack[-1].colon:
            raise self.error(f"expected ':' before the list of {made.name!r}, which holds no messages", parent.offset)
        if self.token in _NO_VALUE:
            raise self.error(f"expected a value for {made.name!r}, found {self.found()}")
        parent.children.append(made)
        value = self.token
        self.advance()
        if value[0] in _QUOTES:
            value = " ".join([value, *self.more_strings()])
        made.value_end = self.previous_end
        self.separator()
        made.value, made.span = value, (made.offset, self.previous_end)

    def more_strings(self) -> Iterator[str]:
        """The strings that go on with the one just read; together they are one value."""
        while self.token[:1] in _QUOTES:
            self.count()
            yield self.token
            self.advance()

    def count(self) -> None:
        self.fields += 1
        if self.fields > MOST_FIELDS:
            raise self.error(f"more than {MOST_FIELDS} fields; no net has so many")

    def separator(self) -> None:
        """What may follow a field: one `,` or `;`. Between two entries of a list a `,` must stand."""
        name, closing = self.stack[-1].message.name, self.stack[-1].closing
        if closing != "]":
            if self.token in (",", ";"):
                self.advance()
        elif self.token == ",":
            self.advance()
            if self.token == "]":
                raise self.error(f"expected a value for {name!r}, found ']'")
        elif self.token not in ("]", ""):
            raise self.error(f"expected ',' or ']' in the list of {name!r}, found {self.found()}")

    def open(self, message: Field, offset: int, closing: str, *, colon: bool = True) -> None:
        self.stack.append(_Open(message, self.token, offset, closing, colon, len(message.children)))
        if len(self.stack) > DEEPEST:
            raise self.error(f"messages are nested more than {DEEPEST} deep")
        self.advance()

    def close(self, closed: _Open) -> None:
        self.advance()
        self.separator()
        span = closed.message.span = (closed.offset, self.previous_end)
        if closed.closing == "]":
            for entry in closed.message.children[closed.before :]:
                entry.span = span

    def found(self) -> str:
        if not self.token:
            return "the end of the file"
        return quoted(self.token)

    def unclosed(self) -> PrototxtError:
        """Which bracket is missing: a layer inside a layer shows best where."""
        for outer in self.stack[1:]:
            name = outer.message.name
            misplaced = ("layers",) if name == "layers" else ("layer", "layers")  # V0 has a layer inside a layers
            inner = next((child for child in outer.message.children if child.name in misplaced), None)
            if inner is not None:
                line = self.lines.position(outer.offset).line
                what = f"'{name} {outer.opening}' of line {line} is not closed before the next {inner.name}"
                return self.error(what, inner.offset)
        last = self.stack[-1]
        return self.error(f"'{last.message.name} {last.opening}' is never closed", last.offset)

    def strange_character(self) -> PrototxtError:
        blank = re.compile(_BLANK).match(self.text, self.end)
        offset = blank.end() if blank else self.end
        character = self.text[offset : offset + 1]
        if character.isascii() and character.isprintable():
            return self.error(f"unexpected character {character!r}", offset)
        if not is_utf8(character):
            return self.error(f"unexpected byte 0x{to_bytes(character).hex()} outside of a string", offset)
        name = unicodedata.name(character, "control character").lower()
        return self.error(f"unexpected character U+{ord(character):04X} ({name})", offset)
