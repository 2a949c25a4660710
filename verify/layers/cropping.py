"""Forks' layers that cut images into pieces and put pieces together.

Facts from the sources of waifu2x-caffe's fork (crop_center_layer.cpp), of JAA-Net's (division_layer.cpp,
combination_layer.cpp), of RCF's (auto_crop_layer.cpp) and of Greentea's (mergecrop_layer.cpp, mergecrop_layer.cu).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from verify.layers.registry import Array, Call, Sensitivity, register
from verify.layers.shared.places import cut_to_second


@register("AutoCrop", bottoms=2, error=lambda call, tops: [Sensitivity(1, (1.0, 0.0))])
def auto_crop(call: Call) -> list[Array]:
    """Of the first bottom what lies on the second: its height and width, from where its first pixel is on."""
    return [cut_to_second(call)]


@register("CropCenter")
def crop_center(call: Call) -> list[Array]:
    """Without `crop_size` values at either end of each axis; one at least is left."""
    sizes = list(call.param.crop_center_param.crop_size)
    call.require(len(sizes) == call.x.ndim, f"has {len(sizes)} crop_size for {call.x.ndim} axes")
    for axis, (cut, size) in enumerate(zip(sizes, call.x.shape, strict=True)):
        call.require(cut >= 0 and 2 * cut + 1 <= size, f"crop_size {cut} does not fit axis {axis} of {size}")
    window = tuple(slice(cut, size - cut) for cut, size in zip(sizes, call.x.shape, strict=True))
    return [np.ascontiguousarray(call.x[window])]


def _check_coordinates(call: Call, xs: Sequence[int], ys: Sequence[int], pieces: int) -> None:
    call.require(len(xs) == len(ys) == pieces, f"has {len(xs)} xcoord and {len(ys)} ycoord for {pieces} pieces")
    call.require(min(*xs, *ys) >= 0, "has a coordinate below 0")


@register("Division")
def division(call: Call) -> list[Array]:
    """For each top `height` rows from `ycoord` on and `width` columns from `xcoord` on."""
    p = call.param.division_param
    call.require(call.x.ndim == 4, f"needs a bottom of 4 axes, it has {call.x.ndim}")
    call.require(min(p.height, p.width) > 0, f"pieces of {p.height}×{p.width} are empty")
    _check_coordinates(call, p.xcoord, p.ycoord, len(call.layer.tops))
    rows, columns = call.x.shape[2:]
    tops = []
    for x, y in zip(p.xcoord, p.ycoord, strict=True):
        call.require(y + p.height <= rows and x + p.width <= columns, f"the piece at {y}, {x} leaves {rows}×{columns}")
        tops.append(np.ascontiguousarray(call.x[:, :, y : y + p.height, x : x + p.width]))
    return tops


def _combination_error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    return [Sensitivity(1, (1.0,) * len(call.bottoms))]


@register("Combination", bottoms=(1, None), error=_combination_error)
def combination(call: Call) -> list[Array]:
    """Each bottom at its `ycoord` and `xcoord`, later ones over earlier ones, of an image that the last one ends."""
    p = call.param.combination_param
    _check_coordinates(call, p.xcoord, p.ycoord, len(call.bottoms))
    for bottom in call.bottoms:
        call.require(bottom.ndim == 4, f"needs bottoms of 4 axes, one has {bottom.ndim}")
        call.require(bottom.shape[:2] == call.x.shape[:2], "pieces differ in batch or channels")
    last = call.bottoms[-1].shape
    size = (*call.x.shape[:2], p.ycoord[-1] + last[2], p.xcoord[-1] + last[3])
    call.room(size)
    top: Array = np.zeros(size, np.float32)
    for bottom, x, y in zip(call.bottoms, p.xcoord, p.ycoord, strict=True):
        rows, columns = bottom.shape[2:]
        call.require(
            y + rows <= size[2] and x + columns <= size[3], f"the piece at {y}, {x} leaves {size[2]}×{size[3]}"
        )
        top[:, :, y : y + rows, x : x + columns] = bottom
    return [top]


def _merge_error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    p = call.param.mergecrop_param
    return [Sensitivity(2 if p.operation == p.ADD else 1, (1.0, 1.0))]


@register("MergeCrop", bottoms=2, error=_merge_error)
def merge_crop(call: Call) -> list[Array]:
    """The first bottom's values and those around the middle of the second, which is as large or larger.

    The kernel finds a top channel's bottom by its number within the item, over the first bottom's channels, modulo 2,
    and the channel in it by its number in the whole batch.
    """
    p = call.param.mergecrop_param
    a, b = call.bottoms
    call.require(a.ndim == b.ndim and a.ndim > 2, f"needs bottoms of the same axes, 3 or more: {a.ndim}, {b.ndim}")
    call.require(a.shape[0] == b.shape[0], f"has batches of {a.shape[0]} and {b.shape[0]}")
    call.require(max(len(p.forward), len(p.backward)) <= 2, "has more than 2 forward or backward")
    window = []
    for small, large in zip(a.shape[2:], b.shape[2:], strict=True):
        call.require(large >= small, f"crops {large} to {small}")
        first = (large - small) // 2
        window.append(slice(first, first + small))
    middle = b[(slice(None), slice(None), *window)]
    shown = (*p.forward, *(True, True)[len(p.forward) :])
    parts = [part if on else part * np.float32(0) for part, on in zip((a, middle), shown, strict=True)]
    if p.operation == p.ADD:
        call.require(a.shape[1] == b.shape[1], f"adds {a.shape[1]} channels to {b.shape[1]}")
        return [np.ascontiguousarray(parts[0] + parts[1])]
    channels = a.shape[1] + b.shape[1]
    size = (a.shape[0], channels, *a.shape[2:])
    call.room(size)
    top: Array = np.empty(size, np.float32)
    for item in range(a.shape[0]):
        for channel in range(channels):
            which = channel // a.shape[1] % 2
            source = parts[which]
            top[item, channel] = source[item, (item * channels + channel) % source.shape[1]]
    return [top]
