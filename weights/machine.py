"""How much memory there is, so that what would not fit is refused before it is made."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_OF_CONTAINER: Final = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
_LARGEST_MODEL: Final = (1 << 31) - 1


def physical_memory() -> int:
    """Bytes of memory that this machine has, or that the container which this process runs in may use."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([machine, *(limit for limit in map(_limit, _OF_CONTAINER) if limit)])


def most_made() -> int:
    """Bytes of weights that are made where there is no file: a .caffemodel's 2 GiB, a quarter of a small machine."""
    return min(_LARGEST_MODEL, physical_memory() // 4)


def _limit(path: str) -> int:
    """The number in a file of the kernel's; 0 where there is none."""
    try:
        text = Path(path).read_text().strip()
    except OSError:
        return 0
    return int(text) if text.isdecimal() else 0
