"""Normalisation with the small number on the other side of the root, and over blobs whose sizes all differ."""

from __future__ import annotations

import math

import numpy as np

from tests.drawn.base import layer
from tests.naive.base import Naive, case, random

EPS = 0.25


@case("batch_norm_eps_behind_root")
def batch_norm() -> Naive:
    """Synopsys' batch_norm_layer.cpp: x less the mean over the root of the variance plus eps."""
    x, mean, variance = random(1, 2, 3, 4, 5), random(2, 3), abs(random(3, 3)) + np.float32(0.1)
    y = np.empty_like(x)
    for n, c, h, w in np.ndindex(x.shape):
        y[n, c, h, w] = (float(x[n, c, h, w]) - float(mean[c]) / 4) / (math.sqrt(float(variance[c]) / 4) + EPS)
    params = f"batch_norm_param {{ eps: {EPS} add_eps_before_sqrt: false }}"
    blobs = {"it": [mean, variance, np.float32([4])]}
    return Naive(layer("BatchNorm", params), {"x": x}, {("it", "out"): y}, blobs)


@case("mvn_eps_under_root")
def mvn() -> Naive:
    """Synopsys' mvn_layer.cpp: the variance divides by the number of values, and eps joins it."""
    x = random(1, 2, 3, 4, 5)
    y = np.empty_like(x)
    for n, c in np.ndindex(2, 3):
        values = [float(v) for v in x[n, c].ravel()]
        mean = sum(values) / len(values)
        variance = sum((v - mean) ** 2 for v in values) / len(values)
        for h, w in np.ndindex(4, 5):
            y[n, c, h, w] = (float(x[n, c, h, w]) - mean) / math.sqrt(variance + EPS)
    params = f"mvn_param {{ eps: {EPS} add_eps_before_sqrt: true }}"
    return Naive(layer("MVN", params), {"x": x}, {("it", "out"): y})


@case("normalize_pixels")
def normalize() -> Naive:
    """SSD's normalize_layer.cpp: a pixel over the root of its channels' squares and eps, times a factor a channel."""
    x, factor = random(1, 2, 3, 4, 5), random(2, 3)
    y = np.empty_like(x)
    for n, h, w in np.ndindex(2, 4, 5):
        norm = math.sqrt(sum(float(v) ** 2 for v in x[n, :, h, w]) + EPS)
        for c in range(3):
            y[n, c, h, w] = float(x[n, c, h, w]) / norm * float(factor[c])
    params = f"norm_param {{ across_spatial: false channel_shared: false eps: {EPS} }}"
    return Naive(layer("Normalize", params), {"x": x}, {("it", "out"): y}, {"it": [factor]})


@case("normalize_eps_behind_root")
def normalize_whole() -> Naive:
    """Synopsys' normalize_layer.cpp: over a whole item, eps added to the root."""
    x, factor = random(1, 2, 3, 4, 5), random(2, 1)
    y = np.empty_like(x)
    for n in range(2):
        norm = math.sqrt(sum(float(v) ** 2 for v in x[n].ravel())) + EPS
        for c, h, w in np.ndindex(3, 4, 5):
            y[n, c, h, w] = float(x[n, c, h, w]) / norm * float(factor[0])
    params = f"norm_param {{ eps: {EPS} add_eps_before_sqrt: false }}"
    return Naive(layer("Normalize", params), {"x": x}, {("it", "out"): y}, {"it": [factor.reshape(())]})
