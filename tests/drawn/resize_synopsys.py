"""Synopsys' resizing layers."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.drawn.base import Draw, Drawn, drawn, fields, layer, maybe, normal, shape


def _params(draw: Draw) -> str:
    corners = draw(st.booleans())
    layout = draw(st.sampled_from(["", "data_format: 'NHWC'", "data_format: 'NCHW'"]))
    numbers = fields(
        output_height=draw(maybe(st.integers(1, 14))),
        output_width=draw(maybe(st.integers(1, 14))),
        scale_height=draw(st.sampled_from([None, 0.5, 1.5, 2.0, 3.0])),
        scale_width=draw(st.sampled_from([None, 0.7, 1.25, 2.0, 4.0])),
        align_corners=True if corners else draw(st.sampled_from([None, False])),
        half_pixel_centers=None if corners else draw(maybe(st.booleans())),
    )
    return f"{numbers} {layout}"


@drawn("ResizeNearestNeighbor")
@st.composite
def resize_nearest_neighbor(draw: Draw) -> Drawn:
    params = f"resize_nearest_neighbor_param {{ {_params(draw)} }}"
    return Drawn(layer("ResizeNearestNeighbor", params), {"x": normal(draw, *shape(draw, 4))})


@drawn("ResizeBilinear")
@st.composite
def resize_bilinear(draw: Draw) -> Drawn:
    params = f"resize_bilinear_param {{ {_params(draw)} }}"
    return Drawn(layer("ResizeBilinear", params), {"x": normal(draw, *shape(draw, 4))})
