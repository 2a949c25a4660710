"""Margins that nets for faces are trained with.

Facts from happynear's label_specific_add.cpp and from largemargin_inner_product_layer.cpp of L-Softmax.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from verify.layers.inner_product import row_norm
from verify.layers.registry import UNBOUNDED, Array, Call, Feeding, Sensitivity, narrow, register, wide


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


def _matrix(call: Call) -> tuple[Array, int]:
    """Weights as outputs × inputs, and the axis from which the bottom is flattened."""
    p = call.param.largemargin_inner_product_param
    axis = call.axis(p.axis)
    (weight,) = call.parameters.take([(p.num_output, math.prod(call.x.shape[axis:]))])
    return weight, axis


def _large_margin_error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    weight, _ = _matrix(call)
    return [Sensitivity(weight.shape[1], (row_norm(weight), 0.0)), Sensitivity(1, (0.0, 0.0))][: len(tops)]


def _classes(feeding: Feeding) -> Array:
    return feeding.whole(feeding.layer.param.largemargin_inner_product_param.num_output)


@register(
    "LargeMarginInnerProduct",
    bottoms=2,
    feeds={1: _classes},
    error=_large_margin_error,
    scores=lambda layer: layer.param.largemargin_inner_product_param.num_output,
)
def large_margin_inner_product(call: Call) -> list[Array]:
    """x flattened from `axis` on times the weights, of type SINGLE, and the lambda of the layer's first call."""
    p, labels = call.param.largemargin_inner_product_param, call.bottoms[1]
    call.require(p.num_output > 0 and p.type == p.SINGLE, "needs a num_output, and type SINGLE")
    call.require(p.gamma >= 0 and p.iteration >= 0, "has a gamma or iteration below 0")
    call.require(labels.ndim > 0 and call.x.ndim > 0 and len(labels) == len(call.x), "needs labels for all items")
    call.require(len(call.layer.tops) == 2, "needs two tops")
    weight, axis = _matrix(call)
    scores = wide(call.x.reshape(-1, weight.shape[1])) @ wide(weight).T
    decayed = p.base / (1.0 + p.gamma * (p.iteration + 1)) ** p.power
    return [
        narrow(scores.reshape((*call.x.shape[:axis], p.num_output))),
        np.array([max(decayed, p.lambda_min)], np.float32),
    ]
