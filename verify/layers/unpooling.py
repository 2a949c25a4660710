"""Pooling undone: by a mask, as SegNet's Upsample and DeconvNet's Unpooling do it, or over windows as the latter.

Facts from the sources of HyeonwooNoh's fork for DeconvNet (unpooling_layer.cpp), of FuseNet's and CEDN's (the same
name, other fields or none for the size) and of SegNet's (upsample_layer.cpp).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from verify.layers.registry import UNBOUNDED, Array, Call, Feeding, Sensitivity, narrow, register, wide


def places(feeding: Feeding) -> Array:
    """A mask: in each channel as many places as there are values, no two of them alike."""
    planes, size = feeding.shape[0] * feeding.shape[1], feeding.shape[2] * feeding.shape[3]
    rows = [feeding.rng.permutation(size) for _ in range(planes)]
    return np.array(rows, np.float32).reshape(feeding.shape)


def put_back(call: Call, rows: int, columns: int) -> Array:
    """Zeros, and each value at the place that the mask gives it in its channel; of two at one place the last counts.

    Planes of the mask are counted off one by one, so that a mask may have more of them.
    """
    call.room((*call.x.shape[:2], rows, columns))
    planes = call.x.shape[0] * call.x.shape[1]
    mask = np.trunc(call.bottoms[1]).reshape(-1, call.x.shape[2] * call.x.shape[3])[:planes]
    inside = bool(np.all((mask >= 0) & (mask < rows * columns)))
    call.require(inside, f"a place in the mask is not within {rows}×{columns}")
    top: Array = np.zeros((mask.shape[0], rows * columns), np.float32)
    values = call.x.reshape(mask.shape)
    channels = np.arange(mask.shape[0])
    for index in range(mask.shape[1]):
        top[channels, mask[:, index].astype(np.int64)] = values[:, index]
    return top.reshape(*call.x.shape[:2], rows, columns)


def _size(call: Call) -> tuple[int, int]:
    p = call.param.unpooling_param
    if p.HasField("output_h") and p.HasField("output_w"):
        call.ignores("the size is stated", "unpooling_param.scale")
        return p.output_h, p.output_w
    if p.HasField("scale"):
        call.ignores("it takes both to state a size", "unpooling_param.output_h", "unpooling_param.output_w")
        return call.x.shape[2] * p.scale, call.x.shape[3] * p.scale
    if _of_cedn(call):
        return _unpooled(call)
    one, two = p.HasField("unpool_size"), p.HasField("unpool_h") and p.HasField("unpool_w")
    call.require(one != two, "needs unpool_size, or unpool_h and unpool_w")
    rows, columns = (p.unpool_size, p.unpool_size) if one else (p.unpool_h, p.unpool_w)
    call.require(min(rows, columns) > 0, f"a top of {rows}×{columns} is not positive")
    return rows, columns


def _of_fusenet(call: Call) -> bool:
    p = call.param.unpooling_param
    return bool(p.HasField("output_h") or p.HasField("output_w") or p.HasField("scale"))


def _of_cedn(call: Call) -> bool:
    """Whether a mask's layer leaves its size to the windows."""
    p = call.param.unpooling_param
    if len(call.bottoms) == 1 or p.unpool != p.MAX or _of_fusenet(call):
        return False
    return not (p.HasField("unpool_size") or p.HasField("unpool_h") or p.HasField("unpool_w"))


def _unpooled(call: Call) -> tuple[int, int]:
    """From the first window's first to the last one's last pixel, without what is padding."""
    p = call.param.unpooling_param
    pads = (p.pad_h, p.pad_w) if p.HasField("pad_h") else (p.pad, p.pad)
    for one, two in (("kernel_size", "kernel_h"), ("stride", "stride_h"), ("pad", "pad_h")):
        call.require(not (p.HasField(one) and p.HasField(two)), f"has {one} and {two}")
    spans = zip(call.x.shape[2:], _kernel(call), _steps(call), pads, strict=True)
    ends = []
    for count, kernel, step, pad in spans:
        call.require(kernel > pad and step > 0, f"has a kernel of {kernel} with pad {pad} and stride {step}")
        ends.append(max(place * step + kernel for place in range(count)) - 2 * pad)
    return ends[0], ends[1]


def _spread(call: Call, rows: int, columns: int) -> Array:
    """AVE and TILE."""
    p = call.param.unpooling_param
    call.require(len(call.bottoms) == 1, "has a mask, which MAX alone reads")
    (high, broad), (down, across) = _kernel(call), _steps(call)
    call.require(min(high, broad, down, across) > 0, "has a kernel or stride of 0")
    call.room((*call.x.shape[:2], rows, columns))
    top = np.zeros((*call.x.shape[:2], rows, columns))
    for i, j in np.ndindex(*call.x.shape[2:]):
        window = top[:, :, i * down : i * down + high, j * across : j * across + broad]
        share = max(1, window.shape[2] * window.shape[3]) if p.unpool == p.AVE else 1
        window += wide(call.x[:, :, i : i + 1, j : j + 1]) / share
    return narrow(top)


def _kernel(call: Call) -> tuple[int, int]:
    p = call.param.unpooling_param
    return (p.kernel_size, p.kernel_size) if p.HasField("kernel_size") else (p.kernel_h, p.kernel_w)


def _steps(call: Call) -> tuple[int, int]:
    p = call.param.unpooling_param
    return (p.stride_h, p.stride_w) if p.HasField("stride_h") else (p.stride, p.stride)


def _error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    return [Sensitivity(1, (1.0, UNBOUNDED)[: len(call.bottoms)])]


def _unpooling_error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    """A pixel of the top is a sum over the windows that it is in: of an axis, as many as strides fit in the kernel."""
    p = call.param.unpooling_param
    if p.unpool == p.MAX:
        return _error(call, tops)
    over = math.prod(-(-size // step) for size, step in zip(_kernel(call), _steps(call), strict=True))
    return [Sensitivity(over + 2, (float(over),))]


@register("UnPooling", "Unpooling", bottoms=(1, 2), error=_unpooling_error, feeds={1: places})
def unpooling(call: Call) -> list[Array]:
    """MAX: values at the places of the mask or, without one, on a grid of `stride`, and 0 elsewhere.

    A value of the grid that would fall outside goes to the last row or column, over what is there. TILE adds each value
    to its window of the top, and AVE the value over the window's size, of which what lies behind the top is no part.
    (That is the fork's unpooling_layer.cu; the CPU's code forgets to clear the top first, and is so the first time.)
    """
    p = call.param.unpooling_param
    call.require(call.x.ndim == 4, f"needs a bottom of 4 axes, it has {call.x.ndim}")
    by_windows = _of_cedn(call)
    call.require(by_windows or not (p.pad or p.pad_h or p.pad_w), "has padding, which the layer refuses")
    rows, columns = _size(call)
    call.require(not _of_fusenet(call) or len(call.bottoms) == 2, "has FuseNet's fields and no mask")
    call.require(min(rows, columns) > 0, f"a top of {rows}×{columns} is not positive")
    if p.unpool != p.MAX:
        return [_spread(call, rows, columns)]
    sized = not (by_windows or _of_fusenet(call))
    if sized:
        kernel = ("kernel_size", "kernel_h", "kernel_w")
        call.ignores("MAX has no windows", *(f"unpooling_param.{name}" for name in kernel))
    if len(call.bottoms) == 2:
        mask = call.bottoms[1]
        call.require(mask.shape[2:] == call.x.shape[2:], "bottoms differ in height or width")
        enough = call.x.shape[0] * call.x.shape[1] <= mask.shape[0] * mask.shape[1]
        if sized:
            steps = ("stride", "stride_h", "stride_w")
            call.ignores("the mask says where", *(f"unpooling_param.{name}" for name in steps))
        call.require(enough, "the mask has fewer planes than there are values")
        return [put_back(call, rows, columns)]
    down, across = _steps(call)
    call.room((*call.x.shape[:2], rows, columns))
    top: Array = np.zeros((*call.x.shape[:2], rows, columns), np.float32)
    for i, j in np.ndindex(*call.x.shape[2:]):
        top[:, :, min(i * down, rows - 1), min(j * across, columns - 1)] = call.x[:, :, i, j]
    return [top]


@register("MaxUnPool", bottoms=2, error=_error, feeds={1: places})
def max_unpool(call: Call) -> list[Array]:
    """dst_h × dst_w zeros, and each value where the mask says (inisis' fork: maxunpool_layer.cpp)."""
    p = call.param.max_unpool_param
    call.require(call.x.ndim == 4, f"needs a bottom of 4 axes, it has {call.x.ndim}")
    call.require(p.dst_h > 0 and p.dst_w > 0, "needs dst_h and dst_w")
    call.same_shapes()
    return [put_back(call, p.dst_h, p.dst_w)]
