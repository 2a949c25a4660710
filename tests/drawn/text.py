"""Layers of forks for reading text."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from tests.drawn.base import Array, Draw, Drawn, apart, drawn, fields, generator, layer, maybe, normal, shape


@drawn("Lstm")
@st.composite
def lstm(draw: Draw) -> Drawn:
    hidden, clip = draw(st.integers(1, 5)), draw(maybe(st.sampled_from([0.5, 5.0])))
    gaussian = "{ type: 'gaussian' std: 0.5 }"
    params = f"{fields(num_output=hidden, clipping_threshold=clip)} weight_filler {gaussian} bias_filler {gaussian}"
    steps, streams, *values = shape(draw, draw(st.integers(2, 5)), least=1, most=8)
    feeds = {"x": normal(draw, steps, streams, *values)}
    if len(values) != 1:
        params += f" {fields(batch_size=streams if streams > 1 else draw(maybe(st.just(1))))}"
        feeds["x"] = feeds["x"].reshape(steps * streams, *values, *[1] * (len(values) == 2))
    if draw(st.booleans()):
        marks = generator(draw).choice(np.float32(draw(st.sampled_from(((0, 1), (0, -0.5), (1,))))), steps * streams)
        feeds["marks"] = marks.reshape(-1, *[1] * draw(st.integers(0, 3)))
    return Drawn(layer("Lstm", f"lstm_param {{ {params} }}", " ".join(feeds)), feeds, scale=1.0)


@drawn("ContinuationIndicator")
@st.composite
def continuation_indicator(draw: Draw) -> Drawn:
    steps = draw(st.integers(1, 7))
    if draw(st.booleans()):
        params = fields(time_step=steps, batch_size=draw(st.integers(1, 5)))
        return Drawn(layer("ContinuationIndicator", f"continuation_indicator_param {{ {params} }}", ""))
    x = normal(draw, *shape(draw, draw(st.integers(1, 4)), most=6))
    axis = draw(maybe(st.integers(-x.ndim, x.ndim - 1)))
    params = fields(time_step=steps, axis=axis)
    return Drawn(layer("ContinuationIndicator", f"continuation_indicator_param {{ {params} }}"), {"x": x})


def scores(draw: Draw) -> Array:
    """Scores of few classes, so that the best ones repeat."""
    steps, streams = shape(draw, 2, least=1, most=9)
    return apart(draw, steps, streams, draw(st.integers(2, 4)))


@drawn("CTCGreedyDecoder")
@st.composite
def ctc_greedy_decoder(draw: Draw) -> Drawn:
    x = scores(draw)
    blank = draw(maybe(st.integers(-1, x.shape[2] - 1)))
    params = f"ctc_decoder_param {{ {fields(blank_index=blank, ctc_merge_repeated=draw(maybe(st.booleans())))} }}"
    if draw(st.booleans()):
        return Drawn(layer("CTCGreedyDecoder", params), {"x": x})
    marks = (generator(draw).random(x.shape[:2]) < draw(st.sampled_from([0.5, 0.9]))).astype(np.float32)
    tops = draw(st.sampled_from(["out", "out score"]))
    spread = draw(st.booleans())
    marks = marks[:, :, None, None] if spread else marks
    return Drawn(layer("CTCGreedyDecoder", params, "x marks", tops), {"x": x, "marks": marks})


@drawn("DenseBlock")
@st.composite
def dense_block(draw: Draw) -> Drawn:
    transitions, growth = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    params = fields(
        numTransition=transitions,
        growthRate=growth,
        use_BC=draw(maybe(st.booleans())),
        use_dropout=draw(maybe(st.booleans())),
        initChannel=draw(maybe(st.integers(1, 64))),
    )
    x = normal(draw, *shape(draw, 4, least=1, most=6))
    return Drawn(layer("DenseBlock", f"denseblock_param {{ {params} }}"), {"x": x}, tolerance=3e-5)
