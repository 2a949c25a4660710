"""Files that a manifest names and that are not there, said before any work."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from prototxt.errors import CaffeModelError
from resnet_convert.batches.manifest import Entry
from resnet_convert.zoo.folder import card_of


def with_missing_files(entry: Entry) -> Entry:
    """The same, with what is said of files that are not there; of a folder those that its readme.md names."""
    said = []
    for what, name in (("net", entry.net), ("weights", entry.weights)):
        path = entry.folder / name if name else entry.folder
        if not _is_there(path):
            said.append(f"{entry.position}: error: {what} {name}: no such file")
        elif what == "net" and os.path.isdir(path) and entry.weights is None:
            said += _absences(path, entry)
    return replace(entry, trouble="missing", message="\n".join(said)) if said else entry


def _is_there(path: Path) -> bool:
    try:
        path.stat()
    except FileNotFoundError:
        return False
    except (OSError, ValueError):  # what else is wrong, its reader says
        return True
    return True


def _absences(folder: Path, entry: Entry) -> list[str]:
    try:
        card = card_of(folder)
    except CaffeModelError:  # its conversion says so
        return []
    return [f"{entry.position}: {card.absence(file)}" for file in card.missing] if card is not None else []
