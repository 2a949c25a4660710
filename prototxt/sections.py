"""Sections of a layer that no known Caffe has, declared by the plugin whose layer they are for.

    declare_section("wave_param", {"frequency": 1.0, "phases": [0.0], "form": ("SINE", "SQUARE")})
    message = layer.section("wave_param")       message.frequency, message.phases, message.form (0 for SINE)

A declaration gives each field's default, and so its type; a list may be repeated, a tuple names the values of an enum,
the first being the default. From it a message of protobuf is made, so that such a section is held to its fields like
any other, with the same errors at the same places.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias, Union, cast

from google.protobuf import descriptor_pb2, text_format
from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from prototxt.caffe_pb2 import LayerParameter
from prototxt.scan import Field

if TYPE_CHECKING:
    from collections.abc import Sequence

Default: TypeAlias = Union[
    bool, int, float, str, list[bool], list[int], list[float], list[str], tuple[str, ...], "Mapping[str, Default]"
]
Proto = descriptor_pb2.FieldDescriptorProto

_TYPES = {bool: Proto.TYPE_BOOL, int: Proto.TYPE_INT64, float: Proto.TYPE_FLOAT, str: Proto.TYPE_STRING}
_DECLARED: dict[str, type[Message]] = {}
_FIELDS: dict[str, Mapping[str, Default]] = {}


def declare_section(name: str, fields: Mapping[str, Default]) -> None:
    """Let a section of this name stand in any layer.

    Args:
        name: as in the prototxt, `wave_param`.
        fields: name -> default: a truth, a whole number, a number, a string; a list of one such value for a field that
            may be repeated; a tuple of names for an enum; a mapping for a section within.

    Raises:
        ValueError: a name that is none, a default that tells no type, or another section of that name.
    """
    if name in LayerParameter.DESCRIPTOR.fields_by_name:
        raise ValueError(f"section {name!r} is in the schema: read it as layer.param.{name}")
    if _FIELDS.get(name, fields) != fields:
        raise ValueError(f"section {name!r} is declared already, with other fields")
    if name in _DECLARED:
        return
    file = descriptor_pb2.FileDescriptorProto(name=f"{name}.proto", package="plugin", syntax="proto2")
    _describe(file.message_type.add(), name, fields)
    pool = DescriptorPool()
    try:
        pool.Add(file)
        _DECLARED[name] = GetMessageClass(pool.FindMessageTypeByName(f"plugin.{name}"))
    except (TypeError, KeyError) as error:
        raise ValueError(f"section {name!r} can't be declared: {error}") from None
    _FIELDS[name] = fields


def declared_section(name: str) -> Descriptor | None:
    """What fields a declared section has; None for a name that nobody declared."""
    cls = _DECLARED.get(name)
    return None if cls is None else cast(Descriptor, cls.DESCRIPTOR)


def section_message(name: str, written: Sequence[Field]) -> Any:
    """A declared section as a message, with its defaults where a layer does not have it.

    Raises:
        KeyError: nobody declared it.
    """
    message = _DECLARED[name]()
    for field in written:
        text_format.Parse(_text(field), message)
    return message


def _text(section: Field) -> str:
    """The fields of a section as text, without its name."""
    return " ".join(
        f"{child.name}: {child.value}" if child.value is not None else f"{child.name} {{ {_text(child)} }}"
        for child in section.children
    )


def _describe(message: descriptor_pb2.DescriptorProto, name: str, fields: Mapping[str, Default]) -> None:
    message.name = name
    for number, (field_name, default) in enumerate(fields.items(), 1):
        field = message.field.add(name=field_name, number=number, label=Proto.LABEL_OPTIONAL)
        if isinstance(default, list):
            field.label, default = Proto.LABEL_REPEATED, default[0]
        if isinstance(default, Mapping):
            _describe(message.nested_type.add(), f"{field_name}_section", default)
            field.type, field.type_name = Proto.TYPE_MESSAGE, f"{field_name}_section"
        elif isinstance(default, tuple):
            values = message.enum_type.add(name=f"{field_name}_values").value
            for value, word in enumerate(default):
                values.add(name=word, number=value)
            field.type, field.type_name, field.default_value = Proto.TYPE_ENUM, f"{field_name}_values", default[0]
        elif type(default) in _TYPES:
            field.type = _TYPES[type(default)]
            if field.label != Proto.LABEL_REPEATED:
                field.default_value = str(default).lower() if isinstance(default, bool) else str(default)
        else:
            raise ValueError(f"section {name!r}: the default of {field_name!r} is {default!r}, which tells no type")
