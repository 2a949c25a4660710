"""Synopsys' resizing by TensorFlow's rules (resize_nearest_neighbor_layer.cpp, resize_bilinear_layer.cpp).

    step   in / out, or with align_corners and more than one pixel (in - 1) / (out - 1)
    at     nearest: floor(i step), with align_corners round(i step), with half_pixel_centers floor((i + 0.5) step)
           bilinear: i step, with half_pixel_centers (i + 0.5) step - 0.5, between its floor and its ceiling

Places are float32, as in the fork's source; both are held inside the image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from verify.layers.registry import Array, Call, Sensitivity, Wide, narrow, register, wide


def _target(call: Call, p: Any) -> list[tuple[int, int]]:
    """(axis, its size in the top) of rows and columns; `p` is the layer's message."""
    call.require(call.x.ndim == 4, f"needs a bottom of 4 axes, it has {call.x.ndim}")
    call.require(p.data_format in ("NHWC", "NCHW"), f"data_format {p.data_format!r} is neither NHWC nor NCHW")
    call.require(not (p.align_corners and p.half_pixel_centers), "has align_corners and half_pixel_centers")
    made = []
    for axis, name in zip((1, 2) if p.data_format == "NHWC" else (2, 3), ("height", "width"), strict=True):
        scale = np.float32(getattr(p, f"scale_{name}"))
        call.require(bool(np.isfinite(scale)), f"scale_{name} is {scale:g}, no number to multiply a size by")
        given = p.HasField(f"output_{name}")
        count = getattr(p, f"output_{name}") if given else int(np.floor(np.float32(call.x.shape[axis]) * scale))
        call.require(count > 0, f"makes a {name} of {count}")
        made.append((axis, count))
    sizes = list(call.x.shape)
    for axis, count in made:
        sizes[axis] = count
    call.room(sizes)
    return made


def _step(size: int, count: int, corners: bool) -> np.float32:
    if corners and count > 1:
        return np.float32(size - 1) / np.float32(count - 1)
    return np.float32(size) / np.float32(count)


@register("ResizeNearestNeighbor")
def resize_nearest_neighbor(call: Call) -> list[Array]:
    """Rows and columns picked."""
    p, y = call.param.resize_nearest_neighbor_param, call.x
    for axis, count in _target(call, p):
        size = y.shape[axis]
        step = _step(size, count, p.align_corners)
        i = np.arange(count).astype(np.float32)
        if p.align_corners:
            at = np.trunc(wide(i * step) + 0.5)
        else:
            at = np.floor((i + np.float32(0.5 if p.half_pixel_centers else 0)) * step)
        y = np.take(y, np.clip(at.astype(np.int64), 0, size - 1), axis=axis)
    return [np.ascontiguousarray(y)]


def _bilinear_error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    """A float32 place is off by up to 2 · size · u, and the value by that times a step, up to twice the largest."""
    return [Sensitivity(4 + max(call.x.shape) ** 2 // 4, (1.0,))]


def _mixed(lanes: Wide, places: npt.NDArray[np.float32]) -> Wide:
    """The first axis read at places between its values."""
    below = np.floor(places)
    low = np.maximum(below.astype(np.int64), 0)
    high = np.minimum(np.ceil(places).astype(np.int64), lanes.shape[0] - 1)
    share = wide(places - below).reshape(-1, *(1,) * (lanes.ndim - 1))
    mixed: Wide = lanes[low] + (lanes[high] - lanes[low]) * share
    return mixed


@register("ResizeBilinear", error=_bilinear_error)
def resize_bilinear(call: Call) -> list[Array]:
    """Rows and columns mixed."""
    p, y = call.param.resize_bilinear_param, wide(call.x)
    for axis, count in _target(call, p):
        step = _step(y.shape[axis], count, p.align_corners)
        i = np.arange(count).astype(np.float32)
        half = np.float32(0.5)
        places = (i + half) * step - half if p.half_pixel_centers else i * step
        y = np.moveaxis(_mixed(np.moveaxis(y, axis, 0), places), 0, axis)
    return [narrow(y)]
