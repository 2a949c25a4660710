"""Maps of a face's action units."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from tests.drawn.base import Draw, Drawn, drawn, fields, generator, layer, maybe


@drawn("AUMaskBasedLand")
@st.composite
def au_mask_based_land(draw: Draw) -> Drawn:
    size = draw(st.integers(5, 24))
    params = fields(
        img_size=size,
        spatial_ratio=draw(st.sampled_from((0.125, 0.3, 0.5))),
        spatial_scale=draw(st.sampled_from((0.25, 0.5, 1.0, 1.5))),
        fill_coeff=draw(st.sampled_from((0.01, 0.04))),
        fill_value=draw(maybe(st.sampled_from((0.0, 0.1)))),
    )
    params += " fill_type: 'manhattan'" if draw(st.integers(0, 9)) else ""
    # Off the places where the ends of a map would fall between two pixels, for the sizes and shares above.
    points = generator(draw).integers(-8 * size, 16 * size, (draw(st.integers(1, 3)), 98)) / 8 + 0.0377
    tops = " ".join(f"t{i}" for i in range(13))
    text = layer("AUMaskBasedLand", f"au_mask_based_land_param {{ {params} }}", "x", tops)
    return Drawn(text, {"x": points.astype(np.float32)}, tolerance=1e-4)
