"""Tables in text: columns of the width that a terminal gives them, where a Chinese character takes two cells."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterator, Sequence


def aligned(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> Iterator[str]:
    """The lines of a table, two blanks between its columns.

    Args:
        rows: of equal length, the headings among them.
        right: the columns that stand at their right edge, numbers mostly.
    """
    widths = [max(map(cells, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        padded = []
        for column, (text, width) in enumerate(zip(row, widths, strict=True)):
            blank = " " * (width - cells(text))
            padded.append(blank + text if column in right else text + blank)
        yield "  ".join(padded).rstrip()


def cells(text: str) -> int:
    """How many cells of a terminal a text without control characters takes (Unicode's annex 11; marks take none)."""
    return len(text) if text.isascii() else sum(map(_cells, text))


def _cells(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
