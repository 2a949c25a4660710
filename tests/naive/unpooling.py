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


@case("unpooling_on_a_grid")
def on_a_grid() -> Naive:
    """Without a mask the strides say where each value goes."""
    x = random(3, 2, 3, 4, 5)
    y = np.zeros((2, 3, 8, 16), np.float32)
    for n, c, h, w in np.ndindex(*x.shape):
        y[n, c, h * 2, w * 3] = x[n, c, h, w]
    params = "kernel_size: 2 stride_h: 2 stride_w: 3 unpool_h: 8 unpool_w: 16"
    return Naive(layer("Unpooling", f"unpooling_param {{ {params} }}"), {"x": x}, {("it", "out"): y})
