"""The nets of a folder and those in it, as entries of a batch."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from prototxt.errors import Position, RequestError
from resnet_convert.batches.manifest import Entry, names_for
from resnet_convert.zoo.roles import LeftOut
from resnet_convert.zoo.tree import FoundNet, find_nets


def read_tree(path: str, *, without: Collection[Path] = ()) -> tuple[list[Entry], list[LeftOut]]:
    """The nets below a folder, and what there is nothing to convert.

    Args:
        path: the folder.
        without: folders that are not looked into.

    Raises:
        RequestError: there are none.
    """
    root = Path(path)
    found = find_nets(root, without=without)
    if not found.nets:
        raise RequestError("no prototxt or caffemodel of a net lies in this folder", position=Position(path))
    # Of a net in the folder itself, which is all that `.` leaves of its path, the folder is the name.
    above = root.absolute().parent
    names = names_for([(os.path.relpath(each.net.absolute(), above), None) for each in found.nets])
    return [_entry(name, root, each) for name, each in zip(names, found.nets, strict=True)], found.left


def _entry(name: str, root: Path, found: FoundNet) -> Entry:
    def inside(path: Path) -> str:
        return os.path.relpath(path, root)

    card = found.card
    notes = [f"{card.path.name}: {note}" for note in card.notes] if card else []
    return Entry(
        name,
        root.absolute(),
        inside(found.net),
        inside(found.weights) if found.weights else None,
        dict(card.options) if card else {},
        Position(str(found.net)),
        "; ".join(filter(None, [found.why, *notes])),
        inside(card.path) if card and not found.trouble else "",
        found.trouble,
        found.message,
    )
