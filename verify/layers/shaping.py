"""Layers that move values without changing them (Caffe: the layer of each name; Permute from SSD)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from prototxt import NetLayer
from prototxt.words import format_shape
from verify.layers.registry import Array, Call, Sensitivity, register, whole


@register("Split", shares=whole, keeps_shape=True)
def split(call: Call) -> list[Array]:
    """The same blob under several names."""
    return [call.x] * len(call.layer.tops)


@register("Silence", bottoms=(1, None))
def silence(call: Call) -> list[Array]:
    """Reads its bottoms so that nothing prints them; no tops."""
    return []


@register("Flatten", shares=whole)
def flatten(call: Call) -> list[Array]:
    """Axes `axis` to `end_axis` become one; an end just before the start puts an axis of 1 there."""
    p = call.param.flatten_param
    first, last = call.axis(p.axis), call.axis(p.end_axis)
    call.require(first <= last + 1, f"axis {p.axis} lies behind end_axis {p.end_axis}")
    shape = call.x.shape
    return [call.x.reshape((*shape[:first], math.prod(shape[first : last + 1]), *shape[last + 1 :]))]


def _concat_gains(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    return [Sensitivity(1, (1.0,) * len(call.bottoms)) for _ in tops]


def _single(layer: NetLayer) -> dict[int, int]:
    """What is joined of one, or cut into one, is no copy."""
    return whole(layer) if len(layer.bottoms) == len(layer.tops) == 1 else {}


@register("Concat", bottoms=(1, None), error=_concat_gains, shares=_single)
def concat(call: Call) -> list[Array]:
    """Bottoms one behind the other along `axis` (`concat_dim` in old files)."""
    p = call.param.concat_param
    axis = call.axis(p.concat_dim if p.HasField("concat_dim") else p.axis)
    first = call.layer.bottoms[0]
    for name, other in zip(call.layer.bottoms, call.bottoms, strict=True):
        same = other.ndim == call.x.ndim and all(
            i == axis or a == b for i, (a, b) in enumerate(zip(other.shape, call.x.shape, strict=True))
        )
        seen = f"{name} is {format_shape(other.shape)}, {first} is {format_shape(call.x.shape)}"
        call.require(same, f"{seen}; only axis {axis} may differ")
    return [np.concatenate(call.bottoms, axis)]


@register("Slice", shares=_single)
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
    """The first bottom cut to the second's size from `axis` on, starting at `offset` (one for all, or one an axis).

    That of FCN's branch has neither, and is the AutoCrop of others.
    """
    if call.layer.dialect == "fcn":
        from verify.layers.shared.places import cut_to_second  # and fractions, which no other layer needs

        return [cut_to_second(call)]
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
    """The blob repeated along `axis`: `tiles` times, or (bottom-up-attention) as the bottom is long on another axis."""
    p = call.param.tile_param
    axis = call.axis(p.axis)
    tiles = p.tiles
    if p.HasField("tiles_from_axis"):
        tiles = call.x.shape[call.axis(p.tiles_from_axis)]
    call.require(tiles > 0, f"tiles {tiles} is not positive")
    call.room((*call.x.shape, tiles))
    return [np.tile(call.x, [tiles if i == axis else 1 for i in range(call.x.ndim)])]


def _unmoved(layer: NetLayer) -> dict[int, int]:
    order = list(layer.param.permute_param.order)
    return whole(layer) if order == list(range(len(order))) else {}


@register("Permute", shares=_unmoved)
def permute(call: Call) -> list[Array]:
    """Axes in a new `order`; axes not named follow in their own order (SSD)."""
    order = list(call.param.permute_param.order)
    call.require(len(set(order)) == len(order), f"order {order} names an axis twice")
    call.require(all(a < call.x.ndim for a in order), f"order {order} names an axis outside a blob of {call.x.ndim}")
    order += [a for a in range(call.x.ndim) if a not in order]
    return [np.ascontiguousarray(call.x.transpose(order))]
