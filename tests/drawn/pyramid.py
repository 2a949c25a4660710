"""Pyramids of pooled images."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.drawn.base import Draw, Drawn, drawn, layer, normal, shape


@drawn("ICNetSubgraph")
@st.composite
def icnet_subgraph(draw: Draw) -> Drawn:
    n, c = shape(draw, 2, least=1, most=3)
    return Drawn(layer("ICNetSubgraph"), {"x": normal(draw, n, c, 33, 65)})
