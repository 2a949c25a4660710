"""Every way in which a tree of fields fails to fit the schema, each with its place, found in one walk.

text_format stops at the first fault and names none of its neighbours; a file of a fork has fifty. What passes here,
text_format reads.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from functools import cache

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from prototxt.errors import PrototxtError
from prototxt.scan import Field, Lines, shortened
from prototxt.sections import declared_section
from prototxt.strings import unescape

MOST_FAULTS = 1000
FIRST_PRIVATE_NUMBER = 20001
"""Enum values from here on are of single forks; an error does not offer them."""

_WHOLE = re.compile(r"[-+]?(?:0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)\Z")
_DECIMAL = re.compile(
    r"[-+]?(?:(?:0|[1-9]\d*)(?:\.\d*)?|\.\d+)(?:e[-+]?\d+)?f?\Z|-?(?:inf|infinity|nan)f?\Z", re.I | re.A
)
_TRUTHS = frozenset(("true", "false", "True", "False", "t", "f", "0", "1"))
_RANGES = {
    FieldDescriptor.CPPTYPE_INT32: (-(1 << 31), (1 << 31) - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(1 << 63), (1 << 63) - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, (1 << 32) - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, (1 << 64) - 1),
}
_ENTRIES = {"LayerParameter": "a layer", "V1LayerParameter": "a layer", "V0LayerParameter": "a layer"}
_DECIMALS = (FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE)


class Checker:
    """The faults of one text.

    Attributes:
        errors: in the order of the text, at most `MOST_FAULTS`.
        unknown: fields that the schema lacks, if they are allowed: (name, message it stands in) -> the fields.
        unreadable: numbers of which a template has only the placeholder, such as `num_classes: cls1x`, if that is
            allowed, and what is wrong with each.
        sections: those that a plugin declared, which the schema does not know.
    """

    def __init__(self, lines: Lines, *, allow_unknown: bool) -> None:
        self.lines = lines
        self.allow_unknown = allow_unknown
        self.errors: list[PrototxtError] = []
        self.unknown: dict[tuple[str, str], list[Field]] = {}
        self.unreadable: list[tuple[Field, str]] = []
        self.sections: list[Field] = []

    def check(self, message: Field, descriptor: Descriptor, path: str = "") -> None:
        """Walk a message beside its descriptor; `path` is its name in errors, with a dot at the end."""
        known = _fields(descriptor)
        seen: dict[str, Field] = {}
        for child in message.children:
            if len(self.errors) >= MOST_FAULTS:
                return
            field = known.get(child.name)
            if field is None:
                own = declared_section(child.name) if descriptor.name in _ENTRIES else None
                if own is None:
                    self._unknown(child, descriptor, path)
                else:
                    self._once(child, seen.setdefault(child.name, child), path)
                    self._section(child, own, f"{path}{child.name}")
                    self.sections.append(child)
                continue
            if not _is_repeated(field):
                self._once(child, seen.setdefault(child.name, child), path)
            if field.message_type is None:
                self._scalar(child, field, _wrong_scalar(child, field, path + child.name))
            else:
                self._section(child, field.message_type, f"{path}{child.name}", entry=_is_entry(field))

    def _section(self, child: Field, descriptor: Descriptor, name: str, *, entry: bool = False) -> None:
        if child.value is not None:
            self._fault(child.value_offset, f"{name} is {quoted(child.value)}; expected '{{ … }}'")
        else:
            self.check(child, descriptor, "" if entry else f"{name}.")

    def _scalar(self, child: Field, field: FieldDescriptor, wrong: str) -> None:
        if wrong and self.allow_unknown and not child.listed and _is_placeholder(child.value, field):
            self.unreadable.append((child, wrong))
        else:
            self._fault(child.value_offset, wrong)

    def _once(self, child: Field, first: Field, path: str) -> None:
        """A field that holds one value may stand once, and not as a list, even of one."""
        if child is not first and not (child.listed and first.listed):
            line = self.lines.position(first.offset).line
            self._fault(child.offset, f"{path}{child.name} is given twice, first on line {line}")
        elif child is first and child.listed:
            self._fault(child.offset, f"{path}{child.name} is a list; expected one value")

    def _unknown(self, child: Field, descriptor: Descriptor, path: str) -> None:
        if self.allow_unknown:
            where = path[:-1] or _ENTRIES.get(descriptor.name, "")
            self.unknown.setdefault((child.name, where), []).append(child)
            return
        close = difflib.get_close_matches(child.name, list(_fields(descriptor)), 1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        where = path[:-1] or _ENTRIES.get(descriptor.name, "")
        self._fault(child.offset, f"unknown field {shortened(child.name)!r}{f' in {where}' if where else ''}{hint}")

    def _fault(self, offset: int, message: str) -> None:
        if message:
            self.errors.append(PrototxtError(message, position=self.lines.position(offset)))


@cache
def _fields(descriptor: Descriptor) -> dict[str, FieldDescriptor]:
    """Name -> field; protobuf's own mapping is slower."""
    return dict(descriptor.fields_by_name.items())


def _is_entry(field: FieldDescriptor) -> bool:
    """Whether a field is a layer; errors leave that out of a path."""
    return field.name in ("layer", "layers")


def _is_repeated(field: FieldDescriptor) -> bool:
    repeated = getattr(field, "is_repeated", None)  # since protobuf 6; `label` is on its way out
    return bool(repeated) if repeated is not None else getattr(field, "label", 0) == FieldDescriptor.LABEL_REPEATED


def _is_placeholder(value: str | None, field: FieldDescriptor) -> bool:
    """Whether a word stands where a number should."""
    wants_number = field.enum_type is None and (field.cpp_type in _RANGES or field.cpp_type in _DECIMALS)
    return wants_number and value is not None and re.fullmatch(r"\w*[A-Za-z_]\w*", value) is not None


def _wrong_scalar(child: Field, field: FieldDescriptor, name: str) -> str:
    """What is wrong with a scalar; empty if nothing is."""
    value = child.value
    if value is None:
        return f"{name} is '{{ … }}'; expected {_expected(field)}"
    if field.enum_type is not None:
        return _wrong_enum(value, field.enum_type, name)
    if field.cpp_type in _RANGES:
        return _wrong_whole(value, _RANGES[field.cpp_type], name)
    if field.cpp_type in _DECIMALS:
        fits = _DECIMAL.match(value) is not None
    elif field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        fits = value in _TRUTHS
    elif value[0] in "\"'":
        return _wrong_string(value, name, binary=field.type == FieldDescriptor.TYPE_BYTES)
    else:
        fits = False
    return "" if fits else f"{name} is {quoted(value)}; expected {_expected(field)}"


def _expected(field: FieldDescriptor) -> str:
    if field.enum_type is not None:
        return _listed(_offered(field.enum_type)[:8])
    if field.cpp_type in _RANGES:
        return "a whole number"
    if field.cpp_type in _DECIMALS:
        return "a number"
    return "true or false" if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL else "a quoted string"


def _wrong_whole(value: str, limits: tuple[int, int], name: str) -> str:
    if not _WHOLE.match(value):
        return f"{name} is {quoted(value)}; expected a whole number"
    if len(value) < 40 and limits[0] <= _number(value) <= limits[1]:
        return ""
    return f"{name} is {quoted(value)}; expected {limits[0]} to {limits[1]}"


def _number(value: str) -> int:
    digits = value.lstrip("+-")
    base = 16 if digits[:2].lower() == "0x" else 8 if digits[0] == "0" else 10
    return int(value, base)


def _wrong_string(value: str, name: str, *, binary: bool) -> str:
    if "\\" not in value and value.isascii():
        return ""
    try:
        content = unescape(value)
        if not binary:
            content.decode()
    except UnicodeError:
        return f"{name} is {quoted(value)}, which is not UTF-8"
    except ValueError as error:
        return f"{name} {error}"
    return ""


def _wrong_enum(value: str, enum: EnumDescriptor, name: str) -> str:
    if value in enum.values_by_name:
        return ""
    if _WHOLE.match(value) and len(value) < 40 and _number(value) in enum.values_by_number:
        return ""
    names = _offered(enum)
    if value[0] in "\"'":
        close = difflib.get_close_matches(value[1:-1].upper(), list(enum.values_by_name), 1)
        return f"{name} is {quoted(value)}; expected a name without quotes{f', {close[0]}' if close else ''}"
    if len(names) <= 8:
        return f"unknown value {quoted(value)} for {name}; expected {_listed(names)}"
    close = difflib.get_close_matches(value.upper(), names, 1)
    return f"unknown value {quoted(value)} for {name}{f'; did you mean {close[0]}?' if close else ''}"


def _offered(enum: EnumDescriptor) -> list[str]:
    return [value.name for value in enum.values if value.number < FIRST_PRIVATE_NUMBER]


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def quoted(value: str) -> str:
    """A value as an error shows it: in the quotes that it has, or in single ones."""
    return shortened(value) if value[0] in "\"'" else f"'{shortened(value)}'"
