"""What Synopsys', SegNet's and DeconvNet's forks add to layers that work on each value alone."""

from __future__ import annotations

import numpy as np

from tests.drawn.base import layer
from tests.naive.base import Naive, case, random


def bounded(params: str, slope: float, most: float | None, least: float | None) -> Naive:
    """Synopsys' relu_layer.cpp: after the rectifier the least of it and the upper bound, then the lower bound."""
    x = 5 * random(1, 2, 3, 4, 5)
    y = np.empty_like(x)
    for place in np.ndindex(x.shape):
        value = max(x[place], 0) + np.float32(slope) * min(x[place], 0)
        value = value if most is None else min(value, np.float32(most))
        y[place] = value if least is None else max(value, np.float32(least))
    return Naive(layer("ReLU", f"relu_param {{ {params} }}"), {"x": x}, {("it", "out"): y})


@case("relu_with_a_mask")
def masked() -> Naive:
    """DeconvNet's relu_layer.cpp: the second top is 1 where the bottom is above 0, and 0 at 0 itself."""
    x = np.round(2 * random(2, 2, 3, 4, 5)) / 2
    y, mask = np.empty_like(x), np.empty_like(x)
    for place in np.ndindex(x.shape):
        y[place] = max(x[place], 0) + np.float32(0.25) * min(x[place], 0)
        mask[place] = 1 if x[place] > 0 else 0
    text = layer("ReLU", "relu_param { negative_slope: 0.25 }", tops="out mask")
    return Naive(text, {"x": x}, {("it", "out"): y, ("it", "mask"): mask})


@case("relu_at_most_6")
def relu6() -> Naive:
    return bounded("relu6: true", 0, 6, None)


@case("relu_between_bounds")
def relu_between() -> Naive:
    return bounded("negative_slope: 0.5 relu6: true maximum: 4 minimum: -1.5", 0.5, 4, -1.5)


@case("dropout_scaled_in_test")
def dropout() -> Naive:
    """SegNet's dropout_layer.cpp: what was not scaled while training is, at test time."""
    x = random(1, 2, 3, 4, 5)
    params = "dropout_param { dropout_ratio: 0.3 scale_train: false }"
    return Naive(layer("Dropout", params), {"x": x}, {("it", "out"): x * np.float32(0.7)})
