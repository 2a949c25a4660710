"""Pooling with the padding of TensorFlow's SAME."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.drawn.base import Draw, Drawn, apart, drawn, fields, layer, shape


@drawn("Pooling")
@st.composite
def pooled_the_same(draw: Draw) -> Drawn:
    method = draw(st.sampled_from(["MAX", "AVE", "AVE_EXC_PAD"]))
    kernel, stride = ([draw(st.integers(1, 5)) for _ in "hw"] for _ in range(2))
    params = fields(
        pool=method, kernel_h=kernel[0], kernel_w=kernel[1], stride_h=stride[0], stride_w=stride[1], pad_type=1
    )
    tops = "out mask" if method == "MAX" and draw(st.booleans()) else "out"
    return Drawn(layer("Pooling", f"pooling_param {{ {params} }}", tops=tops), {"x": apart(draw, *shape(draw, 4))})
