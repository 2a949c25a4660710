"""Margins of nets for faces."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from tests.drawn.base import Draw, Drawn, apart, drawn, generator, layer, maybe, normal, section, shape, uniform


@drawn("LabelSpecificAdd")
@st.composite
def label_specific_add(draw: Draw) -> Drawn:
    sizes = shape(draw, draw(st.integers(2, 4)), most=6)
    bias, test = draw(maybe(st.sampled_from((-0.35, -0.125, 0.5)))), draw(maybe(st.booleans()))
    params = section("label_specific_add_param", bias=bias, transform_test=test)
    label = generator(draw).integers(0, int(np.prod(sizes[1:])), sizes[0]).astype(np.float32)
    return Drawn(layer("LabelSpecificAdd", params, "x label"), {"x": apart(draw, *sizes), "label": label})


@drawn("LargeMarginInnerProduct")
@st.composite
def large_margin(draw: Draw) -> Drawn:
    x = normal(draw, *shape(draw, draw(st.integers(2, 4)), most=6))
    params = section(
        "largemargin_inner_product_param",
        uniform("weight_filler"),
        num_output=draw(st.integers(1, 5)),
        type=draw(st.sampled_from((None, "SINGLE"))),
        axis=draw(maybe(st.sampled_from((1, -1, 0)))),
        base=draw(st.sampled_from((5.0, None, 1000.0, 0.0))),
        gamma=draw(st.sampled_from((0.125, None, 2.0, 0.0))),
        power=draw(st.sampled_from((2.0, None, 0.5, 0.0))),
        iteration=draw(maybe(st.integers(0, 9))),
        lambda_min=draw(maybe(st.sampled_from((0.0, 3.0)))),
    )
    label = generator(draw).integers(0, 2, x.shape[0]).astype(np.float32)
    return Drawn(layer("LargeMarginInnerProduct", params, "x label", "out lambda"), {"x": x, "label": label})
