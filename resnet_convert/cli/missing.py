"""A net or weights that are not there, said at once: what would read them takes long to load."""

from __future__ import annotations

import os

from prototxt.errors import Position, WeightsError


def refuse_missing(net: str, weights: str | None) -> None:
    """Say of files that are not there what their readers would say.

    Raises:
        PrototxtError, WeightsError: one is missing.
    """
    for path in filter(None, (net, weights)):
        if not _is_missing(path):
            continue
        if path == net and not path.endswith((".caffemodel", ".caffemodel.h5")):
            from prototxt.source import read_text

            read_text(path)
        raise WeightsError("no such file", position=Position(path))


def _is_missing(path: str) -> bool:
    try:
        os.stat(path)
    except FileNotFoundError:
        return True
    except (OSError, ValueError):  # what else is wrong, its reader says
        return False
    return False
