"""Darknet's reorg, by its own indices in memory."""

from __future__ import annotations

import numpy as np

from tests.drawn.base import layer
from tests.naive.base import Array, Naive, case, random


def reorg_cpu(x: Array, stride: int, forward: bool) -> Array:
    """Of darknet's blas.c, which the forks call with the bottom's sizes and forward = reverse."""
    n, c, h, w = x.shape
    out, flat = np.empty(x.size, np.float32), x.ravel()
    o = c // (stride * stride)
    for b, k, j, i in np.ndindex(n, c, h, w):
        at = i + w * (j + h * (k + c * b))
        d = k // o
        column, row = i * stride + d % stride, j * stride + d // stride
        other = column + w * stride * (row + h * stride * (k % o + o * b))
        if forward:
            out[other] = flat[at]
        else:
            out[at] = flat[other]
    return out


@case("reorg")
def reorganized() -> Naive:
    x = random(1, 2, 18, 6, 9)
    y = reorg_cpu(x, 3, False).reshape(2, 162, 2, 3)
    return Naive(layer("Reorg", "reorg_param { stride: 3 }"), {"x": x}, {("it", "out"): y})


@case("reorg_without_stride")
def of_two() -> Naive:
    """choasup's fork (caffe-yolo9000) has 2 as the default; the other forks have none."""
    x = random(4, 2, 12, 4, 6)
    y = reorg_cpu(x, 2, False).reshape(2, 48, 2, 3)
    return Naive(layer("Reorg", ""), {"x": x}, {("it", "out"): y})


@case("reorg_reverse")
def reversed_reorg() -> Naive:
    x = random(2, 3, 8, 5, 4)
    y = reorg_cpu(x, 2, True).reshape(3, 2, 10, 8)
    return Naive(layer("Reorg", "reorg_param { stride: 2 reverse: true }"), {"x": x}, {("it", "out"): y})


@case("reorg_python")
def in_python() -> Naive:
    """Synopsys' yolov2.py calls the same with stride 2."""
    x = random(3, 3, 8, 10, 6)
    y = reorg_cpu(x, 2, False).reshape(3, 32, 5, 3)
    text = layer("Python", 'python_param { module: "yolov2" layer: "darknet_reorg" }')
    return Naive(text, {"x": x}, {("it", "out"): y})
