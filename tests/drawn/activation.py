"""Layers that work on each value alone."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from tests.drawn.base import (
    Array,
    Draw,
    Drawn,
    Make,
    apart,
    blob,
    drawn,
    layer,
    maybe,
    normal,
    number,
    section,
    shape,
    uniform,
)

ENGINES = maybe(st.sampled_from(("DEFAULT", "CAFFE", "CUDNN")))


def plain(kind: str, name: str = "") -> Make:
    """Of a layer without parameters, or with no other than the engine."""

    @st.composite
    def make(draw: Draw) -> Drawn:
        params = section(name, engine=draw(ENGINES)) if name else ""
        return Drawn(layer(kind, params), {"x": blob(draw)})

    return make


for _kind in ("AbsVal", "BNLL"):
    drawn(_kind)(plain(_kind))
drawn("TanH")(plain("TanH", "tanh_param"))


@drawn("Sigmoid")
@st.composite
def sigmoid(draw: Draw) -> Drawn:
    """Caffe adds half of a tanh to one half, and onnxruntime knows small values to some 1e-7 only: measured by 1."""
    params = section("sigmoid_param", engine=draw(ENGINES))
    return Drawn(layer("Sigmoid", params), {"x": blob(draw)}, scale=1.0)


@drawn("ReLU")
@st.composite
def relu(draw: Draw) -> Drawn:
    params = section(
        "relu_param",
        negative_slope=draw(maybe(number(0, 1, 0.1, -0.5))),
        engine=draw(ENGINES),
        relu6=draw(maybe(st.booleans())),
        maximum=draw(maybe(number(0, 1, 20))),
        minimum=draw(maybe(number(0, -1, 8))),
    )
    tops = "out mask" if "negative_slope: -" not in params and draw(st.booleans()) else "out"
    return Drawn(layer("ReLU", params, tops=tops), {"x": blob(draw)})


@drawn("PReLU")
@st.composite
def prelu(draw: Draw) -> Drawn:
    params = section(
        "prelu_param", *draw(st.sampled_from(([], [uniform()]))), channel_shared=draw(maybe(st.booleans()))
    )
    return Drawn(layer("PReLU", params), {"x": blob(draw, least=2)})


@drawn("ELU")
@st.composite
def elu(draw: Draw) -> Drawn:
    factor = draw(maybe(number(0, 1, 1.0507, -2)))
    params = section("elu_param", alpha=draw(maybe(number(0, 1, 1.5))), **{"lambda": factor})
    return Drawn(layer("ELU", params), {"x": blob(draw)})


@drawn("Power")
@st.composite
def power(draw: Draw) -> Drawn:
    """Powers other than whole ones above 0 only of what keeps away from 0, where they have no bound."""
    exponent = draw(maybe(st.sampled_from((0, 1, 2, 3, 0.5, -0.5, -1, 1.5, -2))))
    scale = draw(maybe(number(0, 1, -1, 0.01)))
    whole = exponent in (None, 0, 1, 2, 3)
    shift = draw(maybe(number(0, 1, -2)) if whole else number(0.5, -4))
    x = blob(draw)
    if not whole:
        x, scale = np.abs(x), scale if scale is None else abs(scale) * (-1 if shift < 0 else 1)
        if scale is None and shift < 0:
            shift = -shift
    return Drawn(layer("Power", section("power_param", power=exponent, scale=scale, shift=shift)), {"x": x})


@drawn("Exp")
@st.composite
def exp(draw: Draw) -> Drawn:
    params = section(
        "exp_param",
        base=draw(maybe(st.sampled_from((-1, 2, 10, 0.3, 1)))),
        scale=draw(maybe(number(0, 1, -1))),
        shift=draw(maybe(number(0, 1))),
    )
    return Drawn(layer("Exp", params), {"x": normal(draw, *shape(draw, draw(st.integers(1, 4)), most=6))})


@drawn("ExpMax")
@st.composite
def exp_max(draw: Draw) -> Drawn:
    """Of one item, as the fork knows the largest values of that alone."""
    params = section(
        "expmax_param",
        base=draw(maybe(st.sampled_from((-1, 2, 10, 0.3, 1)))),
        scale=draw(maybe(number(0, 1, -1))),
        shift=draw(maybe(number(0, 1))),
    )
    return Drawn(layer("ExpMax", params), {"x": normal(draw, 1, *shape(draw, 3, most=6))})


@drawn("NegSquare")
@st.composite
def neg_square(draw: Draw) -> Drawn:
    return Drawn(layer("NegSquare"), {"x": blob(draw)})


@drawn("Log")
@st.composite
def log(draw: Draw) -> Drawn:
    """Of numbers above 0, or of below 0 to NaN; none so near 0 that its rounding shows."""
    scale, shift = draw(maybe(number(1, -1, 0.5))), draw(maybe(st.sampled_from((0, 0.25, 2))))
    params = section("log_param", base=draw(maybe(st.sampled_from((-1, 2, 10, 0.3)))), scale=scale, shift=shift)
    x = np.abs(blob(draw)) + np.float32(0.1)
    if scale is not None and scale < 0 and draw(st.booleans()):
        x = -x
    inner = x * (1 if scale is None else scale) + (shift or 0)
    return Drawn(layer("Log", params), {"x": np.where(np.abs(inner) < 0.01, np.float32(0), x).astype(np.float32)})


@drawn("Threshold")
@st.composite
def threshold(draw: Draw) -> Drawn:
    params = section("threshold_param", threshold=draw(maybe(number(0, 0.5))))
    x: Array = apart(draw, *shape(draw, draw(st.integers(1, 4)), most=6))
    return Drawn(layer("Threshold", params), {"x": x})


@drawn("Clip")
@st.composite
def clip(draw: Draw) -> Drawn:
    least, most = sorted((draw(number(0, -1, 6)), draw(number(0, 1, 6))))
    return Drawn(layer("Clip", section("clip_param", min=least, max=most)), {"x": blob(draw)})


@drawn("Swish")
@st.composite
def swish(draw: Draw) -> Drawn:
    """A sigmoid's share of the input, so measured by the input: see there."""
    beta = draw(maybe(number(0, 1, -1, 20)))
    x = blob(draw)
    return Drawn(layer("Swish", section("swish_param", beta=beta)), {"x": x}, scale=float(np.abs(x).max()))


@drawn("Dropout")
@st.composite
def dropout(draw: Draw) -> Drawn:
    ratio = draw(maybe(st.integers(1, 99).map(lambda n: n / 100)))
    return Drawn(
        layer("Dropout", section("dropout_param", dropout_ratio=ratio, scale_train=draw(maybe(st.booleans())))),
        {"x": blob(draw)},
    )
