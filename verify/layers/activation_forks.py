"""Forks' layers that work on each value alone.

Facts from the sources of the forks by soeaver (selu_layer.cpp, selu_dropout_layer.cpp), by happynear
(insanity_layer.cpp), for DehazeNet and FPCNet (brelu_layer.cpp), of iResNet (neg_relu_layer.cpp), of HWGQ
(quant_layer.cpp), and of ENet's spatial_dropout.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from prototxt.param_dict import dict_of
from verify.layers.activation import bounded_slope, rectify
from verify.layers.registry import UNBOUNDED, Array, Call, Sensitivity, narrow, register, wide


@register(
    "ReLU6", error=bounded_slope(lambda call: max(1.0, abs(call.param.relu6_param.negative_slope))), keeps_shape=True
)
def relu6(call: Call) -> list[Array]:
    """min(max(x, 0) + negative_slope * min(x, 0), threshold), 0 and 6 unless inisis' fields are given."""
    p = call.param.relu6_param
    return [narrow(np.minimum(rectify(wide(call.x), p.negative_slope), p.threshold))]


@register("HardSigmoid", error=bounded_slope(lambda call: abs(call.param.hardsigmoid_param.alpha)), keeps_shape=True)
def hard_sigmoid(call: Call) -> list[Array]:
    """alpha * x + beta, kept within 0 and 1 (forks)."""
    p = call.param.hardsigmoid_param
    return [narrow(np.clip(p.alpha * wide(call.x) + p.beta, 0.0, 1.0))]


@register("HardSwish", error=bounded_slope(lambda call: 1.5), keeps_shape=True)
def hard_swish(call: Call) -> list[Array]:
    """x * min(max(x + 3, 0), 6) / 6 (forks); the slope is 1.5 just below x = 3."""
    x = wide(call.x)
    return [narrow(x * np.clip(x + 3.0, 0.0, 6.0) / 6.0)]


def _selu_error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    """The fork takes 1 from exp(x), which near 0 is off by the rounding of 1, not of the top."""
    p = call.param.selu_param
    factor = abs(getattr(p, "lambda"))
    return [Sensitivity(2, (factor * max(1.0, abs(p.alpha)),), own=factor * abs(p.alpha) * 2.0**-23)]


@register("SeLu", error=_selu_error, keeps_shape=True)
def selu(call: Call) -> list[Array]:
    """lambda · x where x > 0, else lambda · alpha · (exp(x) - 1)."""
    p, x = call.param.selu_param, wide(call.x)
    return [narrow(getattr(p, "lambda") * np.where(x > 0, x, p.alpha * np.expm1(np.minimum(x, 0))))]


@register("SeLuDropout", keeps_shape=True)
def selu_dropout(call: Call) -> list[Array]:
    """A copy, out of training."""
    call.require(not call.train, "draws at random in training")
    return [call.x.copy()]


def _mean_divisor(call: Call) -> float:
    """The logarithmic mean of the bounds: their difference over the logarithm of their ratio."""
    p = call.param.insanity_param
    call.require(p.lb < p.ub, f"lb {p.lb:g} is not below ub {p.ub:g}")
    call.require(p.lb != 0 != p.ub, "has a bound of 0")
    call.require(call.x.ndim >= 2, "the bottom has no channels")
    folds = math.log(abs(p.ub / p.lb))
    return (p.ub - p.lb) / folds if folds else math.inf


@register(
    "Insanity",
    error=lambda call, tops: [Sensitivity(2, (max(1.0, 1 / abs(_mean_divisor(call))),))],
    keeps_shape=True,
)
def insanity(call: Call) -> list[Array]:
    """x where x > 0, else x over the logarithmic mean of the bounds, out of training."""
    call.require(not call.train, "draws at random in training")
    x = wide(call.x)
    return [narrow(np.where(x > 0, x, x / _mean_divisor(call)))]


def _slope_above(call: Call) -> float:
    return max(1.0, abs(call.param.relu_param.negative_slope))


@register("NegReLU", error=bounded_slope(_slope_above), keeps_shape=True)
def neg_relu(call: Call) -> list[Array]:
    """x below 0, negative_slope * x from there on."""
    slope = np.float32(call.param.relu_param.negative_slope)
    return [np.where(call.x < 0, call.x, call.x * slope)]


@register("BReLU", keeps_shape=True)
def brelu(call: Call) -> list[Array]:
    """The larger of x and minval, then the smaller of that and maxval."""
    p = call.param.brelu_param
    return [np.minimum(np.maximum(call.x, np.float32(p.minval)), np.float32(p.maxval))]


def _slope_of_quant(call: Call) -> float:
    """Steps jump; the two functions without any do not."""
    p = call.param.quant_param
    return max(1.0, abs(p.negative_slope)) if p.forward_func in ("hard_tanh", "relu") else UNBOUNDED


@register("Quant", error=bounded_slope(_slope_of_quant), keeps_shape=True)
def quant(call: Call) -> list[Array]:
    """HWGQ's values in steps: each x above 0 by the first threshold that it does not exceed, the last without end."""
    p, x = call.param.quant_param, call.x
    if p.forward_func in ("sign", "hard_tanh"):
        call.ignores(f"{p.forward_func} has no slope", "quant_param.negative_slope")
    if p.forward_func != "hwgq":
        call.ignores(f"{p.forward_func} has no centers", "quant_param.centers")
    if p.forward_func == "sign":
        return [np.where(x >= 0, np.float32(1), np.float32(-1))]
    if p.forward_func == "hard_tanh":
        return [np.minimum(np.maximum(x, np.float32(-1)), np.float32(1))]
    slope = np.float32(p.negative_slope)
    if p.forward_func == "relu":
        return [np.maximum(x, np.float32(0)) + slope * np.minimum(x, np.float32(0))]
    call.require(p.forward_func == "hwgq", f"has no forward_func {p.forward_func}")
    centers = np.asarray(p.centers, np.float32)
    call.require(len(centers) > 0 and bool((centers > 0).all()), "has centers that are not above 0, or none")
    top = np.zeros_like(x)
    left = x > 0
    for index, center in enumerate(centers):
        end = (centers[index] + centers[index + 1]) / 2 if index + 1 < len(centers) else np.inf
        here = left & (x <= np.float32(end))
        top[here] = center
        left &= ~here
    top[x <= 0] = -slope
    return [top]


def _kept(call: Call) -> float:
    said = dict_of(call.layer)
    call.require(said.get("phase") != "TRAIN", "param_str asks for phase TRAIN, which draws at random")
    call.require("p" in said, "param_str has no p")
    p = float(str(said["p"]))
    call.require(0 < p < 1, f"p {p:g} is not between 0 and 1")
    return 1 - p


def _spatial_dropout_error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    return [Sensitivity(1, (1 / _kept(call),))]


@register("Python spatial_dropout.SpatialDropoutLayer", error=_spatial_dropout_error)
def spatial_dropout(call: Call) -> list[Array]:
    """x / (1 - p): the layer multiplies by 1 / (1 - p) in either phase, and drops channels in training alone."""
    return [narrow(wide(call.x) / _kept(call))]


@register("Mish", error=lambda call, tops: [Sensitivity(8, (1.2,))], keeps_shape=True)
def mish(call: Call) -> list[Array]:
    """x · tanh(log(1 + exp(x))); its slope is below 1.1."""
    return [narrow(wide(call.x) * np.tanh(np.logaddexp(0, wide(call.x))))]
