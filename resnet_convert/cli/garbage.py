"""When Python looks for cycles among the objects of a command that has the process to itself.

What a command loads, reads and builds is in use to its end: looking through it finds little, and takes a fifth of a
conversion. So nobody looks until a run goes on, to compare blobs or to work through images; and not at the end, where
all memory goes back to the system anyway.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

THRESHOLD = 50_000
"""New objects between two looks: the layers of a large net are ten thousands, none of them garbage."""

_put_off = False


@contextmanager
def put_off() -> Iterator[None]:
    """Leave cycles alone in the block until somebody says `take_up`, and after it for good."""
    global _put_off
    gc.disable()
    _put_off = True
    try:
        yield
    finally:
        _put_off = False
        gc.freeze()  # Python ends with one more look


def take_up() -> None:
    """Look for cycles from here on, where that was put off."""
    if _put_off:
        gc.freeze()  # what is there already is still in use
        gc.set_threshold(THRESHOLD, 20, 20)
        gc.enable()
