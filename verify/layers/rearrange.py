"""Forks' layers that move values without computing: reversals, shuffles, axes dropped or put in another order.

Facts from the sources of Synopsys' fork (squeeze_layer.cpp) and of the forks for reading text in images, caffe_ocr
among them (reverse_layer.cpp, transpose_layer.cpp).
"""

from __future__ import annotations

import numpy as np

from verify.layers.registry import Array, Call, register, whole


@register("Unsqueeze", keeps_values=True)
def unsqueeze(call: Call) -> list[Array]:
    """With an axis of 1 at `dim` of the top (inisis' fork: unsqueeze.cpp)."""
    p = call.param.unsqueeze_param
    call.require(p.HasField("dim"), "needs dim")
    return [np.expand_dims(call.x, call.axis(p.dim, call.x.ndim + 1))]


@register("Reverse")
def reverse(call: Call) -> list[Array]:
    """The axis `axis` from its end to its start."""
    return [np.ascontiguousarray(np.flip(call.x, call.axis(call.param.reverse_param.axis)))]


@register("Squeeze", shares=whole)
def squeeze(call: Call) -> list[Array]:
    """Without the axes that `axis` lists, each of size 1; without any, all axes of size 1 go, perhaps to a scalar."""
    axes = {call.axis(axis) for axis in call.param.squeeze_param.axis}
    for axis in sorted(axes):
        call.require(call.x.shape[axis] == 1, f"axis {axis} has size {call.x.shape[axis]}, only size 1 can go")
    gone = axes or {axis for axis, size in enumerate(call.x.shape) if size == 1}
    return [call.x.reshape([size for axis, size in enumerate(call.x.shape) if axis not in gone])]


@register("Transpose")
def transpose(call: Call) -> list[Array]:
    """Axis i of the top is axis `dim` i of the bottom; unlike Permute's `order`, `dim` names every axis."""
    dims = list(call.param.transpose_param.dim)
    call.require(sorted(dims) == list(range(call.x.ndim)), f"dim {dims} is no order of {call.x.ndim} axes")
    return [np.ascontiguousarray(call.x.transpose(dims))]


@register("PixelShuffle")
def pixel_shuffle(call: Call) -> list[Array]:
    """N×(C·r·r)×H×W to N×C×(H·r)×(W·r): a channel's r·r planes become its pixels (forks)."""
    r = call.param.pixelshuffle_param.upscale_factor
    call.require(call.x.ndim == 4, "needs a bottom of 4 axes")
    n, c, h, w = call.x.shape
    call.require(r > 0 and c % (r * r) == 0, f"{c} channels do not divide by {r}·{r}")
    parts = call.x.reshape(n, c // (r * r), r, r, h, w).transpose(0, 1, 4, 2, 5, 3)
    return [np.ascontiguousarray(parts).reshape(n, c // (r * r), h * r, w * r)]


@register("ShuffleChannel")
def shuffle_channel(call: Call) -> list[Array]:
    """Channels dealt out over `group` groups: channel g·k + i becomes i·group + g (ShuffleNet forks)."""
    group = call.param.shuffle_channel_param.group
    n, c, *rest = call.x.shape
    call.require(group > 0 and c % group == 0, f"{c} channels do not divide into {group} groups")
    return [np.ascontiguousarray(call.x.reshape(n, group, c // group, *rest).swapaxes(1, 2)).reshape(call.x.shape)]
