"""Max pooling undone by its mask, as SegNet's Upsample and DeconvNet's Unpooling do it.

Facts from the sources of HyeonwooNoh's fork for DeconvNet (unpooling_layer.cpp) and of SegNet's (upsample_layer.cpp).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from verify.layers.registry import UNBOUNDED, Array, Call, Feeding, Sensitivity, register


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
    one, two = p.HasField("unpool_size"), p.HasField("unpool_h") and p.HasField("unpool_w")
    call.require(one != two, "needs unpool_size, or unpool_h and unpool_w")
    rows, columns = (p.unpool_size, p.unpool_size) if one else (p.unpool_h, p.unpool_w)
    call.require(min(rows, columns) > 0, f"a top of {rows}×{columns} is not positive")
    return rows, columns


def _error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    return [Sensitivity(1, (1.0, UNBOUNDED)[: len(call.bottoms)])]


@register("UnPooling", "Unpooling", bottoms=(1, 2), error=_error, feeds={1: places})
def unpooling(call: Call) -> list[Array]:
    """MAX: values at the places of the mask or, without one, on a grid of `stride`, and 0 elsewhere.

    A value of the grid that would fall outside goes to the last row or column, over what is there. AVE and TILE add to
    a top that the fork does not clear, so their values depend on what ran before; they are refused.
    """
    p = call.param.unpooling_param
    call.require(p.unpool == p.MAX, "unpool is not MAX")
    call.require(not (p.pad or p.pad_h or p.pad_w), "has padding, which the layer refuses")
    call.require(call.x.ndim == 4, f"needs a bottom of 4 axes, it has {call.x.ndim}")
    rows, columns = _size(call)
    if len(call.bottoms) == 2:
        mask = call.bottoms[1]
        call.require(mask.shape[2:] == call.x.shape[2:], "bottoms differ in height or width")
        enough = call.x.shape[0] * call.x.shape[1] <= mask.shape[0] * mask.shape[1]
        steps = ("stride", "stride_h", "stride_w")
        call.ignores("the mask says where", *(f"unpooling_param.{name}" for name in steps))
        call.require(enough, "the mask has fewer planes than there are values")
        return [put_back(call, rows, columns)]
    down, across = (p.stride_h, p.stride_w) if p.HasField("stride_h") else (p.stride, p.stride)
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
