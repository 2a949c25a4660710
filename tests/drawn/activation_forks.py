"""Forks' layers that work on each value alone."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from tests.drawn.base import Draw, Drawn, blob, drawn, layer, maybe, number, section


@drawn("ReLU6")
@st.composite
def relu6(draw: Draw) -> Drawn:
    params = section(
        "relu6_param",
        negative_slope=draw(maybe(number(0, 1, 0.1, -0.5))),
        threshold=draw(maybe(number(0, 1, 6, -0.5))),
    )
    return Drawn(layer("ReLU6", params), {"x": blob(draw)})


@drawn("HardSigmoid")
@st.composite
def hard_sigmoid(draw: Draw) -> Drawn:
    params = section("hardsigmoid_param", alpha=draw(maybe(number(0, 1))), beta=draw(maybe(number(0, 1))))
    return Drawn(layer("HardSigmoid", params), {"x": blob(draw)})


@drawn("HardSwish")
@st.composite
def hard_swish(draw: Draw) -> Drawn:
    return Drawn(layer("HardSwish"), {"x": blob(draw)})


@drawn("SeLu")
@st.composite
def selu(draw: Draw) -> Drawn:
    params = section("selu_param", **{"lambda": draw(maybe(number(1, 0.5))), "alpha": draw(maybe(number(1, 2.5)))})
    return Drawn(layer("SeLu", params), {"x": blob(draw)})


@drawn("Mish")
@st.composite
def mish(draw: Draw) -> Drawn:
    return Drawn(layer("Mish"), {"x": blob(draw) * np.float32(draw(st.sampled_from((1, 10))))})


@drawn("SeLuDropout")
@st.composite
def selu_dropout(draw: Draw) -> Drawn:
    params = section("selu_dropout_param", dropout_ratio=draw(maybe(st.sampled_from((0.1, 0.9)))))
    return Drawn(layer("SeLuDropout", params), {"x": blob(draw)})


@drawn("Insanity")
@st.composite
def insanity(draw: Draw) -> Drawn:
    """Two bounds of one sign or of both, and those that are not said."""
    low, high = draw(st.sampled_from(((None, None), (3, 5), (0.25, 0.75), (-4, -2), (-0.5, 8), (None, 6.5), (2, None))))
    return Drawn(layer("Insanity", section("insanity_param", lb=low, ub=high)), {"x": blob(draw, least=2)})


@drawn("BReLU")
@st.composite
def brelu(draw: Draw) -> Drawn:
    least = draw(maybe(st.sampled_from((-1.0, -0.25, 0.0))))
    return Drawn(
        layer("BReLU", section("brelu_param", minval=least, maxval=draw(st.sampled_from((0.25, 0.5, 1.0))))),
        {"x": blob(draw)},
    )


@drawn("Quant")
@st.composite
def quant(draw: Draw) -> Drawn:
    """Centers in any order; of one alone there is no threshold."""
    function = draw(maybe(st.sampled_from(("hwgq", "sign", "hard_tanh", "relu"))))
    slope = draw(maybe(st.sampled_from((0.0, 0.25))))
    centers = draw(st.lists(st.sampled_from((0.25, 0.5, 1.0, 1.7)), min_size=1, max_size=4))
    given = {"centers": tuple(centers)} if function in (None, "hwgq") else {}
    clip = draw(maybe(st.just(1.5)))
    params = section("quant_param", forward_func=function, negative_slope=slope, clip_thr=clip, **given)
    return Drawn(layer("Quant", params), {"x": blob(draw)})


@drawn("Python spatial_dropout.SpatialDropoutLayer")
@st.composite
def spatial_dropout(draw: Draw) -> Drawn:
    ratio = draw(st.sampled_from(("0.01", "0.1", "'0.1'", "'0.5'")))
    code = "python_param { module: 'spatial_dropout' layer: 'SpatialDropoutLayer' "
    code += f"param_str: \"{{'phase': 'TEST', 'p': {ratio}}}\" }}"
    return Drawn(layer("Python", code), {"x": blob(draw)})


@drawn("NegReLU")
@st.composite
def neg_relu(draw: Draw) -> Drawn:
    params = section("relu_param", negative_slope=draw(maybe(number(0.1, 1, -1))))
    return Drawn(layer("NegReLU", params), {"x": blob(draw)})
