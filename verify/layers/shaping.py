"""Layers that move values without changing them (Caffe: the layer of each name; Permute and shuffles from forks)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from verify.layers.parameters import shape_text
from verify.layers.registry import Array, Call, Feeding, Sensitivity, jumps, marks, register


@register("Split")
def split(call: Call) -> list[Array]:
    """The same blob under several names."""
    return [call.x] * len(call.layer.tops)


@register("Silence", bottoms=(1, None))
def silence(call: Call) -> list[Array]:
    """Reads its bottoms so that nothing prints them; no tops."""
    return []


@register("Flatten")
def flatten(call: Call) -> list[Array]:
    """Axes `axis` to `end_axis` become one; an end just before the start puts an axis of 1 there."""
    p = call.param.flatten_param
    first, last = call.axis(p.axis), call.axis(p.end_axis)
    call.require(first <= last + 1, f"axis {p.axis} lies behind end_axis {p.end_axis}")
    shape = call.x.shape
    return [call.x.reshape((*shape[:first], math.prod(shape[first : last + 1]), *shape[last + 1 :]))]


def _shuffled(call: Call, r: int) -> Array:
    call.require(call.x.ndim == 4, f"needs a bottom of 4 axes, it has {call.x.ndim}")
    n, c, h, w = call.x.shape
    call.require(r > 0 and c % (r * r) == 0, f"{c} channels do not divide by {r}·{r}")
    top: Array = np.empty((n, c // (r * r), h * r, w * r), np.float32)
    for channel in range(c):
        row, column = divmod(channel % (r * r), r)
        top[:, channel // (r * r), row::r, column::r] = call.x[:, channel]
    return top


@register("Reshape")
def reshape(call: Call) -> list[Array]:
    """New sizes for `num_axes` axes from `axis` on; 0 keeps the size at that place, one -1 is worked out.

    Synopsys' fork (its reshape_layer.cpp): `pixelshuffler` r above 1 makes pixels of channels instead, r·r of them a
    square, row by row.
    """
    p = call.param.reshape_param
    if p.pixelshuffler != 1:
        return [_shuffled(call, p.pixelshuffler)]
    old, ndim = call.x.shape, call.x.ndim
    start = p.axis if p.axis >= 0 else ndim + p.axis + 1
    call.require(0 <= start <= ndim, f"axis {p.axis} is outside a blob of {ndim} axes")
    end = ndim if p.num_axes == -1 else start + p.num_axes
    call.require(p.num_axes >= -1 and end <= ndim, f"axis {p.axis} and num_axes {p.num_axes} leave the blob")
    dims = list(p.shape.dim)
    call.require(all(d >= -1 for d in dims) and dims.count(-1) <= 1, f"shape {dims} holds more than one -1 or less")
    for index, dim in enumerate(dims):
        if dim == 0:
            call.require(start + index < ndim, f"0 at place {index} copies axis {start + index} of {ndim}")
            dims[index] = old[start + index]
    rest = math.prod(old[:start]) * math.prod(old[end:]) * math.prod(d for d in dims if d != -1)
    if -1 in dims:
        call.require(rest > 0 and call.x.size % rest == 0, f"{call.x.size} values do not divide by {rest} for the -1")
        dims[dims.index(-1)] = call.x.size // rest
    new = (*old[:start], *dims, *old[end:])
    call.require(math.prod(new) == call.x.size, f"{call.x.size} values do not fill {shape_text(new)}")
    return [call.x.reshape(new)]


def _concat_gains(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    return [Sensitivity(1, (1.0,) * len(call.bottoms)) for _ in tops]


@register("Concat", bottoms=(1, None), error=_concat_gains)
def concat(call: Call) -> list[Array]:
    """Bottoms one behind the other along `axis` (`concat_dim` in old files)."""
    p = call.param.concat_param
    axis = call.axis(p.concat_dim if p.HasField("concat_dim") else p.axis)
    first = call.layer.bottoms[0]
    for name, other in zip(call.layer.bottoms, call.bottoms, strict=True):
        same = other.ndim == call.x.ndim and all(
            i == axis or a == b for i, (a, b) in enumerate(zip(other.shape, call.x.shape, strict=True))
        )
        seen = f"{name} is {shape_text(other.shape)}, {first} is {shape_text(call.x.shape)}"
        call.require(same, f"{seen}; only axis {axis} may differ")
    return [np.concatenate(call.bottoms, axis)]


@register("Slice")
def slice_layer(call: Call) -> list[Array]:
    """Cut along `axis` (`slice_dim` in old files) at each `slice_point`, or into equal parts, one a top."""
    p = call.param.slice_param
    axis = call.axis(p.slice_dim if p.HasField("slice_dim") else p.axis)
    size, count = call.x.shape[axis], len(call.layer.tops)
    points = list(p.slice_point)
    if not points:
        call.require(size % count == 0, f"axis {axis} of size {size} does not divide into {count} equal tops")
        points = [size // count * i for i in range(1, count)]
    call.require(len(points) == count - 1, f"has {len(points)} slice_point for {count} tops, expected {count - 1}")
    edges = [0, *points, size]
    rising = all(a < b for a, b in itertools.pairwise(edges))
    call.require(rising or count == 1, f"slice_point {points} do not rise within 0 and {size}")
    return [np.ascontiguousarray(part) for part in np.split(call.x, points, axis)]


@register("Crop", bottoms=2, error=lambda call, tops: [Sensitivity(1, (1.0, 0.0))])
def crop(call: Call) -> list[Array]:
    """The first bottom cut to the second's size from `axis` on, starting at `offset` (one for all, or one an axis)."""
    p = call.param.crop_param
    like = call.bottoms[1]
    first = call.axis(p.axis)
    call.require(like.ndim == call.x.ndim, f"bottoms have {call.x.ndim} and {like.ndim} axes")
    offsets = list(p.offset) or [0]
    cut = call.x.ndim - first
    call.require(len(offsets) in (1, cut), f"has {len(offsets)} offset for {cut} cropped axes")
    offsets = offsets * cut if len(offsets) == 1 else offsets
    window = [slice(None)] * first
    for axis, offset in zip(range(first, call.x.ndim), offsets, strict=True):
        size, whole = like.shape[axis], call.x.shape[axis]
        call.require(offset + size <= whole, f"offset {offset} and size {size} leave axis {axis} of size {whole}")
        window.append(slice(offset, offset + like.shape[axis]))
    return [np.ascontiguousarray(call.x[tuple(window)])]


@register("Tile")
def tile(call: Call) -> list[Array]:
    """The blob repeated `tiles` times along `axis`."""
    p = call.param.tile_param
    axis = call.axis(p.axis)
    call.require(p.tiles > 0, f"tiles {p.tiles} is not positive")
    call.room((*call.x.shape, p.tiles))
    return [np.tile(call.x, [p.tiles if i == axis else 1 for i in range(call.x.ndim)])]


def _whole(array: Array) -> list[int]:
    return [int(v) for v in array.ravel()]


def _items(feeding: Feeding) -> Array:
    """Indices into the batch of the first bottom."""
    return feeding.whole(feeding.shapes.get(feeding.layer.bottoms[0], (1,))[0])


@register("BatchReindex", bottoms=2, error=lambda call, tops: [Sensitivity(1, (1.0, np.inf))], feeds={1: _items})
def batch_reindex(call: Call) -> list[Array]:
    """Items of the first bottom, in the order that the second lists."""
    items = _whole(call.bottoms[1])
    size = call.x.shape[0]
    call.require(call.bottoms[1].ndim == 1, "the second bottom is no list of indices")
    call.require(all(0 <= i < size for i in items), f"an index is not within 0 and {size - 1}")
    return [call.x[items]]


@register("Filter", bottoms=(2, None), error=jumps, feeds={-1: marks})
def filter_layer(call: Call) -> list[Array]:
    """Of each bottom but the last, the items where the last is not 0."""
    *inputs, selector = call.bottoms
    call.require(selector.ndim > 0 and selector.size == selector.shape[0], "the selector has more than one axis")
    call.require(all(b.shape[0] == selector.shape[0] for b in inputs), "bottoms differ in their number of items")
    keep = np.flatnonzero(selector)
    return [b[keep] for b in inputs]


@register("Permute")
def permute(call: Call) -> list[Array]:
    """Axes in a new `order`; axes not named follow in their own order (SSD)."""
    order = list(call.param.permute_param.order)
    call.require(len(set(order)) == len(order), f"order {order} names an axis twice")
    call.require(all(a < call.x.ndim for a in order), f"order {order} names an axis outside a blob of {call.x.ndim}")
    order += [a for a in range(call.x.ndim) if a not in order]
    return [np.ascontiguousarray(call.x.transpose(order))]


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
