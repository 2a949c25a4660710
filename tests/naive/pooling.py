"""Pooling that only Caffe's GPU code does, and a pyramid over an image whose sizes differ."""

from __future__ import annotations

import numpy as np

from tests.drawn.base import layer
from tests.naive.base import Array, Naive, case, random


@case("pool_stochastic")
def stochastic() -> Naive:
    """pooling_layer.cu in phase TEST: squares over the sum of a window, and 0 where the sum is not above 0."""
    x = random(1, 2, 3, 5, 8)
    x[0, 0] = -abs(x[0, 0])
    x[1] = abs(x[1])
    y = np.zeros((2, 3, 2, 4), np.float32)
    for n, c, row, column in np.ndindex(y.shape):
        window = [float(v) for v in x[n, c, row * 3 : row * 3 + 3, column * 2 : column * 2 + 2].ravel()]
        total = sum(window)
        y[n, c, row, column] = sum(v * v for v in window) / total if total > 0 else 0
    params = "pooling_param { pool: STOCHASTIC kernel_h: 3 kernel_w: 2 stride_h: 3 stride_w: 2 }"
    return Naive(layer("Pooling", params), {"x": x}, {("it", "out"): y})


def level(x: Array, bins: int) -> list[list[Array]]:
    """What lies in each of bins × bins windows, as far as it is in the image."""
    kernel = [-(-size // bins) for size in x.shape]
    pad = [(k * bins - size + 1) // 2 for k, size in zip(kernel, x.shape, strict=True)]
    rows, columns = (
        [(max(i * k - p, 0), min(i * k - p + k, size)) for i in range(bins)]
        for k, p, size in zip(kernel, pad, x.shape, strict=True)
    )
    return [[x[top:bottom, left:right] for left, right in columns] for top, bottom in rows]


@case("spp_of_unlike_sizes")
def spp() -> Naive:
    """spp_layer.cpp: levels one behind the other, each channel by channel."""
    x = random(1, 2, 3, 7, 10)
    y = [
        [window.max() for bins in (1, 2, 4) for plane in item for row in level(plane, bins) for window in row]
        for item in x
    ]
    return Naive(layer("SPP", "spp_param { pyramid_height: 3 }"), {"x": x}, {("it", "out"): np.float32(y)})
