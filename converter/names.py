"""Layer and blob names as Python identifiers: unique, readable, never a keyword or a name in use."""

from __future__ import annotations

import keyword
import re
import unicodedata
from collections.abc import Iterable


class Names:
    """Hands out identifiers; the same wish twice gives two different ones."""

    def __init__(self, reserved: Iterable[str] = ()) -> None:
        self._taken = set(reserved)

    def fresh(self, wish: str) -> str:
        """An identifier close to the wish that nobody has yet."""
        base = identifier(wish)
        name, number = base, 1
        while name in self._taken:
            number += 1
            name = f"{base}_{number}"
        self._taken.add(name)
        return name

    def free(self, name: str) -> None:
        """Hand a name back."""
        self._taken.discard(name)


def identifier(name: str) -> str:
    """`res2a/branch-1` -> `res2a_branch_1`; letters of other scripts stay, keywords and leading digits get `_`."""
    plain = unicodedata.normalize("NFKC", name)
    # Two leading underscores would make Python rename an attribute inside its class.
    cleaned = re.sub(r"^__+", "_", re.sub(r"\W", "_", plain))
    if not cleaned.strip("_"):
        cleaned = "unnamed"
    if keyword.iskeyword(cleaned):
        cleaned += "_"
    return cleaned if cleaned.isidentifier() else f"_{cleaned}"


def printable(text: str) -> str:
    """A name on one line: whatever a terminal or a comment would stumble over becomes a space."""
    return "".join(c if c.isprintable() else " " for c in text)
