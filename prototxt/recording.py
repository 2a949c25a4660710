"""Who reads which fields of a layer: a view of its message that writes down every field that is asked for.

    record = Record()
    layer = source.read_by(record)          a NetLayer whose `param` is such a view
    layer.param.relu_param.negative_slope   record.read == {"relu_param.negative_slope"}
    unread(layer, record)                   what the file states and nobody asked for

What a net states and nobody reads is where numbers go wrong in silence: converter and interpreter each read through a
record of their own, and each answers for what is left.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar, cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

M = TypeVar("M")
V = TypeVar("V")

FILLER = "FillerParameter"
"""Starting values: read where weights are made, whatever section they stand in."""

_SCALAR, _SECTION, _SECTIONS = range(3)


class Record:
    """The fields that one reader of a layer asked for.

    Attributes:
        read: paths of fields, such as `pooling_param.kernel_size`; the numbers of repeated sections are left out.
        sections: those that were looked into, whether or not anything was read there.
        ignored: path -> why the reader knows that it has no effect here.
        offered: paths of what stands within a text field, such as the names in a Python layer's `param_str`.
    """

    __slots__ = ("ignored", "offered", "read", "sections")

    def __init__(self) -> None:
        self.read: set[str] = set()
        self.sections: set[str] = set()
        self.ignored: dict[str, str] = {}
        self.offered: set[str] = set()

    def knows(self, path: str) -> bool:
        """Whether the reader used a field, or said that it has no effect."""
        return path in self.read or path in self.ignored


class _View:
    """A message seen through a record; behaves like the message for whoever reads fields."""

    __slots__ = ("_fields", "_message", "_record")

    def __init__(self, message: Message, path: str, record: Record) -> None:
        self._message, self._record = message, record
        self._fields = _fields(message.DESCRIPTOR, path)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._message, name)
        field = self._fields.get(name)
        if field is None:  # a value of an enum, a method
            return value
        kind, path, section = field
        if kind == _SCALAR:
            self._record.read.add(path)
            return value
        if section:
            self._record.sections.add(section)
        if kind == _SECTION:
            return _View(value, f"{path}.", self._record)
        return [_View(entry, f"{path}.", self._record) for entry in value]

    def HasField(self, name: str) -> bool:  # noqa: N802 (protobuf's name)
        kind, path, section = self._fields.get(name, _NO_FIELD)
        if kind == _SCALAR:
            self._record.read.add(path)
        elif section:
            self._record.sections.add(section)
        return bool(self._message.HasField(name))


_NO_FIELD = (_SECTION, "", "")


@cache
def _fields(descriptor: Descriptor, path: str) -> dict[str, tuple[int, str, str]]:
    """By name, what kind of field it is, its path, and the section of a layer that it is; empty for none."""
    return {
        name: (_kind(field), f"{path}{name}", "" if path or field.message_type is None else name)
        for name, field in descriptor.fields_by_name.items()
    }


def _kind(field: FieldDescriptor) -> int:
    if field.message_type is None:
        return _SCALAR
    return _SECTIONS if is_repeated(field) else _SECTION


@cache
def is_repeated(field: FieldDescriptor) -> bool:
    """Whether a field may stand several times."""
    repeated = getattr(field, "is_repeated", None)  # since protobuf 6; `label` is on its way out
    return bool(repeated) if repeated is not None else getattr(field, "label", 0) == FieldDescriptor.LABEL_REPEATED


class _Names(dict[str, V]):
    """What a text field says, by name; whoever asks for a name leaves a trace."""

    def __init__(self, said: Mapping[str, V], path: str, record: Record) -> None:
        super().__init__(said)
        self._path, self._record = path, record
        record.offered.update(path + name for name in said)

    def _asked(self, name: object) -> None:
        self._record.read.add(f"{self._path}{name}")

    def __getitem__(self, name: str) -> V:
        self._asked(name)
        return super().__getitem__(name)

    def __contains__(self, name: object) -> bool:
        self._asked(name)
        return super().__contains__(name)

    def get(self, name: str, default: Any = None) -> Any:
        self._asked(name)
        return super().get(name, default)


def viewed_names(said: dict[str, V], record: Record | None, path: str) -> dict[str, V]:
    """What a text field says, as a dict to read through a record, if there is one; `path` ends with a dot."""
    return said if record is None else _Names(said, path, record)


def viewed(message: M, record: Record, path: str = "") -> M:
    """A message as one to read through a record; `path` is its name in the record, with a dot at the end."""
    return cast(M, _View(plain(cast(Message, message)), path, record))


def plain(message: M) -> M:
    """The message behind a view; any other as it is. Reading it leaves no trace."""
    return cast(M, message._message) if isinstance(message, _View) else message


def stated(message: Message, path: str = "") -> list[str]:
    """Paths of the fields that a message states with a value other than their default, fillers left out."""
    found: list[str] = []
    for field, value in message.ListFields():
        name, inner, repeated, default = _described(field)
        if inner is None:
            if repeated or value != default:
                found.append(path + name)
        elif inner != FILLER:
            for entry in value if repeated else (value,):
                found += stated(entry, f"{path}{name}.")
    return found


@cache
def _described(field: FieldDescriptor) -> tuple[str, str | None, bool, Any]:
    """A field's name, the name of the type of message that it is, whether it may stand several times, its default."""
    inner = field.message_type
    return field.name, None if inner is None else inner.name, is_repeated(field), field.default_value
