"""Layer and blob names as Python identifiers: unique, readable, never a keyword or a name in use."""

from __future__ import annotations

import keyword
import re
import unicodedata
from collections.abc import Iterable
from heapq import heappop, heappush

from prototxt.names import utf8


class Names:
    """Hands out identifiers; the same wish twice gives two different ones.

    A wish that is taken gets the least number that is free. So that many with one wish do not all count from the start,
    each wish remembers how far it has come, and which numbers below were handed back.
    """

    def __init__(self, reserved: Iterable[str] = ()) -> None:
        self._taken = set(reserved)
        self._next: dict[str, int] = {}
        self._returned: dict[str, list[int]] = {}

    def fresh(self, wish: str) -> str:
        """An identifier close to the wish that nobody has yet."""
        base = identifier(wish)
        returned = self._returned.get(base, [])
        while returned:
            name = _numbered(base, heappop(returned))
            if name not in self._taken:
                self._taken.add(name)
                return name
        number = self._next.get(base, 1)
        while _numbered(base, number) in self._taken:
            number += 1
        self._next[base] = number + 1
        self._taken.add(_numbered(base, number))
        return _numbered(base, number)

    def free(self, name: str) -> None:
        """Hand a name back."""
        self._taken.discard(name)
        base, _, number = name.rpartition("_")
        for wish, place in ((name, 1), (base, int(number) if number.isdecimal() and len(number) < 10 else 0)):
            if 0 < place < self._next.get(wish, 1) and _numbered(wish, place) == name:
                heappush(self._returned.setdefault(wish, []), place)


def _numbered(base: str, number: int) -> str:
    return base if number == 1 else f"{base}_{number}"


def identifier(name: str) -> str:
    """`res2a/branch-1` -> `res2a_branch_1`; letters of other scripts stay, keywords and leading digits get `_`."""
    plain = unicodedata.normalize("NFKC", utf8(name))
    # Two leading underscores would make Python rename an attribute inside its class.
    cleaned = re.sub(r"^__+", "_", re.sub(r"\W", "_", plain))
    if not cleaned.strip("_"):
        cleaned = "unnamed"
    if keyword.iskeyword(cleaned):
        cleaned += "_"
    return cleaned if cleaned.isidentifier() else f"_{cleaned}"
