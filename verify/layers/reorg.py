"""Darknet's reorg (forks: reorg_layer.cpp with reorg_cpu in reorg_layer.hpp; Synopsys: yolov2.py, of stride 2)."""

from __future__ import annotations

import numpy as np

from verify.layers.registry import Array, Call, register


def reorganize(call: Call, stride: int, reverse: bool) -> list[Array]:
    """reorg_cpu with channels C, plane H×W and o = C/s²: channel k, at (j, i), goes with channel k mod o of a larger
    plane, at (j·s + d div s, i·s + d mod s) where d = k div o.

    In reverse the bottom is the first and the top the second. Otherwise values are taken from the second to the first,
    but its arguments are still the bottom's sizes: both are the bottom's and the top's memory, read in other shapes.
    """
    call.require(call.x.ndim == 4, f"needs a bottom of 4 axes, it has {call.x.ndim}")
    call.require(stride > 0, "needs a stride above 0")
    n, c, h, w = call.x.shape
    call.require(c % stride**2 == 0, f"{c} channels do not divide by {stride}·{stride}")
    o = c // stride**2
    many = np.empty_like(call.x)
    large = np.empty((n, o, h * stride, w * stride), np.float32)
    if reverse:
        many[:] = call.x
    else:
        call.require(h % stride == w % stride == 0, f"a plane of {h}×{w} does not divide by {stride}")
        large.ravel()[:] = call.x.ravel()
    for d in range(stride**2):
        channels = slice(d * o, (d + 1) * o)
        places = np.s_[:, :, d // stride :: stride, d % stride :: stride]
        if reverse:
            large[places] = many[:, channels]
        else:
            many[:, channels] = large[places]
    return [large if reverse else many.reshape(n, c * stride**2, h // stride, w // stride)]


@register("Reorg")
def reorg(call: Call) -> list[Array]:
    """As `reorg_param` says, whose stride is 2 in choasup's fork, the one in which it may be left out."""
    p = call.param.reorg_param
    return reorganize(call, p.stride, p.reverse)


@register("Python yolov2.darknet_reorg")
def darknet_reorg(call: Call) -> list[Array]:
    """Of stride 2, not reversed."""
    return reorganize(call, 2, False)
