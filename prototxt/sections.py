"""Sections of a layer that no known Caffe has, declared by the plugin whose layer they are for.

    declare_section("wave_param", {"frequency": 1.0, "phases": [0.0], "form": ("SINE", "SQUARE")})
    message = layer.section("wave_param")       message.frequency, message.phases, message.form (0 for SINE)

A declaration gives each field's default, and so its type; a list may be repeated, a tuple names the values of an enum,
the first being the default. From it a message of protobuf is made, so that such a section is held to its fields like
any other, with the same errors at the same places.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeAlias, Union, cast

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from prototxt.caffe_pb2 import LayerParameter
from prototxt.scan import Field

if TYPE_CHECKING:
    from collections.abc import Sequence

Default: TypeAlias = Union[
    bool, int, float, str, list[bool], list[int], list[float], list[str], tuple[str, ...], "Mapping[str, Default]"
]
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
    from prototxt.section_class import section_class

    _DECLARED[name] = section_class(name, fields)
    _FIELDS[name] = fields


def declared_section(name: str) -> Descriptor | None:
    """What fields a declared section has; None for a name that nobody declared."""
    cls = _DECLARED.get(name)
    return None if cls is None else cast(Descriptor, cls.DESCRIPTOR)


def declared_sections() -> list[str]:
    """The names of all declared sections, in order."""
    return sorted(_DECLARED)


def section_message(name: str, written: Sequence[Field]) -> Message:
    """A declared section as a message, with its defaults where a layer does not have it.

    Raises:
        KeyError: nobody declared it.
    """
    from google.protobuf import text_format

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
