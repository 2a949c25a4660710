"""Sums along the last axes, and softmax along one."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.drawn.base import Draw, Drawn, axis, blob, drawn, layer, maybe, number, section


@drawn("Reduction")
@st.composite
def reduction(draw: Draw) -> Drawn:
    """What is summed has one sign or is squared, or the sum might be small beside the rounding of its terms."""
    x = blob(draw)
    operation = draw(maybe(st.sampled_from(("SUM", "ASUM", "SUMSQ", "MEAN"))))
    place = axis(draw, x.ndim)
    params = section(
        "reduction_param",
        operation=operation,
        axis=draw(maybe(st.just(0))) if place == 0 else place,
        coeff=draw(maybe(number(0, 1, -1, 0.5))),
    )
    return Drawn(layer("Reduction", params), {"x": x if operation in ("ASUM", "SUMSQ") else abs(x) + x / 4})


@drawn("Softmax")
@st.composite
def softmax(draw: Draw) -> Drawn:
    x = blob(draw)
    place = axis(draw, x.ndim)
    params = section(
        "softmax_param",
        axis=draw(maybe(st.just(1))) if place == 1 else place,
        engine=draw(maybe(st.sampled_from(("DEFAULT", "CAFFE")))),
    )
    return Drawn(layer("Softmax", params), {"x": x})
