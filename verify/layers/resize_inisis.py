"""inisis' bilinear interpolation (bilinear_interpolate_layer.cpp)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from verify.layers.registry import Array, Call, Sensitivity, Wide, narrow, register, wide


def _sizes(call: Call) -> tuple[int, int]:
    p, (height, width) = call.param.bilinear_interpolate_param, call.x.shape[2:]
    sized = p.HasField("dst_h") or p.HasField("dst_w")
    call.require(sized != p.HasField("scale_factor"), "needs scale_factor, or dst_h and dst_w, and not both")
    if sized:
        return (p.dst_h if p.HasField("dst_h") else height), (p.dst_w if p.HasField("dst_w") else width)
    factor = np.float32(p.scale_factor)
    return int(np.float32(height) * factor), int(np.float32(width) * factor)


def _along(lanes: Wide, count: int, corners: bool) -> Wide:
    """The first axis at `count` places, held between its first and last value."""
    size = len(lanes)
    steps = np.arange(count)
    where = steps * ((size - 1) / (count - 1)) if corners else (steps + 0.5) * (size / count) - 0.5
    where = np.clip(where, 0, size - 1)
    low = np.clip(np.floor(where).astype(np.int64), 0, max(size - 2, 0))
    share = (where - low).reshape(-1, *(1,) * (lanes.ndim - 1))
    mixed: Wide = (1 - share) * lanes[low] + share * lanes[np.minimum(low + 1, size - 1)]
    return mixed


def _error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    """Places are float32 too: off by 2 · size · u, and the value by that times a step, up to twice the largest."""
    return [Sensitivity(4 + max(call.x.shape[2:]) ** 2 // 4, (1.0,))]


@register("BilinearInterpolate", error=_error)
def bilinear_interpolate(call: Call) -> list[Array]:
    """Corner on corner, or pixel i at (i + 1/2) · size / top's size - 1/2; a lone row there divides 0 by 0."""
    call.require(call.x.ndim == 4, f"needs a bottom of 4 axes, it has {call.x.ndim}")
    sizes, corners = _sizes(call), call.param.bilinear_interpolate_param.align_corners
    call.require(min(sizes) > (1 if corners else 0), f"a top of {sizes[0]}×{sizes[1]} cannot be computed")
    call.room((*call.x.shape[:2], *sizes))
    y = wide(call.x)
    for axis, count in zip((2, 3), sizes, strict=True):
        y = np.moveaxis(_along(np.moveaxis(y, axis, 0), count, corners), 0, axis)
    return [narrow(y)]
