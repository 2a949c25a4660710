"""Powers, exponentials and logarithms of each value (Caffe: power_layer.cpp, exp_layer.cpp, log_layer.cpp)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from verify.layers.registry import UNBOUNDED, Array, Call, Sensitivity, Wide, largest, narrow, register, wide
from verify.layers.shared.rounding import UNIT_ROUNDOFF


def _power_error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    p = call.param.power_param
    if p.power * p.scale == 0:
        return [Sensitivity(1, (0.0,))]
    scaled = p.scale * wide(call.x)
    inner = np.abs(p.shift + scaled)
    slopes = abs(p.power) * inner ** (p.power - 1.0)
    if p.power == 1:
        return [Sensitivity(1, (abs(p.scale),), 2 * UNIT_ROUNDOFF * largest(inner + np.abs(scaled)))]
    own = slopes * 2 * (inner + np.abs(scaled)) + 4 * np.abs(wide(tops[0]))
    return [Sensitivity(1, (abs(p.scale) * largest(slopes),), UNIT_ROUNDOFF * largest(own))]


@register("Power", error=_power_error, keeps_shape=True)
def power(call: Call) -> list[Array]:
    """(shift + scale * x) ** power; a constant where power * scale is 0, even on infinities.

    A shift of 0 is not added, so that -0 stays below 0 and its reciprocal too.
    """
    p = call.param.power_param
    if p.power == 0:
        call.ignores("whatever to the power of 0 is 1", "power_param.shift", "power_param.scale")
        return [np.ones(call.x.shape, np.float32)]
    if p.scale == 0:
        constant = float(np.power(p.shift, p.power))
        return [np.full(call.x.shape, constant, np.float32)]
    inner = p.scale * wide(call.x)
    if p.shift:
        inner += p.shift
    return [narrow(inner if p.power == 1 else np.power(inner, p.power))]


def _log_base(call: Call, base: float) -> float:
    """ln(base); 1 for the default -1, which means e."""
    call.require(base > 0 or base == -1, f"base {base} is not positive (-1 means e)")
    return 1.0 if base == -1 else math.log(base)


def _exp_error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    """A share of the exponent is as large a share of the top as the exponent is large."""
    p = call.param.exp_param
    base = abs(_log_base(call, p.base))
    exponent = base * (abs(p.shift) + np.abs(p.scale * wide(call.x)))
    own = 4 * UNIT_ROUNDOFF * largest(np.abs(wide(tops[0])) * (1 + exponent))
    return [Sensitivity(1, (base * abs(p.scale) * largest(tops[0]),), own)]


@register("Exp", error=_exp_error, keeps_shape=True)
def exp(call: Call) -> list[Array]:
    """base ** (shift + scale * x)."""
    p = call.param.exp_param
    return [narrow(np.exp(_log_base(call, p.base) * (p.shift + p.scale * wide(call.x))))]


def _log_error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    """Beside 0 the slope grows without end, and what shift + scale · x rounds is much of it."""
    p = call.param.log_param
    scaled = p.scale * wide(call.x)
    inner, base = np.abs(p.shift + scaled), abs(_log_base(call, p.base))
    smallest = float(np.min(inner, initial=math.inf))
    slope = abs(p.scale) / base / smallest if smallest else UNBOUNDED
    own = 2 * (inner + np.abs(scaled)) / inner / base + 4 * np.abs(wide(tops[0]))
    return [Sensitivity(1, (slope,), UNIT_ROUNDOFF * largest(own))]


@register("Log", error=_log_error, keeps_shape=True)
def log(call: Call) -> list[Array]:
    """Logarithm of (shift + scale * x) to the given base."""
    p = call.param.log_param
    base = _log_base(call, p.base)
    call.require(base != 0, "base 1 has no logarithm")
    return [narrow(np.log(p.shift + p.scale * wide(call.x)) / base)]


def _below_largest(call: Call) -> Wide:
    call.require(call.x.ndim == 4 and len(call.x) == 1, "needs a bottom of 4 axes and one item")
    x = wide(call.x)
    below: Wide = x - x.max(axis=1, keepdims=True)
    return below


def _exp_max_error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    """The value and the largest may both be off; a share of the exponent is that of the top times the exponent."""
    p = call.param.expmax_param
    factor = abs(_log_base(call, p.base) * p.scale)
    own = 4 * UNIT_ROUNDOFF * largest(np.abs(wide(tops[0])) * (2 + factor * np.abs(_below_largest(call))))
    return [Sensitivity(1, (2 * factor * largest(tops[0]),), own)]


@register("ExpMax", error=_exp_max_error, keeps_shape=True)
def exp_max(call: Call) -> list[Array]:
    """base ** shift · base ** (scale (x - the largest of all channels)), in LiteFlowNet's expmax_layer.cu."""
    p = call.param.expmax_param
    log = _log_base(call, p.base)
    call.require(
        log * p.shift <= math.log(np.finfo(np.float32).max), f"shift {p.shift:g} makes a factor that float32 has not"
    )
    return [narrow(np.exp(log * p.shift) * np.exp(log * p.scale * _below_largest(call)))]


def _neg_square_error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    return [Sensitivity(1, (2 * largest(call.x),))]


@register("NegSquare", error=_neg_square_error, keeps_shape=True)
def neg_square(call: Call) -> list[Array]:
    """The square, negative (LiteFlowNet's negsquare_layer.cu)."""
    return [narrow(-(wide(call.x) ** 2))]
