"""Layers that move values about."""

from __future__ import annotations

import numpy as np

from tests.drawn.base import layer
from tests.naive.base import Naive, case, random


@case("shuffle_channel")
def shuffled() -> Naive:
    """ShuffleNet's shuffle_channel_layer.cpp: row i and column j of the table of channels become row j, column i."""
    x = random(1, 2, 6, 5, 7)
    y = np.empty_like(x)
    for i, j in np.ndindex(3, 2):
        y[:, j * 3 + i] = x[:, i * 2 + j]
    return Naive(layer("ShuffleChannel", "shuffle_channel_param { group: 3 }"), {"x": x}, {("it", "out"): y})
