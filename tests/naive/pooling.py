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


def _of_volume(params: str, kernel: tuple[int, ...], stride: int, counts: tuple[int, ...]) -> Naive:
    x = random(31, 2, 3, 6, 7, 8)
    y = np.empty((2, 3, *counts), np.float32)
    for n, c, *at in np.ndindex(y.shape):
        window = tuple(slice(i * stride, i * stride + k) for i, k in zip(at, kernel, strict=True))
        y[(n, c, *at)] = x[n, c][window].max()
    return Naive(layer("Pooling", f"pooling_param {{ {params} }}"), {"x": x}, {("it", "out"): y})


@case("pooling_of_volumes")
def of_volumes() -> Naive:
    """DlutMedimgGroup's pooling_layer.cpp: over all axes behind the channels, each rounded up."""
    return _of_volume("kernel_size: 3 stride: 2 engine: CUDNN", (3, 3, 3), 2, (3, 3, 4))


@case("pooling_of_whole_volumes")
def of_whole_volumes() -> Naive:
    return _of_volume("global_pooling: true", (6, 7, 8), 1, (1, 1, 1))


@case("pooling_of_films")
def of_films() -> Naive:
    """R-C3D's pooling_layer.cpp: frames by 1 and 1 stay, rows by 2 and 2 round up; 8 columns with a pad make 5."""
    x = random(32, 2, 3, 6, 7, 8)
    y = np.empty((2, 3, 6, 4, 5), np.float32)
    for n, c, f, i, j in np.ndindex(y.shape):
        y[n, c, f, i, j] = x[n, c, f, 2 * i : 2 * i + 2, max(2 * j - 1, 0) : 2 * j + 1].max()
    fields = "pool: MAX kernel_size: 1 kernel_size: 2 kernel_size: 2 stride: 1 stride: 2 stride: 2 pad: [0, 0, 1]"
    return Naive(layer("Pooling", f"pooling_param {{ {fields} }}"), {"x": x}, {("it", "out"): y})


@case("pooling_of_films_average")
def of_films_average() -> Naive:
    """ECO's pooling_layer.cpp and cuDNN's average, which counts the padding: by 2·3·4 at the edges too."""
    x = random(33, 2, 3, 4, 7, 6)
    y = np.empty((2, 3, 2, 3, 5), np.float32)
    for n, c, f, i, j in np.ndindex(y.shape):
        window = x[n, c, 2 * f : 2 * f + 2, 2 * i : 2 * i + 3, max(j - 1, 0) : j + 3]
        y[n, c, f, i, j] = window.sum(dtype=np.float64) / 24
    fields = "pool: AVE kernel_size: [2, 3, 4] stride: [2, 2, 1] pad: [0, 0, 1]"
    return Naive(layer("Pooling", f"pooling_param {{ {fields} }}"), {"x": x}, {("it", "out"): y})


@case("spp_of_unlike_sizes")
def spp() -> Naive:
    """spp_layer.cpp: levels one behind the other, each channel by channel."""
    x = random(1, 2, 3, 7, 10)
    y = [
        [window.max() for bins in (1, 2, 4) for plane in item for row in level(plane, bins) for window in row]
        for item in x
    ]
    return Naive(layer("SPP", "spp_param { pyramid_height: 3 }"), {"x": x}, {("it", "out"): np.float32(y)})


def gapped_maxima(
    x: Array,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    pad: tuple[int, ...],
    dilation: tuple[int, ...],
    counts: tuple[int, ...],
) -> tuple[Array, Array]:
    """Greentea's pooling_layer.cu, MaxPoolForwardND: largest values and their places, -1 in an empty window."""
    top = np.full((*x.shape[:2], *counts), -np.finfo(np.float32).max, np.float32)
    mask = np.full(top.shape, -1, np.float32)
    for place in np.ndindex(top.shape):
        for step in np.ndindex(*kernel):
            at = [i * s - p + k * d for i, s, p, k, d in zip(place[2:], stride, pad, step, dilation, strict=True)]
            if all(0 <= i < size for i, size in zip(at, x.shape[2:], strict=True)):
                value = x[(*place[:2], *at)]
                if value > top[place]:
                    top[place], mask[place] = value, np.ravel_multi_index(at, x.shape[2:])
    return top, mask


@case("pool_gapped_volumes")
def gapped_volumes() -> Naive:
    """ceil((5 - 2) / 2) + 1, ceil((6 + 2 - 3) / 2) + 1, ceil((9 - 5) / 3) + 1; of the rows' 4 the last starts at 5."""
    x = random(1, 2, 3, 5, 6, 9)
    top, mask = gapped_maxima(x, (2, 2, 3), (2, 2, 3), (0, 1, 0), (1, 2, 2), (3, 4, 3))
    fields = (
        "kernel_size: 2 kernel_size: 2 kernel_size: 3 stride: 2 stride: 2 stride: 3 pad: 0 pad: 1 pad: 0 "
        "dilation: 1 dilation: 2 dilation: 2"
    )
    text = layer("Pooling", f"pooling_param {{ pool: MAX {fields} }}", tops="out mask")
    return Naive(text, {"x": x}, {("it", "out"): top, ("it", "mask"): mask})


@case("pool_gapped_padded_apart")
def padded_apart() -> Naive:
    """Rows have no pad: their window behind the image stays, as BVLC's does not once columns have one."""
    x = random(1, 2, 3, 4, 7)
    top, mask = gapped_maxima(x, (1, 2), (4, 2), (0, 1), (1, 3), (2, 4))
    assert (mask[:, :, 1] == -1).all()
    params = "pooling_param { kernel_h: 1 kernel_w: 2 stride_h: 4 stride_w: 2 pad_w: 1 dilation: 1 dilation: 3 }"
    text = layer("Pooling", params, tops="out mask")
    return Naive(text, {"x": x}, {("it", "out"): top, ("it", "mask"): mask})


@case("pool_gapped_average")
def gapped_average() -> Naive:
    """Greentea's AvePoolForwardSK: it shortens a window until it ends in the padded image, and counts its values."""
    x = random(1, 2, 3, 6, 8)
    (kernel_h, kernel_w), (stride_h, stride_w), pad, dilation = (3, 2), (3, 2), 1, 2
    y = np.empty((2, 3, 2, 5), np.float32)  # ceil((6 + 2 - 5) / 3) + 1 and ceil((8 + 2 - 3) / 2) + 1
    for n, c, ph, pw in np.ndindex(*y.shape):
        hstart, wstart = ph * stride_h - pad, pw * stride_w - pad
        hend, wend = hstart + (kernel_h - 1) * dilation + 1, wstart + (kernel_w - 1) * dilation + 1
        while hend > 6 + pad:
            hend -= dilation
        while wend > 8 + pad:
            wend -= dilation
        total, pool_size = 0.0, 0
        for h in range(hstart, hend, dilation):
            for w in range(wstart, wend, dilation):
                if 0 <= h < 6 and 0 <= w < 8:
                    total += float(x[n, c, h, w])
                pool_size += 1
        y[n, c, ph, pw] = total / pool_size
    fields = "kernel_h: 3 kernel_w: 2 stride: 3 stride: 2 pad: 1 dilation: 2"
    return Naive(layer("Pooling", f"pooling_param {{ pool: AVE {fields} }}"), {"x": x}, {("it", "out"): y})
