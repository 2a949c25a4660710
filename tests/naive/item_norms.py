"""Normalisation by an item's own mean and deviation, in loops."""

from __future__ import annotations

import math

import numpy as np

from tests.drawn.base import layer
from tests.naive.base import Array, Naive, case, random


def normalised(values: list[float], eps: float) -> list[float]:
    """Less the mean, over the root of the mean square and eps."""
    mean = sum(values) / len(values)
    variance = sum((v - mean) ** 2 for v in values) / len(values)
    return [(v - mean) / math.sqrt(variance + eps) for v in values]


def in_parts(x: Array, parts: int, eps: float) -> Array:
    """Each item cut into parts of neighbouring channels."""
    y = np.empty(x.shape, np.float64)
    for n in range(len(x)):
        values = [float(v) for v in x[n].ravel()]
        size = len(values) // parts
        made = [v for p in range(parts) for v in normalised(values[p * size : (p + 1) * size], eps)]
        y[n] = np.reshape(made, x.shape[1:])
    return y.astype(np.float32)


@case("instance_norm")
def instance_norm() -> Naive:
    x = random(1, 2, 3, 4, 5) * np.float32(0.05)
    return Naive(layer("InstanceNorm"), {"x": x}, {("it", "out"): in_parts(x, 3, 1e-4)})


@case("group_norm_num")
def group_num() -> Naive:
    """GroupNorm-caffe: group_num and eps, no blobs."""
    x = random(2, 2, 6, 4, 5)
    text = layer("GroupNorm", "group_norm_param { group_num: 3 eps: 0.25 }")
    return Naive(text, {"x": x}, {("it", "out"): in_parts(x, 3, 0.25)})


@case("group_norm_ratio")
def group_ratio() -> Naive:
    """Another fork's group_ratio is the number of groups too; its group_num_ is the channels of each."""
    x = random(3, 2, 6, 4, 5)
    text = layer("GroupNorm", "group_norm_param { group_ratio: 2 }")
    return Naive(text, {"x": x}, {("it", "out"): in_parts(x, 2, 1e-5)})


@case("group_norm_blobs")
def group() -> Naive:
    """hujie's: a factor and a summand a channel, 1×C×1×1."""
    x, factor, summand = random(4, 2, 6, 4, 5), random(5, 1, 6, 1, 1), random(6, 1, 6, 1, 1)
    y = in_parts(x, 2, 1e-5)
    for c in range(6):
        y[:, c] = y[:, c] * factor[0, c, 0, 0] + summand[0, c, 0, 0]
    text = layer("GroupNorm", "group_norm_param { group: 2 }")
    return Naive(text, {"x": x}, {("it", "out"): y}, {"it": [factor, summand]})


@case("layer_norm")
def layer_norm() -> Naive:
    """Synopsys': a factor and a summand of each value."""
    x, factor, summand = random(7, 2, 3, 4, 5), random(8, 3, 4, 5), random(9, 3, 4, 5)
    y = in_parts(x, 1, 0.25)
    for n in range(2):
        y[n] = y[n] * factor + summand
    return Naive(
        layer("LayerNorm", "layer_norm_param { eps: 0.25 }"), {"x": x}, {("it", "out"): y}, {"it": [factor, summand]}
    )


@case("layer_norm_plain")
def plain() -> Naive:
    x = random(10, 2, 3, 4)
    text = layer("LayerNorm", "layer_norm_param { elementwise_affine: false }")
    return Naive(text, {"x": x}, {("it", "out"): in_parts(x, 1, 1e-5)})
