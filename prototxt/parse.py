"""Prototxt text to a message: every fault of the file is found and placed before protobuf's own parser runs."""

from __future__ import annotations

import difflib
import logging
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

from google.protobuf import text_format
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

from prototxt.errors import CaffeModelError, Position, PrototxtError, raise_all
from prototxt.scan import Field, Lines, scan

if TYPE_CHECKING:
    from collections.abc import Sequence

log = logging.getLogger(__name__)

M = TypeVar("M", bound=Message)
LARGEST_FILE = 1 << 28
MOST_FAULTS = 50

_WHOLE = re.compile(r"[-+]?(?:0[xX][0-9a-fA-F]+|\d+)\Z")
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?[fF]?\Z|-?(?:inf|infinity|nan)f?\Z", re.I)
_RANGES = {
    FieldDescriptor.CPPTYPE_INT32: (-(1 << 31), (1 << 31) - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(1 << 63), (1 << 63) - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, (1 << 32) - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, (1 << 64) - 1),
}
_KINDS = {FieldDescriptor.CPPTYPE_FLOAT: "a number", FieldDescriptor.CPPTYPE_DOUBLE: "a number"}


def read_text(path: str | Path) -> str:
    """A text file's content, or a PrototxtError that says what is there instead."""
    place = Position(str(path))
    try:
        with open(path, "rb") as file:
            data = file.read(LARGEST_FILE + 1)
    except IsADirectoryError:
        raise PrototxtError("this is a directory; expected a prototxt file", position=place) from None
    except OSError as error:
        raise PrototxtError(f"can't read the file: {error.strerror or error}", position=place) from None
    wrong = _not_text(data)
    if wrong:
        raise PrototxtError(wrong, position=place)
    return data.decode("utf-8-sig", errors="surrogateescape")


def _not_text(data: bytes) -> str:
    """What is wrong with a file that can't be a prototxt; empty if it may be one."""
    start = data[:512].lstrip()
    if not data.strip():
        return "the file is empty"
    if len(data) > LARGEST_FILE:
        return f"the file is larger than {LARGEST_FILE >> 20} MiB; no prototxt is"
    if start.startswith(b"version https://git-lfs.github.com/"):
        return "this is a Git LFS pointer, not the file itself; run 'git lfs pull'"
    if re.match(rb"<(!doctype|html|\?xml)", start, re.I):
        return "this is a web page, not a prototxt; download the raw file"
    if start.startswith(b"\x89HDF"):
        return "this is an HDF5 file, not a prototxt; a .caffemodel.h5?"
    if b"\0" in data[:4096] or _control_share(data[:4096]) > 0.02:
        return "this is a binary file, not a prototxt; a .caffemodel?"
    return ""


def _control_share(data: bytes) -> float:
    return sum(b < 9 or 13 < b < 32 for b in data) / max(len(data), 1)


def is_solver(text: str) -> bool:
    """Whether a text looks like a solver rather than a net: no layers, and fields that only a solver has."""
    if re.search(r"^\s*layers?\s*:?\s*\{", text, re.M):
        return False
    names = set(re.findall(r"^\s*(\w+)\s*:", text, re.M))
    return bool({"base_lr", "lr_policy", "max_iter", "solver_mode"} & names)


def parse(
    text: str, cls: type[M], path: str = "<string>", *, allow_unknown: bool = False
) -> tuple[M, Field, Lines]:
    """A message and the tree of its fields with their places.

    Args:
        text: the prototxt.
        cls: NetParameter or SolverParameter.
        path: its name in messages.
        allow_unknown: leave out fields that the schema lacks, with a warning each, instead of refusing them.

    Raises:
        PrototxtError: the grammar is broken, or a field or value is unknown; all such are reported at once.
    """
    root, lines = scan(text, path)
    checker = _Checker(lines, allow_unknown)
    checker.check(root, cast(Descriptor, cls.DESCRIPTOR), "")
    raise_all(checker.errors[:MOST_FAULTS])
    for warning in checker.unknown if allow_unknown else []:
        log.warning("%s", str(warning).replace(": error: ", ": warning: ", 1))
    message = cls()
    try:
        text_format.Parse(text.encode("utf-8", "surrogateescape"), message, allow_unknown_field=allow_unknown)
    except (text_format.ParseError, UnicodeError) as error:
        raise _from_protobuf(error, path) from None
    return message, root, lines


def _from_protobuf(error: Exception, path: str) -> PrototxtError:
    found = re.match(r"(?P<line>\d+):(?P<column>\d+)\s*:\s*(?P<text>.*)", str(error), re.S)
    if not found:
        return PrototxtError(str(error).splitlines()[0] if str(error) else type(error).__name__, position=Position(path))
    message = found["text"].strip().rstrip(".")
    return PrototxtError(message, position=Position(path, int(found["line"]), int(found["column"])))


class _Checker:
    """Walks the tree beside the schema and notes every field that does not fit."""

    def __init__(self, lines: Lines, allow_unknown: bool) -> None:
        self.lines = lines
        self.allow_unknown = allow_unknown
        self.errors: list[CaffeModelError] = []
        self.unknown: list[CaffeModelError] = []

    def check(self, message: Field, descriptor: Descriptor, path: str) -> None:
        seen: dict[str, Field] = {}
        for child in message.children:
            field = descriptor.fields_by_name.get(child.name)
            if field is None:
                self._unknown(child, descriptor, path)
                continue
            if not _repeated(field):
                if child.name in seen and field.message_type is None:
                    first = self.lines.position(seen[child.name].offset).line
                    self._fault(child.offset, f"{path}{child.name} is given twice, first on line {first}")
                seen.setdefault(child.name, child)
            self._check_value(child, field, path)

    def _check_value(self, child: Field, field: FieldDescriptor, path: str) -> None:
        if field.message_type is not None:
            if child.value is not None:
                self._fault(child.value_offset, f"{path}{child.name} is {child.value}; expected '{{ … }}'")
            else:
                self.check(child, field.message_type, "" if not path and field.name in _TOP else f"{child.name}.")
        elif child.value is None:
            self._fault(child.value_offset, f"{path}{child.name} is '{{ … }}'; expected {_expected(field)}")
        else:
            wrong = _wrong_scalar(child.value, field)
            if wrong:
                self._fault(child.value_offset, wrong.format(name=f"{path}{child.name}"))

    def _unknown(self, child: Field, descriptor: Descriptor, path: str) -> None:
        close = difflib.get_close_matches(child.name, descriptor.fields_by_name, 1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        where = f" in {path[:-1]}" if path else ""
        error = PrototxtError(
            f"unknown field {child.name!r}{where}{hint}", position=self.lines.position(child.offset)
        )
        (self.unknown if self.allow_unknown else self.errors).append(error)

    def _fault(self, offset: int, message: str) -> None:
        self.errors.append(PrototxtError(message, position=self.lines.position(offset)))


_TOP = ("layer", "layers")


def _repeated(field: FieldDescriptor) -> bool:
    repeated = getattr(field, "is_repeated", None)  # newer protobuf; `label` is on its way out
    return bool(repeated) if repeated is not None else getattr(field, "label", 0) == 3


def _expected(field: FieldDescriptor) -> str:
    if field.enum_type is not None:
        return "one of its names"
    if field.cpp_type in _RANGES:
        return "a whole number"
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return "true or false"
    return _KINDS.get(field.cpp_type, "a quoted string")


def _wrong_scalar(value: str, field: FieldDescriptor) -> str:
    """What is wrong with a scalar, with `{name}` for the field; empty if nothing is."""
    if field.enum_type is not None:
        return _wrong_enum(value, field.enum_type)
    if field.cpp_type in _RANGES:
        least, most = _RANGES[field.cpp_type]
        if not _WHOLE.match(value):
            return f"{{name}} is {_quoted(value)}; expected a whole number"
        return "" if least <= _whole(value) <= most else f"{{name}} is {_quoted(value)}; expected {least} to {most}"
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        names = ("true", "false", "True", "False", "t", "f", "0", "1")
        return "" if value in names else f"{{name}} is {_quoted(value)}; expected true or false"
    if field.cpp_type in _KINDS:
        return "" if _NUMBER.match(value) or _WHOLE.match(value) else f"{{name}} is {_quoted(value)}; expected a number"
    return "" if value[:1] in "\"'" else f"{{name}} is {_quoted(value)}; expected a quoted string"


def _whole(value: str) -> int:
    return int(value, 16 if "x" in value.lower() else 10) if len(value) < 400 else int(math.copysign(1 << 70, 1))


def _wrong_enum(value: str, enum: EnumDescriptor) -> str:
    known, numbers = enum.values_by_name, enum.values_by_number
    if value in known or (_WHOLE.match(value) and _whole(value) in numbers):
        return ""
    names = sorted(known, key=lambda name: known[name].number)
    if len(names) > 8:
        close = difflib.get_close_matches(value, names, 1)
        return f"unknown value {_quoted(value)} for {{name}}" + (f"; did you mean {close[0]}?" if close else "")
    return f"unknown value {_quoted(value)} for {{name}}; expected {_listed(names)}"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def _quoted(value: str) -> str:
    short = value if len(value) <= 60 else value[:57] + "..."
    short = short.replace("{", "{{").replace("}", "}}")
    return short if short[:1] in "\"'" else f"'{short}'"
