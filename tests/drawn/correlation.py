"""Correlations of two images, in both directions and along the rows, to both sides and to one."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.drawn.base import Draw, Drawn, drawn, layer, maybe, normal, section


def case(draw: Draw, kind: str, flat: bool) -> Drawn:
    kernel, reach, stride = draw(st.sampled_from((1, 1, 3))), draw(st.integers(0, 4)), draw(st.integers(1, 3))
    step, pad = draw(st.integers(1, 3)), draw(st.integers(0, 5))
    side = draw(st.sampled_from((None, 0, 1, -1))) if flat else None
    if side == -1:
        pad = max(pad, (reach // step + 1) * step - reach)
    least = [max(1, kernel - (0 if up else 2 * (pad - reach))) for up in (flat, False)]
    sizes = [size + draw(st.integers(0, 4)) for size in least]
    params = section(
        "correlation_param",
        kernel_size=kernel,
        max_displacement=reach,
        pad=pad if pad or draw(st.booleans()) else None,
        stride_1=stride if stride > 1 else draw(maybe(st.just(1))),
        stride_2=step if step > 1 else draw(maybe(st.just(1))),
        single_direction=side,
        do_abs=draw(maybe(st.booleans())),
        correlation_type=draw(st.sampled_from((None, "MULTIPLY", "SUBTRACT"))),
    )
    n, c = draw(st.integers(1, 3)), draw(st.integers(1, 5))
    feeds = {"x": normal(draw, n, c, *sizes), "y": normal(draw, n, c, *sizes)}
    return Drawn(layer(kind, params, "x y"), feeds)


@drawn("Correlation")
@st.composite
def correlation(draw: Draw) -> Drawn:
    return case(draw, "Correlation", flat=False)


@drawn("Correlation1D")
@st.composite
def correlation_1d(draw: Draw) -> Drawn:
    return case(draw, "Correlation1D", flat=True)
