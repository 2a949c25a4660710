"""When a command that has the process to itself looks for cycles among its objects, and what of its memory goes back.

What a command loads, reads and builds is in use to its end: looking through it finds little, and takes a fifth of a
conversion. So nobody looks until a run goes on, to compare blobs or to work through images; and not at the end, where
all memory goes back to the system anyway.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager, suppress

THRESHOLD = 50_000
"""New objects between two looks: the layers of a large net are ten thousands, none of them garbage."""

_FREED_STAYS = {-8: 1, -3: 32 << 20, -1: 256 << 20}
"""glibc's M_ARENA_MAX; M_MMAP_THRESHOLD, pieces that go back at once; M_TRIM_THRESHOLD, how much may stay free."""

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


def keep_freed() -> None:
    """Keep freed memory for what comes next: the system would clear it for each blob anew. Does nothing without glibc.

    For a command whose only large memory is blobs, one after another.
    """
    from ctypes import CDLL  # numpy has loaded it

    with suppress(AttributeError, OSError, TypeError):
        mallopt = CDLL(None).mallopt
        for setting, value in _FREED_STAYS.items():
            mallopt(setting, value)
