"""Regions moved and shared out by size, in float32 as in Cascade R-CNN.

Facts from decode_bbox_layer.cpp, bbox_util.cpp and scale_route_layer.cpp.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from prototxt.words import format_shape
from verify.layers.detection.box_output import SLACK, UNIT, normalised
from verify.layers.detection.roi import fed_regions
from verify.layers.registry import UNBOUNDED, Array, Call, Sensitivity, largest, register

F = np.float32


def _rows(call: Call, place: int, values: int) -> Array:
    bottom = call.bottoms[place]
    fits = bottom.ndim >= 2 and bottom.shape[1] == math.prod(bottom.shape[1:]) == values
    call.require(fits, f"bottom {place} is {format_shape(bottom.shape)}, expected rows of {values}")
    return bottom.reshape(-1, values)


def _moves(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    """A corner follows the offsets by the region's size times the growth, and the region by the growth."""
    regions, offsets = _rows(call, 1, 5), normalised(call, _rows(call, 0, 8)[:, 4:])
    std = max(call.param.bbox_reg_param.bbox_std, default=1.0)
    with np.errstate(all="ignore"):
        growth = max(1.0, largest(np.exp(offsets[:, 2:])))
    size = largest(regions[:, 3:] - regions[:, 1:3] + F(1))
    own = SLACK * UNIT * (largest(regions) + size * (growth + largest(offsets[:, :2])))
    return [Sensitivity(1, (2 * std * size * growth, 3 + 2 * growth + 2 * largest(offsets[:, :2])), own)]


@register("DecodeBBox", bottoms=2, error=_moves, feeds={1: fed_regions(lambda feeding: 1.0)})
def decode_bbox(call: Call) -> list[Array]:
    """R×5×1×1: image, and corners moved by the last four of eight offsets; nothing is dropped at test time."""
    call.require(not call.train, "drops regions in phase TRAIN, which is not followed")
    offsets, regions = normalised(call, _rows(call, 0, 8)[:, 4:]), _rows(call, 1, 5)
    call.require(len(offsets) == len(regions), f"{len(offsets)} rows of offsets for {len(regions)} regions")
    low, high = regions[:, 1:3], regions[:, 3:5]
    size = high - low + F(1)
    with np.errstate(over="ignore", invalid="ignore"):
        centre = offsets[:, :2] * size + F(0.5) * (high + low)
        grown = size * np.exp(offsets[:, 2:])
        near = centre - (grown - F(1)) / F(2)
        far = near + grown - F(1)
    return [np.concatenate([regions[:, :1], near, far], axis=1)[:, :, None, None]]


def _route(call: Call) -> tuple[list[int], bool]:
    """The rows that come out, and whether another rounding might choose others."""
    p = call.param.scale_route_param
    has_low, has_high = p.HasField("low_scale"), p.HasField("high_scale")
    low, high = F(p.low_scale), F(p.high_scale) if has_high else np.finfo(F).max
    call.require(bool(low > 0) or not has_low, "needs a low_scale above 0")
    call.require(bool(high >= low), "needs a high_scale of low_scale at least")
    middle = F(256)
    if has_low and has_high:
        middle = np.sqrt(low * high)
    elif has_low or has_high:
        middle = low if has_low else high
    call.require(bool(middle > 0), "needs a high_scale above 0")
    regions = _rows(call, 0, 5)
    width, height = regions[:, 3] - regions[:, 1], regions[:, 4] - regions[:, 2]
    area = np.where((width < 0) | (height < 0), F(0), (width + F(1)) * (height + F(1)))
    scale = np.sqrt(area)
    near = [float(np.min(np.abs(scale.astype(np.float64) - end), initial=math.inf)) for end in (low, high)]
    close = any(gap < 4 * UNIT * end for gap, end in zip(near, (low, high), strict=True) if end < np.finfo(F).max)
    chosen = [int(row) for row in np.flatnonzero((scale >= low) & (scale < high))]
    if chosen:
        return chosen, close
    with np.errstate(divide="ignore"):
        far = np.abs(np.log2(scale / middle))
    call.require(len(far) > 0 and bool(np.isfinite(far).any()), "has no region with an area")
    first = int(np.argmin(far))
    rivals = (far - far[first] < 8 * UNIT * (1 + far[first])) & (scale != scale[first])
    return [first], close or bool(rivals.any())


def _routes(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    own = math.inf if _route(call)[1] else 0.0
    count = len(call.bottoms)
    return [
        Sensitivity(1, tuple(UNBOUNDED if place == 0 else float(place == top) for place in range(count)), own)
        for top in range(count)
    ]


@register("ScaleRoute", bottoms=(1, None), error=_routes, feeds={0: fed_regions(lambda feeding: 1.0)})
def scale_route(call: Call) -> list[Array]:
    """Of each bottom the rows whose region, in the first, is of the wanted size; else the one closest to it."""
    rows, _ = _route(call)
    tops = []
    for bottom in call.bottoms:
        call.require(1 <= bottom.ndim <= 4, "needs bottoms of at most 4 axes")
        call.require(len(bottom) == len(call.x), f"a bottom has {len(bottom)} rows for {len(call.x)} regions")
        tops.append(bottom[rows].reshape(len(rows), *bottom.shape[1:], *(1,) * (4 - bottom.ndim)))
    return tops
