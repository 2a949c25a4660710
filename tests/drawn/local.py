"""Convolutions with weights of each place's own."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.drawn.base import Draw, Drawn, drawn, layer, maybe, normal, section, uniform


@drawn("Local")
@st.composite
def local(draw: Draw) -> Drawn:
    kernel = draw(st.integers(1, 3))
    sizes = [kernel + draw(st.integers(0, 4)) for _ in range(2)]
    params = section(
        "local_param",
        *draw(st.sampled_from(((), (uniform("weight_filler"), uniform("bias_filler"))))),
        num_output=draw(st.integers(1, 4)),
        kernel_size=kernel,
        stride=draw(maybe(st.integers(1, 3))),
        pad=draw(maybe(st.integers(0, 2))),
        bias_term=draw(maybe(st.booleans())),
    )
    return Drawn(layer("Local", params), {"x": normal(draw, draw(st.integers(1, 3)), draw(st.integers(1, 3)), *sizes)})
