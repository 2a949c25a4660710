"""What nets for faces do to images and feature vectors."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from tests.drawn.base import Draw, Drawn, drawn, layer, maybe, normal, section, shape


@drawn("Flip")
@st.composite
def flip(draw: Draw) -> Drawn:
    params = section("flip_param", flip_width=draw(maybe(st.booleans())), flip_height=draw(maybe(st.booleans())))
    return Drawn(layer("Flip", params), {"x": normal(draw, *shape(draw, draw(st.integers(1, 4)), most=6))})


@drawn("ChannelScale")
@st.composite
def channel_scale(draw: Draw) -> Drawn:
    x = normal(draw, *shape(draw, draw(st.integers(2, 4)), most=6))
    n, _, *places = x.shape
    flat = int(np.prod(places))
    forms = ((n, 1, *places), (n, *places), (n, flat), (n, 1, 1, flat))
    factors = normal(draw, *draw(st.sampled_from(forms)))
    params = section(
        "channel_scale_param",
        do_forward=draw(st.sampled_from((None, True, True, False))),
        do_backward_scale=draw(maybe(st.booleans())),
        global_scale=draw(maybe(st.just(False))),
        max_global_scale=draw(maybe(st.just(9.0))),
    )
    return Drawn(layer("ChannelScale", params, "x scale"), {"x": x, "scale": factors})
