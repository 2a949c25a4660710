"""Sums along trailing axes, and Softmax along one (Caffe: reduction_layer.cpp, softmax_layer.cpp)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from verify.layers.registry import Array, Call, Sensitivity, Wide, largest, narrow, register, wide


def _reduction_error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    p = call.param.reduction_param
    terms = math.prod(call.x.shape[call.axis(p.axis) :])
    root = abs(p.coeff) * math.sqrt(terms)
    gains = {p.MEAN: root / max(1, terms), p.SUMSQ: 2 * root * largest(call.x)}
    return [Sensitivity(terms, (gains.get(p.operation, root),))]


@register("Reduction", error=_reduction_error)
def reduction(call: Call) -> list[Array]:
    """SUM, ASUM (of magnitudes), SUMSQ (of squares) or MEAN over every axis from `axis` on, times `coeff`."""
    p = call.param.reduction_param
    axis = call.axis(p.axis)
    lanes = wide(call.x.reshape((*call.x.shape[:axis], -1)))
    if p.operation == p.ASUM:
        lanes = np.abs(lanes)
    elif p.operation == p.SUMSQ:
        lanes = lanes**2
    total = lanes.mean(axis=-1) if p.operation == p.MEAN else lanes.sum(axis=-1)
    return [narrow(total * p.coeff)]


def softmax_along(x: Array, axis: int) -> Wide:
    """exp(x) over its sum along `axis`; the largest value is taken off first, so nothing overflows."""
    powers: Wide = np.exp(wide(x) - wide(x.max(axis=axis, keepdims=True)))
    powers /= powers.sum(axis=axis, keepdims=True)
    return powers


def _softmax_error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    return [Sensitivity(call.x.shape[call.axis(call.param.softmax_param.axis)], (0.5,))]


@register("Softmax", error=_softmax_error, keeps_shape=True)
def softmax(call: Call) -> list[Array]:
    """exp(x) / sum of exp(x) along `axis`; an error of the bottom reaches the top at half its size at most."""
    return [narrow(softmax_along(call.x, call.axis(call.param.softmax_param.axis)))]
