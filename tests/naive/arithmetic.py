"""Products and sums of blobs."""

from __future__ import annotations

import numpy as np

from tests.drawn.base import layer
from tests.naive.base import Naive, case, random


def axpy(factor_shape: tuple[int, ...]) -> Naive:
    """SENet's axpy_layer.cpp: every value of a channel of an item times that channel's factor, and a summand."""
    a, x, y = random(1, *factor_shape), random(2, 2, 3, 4, 5), random(3, 2, 3, 4, 5)
    top = np.empty_like(x)
    for n, c, h, w in np.ndindex(x.shape):
        top[n, c, h, w] = a.reshape(2, 3)[n, c] * x[n, c, h, w] + y[n, c, h, w]
    return Naive(layer("Axpy", "", "a x y"), {"a": a, "x": x, "y": y}, {("it", "out"): top})


@case("axpy")
def axpy_of_a_pooled_factor() -> Naive:
    return axpy((2, 3, 1, 1))


@case("axpy_flat")
def axpy_of_a_flat_factor() -> Naive:
    return axpy((2, 3))


@case("mul")
def mul() -> Naive:
    """Synopsys' mul_layer.cpp: an axis of 1, or one that lacks in front, is repeated."""
    x, y = random(1, 2, 3, 1, 5), random(2, 3, 4, 1)
    top = np.empty((2, 3, 4, 5), np.float32)
    for n, c, h, w in np.ndindex(top.shape):
        top[n, c, h, w] = x[n, c, 0, w] * y[c, h, 0]
    return Naive(layer("Mul", "", "x y"), {"x": x, "y": y}, {("it", "out"): top})


@case("eltwise_of_one")
def eltwise_of_one() -> Naive:
    """FlowNet2's eltwise_layer.cpp: the sum of one bottom, which its coeff scales."""
    x = random(13, 2, 3, 4, 5)
    y = np.float32([float(v) * 0.25 for v in x.ravel()]).reshape(x.shape)
    return Naive(layer("Eltwise", "eltwise_param { operation: SUM coeff: 0.25 }"), {"x": x}, {("it", "out"): y})
