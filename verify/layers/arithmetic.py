"""Powers, exponentials, and arithmetic between blobs (Caffe: power, exp, log, eltwise, scale, bias layers)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from verify.layers.parameters import shape_text
from verify.layers.registry import UNBOUNDED, Array, Call, Sensitivity, Wide, jumps, largest, narrow, register, wide


def _power_error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    p = call.param.power_param
    inner = np.abs(p.shift + p.scale * wide(call.x))
    slope = abs(p.scale * p.power) * largest(inner ** (p.power - 1.0))
    return [Sensitivity(1, (slope,)) for _ in tops]


@register("Power", error=_power_error)
def power(call: Call) -> list[Array]:
    """(shift + scale * x) ** power; a constant where power * scale is 0, even on infinities."""
    p = call.param.power_param
    if p.power * p.scale == 0:
        constant = 1.0 if p.power == 0 else float(np.power(p.shift, p.power))
        return [np.full(call.x.shape, constant, np.float32)]
    inner = p.shift + p.scale * wide(call.x)
    return [narrow(inner if p.power == 1 else np.power(inner, p.power))]


def _log_base(call: Call, base: float) -> float:
    """ln(base); 1 for the default -1, which means e."""
    call.require(base > 0 or base == -1, f"base {base} is not positive (-1 means e)")
    return 1.0 if base == -1 else math.log(base)


def _exp_error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    p = call.param.exp_param
    return [Sensitivity(1, (abs(_log_base(call, p.base) * p.scale) * largest(tops[0]),))]


@register("Exp", error=_exp_error)
def exp(call: Call) -> list[Array]:
    """base ** (shift + scale * x)."""
    p = call.param.exp_param
    return [narrow(np.exp(_log_base(call, p.base) * (p.shift + p.scale * wide(call.x))))]


def _log_error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    p = call.param.log_param
    smallest = float(np.min(np.abs(p.shift + p.scale * wide(call.x)), initial=math.inf))
    slope = abs(p.scale / _log_base(call, p.base)) / smallest if smallest else UNBOUNDED
    return [Sensitivity(1, (slope,))]


@register("Log", error=_log_error)
def log(call: Call) -> list[Array]:
    """Logarithm of (shift + scale * x) to the given base."""
    p = call.param.log_param
    base = _log_base(call, p.base)
    call.require(base != 0, "base 1 has no logarithm")
    return [narrow(np.log(p.shift + p.scale * wide(call.x)) / base)]


def _eltwise_error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    p = call.param.eltwise_param
    gains = [1.0] * len(call.bottoms)
    if p.operation == p.SUM and p.coeff:
        gains = [abs(c) for c in p.coeff]
    if p.operation == p.PROD:
        peaks = [largest(b) for b in call.bottoms]
        gains = [math.prod(peaks[:i] + peaks[i + 1 :]) for i in range(len(peaks))]
    if p.operation == p.DIV:
        least = float(np.min(np.abs(call.bottoms[1]), initial=math.inf))
        gains = [1 / least, largest(tops[0]) / least] if least else [UNBOUNDED] * 2
    return [Sensitivity(len(call.bottoms), tuple(gains))]


def _covering(call: Call) -> list[Array]:
    """The bottoms, a second one of fewer axes with ones behind it (Synopsys' fork; its `axis` says from where on)."""
    p, (first, second, *others) = call.param.eltwise_param, call.bottoms
    call.require(all(other.shape == first.shape for other in others), "bottoms from the third on differ from the first")
    axis = call.axis(p.axis) if first.ndim else 0
    if first.shape[axis : axis + second.ndim] != second.shape:
        call.same_shapes()
    return [first, _aligned(call, second, axis), *others]


@register("Eltwise", bottoms=(2, None), error=_eltwise_error)
def eltwise(call: Call) -> list[Array]:
    """Sum (with coefficients), product, maximum, in Synopsys' fork quotient or minimum."""
    p = call.param.eltwise_param
    first, *rest = _covering(call)
    call.require(len(p.coeff) in (0, len(call.bottoms)), f"{len(p.coeff)} coeff for {len(call.bottoms)} bottoms")
    call.require(p.operation in (p.SUM, p.MAX) or not p.coeff, "takes coeff for SUM only")
    if p.operation in (p.MAX, p.MIN):
        best = first
        for other in rest:
            best = np.where(best > other if p.operation == p.MAX else best < other, best, other)
        return [best]
    if p.operation == p.DIV:
        call.require(len(rest) == 1, f"divides {len(call.bottoms)} bottoms, expected 2")
        with np.errstate(divide="ignore", invalid="ignore"):
            return [narrow(wide(first) / wide(rest[0]))]
    coeffs = list(p.coeff) or [1.0] * len(call.bottoms)
    total: Wide = wide(first) * coeffs[0]
    for coeff, other in zip(coeffs[1:], rest, strict=True):
        if p.operation == p.PROD:
            total *= other
        else:
            total += coeff * wide(other)
    return [narrow(total)]


def _aligned(call: Call, values: Array, axis: int) -> Array:
    """`values` with ones behind, so that its first axis lies on the bottom's `axis`."""
    call.require(
        call.x.shape[axis : axis + values.ndim] == values.shape,
        f"a factor of {shape_text(values.shape)} does not fit {shape_text(call.x.shape)} from axis {axis} on",
    )
    return values.reshape(values.shape + (1,) * (call.x.ndim - axis - values.ndim))


def _learned_shape(call: Call, axis: int, num_axes: int) -> tuple[int, ...]:
    call.require(num_axes >= -1, f"num_axes {num_axes} is below -1")
    call.require(num_axes < 0 or axis + num_axes <= call.x.ndim, f"axis {axis} and num_axes {num_axes} leave the blob")
    return call.x.shape[axis:] if num_axes == -1 else call.x.shape[axis : axis + num_axes]


def _scale_terms(call: Call) -> tuple[Array, Array | None]:
    """Factor and bias, both ready to broadcast against the first bottom."""
    p = call.param.scale_param
    if len(call.bottoms) == 2:
        given = call.bottoms[1]
        axis = call.axis(p.axis) if given.ndim else 0
        bias = call.parameters.take([given.shape] if p.bias_term else [])
        return _aligned(call, given, axis), _aligned(call, bias[0], axis) if bias else None
    axis = call.axis(p.axis)
    shape = _learned_shape(call, axis, p.num_axes)
    factor, *bias = call.parameters.take([shape, shape] if p.bias_term else [shape])
    return _aligned(call, factor, axis), _aligned(call, bias[0], axis) if bias else None


def _scale_error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    factor, bias = _scale_terms(call)
    gains = (largest(factor), largest(call.x))
    return [Sensitivity(1 if bias is None else 2, gains[: len(call.bottoms)])]


@register("Scale", bottoms=(1, 2), error=_scale_error)
def scale(call: Call) -> list[Array]:
    """x * factor (+ bias): learned over `num_axes` axes from `axis`, or the second bottom laid from `axis` on."""
    factor, bias = _scale_terms(call)
    product = wide(call.x) * factor
    return [narrow(product if bias is None else product + bias)]


@register("Bias", bottoms=(1, 2))
def bias(call: Call) -> list[Array]:
    """x + bias, learned or the second bottom, laid out as in Scale."""
    p = call.param.bias_param
    if len(call.bottoms) == 2:
        given = call.bottoms[1]
        axis = call.axis(p.axis) if given.ndim else 0
    else:
        axis = call.axis(p.axis)
        (given,) = call.parameters.take([_learned_shape(call, axis, p.num_axes)])
    return [narrow(wide(call.x) + _aligned(call, given, axis))]


@register("ArgMax", error=jumps)
def argmax(call: Call) -> list[Array]:
    """Positions of the `top_k` largest values, or with `out_max_val` the values.

    With `axis`: along it. Without: over all axes but the first, giving N×1×k, or N×2×k of positions and values.
    Caffe sorts (value, position) pairs downwards, so among equal values the last position comes first.
    """
    p = call.param.argmax_param
    by_axis = p.HasField("axis")
    axis = call.axis(p.axis) if by_axis else 1
    x = call.x if by_axis else call.x.reshape(call.x.shape[0], -1)
    lanes = np.moveaxis(x, axis, -1)
    k, size = p.top_k, lanes.shape[-1]
    call.require(1 <= k <= size, f"top_k {k} is not within 1 and {size}")
    order = size - 1 - np.argsort(-lanes[..., ::-1], axis=-1, kind="stable")[..., :k]
    values = np.take_along_axis(lanes, order, axis=-1)
    if by_axis:
        return [narrow(np.moveaxis(values if p.out_max_val else order, -1, axis))]
    rows = np.stack([order, values], axis=1) if p.out_max_val else order[:, None]
    return [narrow(rows.reshape(rows.shape + (1,) * (call.x.ndim - 3)))]


def _axpy_error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    a, x, _ = call.bottoms
    return [Sensitivity(2, (largest(x), largest(a), 1.0))]


@register("Axpy", bottoms=3, error=_axpy_error)
def axpy(call: Call) -> list[Array]:
    """a · x + y with a factor for each channel of each item: a is N×C or N×C×1×1 (SENet's fork: axpy_layer.cpp)."""
    a, x, y = call.bottoms
    call.require(x.shape == y.shape, f"x is {shape_text(x.shape)}, y is {shape_text(y.shape)}")
    fits = x.ndim >= 2 and a.shape in (x.shape[:2], (*x.shape[:2], 1, 1))
    call.require(fits, f"a factor of {shape_text(a.shape)} is none for each channel of {shape_text(x.shape)}")
    return [narrow(wide(a.reshape(*x.shape[:2], *(1,) * (x.ndim - 2))) * x + y)]


def _mul_error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    return [Sensitivity(1, (largest(call.bottoms[1]), largest(call.x)))]


@register("Mul", bottoms=2, error=_mul_error)
def mul(call: Call) -> list[Array]:
    """The product of two blobs, the last axes on each other; a size of 1, or an axis that lacks, is repeated.

    Synopsys' fork: mul_layer.cpp. Eltwise's PROD in contrast repeats nothing.
    """
    a, b = call.bottoms
    pairs = zip(reversed(a.shape), reversed(b.shape), strict=False)
    fits = all(m == n or 1 in (m, n) for m, n in pairs)
    call.require(fits, f"bottoms of {shape_text(a.shape)} and {shape_text(b.shape)} do not fit")
    call.room(np.broadcast_shapes(a.shape, b.shape))
    return [narrow(wide(a) * b)]
