"""Margins of nets for faces."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from tests.drawn.base import Draw, Drawn, apart, drawn, generator, layer, maybe, section, shape


@drawn("LabelSpecificAdd")
@st.composite
def label_specific_add(draw: Draw) -> Drawn:
    sizes = shape(draw, draw(st.integers(2, 4)), most=6)
    bias, test = draw(maybe(st.sampled_from((-0.35, -0.125, 0.5)))), draw(maybe(st.booleans()))
    params = section("label_specific_add_param", bias=bias, transform_test=test)
    label = generator(draw).integers(0, int(np.prod(sizes[1:])), sizes[0]).astype(np.float32)
    return Drawn(layer("LabelSpecificAdd", params, "x label"), {"x": apart(draw, *sizes), "label": label})
