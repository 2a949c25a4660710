"""Images that are read at places between their pixels: the two pixels around each along an axis, with their shares.

What lies at the edges of n pixels differs, and each rule has a name:

    repeated   0 outside 0 ≤ place < n; from the last pixel on that pixel
    inside     0 outside 0 ≤ place ≤ n - 1
    faded      pixels outside are 0, so that an image fades out over one pixel on each side
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from converter.emission import OnnxOps, TorchOps
from converter.graph import Shape
from converter.layers.shared.sizes import FLOAT, INT64

Edge = Literal["repeated", "inside", "faded"]
TwoPixels = tuple[tuple[str, str], tuple[str, str], str]
"""A pixel's number and its share, twice, and whether the place is one that is read."""


def onnx_neighbours(g: OnnxOps, place: str, size: int, edge: Edge) -> TwoPixels:
    """The two pixels along an axis that each place lies between."""
    return _faded(g, place, size) if edge == "faded" else _held(g, place, size, edge)


def _held(g: OnnxOps, place: str, size: int, edge: Edge) -> TwoPixels:
    zero, one, last = g.scalar(0.0, "zero"), g.scalar(1.0, "one"), g.scalar(size - 1.0, "last")
    within = g.op("LessOrEqual", place, last) if edge == "inside" else g.op("Less", place, g.scalar(size, "size"))
    inside = g.op("And", g.op("GreaterOrEqual", place, zero), within)
    place = g.op("Clip", place, zero, last)
    low = g.op("Floor", place)
    high = g.op("Min", g.op("Add", low, one), last)
    share = g.op("Sub", place, low)
    first = (g.op("Cast", low, to=INT64), g.op("Sub", one, share))
    return first, (g.op("Cast", high, to=INT64), share), inside


def _faded(g: OnnxOps, place: str, size: int) -> TwoPixels:
    zero, one, last = g.scalar(0.0, "zero"), g.scalar(1.0, "one"), g.scalar(size - 1.0, "last")
    within = g.op("Less", place, g.scalar(float(size), "size"))
    inside = g.op("And", g.op("Greater", place, g.scalar(-1.0, "before")), within)
    place = g.op("Clip", place, g.scalar(-1.0, "before"), g.scalar(float(size), "size"))
    low = g.op("Floor", place)
    high, share = g.op("Add", low, one), g.op("Sub", place, low)
    made = []
    for pixel, part in ((low, g.op("Sub", one, share)), (high, share)):
        valid = g.op("And", g.op("GreaterOrEqual", pixel, zero), g.op("LessOrEqual", pixel, last))
        held = g.op("Cast", g.op("Clip", pixel, zero, last), to=INT64)
        made.append((held, g.op("Mul", part, g.op("Cast", valid, to=FLOAT))))
    return made[0], made[1], inside


def onnx_between(
    g: OnnxOps, image: str, shape: Shape, places: Sequence[str], out: Sequence[int], edge: Edge
) -> tuple[str, str]:
    """N×C×H×W at rows and columns N×P, as N×C×`out`, where `out` has P places; and whether each is inside, N×P.

    Only N can be left free.
    """
    channels, height, width = map(int, shape[1:])
    pixels = g.op("Reshape", image, g.ints([0, channels, height * width], "shape"))
    pixels = g.op("Transpose", pixels, perm=[0, 2, 1])
    rows, columns = (onnx_neighbours(g, p, n, edge) for p, n in zip(places, (height, width), strict=True))
    inside = g.op("And", rows[2], columns[2])
    read = g.op("Cast", inside, to=FLOAT)
    total = ""
    for row, down in rows[:2]:
        for column, across in columns[:2]:
            index = g.op("Add", g.op("Mul", row, g.constant(np.asarray(width, np.int64), "width")), column)
            share = g.op("Mul", g.op("Mul", down, across), read)
            part = g.op("GatherND", pixels, g.unsqueeze(index, [2]), batch_dims=1)
            part = g.op("Mul", part, g.unsqueeze(share, [2]))
            total = g.op("Add", total, part) if total else part
    total = g.op("Transpose", total, perm=[0, 2, 1])
    return g.op("Reshape", total, g.ints([0, channels, *out], "shape")), inside


def torch_between(t: TorchOps) -> str:
    """The name of a function of x, rows, columns and the edge's rule: N×C×H×W at places N×h×w."""
    t.helper("pixels_around", PIXELS_AROUND)
    return t.helper("read_between", READ_BETWEEN)


PIXELS_AROUND = '''
def pixels_around(place, size, edge):
    """The two pixels that each place lies between, with their shares; 0 where it is not one that is read."""
    if edge == "faded":
        inside = (place > -1) & (place < size)
    else:
        inside = (place >= 0) & (place <= size - 1 if edge == "inside" else place < size)
        place = place.clamp(0, size - 1)
    low = place.detach().clamp(-1, size).floor()
    share = place - low
    for pixel, part in ((low, 1 - share), (low + 1, share)):
        held = pixel.clamp(0, size - 1)
        yield held.long(), part.where(inside & (pixel == held) if edge == "faded" else inside, 0)
'''
READ_BETWEEN = '''
def read_between(x, rows, columns, edge):
    """N×C×H×W at places N×h×w between its pixels."""
    image, total = x.flatten(2), 0
    across = list(pixels_around(columns, x.shape[3], edge))
    for row, down in pixels_around(rows, x.shape[2], edge):
        for column, share in across:
            index = (row * x.shape[3] + column).flatten(1).unsqueeze(1).expand(-1, x.shape[1], -1)
            total = total + image.gather(2, index) * (down * share).flatten(1).unsqueeze(1)
    return total.unflatten(2, rows.shape[1:])
'''
