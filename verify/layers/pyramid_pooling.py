"""Spatial pyramid pooling: windows that share out the image into 1, 4, 16… bins (Caffe: spp_layer.cpp)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from verify.layers.pooling import Axis, average, maximum, weighted, weighted_error
from verify.layers.registry import Array, Call, Sensitivity, register


def _pyramid_axis(size: int, bins: int) -> Axis:
    """`bins` windows that cover `size`: the kernel rounds up, the pad shares out what is too much."""
    kernel = -(-size // bins)
    pad = (kernel * bins - size + 1) // 2
    span = size + 2 * pad - kernel
    count = -(-span // kernel) + 1
    if pad and (count - 1) * kernel >= size + pad:
        count -= 1
    return Axis(size, kernel, kernel, pad, pad, count)


def _pyramid(call: Call) -> list[tuple[Axis, Axis]]:
    """The windows of each level."""
    bins = [2**level for level in range(call.param.spp_param.pyramid_height)]
    return [(_pyramid_axis(call.x.shape[2], n), _pyramid_axis(call.x.shape[3], n)) for n in bins]


def _spp_error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    if call.param.spp_param.pool != call.param.spp_param.STOCHASTIC:
        return [Sensitivity(call.x[0, 0].size, (1.0,))]
    levels = [weighted_error(call.x, axes) for axes in _pyramid(call)]
    return [Sensitivity(1, (max(level.gains[0] for level in levels),), max(level.own for level in levels))]


@register("SPP", error=_spp_error)
def spp(call: Call) -> list[Array]:
    """Pooling into 1, 4, 16… bins, `pyramid_height` levels, flattened one behind the other; one alone stays 4-D."""
    p = call.param.spp_param
    call.require(call.x.ndim == 4, f"needs a bottom of 4 axes, it has {call.x.ndim}")
    call.require(p.pyramid_height > 0, f"pyramid_height {p.pyramid_height} is not positive")
    call.require(p.pool != p.STOCHASTIC or not call.train, "STOCHASTIC draws at random in phase TRAIN")
    pool = {p.MAX: maximum, p.AVE: average, p.STOCHASTIC: weighted}[p.pool]
    levels = []
    for level, axes in enumerate(_pyramid(call)):
        bins = 2**level
        for axis in axes:
            call.require(axis.pad < axis.kernel, f"{bins}×{bins} bins need a pad of {axis.pad}, not below the kernel")
            call.require(p.pool != p.STOCHASTIC or axis.pad == 0, f"{bins}×{bins} bins need a pad: STOCHASTIC has none")
        levels.append(pool(call.x, axes))
    if len(levels) == 1:
        return levels
    return [np.concatenate([level.reshape(call.x.shape[0], -1) for level in levels], axis=1)]
