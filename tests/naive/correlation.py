"""Correlations, value by value as CorrelateData and CorrelateDataSubtract of FlowNet's fork add them up."""

from __future__ import annotations

import numpy as np

from tests.drawn.base import layer
from tests.naive.base import Array, Naive, case, random


def padded(x: Array, rows: int, columns: int) -> Array:
    """blob_rearrange_kernel2: zeros all around; the axes stay."""
    n, c, h, w = x.shape
    out: Array = np.zeros((n, c, h + 2 * rows, w + 2 * columns), np.float32)
    out[:, :, rows : rows + h, columns : columns + w] = x
    return out


@case("correlation")
def correlation() -> Naive:
    """correlation_layer.cu: pad 3, kernel 3, displacements -2, 0, 2 of at most 3, every second pixel."""
    a, b = random(1, 2, 4, 6, 7), random(2, 2, 4, 6, 7)
    first, second = padded(a, 3, 3), padded(b, 3, 3)
    y: Array = np.empty((2, 9, 2, 3), np.float32)  # ceil((6 + 6 - 2 (3 + 1)) / 2), ceil((7 + 6 - 8) / 2)
    for n, k, h, w in np.ndindex(y.shape):
        s2o, s2p = (k % 3 - 1) * 2, (k // 3 - 1) * 2
        y1, x1, total = 2 * h + 3, 2 * w + 3, 0.0
        for j, i, c in np.ndindex(3, 3, 4):
            total += float(first[n, c, y1 + j, x1 + i]) * float(second[n, c, y1 + s2p + j, x1 + s2o + i])
        y[n, k, h, w] = total / 36
    params = "correlation_param { pad: 3 kernel_size: 3 max_displacement: 3 stride_1: 2 stride_2: 2 }"
    return Naive(layer("Correlation", params, "a b"), {"a": a, "b": b}, {("it", "out"): y})


@case("correlation_subtract")
def correlation_subtract() -> Naive:
    """CorrelateDataSubtract: the sizes of differences instead."""
    a, b = random(3, 2, 3, 4, 5), random(4, 2, 3, 4, 5)
    first, second = padded(a, 1, 1), padded(b, 1, 1)
    y: Array = np.empty((2, 9, 4, 5), np.float32)
    for n, k, h, w in np.ndindex(y.shape):
        s2o, s2p = k % 3 - 1, k // 3 - 1
        terms = [
            abs(float(first[n, c, h + 1, w + 1]) - float(second[n, c, h + 1 + s2p, w + 1 + s2o])) for c in range(3)
        ]
        y[n, k, h, w] = sum(terms) / 3
    params = "correlation_param { pad: 1 kernel_size: 1 max_displacement: 1 correlation_type: SUBTRACT }"
    return Naive(layer("Correlation", params, "a b"), {"a": a, "b": b}, {("it", "out"): y})


def along_rows(name: str, shift: int, top_channels: int, params: str) -> None:
    @case(name)
    def make() -> Naive:
        """correlation_layer1d.cu: s2o = (k + x_shift) stride_2; an index before the row is in the row before."""
        a, b = random(5, 2, 3, 4, 6), random(6, 2, 3, 4, 6)
        first, second = padded(a, 0, 3), padded(b, 0, 3)
        y: Array = np.empty((2, top_channels, 4, 6), np.float32)
        for n, k, h, w in np.ndindex(y.shape):
            x1, total = w + 3, 0.0
            x2 = x1 + k + shift
            for c in range(3):
                lines = second[:, c].reshape(-1)  # rows of all items one after the other, as they lie in memory
                place = (n * 4 + h) * 12 + x2
                total += float(first[n, c, h, x1]) * (float(lines[place]) if place >= 0 else 0.0)
            y[n, k, h, w] = total / 3
        text = f"correlation_param {{ pad: 3 kernel_size: 1 max_displacement: 3 {params} }}"
        return Naive(layer("Correlation1D", text, "a b"), {"a": a, "b": b}, {("it", "out"): y})


along_rows("correlation_1d", -3, 7, "")
along_rows("correlation_1d_right", 0, 4, "single_direction: 1")
along_rows("correlation_1d_left", -4, 4, "single_direction: -1")
