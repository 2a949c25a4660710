"""Nets for faces in happynear's Caffe for Windows: facts from flip_layer.cpp and channel_scale_layer.cpp."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from verify.layers.registry import Array, Call, Sensitivity, largest, register


@register("Flip", keeps_shape=True)
def flip(call: Call) -> list[Array]:
    """Pixel w is what pixel W - 1 - w was, with flip_height row h what row H - 1 - h was; missing axes count as 1."""
    p = call.param.flip_param
    call.require(call.x.ndim <= 4, f"needs a bottom of at most 4 axes, it has {call.x.ndim}")
    whole = call.x.reshape(call.x.shape + (1,) * (4 - call.x.ndim))
    if p.flip_height:
        whole = whole[:, :, ::-1]
    if p.flip_width:
        whole = whole[:, :, :, ::-1]
    return [np.ascontiguousarray(whole).reshape(call.x.shape)]


def _scale_error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    if not call.param.channel_scale_param.do_forward:
        return [Sensitivity(1, (1.0, 0.0))]
    return [Sensitivity(1, (largest(call.bottoms[1]), largest(call.x)))]


@register("ChannelScale", bottoms=2, error=_scale_error, keeps_shape=True)
def channel_scale(call: Call) -> list[Array]:
    """x[n, c, s] * scale[n * S + s]; a copy without do_forward."""
    p = call.param.channel_scale_param
    call.require(not p.global_scale, "has one scale for all, on which the fork's CPU and GPU differ")
    idle = ("max_global_scale", "min_global_scale", "init_global_scale")
    call.ignores("global_scale is false", *(f"channel_scale_param.{name}" for name in idle))
    factors = call.bottoms[1]
    call.require(2 <= call.x.ndim <= 4, f"needs a bottom of 2 to 4 axes, it has {call.x.ndim}")
    items, channels = call.x.shape[:2]
    fits = factors.ndim > 0 and len(factors) == items and factors.size * channels == call.x.size
    call.require(fits, f"has {factors.size} factors for {call.x.size // channels} places of {items} items")
    if not p.do_forward:
        return [call.x.copy()]
    flat = call.x.reshape(items, channels, -1)
    return [(flat * factors.reshape(items, 1, -1)).reshape(call.x.shape)]
