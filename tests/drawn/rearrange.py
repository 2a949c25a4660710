"""Layers that move values about."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.drawn.base import Draw, Drawn, drawn, fields, layer, normal, shape


@drawn("ShuffleChannel")
@st.composite
def shuffle_channel(draw: Draw) -> Drawn:
    group, inner = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    n, h, w = shape(draw, 3)
    params = f"shuffle_channel_param {{ {fields(group=group)} }}"
    return Drawn(layer("ShuffleChannel", params), {"x": normal(draw, n, group * inner, h, w)})
