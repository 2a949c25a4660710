"""happynear's LabelSpecificAdd, which at test time does nothing, and L-Softmax' product."""

from __future__ import annotations

import numpy as np

from tests.drawn.base import layer
from tests.naive.base import Naive, case, random


@case("label_specific_add")
def label_specific_add() -> Naive:
    """label_specific_add.cpp: transform_test counts in phase TRAIN only, where it changes nothing."""
    x, label = random(1, 3, 4), np.float32([0, 3, 1])
    text = layer("LabelSpecificAdd", "label_specific_add_param { bias: -0.35 transform_test: true }", "x label")
    return Naive(text, {"x": x, "label": label}, {("it", "out"): x.copy()})


@case("large_margin_inner_product")
def large_margin() -> Naive:
    """largemargin_inner_product_layer.cpp: SINGLE is the product; lambda of the first call is 8 (1 + 0.5 * 2)^-2."""
    x, label, weight = random(2, 2, 3, 2), np.float32([1, 3]), random(3, 4, 6)
    y = np.empty((2, 4))
    for n, k in np.ndindex(2, 4):
        y[n, k] = sum(float(v) * float(w) for v, w in zip(x[n].ravel(), weight[k], strict=True))
    params = "num_output: 4 base: 8 gamma: 0.5 power: 2 iteration: 1 lambda_min: 1"
    text = layer("LargeMarginInnerProduct", f"largemargin_inner_product_param {{ {params} }}", "x label", "out lambda")
    answers = {("it", "out"): y, ("it", "lambda"): np.float32([2])}
    return Naive(text, {"x": x, "label": label}, answers, {"it": [weight]})
