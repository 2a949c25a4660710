"""Every way in which a tree of fields fails to fit the schema, each with its place, found in one walk.

text_format stops at the first fault and names none of its neighbours; a file of a fork has fifty. What passes here,
text_format reads.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from prototxt.errors import MOST_ERRORS, CaffeModelError, Position, PrototxtError, raise_all
from prototxt.names import from_bytes, is_utf8
from prototxt.recording import is_repeated
from prototxt.scan import Field, Lines
from prototxt.sections import declared_section
from prototxt.strings import may_be_odd, quote, unescape
from prototxt.words import listed, nearest, quoted, shortened

MOST_FAULTS = MOST_ERRORS
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


_UNKNOWN = "unknown field"
_LAYERS = ("LayerParameter", "V1LayerParameter")
_RULES = ("include", "exclude")


class Checker:
    """The faults of one text.

    Attributes:
        errors: in the order of the text, at most `MOST_FAULTS`.
        unknown: fields that the schema lacks, if they are allowed: (name, message it stands in) -> the fields.
        unreadable: numbers of which a template has only the placeholder, such as `num_classes: cls1x`, if that is
            allowed, and what is wrong with each.
        restated: strings that are written another way in the tree, as their text must be for protobuf's parser.
        sections: those that a plugin declared, which the schema does not know.
        by_layer: unknown sections, fields and values within layers and what is wrong with each, where layers are to
            answer for theirs. What wires a layer or rules whether it takes part is not among them.
    """

    def __init__(self, lines: Lines, *, allow_unknown: bool, by_layer: bool = False) -> None:
        self.lines = lines
        self.allow_unknown = allow_unknown
        self.by_layer: list[tuple[Field, PrototxtError]] | None = [] if by_layer else None
        self._in_section = False
        self.errors: list[PrototxtError] = []
        self.unknown: dict[tuple[str, str], list[Field]] = {}
        self.unreadable: list[tuple[Field, str]] = []
        self.restated: list[Field] = []
        self.sections: list[Field] = []

    def check(self, message: Field, descriptor: Descriptor, path: str = "") -> None:
        """Walk a message beside its descriptor; `path` is its name in errors, with a dot at the end."""
        known = _fields(descriptor)
        seen: dict[str, Field] = {}
        for child in message.children:
            if len(self.errors) >= MOST_FAULTS:
                return
            if descriptor.name in _LAYERS:
                self._in_section = (child.value is None and child.name not in _RULES) or child.name == "type"
            elif descriptor.name == "NetParameter":
                self._in_section = False
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
            if not is_repeated(field):
                self._once(child, seen.setdefault(child.name, child), path)
            if field.message_type is None:
                self._scalar(child, field, _wrong_scalar(child, field, path + child.name))
                self._restate(child, field)
            else:
                self._section(child, field.message_type, f"{path}{child.name}", entry=_is_entry(field))

    def _section(self, child: Field, descriptor: Descriptor, name: str, *, entry: bool = False) -> None:
        if child.value is not None:
            self._fault(child.value_offset, f"{name} is {quoted(child.value)}; expected '{{ … }}'")
        else:
            self.check(child, descriptor, "" if entry else f"{name}.")

    def _scalar(self, child: Field, field: FieldDescriptor, wrong: str) -> None:
        if wrong and re.search(r"\{\{|\{%|\$\{", child.value or ""):
            wrong += ": it belongs to a template; fill it in first"
        if wrong and self.allow_unknown and not child.listed and _is_placeholder(child.value, field):
            self.unreadable.append((child, wrong))
        else:
            self._fault(child.value_offset, wrong, child)

    def _restate(self, child: Field, field: FieldDescriptor) -> None:
        """Strings that protobuf's parser here refuses or reads otherwise than Caffe's: of other bytes than UTF-8."""
        value = child.value
        if value is None or value[0] not in "\"'" or field.cpp_type != FieldDescriptor.CPPTYPE_STRING:
            return
        if "\\" not in value and is_utf8(value):
            return
        try:
            content = unescape(value)
        except ValueError:
            return  # noted as a fault
        binary = field.type == FieldDescriptor.TYPE_BYTES
        fits = is_utf8(value) if binary else is_utf8(from_bytes(content)) and is_utf8(value)
        if not fits or may_be_odd(value):
            child.value = quote(content if binary else from_bytes(content))
            self.restated.append(child)

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
        close = near(child.name, _fields(descriptor))
        hint = f"; did you mean {close!r}?" if close else ""
        where = path[:-1] or _ENTRIES.get(descriptor.name, "")
        name = f"{_UNKNOWN} {shortened(child.name)!r}{f' in {where}' if where else ''}"
        self._fault(child.offset, name + hint, child)

    def _fault(self, offset: int, message: str, left_out: Field | None = None) -> None:
        """Note a fault; `left_out` is the field without which the rest of its layer can be read."""
        if not message:
            return
        error = PrototxtError(message, position=self.lines.position(offset))
        if left_out is not None and self.by_layer is not None and self._in_section:
            self.by_layer.append((left_out, error))
        else:
            self.errors.append(error)


def raise_faults(faults: Sequence[PrototxtError], path: str) -> None:
    """Raise some faults of a file in the order of its text, at most `MOST_FAULTS`; nothing for none."""
    found: list[CaffeModelError] = [*advised(sorted(faults, key=lambda fault: fault.position or ()))[:MOST_FAULTS]]
    if len(found) == MOST_FAULTS:
        last = f"{MOST_FAULTS} faults are shown; there may be more"
        found.append(PrototxtError(last, position=Position(path)))
    raise_all(found)


def advised(faults: Sequence[PrototxtError]) -> list[PrototxtError]:
    """The same; the first of an unknown field says what can be done about all of them."""
    told = list(faults)
    for index, fault in enumerate(told):
        if fault.message.startswith(_UNKNOWN):
            message = f"{fault.message} (--allow-unknown leaves such fields out)"
            told[index] = PrototxtError(message, position=fault.position)
            break
    return told


def near(name: str, known: Iterable[str]) -> str | None:
    """A known name that is likely meant: the same but for case and underscores, or for a slip in every five letters."""
    plain = {other.replace("_", "").lower(): other for other in known}
    wish = name.replace("_", "").lower()
    if wish in plain:
        return plain[wish]
    for other in nearest(wish, plain, 3, 0.7):
        longer = max(len(wish), len(other))
        if longer > 3 and slips(wish, other) <= max(1, longer // 5):
            return plain[other]
    return None


def slips(one: str, other: str) -> int:
    """How many letters are missing, too many, wrong, or in the place of their neighbour."""
    before, row = [0] * (len(other) + 1), list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        last, before, row = before, row, [i]
        for j, b in enumerate(other, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (a != b))
            if i > 1 and j > 1 and (a, one[i - 2]) == (other[j - 2], b):
                cost = min(cost, last[j - 2] + 1)
            row.append(cost)
    return row[-1]


@cache
def _fields(descriptor: Descriptor) -> dict[str, FieldDescriptor]:
    """Name -> field; protobuf's own mapping is slower."""
    return dict(descriptor.fields_by_name.items())


def _is_entry(field: FieldDescriptor) -> bool:
    """Whether a field is a layer; errors leave that out of a path."""
    return field.name in ("layer", "layers")


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
        return _wrong_string(value, name)
    else:
        fits = False
    return "" if fits else f"{name} is {quoted(value)}; expected {_expected(field)}"


def _expected(field: FieldDescriptor) -> str:
    if field.enum_type is not None:
        return listed(_offered(field.enum_type)[:8], "or")
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


def _wrong_string(value: str, name: str) -> str:
    if "\\" not in value:
        return ""
    try:
        unescape(value)
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
        close = nearest(value[1:-1].upper(), enum.values_by_name)
        return f"{name} is {quoted(value)}; expected a name without quotes{f', {close[0]}' if close else ''}"
    if len(names) <= 8:
        return f"unknown value {quoted(value)} for {name}; expected {listed(names, 'or')}"
    close = nearest(value.upper(), names)
    return f"unknown value {quoted(value)} for {name}{f'; did you mean {close[0]}?' if close else ''}"


def _offered(enum: EnumDescriptor) -> list[str]:
    return [value.name for value in enum.values if value.number < FIRST_PRIVATE_NUMBER]
