"""FlowNet's resizing, to stated sizes and to those of a second bottom, larger and smaller on each axis."""

from __future__ import annotations

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st

from tests.drawn.base import Array, Draw, Drawn, drawn, layer, maybe, normal, section, shape


def target(draw: Draw, names: tuple[str, str], size: tuple[int, int]) -> tuple[dict[str, int], dict[str, Array]]:
    """The size as fields, or as a second bottom of that size."""
    if draw(st.booleans()):
        return dict(zip(names, size, strict=True)), {}
    return {}, {"like": np.zeros((1, 2, *size), np.float32)}


@drawn("Resample")
@st.composite
def resample(draw: Draw) -> Drawn:
    x = normal(draw, *shape(draw, 4, least=1, most=9))
    size = (draw(st.integers(1, 12)), draw(st.integers(1, 12)))
    kind = draw(st.sampled_from((None, "LINEAR", "CUBIC", "NEAREST")))
    if kind == "NEAREST":
        times = draw(st.sampled_from((1, 2, 4)))
        size = (x.shape[2] * times, x.shape[3] * times)
    given, feeds = target(draw, ("height", "width"), size)
    more = {"type": kind, "antialias": draw(maybe(st.booleans())), "factor": draw(maybe(st.just(1.0)))}
    params = section("resample_param", **given, **more)
    return Drawn(layer("Resample", params, " ".join(("x", *feeds))), {"x": x} | feeds)


@drawn("Downsample")
@st.composite
def downsample(draw: Draw) -> Drawn:
    x = normal(draw, *shape(draw, 4, least=2, most=9))
    same, other = (x.shape[2], x.shape[3]), (draw(st.integers(2, 12)), draw(st.integers(2, 12)))
    size = draw(st.sampled_from((same, other, other)))
    assume(size == same or size[0] * size[1] != same[0] * same[1])
    given, feeds = target(draw, ("top_height", "top_width"), size)
    text = layer("Downsample", section("downsample_param", **given), " ".join(("x", *feeds)))
    return Drawn(text, {"x": x} | feeds)
