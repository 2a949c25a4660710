"""Sums, products and factors of some axes."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.drawn.base import Array, Draw, Drawn, blob, drawn, layer, maybe, normal, number, section, shape, uniform


@drawn("Eltwise")
@st.composite
def eltwise(draw: Draw) -> Drawn:
    operation = draw(maybe(st.sampled_from(("SUM", "PROD", "MAX"))))
    count = draw(st.integers(1 if operation in (None, "SUM") else 2, 5))
    coeff = None
    if operation in (None, "SUM") and draw(st.booleans()):
        coeff = [draw(number(0, 1, -1)) for _ in range(count)]
    params = section("eltwise_param", operation=operation, coeff=coeff, stable_prod_grad=draw(maybe(st.booleans())))
    sizes = shape(draw, draw(st.integers(1, 5)), most=6)
    feeds = {f"x{i}": normal(draw, *sizes) for i in range(count)}
    return Drawn(layer("Eltwise", params, " ".join(feeds)), feeds)


def covering(draw: Draw, kind: str, name: str, fillers: list[str], **values: object) -> Drawn:
    """A layer that covers some axes, with learned values or a second bottom, which may be a scalar."""
    x = blob(draw, most=4)
    start = draw(st.integers(0, x.ndim - 1))
    given: dict[str, object] = {"axis": draw(st.sampled_from((start, start - x.ndim)))}
    if start == 1:
        given["axis"] = draw(maybe(st.just(1)))
    feeds = {"x": x}
    covered = draw(st.integers(0, x.ndim - start))
    if draw(st.booleans()):
        feeds["by"] = normal(draw, *x.shape[start : start + covered])
        given["num_axes"] = draw(maybe(st.integers(-1, 4)))  # Not looked at where there is a second bottom.
    elif covered != 1 or draw(st.booleans()):
        whole = covered == x.ndim - start and draw(st.booleans())
        given["num_axes"] = -1 if whole else covered
    params = section(name, *draw(st.sampled_from(([], fillers))), **given, **values)
    return Drawn(layer(kind, params, " ".join(feeds)), feeds)


@drawn("Scale")
@st.composite
def scale(draw: Draw) -> Drawn:
    fillers = [uniform(), uniform("bias_filler")]
    return covering(draw, "Scale", "scale_param", fillers, bias_term=draw(maybe(st.booleans())))


@drawn("Bias")
@st.composite
def bias(draw: Draw) -> Drawn:
    return covering(draw, "Bias", "bias_param", [uniform()])


@drawn("Axpy")
@st.composite
def axpy(draw: Draw) -> Drawn:
    sizes, ones = shape(draw, draw(st.integers(2, 4)), most=6), draw(st.sampled_from((0, 2)))
    feeds = {"a": normal(draw, *sizes[:2], *[1] * ones), "x": normal(draw, *sizes), "y": normal(draw, *sizes)}
    return Drawn(layer("Axpy", "", "a x y"), feeds)


@drawn("Mul")
@st.composite
def mul(draw: Draw) -> Drawn:
    sizes = shape(draw, draw(st.integers(1, 4)), most=6)

    def part() -> Array:
        """Some of the last axes, some of them with one value; a scalar where there are none."""
        some = sizes[draw(st.integers(0, len(sizes))) :]
        return normal(draw, *[1 if draw(st.booleans()) else d for d in some])

    return Drawn(layer("Mul", "", "x y"), {"x": part(), "y": part()})
