"""What a layer states and its reader did not use.

Nothing is read in silence: after a layer was read, each field that the file states was asked for, or is known to have
no effect (`prototxt.effects`), or stands here. In a section that the layer reads, numbers may hang on it: that stops
the reader, unless the user says `--allow-unknown`. In another type's section it is named in a warning.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from prototxt.effects import effect, why_none
from prototxt.errors import Position, UnreadError
from prototxt.recording import Record, plain, stated

if TYPE_CHECKING:
    from prototxt.net import NetLayer


SHARED = ("loss_param", "transform_param")
"""Sections that layers of many types have and others do not look at."""


READ_BY_ALL = ("blobs", "param")
"""Sections that Caffe reads whatever the layer: it starts from blobs in the prototxt, and trains as they say."""


class Unread(NamedTuple):
    """A field that is stated and was not used.

    Attributes:
        path: its name, `section.field`.
        position: where it stands.
        foreign: whether its section is none of the layer's, so that Caffe does not look at it either.
        layer, layer_type: which states it.
    """

    path: str
    position: Position
    foreign: bool
    layer: str
    layer_type: str


def unread(layer: NetLayer, record: Record, *, training: bool = False, fed: bool = False) -> list[Unread]:
    """The fields of a layer that its reader left, in the order of their paths.

    Args:
        layer: as the net has it.
        record: what the reader asked for.
        training: whether the layer was read to be trained.
        fed: whether the caller feeds the layer's tops.
    """
    return [
        Unread(path, layer.where(*path.split(".")), fed or not is_own(layer, record, path), layer.name, layer.type)
        for path in dict.fromkeys(_stated(layer, record))
        if not record.knows(path) and not why_none(path, layer.type, training=training, fed=fed)
    ]


def check_all_read(
    layer: NetLayer, record: Record, *, lenient: bool, reader: str = "", training: bool = False, fed: bool = False
) -> list[Unread]:
    """The fields that a reader left and that are worth no more than a warning.

    Args:
        layer, record, training, fed: as for `unread`.
        lenient: warn of what would otherwise be refused (`--allow-unknown`).
        reader: who left it, in words, where that is not the converter.

    Raises:
        UnreadError: a field on which the layer's numbers may hang.
    """
    found = unread(layer, record, training=training, fed=fed)
    own = [field for field in found if not field.foreign]
    if own and not lenient:
        names = ", ".join(field.path for field in own)
        by = f" by {reader}" if reader else ""
        known = next(filter(None, (effect(field.path) for field in own)), "")
        why = known or f"not read{by}, and the numbers may hang on it (--allow-unknown leaves it out)"
        error = UnreadError(f"{names}: {why}", position=own[0].position, layer=layer.name, layer_type=layer.type)
        error.paths = tuple(field.path for field in own)
        raise error
    return found


def described(fields: Iterable[Unread]) -> list[str]:
    """A sentence for each layer type and section that states what is not read, with its first layer."""
    groups: dict[tuple[str, str, bool], list[Unread]] = {}
    for field in fields:
        groups.setdefault((field.layer_type, field.path.split(".")[0], field.foreign), []).append(field)
    return [_sentence(group) for group in groups.values()]


def _sentence(group: list[Unread]) -> str:
    first, layers = group[0], dict.fromkeys(field.layer for field in group)
    more = f" and {len(layers) - 1} more" if len(layers) > 1 else ""
    names = ", ".join(dict.fromkeys(field.path for field in group))
    why = "and what it changes is left out"
    if first.foreign:
        why = effect(first.path) or f"which a {first.layer_type} does not have"
    return f"{first.position}: layer {first.layer!r} ({first.layer_type}){more}: {names}: not read, {why}"


def _stated(layer: NetLayer, record: Record) -> list[str]:
    return [*stated(plain(layer.param)), *layer.stated_for_plugins(), *sorted(record.offered)]


def is_own(layer: NetLayer, record: Record, path: str) -> bool:
    """Whether a field's section is the layer's: one that was looked into, or that begins with the type's name."""
    section, _, inner = path.partition(".")
    if section in record.sections or section in READ_BY_ALL or not inner:
        return True
    if section in SHARED:
        return False
    name, kind = section.removesuffix("_param").replace("_", ""), layer.type.lower()
    return name.startswith(kind) or kind.startswith(name)
