"""Arithmetic between blobs (Caffe: eltwise, scale and bias layers; Axpy and Mul from forks)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from prototxt.words import format_shape
from verify.layers.registry import UNBOUNDED, Array, Call, Sensitivity, Wide, largest, narrow, register, rounded, wide


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
    p, (first, *more) = call.param.eltwise_param, call.bottoms
    axis = call.axis(p.axis) if first.ndim else 0
    if not more:
        call.require(p.operation == p.SUM, "needs 2 bottoms for all but a SUM")
        return [first]
    second, *others = more
    call.require(all(other.shape == first.shape for other in others), "bottoms from the third on differ from the first")
    if first.shape[axis : axis + second.ndim] != second.shape:
        call.same_shapes()
    return [first, _aligned(call, second, axis), *others]


@register("Eltwise", bottoms=(1, None), error=_eltwise_error, keeps_shape=True)
def eltwise(call: Call) -> list[Array]:
    """Sum (with coefficients; in FlowNet's fork of one), product, maximum, in Synopsys' fork quotient or minimum."""
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
    if p.operation == p.SUM and not p.coeff and rest:
        total: Array | Wide = first
        for other in rest[:-1]:
            total = np.add(total, other, dtype=np.float64)
        return [rounded(np.add, total, rest[-1], first.shape)]
    coeffs = list(p.coeff) or [1.0] * len(call.bottoms)
    product: Wide = wide(first) * coeffs[0]
    for coeff, other in zip(coeffs[1:], rest, strict=True):
        if p.operation == p.PROD:
            product *= other
        else:
            product += coeff * wide(other)
    return [narrow(product)]


def _aligned(call: Call, values: Array, axis: int) -> Array:
    """`values` with ones behind, so that its first axis lies on the bottom's `axis`."""
    call.require(
        call.x.shape[axis : axis + values.ndim] == values.shape,
        f"a factor of {format_shape(values.shape)} does not fit {format_shape(call.x.shape)} from axis {axis} on",
    )
    return values.reshape(values.shape + (1,) * (call.x.ndim - axis - values.ndim))


def _learned_shape(call: Call, axis: int, num_axes: int) -> tuple[int, ...]:
    call.require(num_axes >= -1, f"num_axes {num_axes} is below -1")
    call.require(num_axes < 0 or axis + num_axes <= call.x.ndim, f"axis {axis} and num_axes {num_axes} leave the blob")
    return call.x.shape[axis:] if num_axes == -1 else call.x.shape[axis : axis + num_axes]


def _axis_of(call: Call, given: Array, section: str) -> int:
    """Where the second bottom is laid: a scalar everywhere."""
    call.ignores("the second bottom has as many axes as it has", f"{section}.num_axes")
    if given.ndim:
        return call.axis(getattr(call.param, section).axis)
    call.ignores("the second bottom is a scalar", f"{section}.axis")
    return 0


def _scale_terms(call: Call) -> tuple[Array, Array | None]:
    """Factor and bias, both ready to broadcast against the first bottom."""
    p = call.param.scale_param
    if len(call.bottoms) == 2:
        given = call.bottoms[1]
        axis = _axis_of(call, given, "scale_param")
        bias = call.parameters.take([given.shape] if p.bias_term else [])
        return _aligned(call, given, axis), _aligned(call, bias[0], axis) if bias else None
    axis = call.axis(p.axis)
    shape = _learned_shape(call, axis, p.num_axes)
    factor, *bias = call.parameters.take([shape, shape] if p.bias_term else [shape])
    return _aligned(call, factor, axis), _aligned(call, bias[0], axis) if bias else None


def _scale_error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    if call.parameters.inside:
        return [Sensitivity(1, (1.0,))]
    factor, bias = _scale_terms(call)
    gains = (largest(factor), largest(call.x)) if len(call.bottoms) == 2 else (largest(factor),)
    return [Sensitivity(1 if bias is None else 2, gains)]


@register("Scale", bottoms=(1, 2), error=_scale_error, keeps_shape=True)
def scale(call: Call) -> list[Array]:
    """x * factor (+ bias): learned over `num_axes` axes from `axis`, or the second bottom laid from `axis` on.

    x alone where the BatchNorm before has done that (`Parameters.inside`).
    """
    if call.parameters.inside:
        call.ignores("BatchNorm has done it", "scale_param.axis", "scale_param.num_axes", "scale_param.bias_term")
        return [call.x]
    factor, bias = _scale_terms(call)
    if bias is None:
        return [rounded(np.multiply, call.x, factor, call.x.shape)]
    return [rounded(np.add, np.multiply(call.x, factor, dtype=np.float64), bias, call.x.shape)]


@register("Bias", bottoms=(1, 2), keeps_shape=True)
def bias(call: Call) -> list[Array]:
    """x + bias, learned or the second bottom, laid out as in Scale."""
    p = call.param.bias_param
    if len(call.bottoms) == 2:
        given = call.bottoms[1]
        axis = _axis_of(call, given, "bias_param")
    else:
        axis = call.axis(p.axis)
        (given,) = call.parameters.take([_learned_shape(call, axis, p.num_axes)])
    return [narrow(wide(call.x) + _aligned(call, given, axis))]


def _axpy_error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    a, x, _ = call.bottoms
    return [Sensitivity(2, (largest(x), largest(a), 1.0))]


@register("Axpy", bottoms=3, error=_axpy_error)
def axpy(call: Call) -> list[Array]:
    """a · x + y with a factor for each channel of each item: a is N×C or N×C×1×1 (SENet's fork: axpy_layer.cpp)."""
    a, x, y = call.bottoms
    call.require(x.shape == y.shape, f"x is {format_shape(x.shape)}, y is {format_shape(y.shape)}")
    fits = x.ndim >= 2 and a.shape in (x.shape[:2], (*x.shape[:2], 1, 1))
    call.require(fits, f"a factor of {format_shape(a.shape)} is none for each channel of {format_shape(x.shape)}")
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
    call.require(fits, f"bottoms of {format_shape(a.shape)} and {format_shape(b.shape)} do not fit")
    call.room(np.broadcast_shapes(a.shape, b.shape))
    return [narrow(wide(a) * b)]
