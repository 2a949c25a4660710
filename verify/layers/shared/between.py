"""Images read at places between their pixels, and how much of an error of the place arrives.

What counts outside of n pixels, by the name of a rule:

    repeated   0 ≤ place < n is read, from n - 1 on the last pixel
    inside     0 ≤ place ≤ n - 1 is read
    faded      -1 < place < n is read, the pixels -1 and n being 0
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from verify.layers.registry import Array, Wide, wide

Border = Literal["repeated", "inside", "faded"]


@dataclass(frozen=True)
class Cells:
    """The four pixels around each place in one channel, rows first, and how far it lies below and right of the first.

    All are 0 around a place outside.
    """

    pixels: tuple[tuple[Wide, Wide], tuple[Wide, Wide]]
    down: Wide
    across: Wide
    inside: npt.NDArray[np.bool_]

    def read(self) -> Wide:
        """The channel at places between its pixels."""
        return self._between(self.pixels)

    def magnitude(self) -> Wide:
        """Of what is added up for that."""
        (a, b), (c, d) = self.pixels
        return self._between(((np.abs(a), np.abs(b)), (np.abs(c), np.abs(d))))

    def slopes(self) -> tuple[Wide, Wide]:
        """By how much it changes from one row to the next, and from one column to the next, at most."""
        (a, b), (c, d) = self.pixels
        rows = np.abs(c - a) * (1 - self.across) + np.abs(d - b) * self.across
        return rows, np.abs(b - a) * (1 - self.down) + np.abs(d - c) * self.down

    def _between(self, pixels: tuple[tuple[Wide, Wide], tuple[Wide, Wide]]) -> Wide:
        upper, lower = (left * (1 - self.across) + right * self.across for left, right in pixels)
        return upper * (1 - self.down) + lower * self.down


def read_at(places: npt.NDArray[np.floating], size: int, edge: Border) -> npt.NDArray[np.bool_]:
    """Which places along an axis are read."""
    if edge == "faded":
        return (places > -1) & (places < size)
    return (places >= 0) & (places <= size - 1 if edge == "inside" else places < size)


def cells_around(x: Array, rows: npt.NDArray[np.floating], columns: npt.NDArray[np.floating], edge: Border) -> Cells:
    """One item's one channel around places between its pixels."""
    height, width = x.shape
    inside = read_at(rows, height, edge) & read_at(columns, width, edge)
    padded = np.pad(wide(x), 1) if edge == "faded" else np.pad(wide(x), 1, mode="edge")
    r, c = (np.where(inside, v, 0).astype(np.float64) for v in (rows, columns))
    if edge != "faded":
        r, c = np.minimum(r, height - 1), np.minimum(c, width - 1)
    i, j = np.floor(r).astype(np.int64), np.floor(c).astype(np.int64)
    upper, lower = (
        (np.where(inside, padded[k, j + 1], 0.0), np.where(inside, padded[k, j + 2], 0.0)) for k in (i + 1, i + 2)
    )
    return Cells((upper, lower), r - i, c - j, inside)
