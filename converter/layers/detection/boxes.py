"""What detection heads share: rows of what was found, by falling score, and the rows that stand for nothing found."""

from __future__ import annotations

import numpy as np

from converter.emission import OnnxOps
from converter.layers.detection.suppression import falling_ranks, marks_of
from converter.layers.shared.sizes import FLOAT


def above(limit: float) -> float:
    """The threshold for `x > t` that says `x >= limit` of float32 numbers: the last below it."""
    return float(np.nextafter(np.float32(limit), np.float32(-np.inf)))


def kept_rows(g: OnnxOps, table: str, apart: str, score: int, limit: float) -> str:
    """Rows of a table that stay, by falling score; equal scores keep their order.

    A row stays if its box overlaps none that stays before it by more than `limit`. No order of NonMaximumSuppression's
    own is relied on.

    Args:
        g: records the operators.
        table: float32 rows, which end in the corners of the row's box.
        apart: whether a row's box stays whatever it overlaps, and suppresses none. The operator does not see it, whose
            time grows with the square of what it is given.
        score: the column of the score.
        limit: of the overlap.
    """
    scores = g.op("Squeeze", g.slice(table, 1, score, score + 1), g.ints([1]))
    count = g.op("Shape", scores)
    _, order = g.multi("TopK", scores, count, outputs=2, axis=0)
    table, apart, scores = (g.op("Gather", x, order, axis=0) for x in (table, apart, scores))
    most, zero = g.op("Squeeze", count, g.ints([0])), g.scalar(0.0, "zero")
    ranks = falling_ranks(g, most)
    ranks = g.unsqueeze(g.op("Where", apart, zero, ranks), [0, 1])
    corners = g.unsqueeze(g.slice(table, 1, -4, 2**31 - 1), [0])
    kept = g.op("NonMaxSuppression", corners, ranks, most, g.scalar(limit, "limit"), zero)
    marks = g.op("Reshape", marks_of(g, kept, ranks), g.ints([-1], "shape"))
    stay = g.op("Or", apart, g.op("Greater", marks, zero))
    return g.pick(table, stay)


def blank_rows(g: OnnxOps, images: str, found: str, width: int = 7) -> str:
    """A row of its number and -1 in all other columns for each image if nothing is found, else no rows.

    Args:
        g: records the operators.
        images: how many there are, an int64 scalar.
        found: what was found, row by row.
        width: numbers in a row.
    """
    numbers = g.op("Range", g.constant(np.asarray(0, np.int64)), images, g.constant(np.asarray(1, np.int64)))
    numbers = g.unsqueeze(g.op("Cast", numbers, to=FLOAT), [1])
    rows = g.op("Pad", numbers, g.ints([0, 0, 0, width - 1], "pads"), g.scalar(-1.0))
    nothing = g.op("Equal", g.slice(g.op("Shape", found), 0, 0, 1), g.ints([0]))
    if g.value(images) != 1:
        nothing = g.op("Expand", nothing, g.unsqueeze(images, [0]))
    return g.pick(rows, nothing)
