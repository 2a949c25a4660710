"""JAA-Net's maps of a face's action units, from its landmarks (au_mask_based_land_layer.cpp)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from verify.layers.registry import UNBOUNDED, Array, Call, Feeding, Sensitivity, register

# By the number that the source gives each half of a unit: the landmark and the numerator and denominator of the share
# of the ruler that is added to its y.
CENTRES = {
    0: (4, -1, 2), 1: (5, -1, 2), 2: (1, -1, 3), 3: (8, -1, 3), 4: (2, 1, 3), 5: (7, 1, 3), 6: (24, 1, 1),
    7: (29, 1, 1), 8: (21, 0, 1), 9: (26, 0, 1), 10: (43, 0, 1), 11: (45, 0, 1), 12: (31, 0, 1), 13: (37, 0, 1),
    14: (31, 0, 1), 15: (37, 0, 1), 16: (31, 0, 1), 17: (37, 0, 1), 18: (39, 1, 2), 19: (41, 1, 2),
    20: (34, 0, 1), 21: (40, 0, 1), 22: (34, 0, 1), 23: (40, 0, 1),
}  # fmt: skip
F = np.float32


def _round(value: np.floating) -> int:
    """C's round: halves away from zero."""
    return int(math.copysign(math.floor(abs(float(value)) + 0.5), float(value)))


def landmarks(feeding: Feeding) -> Array:
    """Points within the image."""
    size = feeding.layer.param.au_mask_based_land_param.img_size
    return feeding.rng.uniform(0, max(1, size), feeding.shape).astype(F)


def _maps_jump(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    """What is taken from 1 rounds as 1 does, however little is left."""
    p = call.param.au_mask_based_land_param
    own = 2.0**-22 * (1 + 200 * abs(p.fill_coeff))
    return [Sensitivity(4, (UNBOUNDED,), own) for _ in tops]


def _span(centre: np.floating, half: np.floating, scale: np.floating, size: int) -> tuple[int, int]:
    ends = (_round((centre - half) * scale), _round((centre + half) * scale))
    return min(max(ends[0], 0), size - 1), min(max(ends[1], 0), size - 1)


@register("AUMaskBasedLand", error=_maps_jump, feeds={0: landmarks})
def au_mask_based_land(call: Call) -> list[Array]:
    """Twelve maps, and the largest of all; see the source for which landmark is whose.

    Around each centre a square is filled, whose ends are rounded and clipped to the map: 1 less the distances along
    rows and columns times fill_coeff · 100 / (img_size · spatial_scale), but no less than fill_value. The second half
    of a unit is drawn over the first; the map of all keeps the larger.
    """
    p = call.param.au_mask_based_land_param
    call.require(
        min(p.img_size, p.spatial_ratio, p.spatial_scale) > 0, "needs img_size, spatial_ratio and spatial_scale"
    )
    points = call.x.reshape(call.x.shape[0], -1)
    call.require(points.shape[1] >= 92, f"has {points.shape[1]} values an item, too few for its landmarks")
    call.require(len(call.layer.tops) == 13, f"has {len(call.layer.tops)} tops, expected 13")
    scale, half = F(p.spatial_scale), F((p.img_size - 1) / 2.0 * F(p.spatial_ratio))
    size = _round(F(p.img_size) * scale)
    call.room((13 * len(points), 1, size, size))
    tops = [np.full((len(points), 1, size, size), p.fill_value, F) for _ in range(13)]
    slope = float(p.fill_coeff) * 100.0 / float(F(p.img_size) * scale)
    for item, row in enumerate(points):
        ruler = abs(row[44] - row[50])
        for number, (landmark, up, down) in CENTRES.items() if p.fill_type == "manhattan" else ():
            x, y = row[2 * landmark], row[2 * landmark + 1] + F(up) * (ruler / F(down))
            (left, right), (above, below) = _span(x, half, scale, size), _span(y, half, scale, size)
            rows, columns = np.arange(above, below + 1), np.arange(left, right + 1)
            far = np.abs(rows[:, None] - float(y * scale)) + np.abs(columns - float(x * scale))
            drawn = np.maximum(1 - far * slope, p.fill_value).astype(F)
            window = (item, 0, slice(above, below + 1), slice(left, right + 1))
            tops[number // 2][window] = drawn
            tops[12][window] = np.maximum(tops[12][window], drawn)
    return tops
