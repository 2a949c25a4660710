"""The message class of a section that a plugin declares; apart from `prototxt.sections` for what it takes to load."""

from __future__ import annotations

from collections.abc import Mapping

from google.protobuf import descriptor_pb2
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

Proto = descriptor_pb2.FieldDescriptorProto

_TYPES = {bool: Proto.TYPE_BOOL, int: Proto.TYPE_INT64, float: Proto.TYPE_FLOAT, str: Proto.TYPE_STRING}


def section_class(name: str, fields: Mapping[str, object]) -> type[Message]:
    """A message with these fields.

    Raises:
        ValueError: a name that is none, or a default that tells no type.
    """
    file = descriptor_pb2.FileDescriptorProto(name=f"{name}.proto", package="plugin", syntax="proto2")
    _describe(file.message_type.add(), name, fields)
    pool = DescriptorPool()
    try:
        pool.Add(file)
        return GetMessageClass(pool.FindMessageTypeByName(f"plugin.{name}"))
    except (TypeError, KeyError) as error:
        raise ValueError(f"section {name!r} can't be declared: {error}") from None


def _describe(message: descriptor_pb2.DescriptorProto, name: str, fields: Mapping[str, object]) -> None:
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
