"""happynear's layers for faces, from their sources."""

from __future__ import annotations

import numpy as np

from tests.drawn.base import layer
from tests.naive.base import Naive, case, random


@case("flip")
def flip() -> Naive:
    """flip_layer.cpp: columns unless told otherwise."""
    x = random(1, 2, 3, 4, 5)
    y = np.empty_like(x)
    for n, c, h, w in np.ndindex(*x.shape):
        y[n, c, h, w] = x[n, c, h, 4 - w]
    return Naive(layer("Flip"), {"x": x}, {("it", "out"): y})


@case("flip_rows")
def flip_rows() -> Naive:
    """flip_layer.cpp: rows alone."""
    x = random(2, 2, 3, 4, 5)
    y = np.empty_like(x)
    for n, c, h, w in np.ndindex(*x.shape):
        y[n, c, h, w] = x[n, c, 3 - h, w]
    params = "flip_param { flip_width: false flip_height: true }"
    return Naive(layer("Flip", params), {"x": x}, {("it", "out"): y})


@case("channel_scale")
def channel_scale() -> Naive:
    """channel_scale_layer.cpp: scale_data[n*spatial_dim + s]."""
    x, scale = random(3, 2, 3, 4, 5), random(4, 2, 20)
    y = np.empty_like(x)
    for n, c, h, w in np.ndindex(*x.shape):
        y[n, c, h, w] = x[n, c, h, w] * scale[n, 5 * h + w]
    return Naive(layer("ChannelScale", "", "x scale"), {"x": x, "scale": scale}, {("it", "out"): y})
