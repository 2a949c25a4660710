"""Maps of a face's action units, from the source of JAA-Net's fork (au_mask_based_land_layer.cpp)."""

from __future__ import annotations

import numpy as np

from tests.drawn.base import layer
from tests.naive.base import Naive, case


@case("au_mask_based_land")
def maps() -> Naive:
    """One centre after the other, pixel by pixel; maps of 9×9 for an image of 36×36."""
    rng = np.random.default_rng(1)
    x = (rng.uniform(0, 36, (2, 98))).astype(np.float32)
    left = (4, 1, 2, 24, 21, 43, 31, 31, 31, 39, 34, 34)
    right = (5, 8, 7, 29, 26, 45, 37, 37, 37, 41, 40, 40)
    shift = (-1 / 2, -1 / 3, 1 / 3, 1, 0, 0, 0, 0, 0, 1 / 2, 0, 0)
    y = np.zeros((13, 2, 1, 9, 9))
    half = 35 / 2 * 0.2
    for n, unit, side in np.ndindex(2, 12, 2):
        landmark = (left, right)[side][unit]
        ruler = abs(float(x[n, 44]) - float(x[n, 50]))
        cx, cy = float(x[n, 2 * landmark]), float(x[n, 2 * landmark + 1]) + shift[unit] * ruler
        for h, w in np.ndindex(9, 9):
            ends = [min(max(int(np.floor(c / 4 + 0.5)), 0), 8) for c in (cy - half, cy + half, cx - half, cx + half)]
            if ends[0] <= h <= ends[1] and ends[2] <= w <= ends[3]:
                value = max(0.0, 1 - (abs(h - cy / 4) + abs(w - cx / 4)) * 0.02 * 100 / 9)
                y[unit, n, 0, h, w] = value
                y[12, n, 0, h, w] = max(y[12, n, 0, h, w], value)
    params = "img_size: 36 spatial_ratio: 0.2 spatial_scale: 0.25 fill_type: 'manhattan' fill_coeff: 0.02"
    text = layer(
        "AUMaskBasedLand", f"au_mask_based_land_param {{ {params} }}", "x", " ".join(f"t{i}" for i in range(13))
    )
    return Naive(text, {"x": x}, {("it", f"t{i}"): y[i].astype(np.float32) for i in range(13)})
