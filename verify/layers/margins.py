"""Margins that nets for faces are trained with, from happynear's label_specific_add.cpp."""

from __future__ import annotations

import numpy as np

from verify.layers.registry import UNBOUNDED, Array, Call, Feeding, Sensitivity, register


def _labels(feeding: Feeding) -> Array:
    """Labels; every net has two classes."""
    return feeding.whole(2)


@register(
    "LabelSpecificAdd",
    bottoms=2,
    feeds={1: _labels},
    error=lambda call, tops: [Sensitivity(1, (UNBOUNDED if call.train else 1.0, UNBOUNDED if call.train else 0.0))],
)
def label_specific_add(call: Call) -> list[Array]:
    """The bottom itself at test time; in training `bias` is added to the label's score where that is above -bias."""
    p, labels = call.param.label_specific_add_param, call.bottoms[1]
    call.require(len(call.layer.tops) == 1, "has a second top, which is not written at test time")
    call.require(call.x.ndim > 0 and labels.size == len(call.x), "needs a label for each item")
    if not call.train:
        return [call.x]
    call.require(not p.HasField("bias_base"), "has a bias that moves with the iterations")
    y, bias = call.x.reshape(len(call.x), -1).copy(), np.float32(p.bias)
    for item, label in enumerate(labels.ravel().astype(np.int64)):
        call.require(bool(0 <= label < y.shape[1]), f"label {label} is not within 0 and {y.shape[1] - 1}")
        if y[item, label] > -bias:
            y[item, label] += bias
    return [y.reshape(call.x.shape)]
