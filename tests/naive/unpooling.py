"""Max pooling undone, from the source of DeconvNet's fork (unpooling_layer.cpp)."""

from __future__ import annotations

import numpy as np

from tests.drawn.base import layer
from tests.naive.base import Naive, case, random


@case("unpooling_by_mask")
def by_mask() -> Naive:
    """The mask counts within one channel's plane of the top."""
    x = random(1, 2, 3, 4, 5)
    rng = np.random.default_rng(2)
    mask = np.stack([rng.permutation(9 * 11)[:20] for _ in range(6)]).reshape(x.shape).astype(np.float32)
    y = np.zeros((2, 3, 9, 11), np.float32)
    for n, c, h, w in np.ndindex(*x.shape):
        y[n, c].ravel()[int(mask[n, c, h, w])] = x[n, c, h, w]
    text = layer(
        "UnPooling", "unpooling_param { unpool: MAX kernel_size: 2 stride: 2 unpool_h: 9 unpool_w: 11 }", "x mask"
    )
    return Naive(text, {"x": x, "mask": mask}, {("it", "out"): y})


def _of_fusenet(seed: int, params: str, size: tuple[int, int]) -> Naive:
    x = random(seed, 2, 3, 4, 5)
    rng = np.random.default_rng(seed + 1)
    mask = np.stack([rng.permutation(size[0] * size[1])[:20] for _ in range(6)]).reshape(x.shape).astype(np.float32)
    y = np.zeros((2, 3, *size), np.float32)
    for n, c, i in np.ndindex(2, 3, 20):
        y[n, c].ravel()[int(mask[n, c].ravel()[i])] = x[n, c].ravel()[i]
    text = layer("Unpooling", f"unpooling_param {{ {params} }}", "x mask")
    return Naive(text, {"x": x, "mask": mask}, {("it", "out"): y})


@case("unpooling_to_output_size")
def to_output_size() -> Naive:
    """FuseNet's fork (unpooling_layer.cpp) has fields of its own; a stated size counts before the scale."""
    return _of_fusenet(21, "output_h: 9 output_w: 11 scale: 3", (9, 11))


@case("unpooling_by_scale")
def by_scale() -> Naive:
    return _of_fusenet(23, "scale: 2", (8, 10))


@case("unpooling_to_the_pooled_size")
def to_pooled_size() -> Naive:
    """CEDN's fork (unpooling_layer.cpp): (4 - 1) · 3 + 4 - 2 · 1 rows, (5 - 1) · 2 + 3 - 2 · 0 columns."""
    params = "kernel_h: 4 kernel_w: 3 stride_h: 3 stride_w: 2 pad_h: 1 pad_w: 0"
    return _of_fusenet(25, params, (11, 11))


@case("unpooling_by_a_mask_of_more_channels")
def by_larger_mask() -> Naive:
    """The fork steps through the mask plane by plane: for its second item it is still among the first one's planes."""
    x = random(5, 2, 3, 4, 5)
    rng = np.random.default_rng(6)
    mask = np.stack([rng.permutation(8 * 10)[:20] for _ in range(14)]).reshape(2, 7, 4, 5).astype(np.float32)
    y = np.zeros((2, 3, 8, 10), np.float32)
    for plane, (n, c) in enumerate(np.ndindex(2, 3)):
        for h, w in np.ndindex(4, 5):
            y[n, c].ravel()[int(mask.reshape(14, 4, 5)[plane, h, w])] = x[n, c, h, w]
    text = layer("UnPooling", "unpooling_param { kernel_size: 2 stride: 2 unpool_h: 8 unpool_w: 10 }", "x mask")
    return Naive(text, {"x": x, "mask": mask}, {("it", "out"): y})


def _over_windows(method: str, kernel: tuple[int, int], stride: int, size: tuple[int, int]) -> Naive:
    """As on a GPU: each pixel of the top sums what the windows that it is in bring, smaller ones at the top's end."""
    x = random(7, 2, 3, 4, 5)
    y = np.zeros((2, 3, *size))
    for n, c, row, column in np.ndindex(*y.shape):
        for i, j in np.ndindex(4, 5):
            first, left = i * stride, j * stride
            end, right = min(first + kernel[0], size[0]), min(left + kernel[1], size[1])
            if first <= row < end and left <= column < right:
                share = (end - first) * (right - left) if method == "AVE" else 1
                y[n, c, row, column] += float(x[n, c, i, j]) / share
    params = f"unpool: {method} kernel_h: {kernel[0]} kernel_w: {kernel[1]} stride: {stride} "
    params += f"unpool_h: {size[0]} unpool_w: {size[1]}"
    return Naive(layer("Unpooling", f"unpooling_param {{ {params} }}"), {"x": x}, {("it", "out"): y})


@case("unpooling_by_average")
def by_average() -> Naive:
    """Windows overlap and are cut off at the top's end; the last column's lie behind it altogether."""
    return _over_windows("AVE", (3, 4), 2, (8, 8))


@case("unpooling_by_tiles")
def by_tiles() -> Naive:
    """Gaps between the windows stay 0, and so does what lies behind them."""
    return _over_windows("TILE", (2, 3), 4, (16, 19))


@case("unpooling_by_overlapping_tiles")
def by_overlapping_tiles() -> Naive:
    return _over_windows("TILE", (5, 3), 2, (9, 11))


@case("unpooling_on_a_grid")
def on_a_grid() -> Naive:
    """Without a mask the strides say where each value goes."""
    x = random(3, 2, 3, 4, 5)
    y = np.zeros((2, 3, 8, 16), np.float32)
    for n, c, h, w in np.ndindex(*x.shape):
        y[n, c, h * 2, w * 3] = x[n, c, h, w]
    params = "kernel_size: 2 stride_h: 2 stride_w: 3 unpool_h: 8 unpool_w: 16"
    return Naive(layer("Unpooling", f"unpooling_param {{ {params} }}"), {"x": x}, {("it", "out"): y})
