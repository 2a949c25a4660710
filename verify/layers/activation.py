"""One value in, one value out: ReLU and its kin, sigmoids, thresholds and Dropout (Caffe: *_layer.cpp of each name).

At exactly 0 every rectifier takes its negative side, which is 0 there: only the gradient can tell.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from verify.layers.registry import (
    UNBOUNDED,
    Array,
    Call,
    ErrorRule,
    Sensitivity,
    Wide,
    jumps,
    largest,
    narrow,
    register,
    wide,
)


def bounded_slope(slope: Callable[[Call], float]) -> ErrorRule:
    """Error rule of a function whose derivative is at most `slope(call)`."""

    def rule(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
        return [Sensitivity(1, (slope(call),)) for _ in tops]

    return rule


def rectify(x: Wide, slope: float | Wide) -> Wide:
    """max(x, 0) + slope * min(x, 0)."""
    return np.maximum(x, 0) + slope * np.minimum(x, 0)


def sigmoid(x: Wide) -> Wide:
    """1 / (1 + exp(-x)), written so that no exponential overflows."""
    return 0.5 * np.tanh(0.5 * x) + 0.5


def _relu_error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    steepest = max(1.0, abs(call.param.relu_param.negative_slope))
    return [Sensitivity(1, (gain,)) for gain in (steepest, UNBOUNDED)[: len(tops)]]


@register("ReLU", error=_relu_error, keeps_shape=True)
def relu(call: Call) -> list[Array]:
    """max(x, 0) + negative_slope * min(x, 0).

    Synopsys' fork (its relu_layer.cpp) then takes the least of that, 6 with `relu6` and a positive `maximum`, and the
    largest of that and a `minimum` other than 0, in this order. In HyeonwooNoh's (its relu_layer.cpp) a second top is 1
    where the bottom is above 0, else 0; it looks once the first is written, which in place and with a negative slope
    says something else, and is refused.
    """
    p = call.param.relu_param
    y = rectify(wide(call.x), p.negative_slope) if p.negative_slope else np.maximum(call.x, np.float32(0))
    if p.relu6:
        y = np.minimum(y, 6.0)
    if p.maximum > 0:
        y = np.minimum(y, p.maximum)
    if p.minimum != 0:
        y = np.maximum(y, p.minimum)
    if len(call.layer.tops) == 1:
        return [narrow(y)]
    call.require(p.negative_slope >= 0, "has a second top and a negative_slope below 0")
    return [narrow(y), (call.x > 0).astype(np.float32)]


def _prelu_error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    return [Sensitivity(1, (max(1.0, largest(_slopes(call))),)) for _ in tops]


def _slopes(call: Call) -> Array:
    """Slopes in a shape that broadcasts against the bottom."""
    call.require(call.x.ndim >= 2, "needs a bottom of at least 2 axes")
    shape: tuple[int, ...] = () if call.param.prelu_param.channel_shared else (call.x.shape[1],)
    (slope,) = call.parameters.take([shape])
    return slope.reshape((-1,) + (1,) * (call.x.ndim - 2))


@register("PReLU", error=_prelu_error, keeps_shape=True)
def prelu(call: Call) -> list[Array]:
    """ReLU with a learned slope a channel, or one for all (channel_shared)."""
    return [narrow(rectify(wide(call.x), wide(_slopes(call))))]


def _elu_error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    """Caffe takes 1 from exp(x), which near 0 is off by the rounding of 1, not of the top."""
    p = call.param.elu_param
    factor, alpha = abs(getattr(p, "lambda")), abs(p.alpha)
    return [Sensitivity(1, (factor * max(1.0, alpha),), own=factor * alpha * 2.0**-23)]


@register("ELU", error=_elu_error, keeps_shape=True)
def elu(call: Call) -> list[Array]:
    """x, and below zero alpha * (exp(x) - 1); NVIDIA's elu_layer.cpp multiplies both by lambda."""
    x, p = wide(call.x), call.param.elu_param
    return [narrow(getattr(p, "lambda") * (np.maximum(x, 0) + p.alpha * np.expm1(np.minimum(x, 0))))]


def _sigmoid_error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    """Caffe has it as 0.5 * tanh(0.5 * x) + 0.5, which far below 0 is off by the rounding of 1, not of the top."""
    return [Sensitivity(1, (0.25,), own=2.0**-23)]


@register("Sigmoid", error=_sigmoid_error, keeps_shape=True)
def sigmoid_layer(call: Call) -> list[Array]:
    """1 / (1 + exp(-x))."""
    return [narrow(sigmoid(wide(call.x)))]


@register("TanH", keeps_shape=True)
def tanh(call: Call) -> list[Array]:
    """Hyperbolic tangent."""
    return [narrow(np.tanh(wide(call.x)))]


@register("AbsVal", keeps_shape=True)
def absval(call: Call) -> list[Array]:
    """|x|."""
    return [np.abs(call.x)]


@register("BNLL", keeps_shape=True)
def bnll(call: Call) -> list[Array]:
    """log(1 + exp(x))."""
    return [narrow(np.logaddexp(0.0, wide(call.x)))]


@register("Swish", error=bounded_slope(lambda call: 1.1), keeps_shape=True)
def swish(call: Call) -> list[Array]:
    """x * sigmoid(beta * x); its slope never passes 1.1, whatever beta."""
    x = wide(call.x)
    return [narrow(x * sigmoid(call.param.swish_param.beta * x))]


@register("Clip", keeps_shape=True)
def clip(call: Call) -> list[Array]:
    """x kept within min and max; both must be given."""
    p = call.param.clip_param
    return [np.clip(call.x, np.float32(p.min), np.float32(p.max))]


@register("Threshold", error=jumps, keeps_shape=True)
def threshold(call: Call) -> list[Array]:
    """1 where x > threshold, else 0."""
    return [(call.x > np.float32(call.param.threshold_param.threshold)).astype(np.float32)]


@register("Dropout", keeps_shape=True)
def dropout(call: Call) -> list[Array]:
    """x, since Caffe scales while training; with a fork's `scale_train: false` x * (1 - dropout_ratio).

    Where a fork draws at test time too (`sample_weights_test`), that is the mean of its draws.
    """
    call.require(not call.train, "drops at random in phase TRAIN, which has no answer to compare with")
    p = call.param.dropout_param
    call.ignores("the mean of all draws is what no draw gives", "dropout_param.sample_weights_test")
    if p.scale_train:
        call.ignores("Caffe scales while it trains", "dropout_param.dropout_ratio")
        return [call.x]
    return [narrow(wide(call.x) * (1.0 - p.dropout_ratio))]
