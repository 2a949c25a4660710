"""happynear's LabelSpecificAdd, which at test time does nothing."""

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
