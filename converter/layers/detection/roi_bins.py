"""ONNX of the bins of regions: their edges in Caffe's own float32 arithmetic, and the largest value in each.

Opset 22 has a MaxRoiPool of its own, which onnxruntime lacks: from there on a Loop takes a region a round, and of it
the rows of each bin, padded to the longest one by repeating the last, then the columns likewise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from converter.emission import OnnxOps
from converter.graph import Shape, is_free
from converter.layers.shared.sizes import FLOAT, INT64, int_size

MAX_ROI_POOL_BEFORE = 22


def numbers(g: OnnxOps, x: str, shape: Shape, axis: int) -> str:
    """0, 1, … of an axis of `x`, float32."""
    if not is_free(shape[axis]):
        return g.constant(np.arange(int(shape[axis]), dtype=np.float32), "numbers")
    first, step = (g.constant(np.asarray(v, np.int64)) for v in (0, 1))
    return g.op("Cast", g.op("Range", first, int_size(g, x, shape, axis), step), to=FLOAT)


def round_half_away(g: OnnxOps, x: str) -> str:
    """C's round: ONNX's own takes halves to the even number. Floor of x + 0.5 would take 0.49999997 to 1."""
    size = g.op("Abs", x)
    whole = g.op("Floor", size)
    up = g.op("Cast", g.op("GreaterOrEqual", g.op("Sub", size, whole), g.scalar(0.5, "half")), to=FLOAT)
    return g.op("Mul", g.op("Sign", x), g.op("Add", whole, up))


def largest_of_bins(g: OnnxOps, x: str, features: Shape, rois: str, pooled: tuple[int, int], scale: float) -> str:
    """The largest value of each bin of each region (R×5), 0 in an empty bin: R×C×pooled."""
    if g.opset < MAX_ROI_POOL_BEFORE:
        return g.op("MaxRoiPool", x, rois, pooled_shape=list(pooled), spatial_scale=scale)
    corners = round_half_away(g, g.op("Mul", g.slice(rois, 1, 1, 5), g.scalar(scale, "scale")))
    rows, columns = (
        _Bins.of(g, g.slice(corners, 1, i, i + 1), g.slice(corners, 1, i + 2, i + 3), pooled[1 - i], size)
        for i, size in ((1, int_size(g, x, features, 2)), (0, int_size(g, x, features, 3)))
    )
    images = g.op("Cast", g.op("Squeeze", g.slice(rois, 1, 0, 1), g.ints([1])), to=INT64)
    lines = g.op("Transpose", x, perm=[0, 2, 1, 3])

    def largest(inner: OnnxOps, number: str) -> str:
        row = rows.places(inner, number)
        image = inner.op("Add", inner.op("Sub", row, row), inner.op("Gather", images, number, axis=0))
        where = inner.op("Concat", inner.unsqueeze(image, [2]), inner.unsqueeze(row, [2]), axis=2)
        of_rows = inner.reduce("ReduceMax", inner.op("GatherND", lines, where), [1], keepdims=False)
        of_columns = inner.op("Gather", of_rows, columns.places(inner, number), axis=2)
        return inner.reduce("ReduceMax", of_columns, [3], keepdims=False)

    count = g.op("Squeeze", g.op("Shape", images), g.ints([0]))
    top = g.op("Transpose", g.loop(count, largest), perm=[0, 2, 1, 3])
    full = g.op("And", g.unsqueeze(rows.full, [1, 3]), g.unsqueeze(columns.full, [1, 2]))
    return g.op("Where", full, top, g.scalar(0.0, "empty"))


@dataclass(frozen=True)
class _Bins:
    """Bins along one axis: their first and last place (int64) and whether there is anything in them, each R×bins."""

    first: str
    last: str
    full: str

    @classmethod
    def of(cls, g: OnnxOps, low: str, high: str, count: int, size: str) -> _Bins:
        """Of regions from `low` to `high` (R×1, whole numbers), within features of `size`."""
        zero, one = g.scalar(0.0, "zero"), g.scalar(1.0, "one")
        extent = g.op("Max", g.op("Add", g.op("Sub", high, low), one), one)
        step = g.op("Div", extent, g.scalar(float(count), "bins"))
        index = np.arange(count + 1, dtype=np.float32)
        most = g.op("Cast", size, to=FLOAT)
        start, end = (
            g.op("Add", g.op(kind, g.op("Mul", g.constant(part, "index"), step)), low)
            for kind, part in (("Floor", index[:-1]), ("Ceil", index[1:]))
        )
        start, end = (g.op("Min", g.op("Max", edge, zero), most) for edge in (start, end))
        first = g.op("Min", start, g.op("Sub", most, one))
        last = g.op("Max", g.op("Sub", end, one), zero)
        return cls(g.op("Cast", first, to=INT64), g.op("Cast", last, to=INT64), g.op("Less", start, end))

    def places(self, g: OnnxOps, number: str) -> str:
        """Of one region, the places of each bin, the last one repeated up to the longest bin: bins × longest."""
        first, last = (g.op("Gather", edge, number, axis=0) for edge in (self.first, self.last))
        longest = g.reduce("ReduceMax", g.op("Sub", last, first), [0], keepdims=False)
        zero, one = (g.constant(np.asarray(v, np.int64)) for v in (0, 1))
        offsets = g.op("Range", zero, g.op("Add", g.op("Max", longest, zero), one), one)
        return g.op("Min", g.op("Add", g.unsqueeze(first, [1]), offsets), g.unsqueeze(last, [1]))
