"""What names have in common."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile


def common_name(names: Sequence[str]) -> str:
    """What all names begin with, up to where one of their parts ends; empty if that says nothing."""
    start = "".join(same[0] for same in takewhile(lambda column: len({*column}) == 1, zip(*names, strict=False)))
    whole = all(len(name) == len(start) or not name[len(start)].isalnum() for name in names)
    if not whole:
        start = start[: max((i for i, c in enumerate(start) if not c.isalnum()), default=0)]
    return start.rstrip("/_-.:")
