"""Darknet's reorg."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.drawn.base import Draw, Drawn, drawn, fields, layer, normal, shape


@drawn("Reorg")
@st.composite
def reorg(draw: Draw) -> Drawn:
    stated, reverse = draw(st.none() | st.integers(1, 4)), draw(st.none() | st.booleans())
    stride = 2 if stated is None else stated
    n, o, h, w = shape(draw, 4, least=1, most=5)
    sizes = (h, w) if reverse else (h * stride, w * stride)
    params = f"reorg_param {{ {fields(stride=stated, reverse=reverse)} }}"
    return Drawn(layer("Reorg", params), {"x": normal(draw, n, o * stride**2, *sizes)})


@drawn("Python yolov2.darknet_reorg")
@st.composite
def darknet_reorg(draw: Draw) -> Drawn:
    n, o, h, w = shape(draw, 4, least=1, most=5)
    params = 'python_param { module: "yolov2" layer: "darknet_reorg" }'
    return Drawn(layer("Python", params), {"x": normal(draw, n, 4 * o, 2 * h, 2 * w)})
