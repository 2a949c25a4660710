"""Layers that read a sequence step by step.

The gates of an LSTM are sigmoids: it is measured by 1, as these are (`tests/drawn/activation.py`).
"""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from tests.drawn.base import Array, Draw, Drawn, drawn, generator, layer, maybe, normal, section, shape, uniform


def unrolled(draw: Draw, kind: str, states: int, *, scale: float = 0.0) -> Drawn:
    """Sequences that begin anew at any step, also at none; with a static bottom, with the first states given."""
    steps, streams, hidden, *values = shape(draw, draw(st.integers(3, 5)), most=7, least=1)
    cont = generator(draw).choice(np.float32(draw(st.sampled_from(((0, 1), (1,), (0,))))), (steps, streams))
    feeds: dict[str, Array] = {"x": normal(draw, steps, streams, *values), "cont": cont}
    if draw(st.booleans()):
        feeds["static"] = normal(draw, streams, *shape(draw, draw(st.integers(0, 2)), most=5))
    exposed = draw(st.booleans())
    names = ("h", "c")[:states] if exposed else ()
    for name in names:
        feeds[name] = normal(draw, *draw(st.sampled_from(((1, streams, hidden), (streams, hidden)))))
    params = section(
        "recurrent_param",
        *draw(st.sampled_from(([uniform("weight_filler")], [uniform("weight_filler"), uniform("bias_filler")]))),
        num_output=hidden,
        expose_hidden=exposed or draw(maybe(st.just(False))),
        debug_info=draw(maybe(st.booleans())),
    )
    tops = " ".join(("out", *(f"last_{name}" for name in names)))
    return Drawn(layer(kind, params, " ".join(feeds), tops), feeds, scale=scale)


@drawn("LSTM")
@st.composite
def lstm(draw: Draw) -> Drawn:
    return unrolled(draw, "LSTM", 2, scale=1.0)


@drawn("RNN")
@st.composite
def rnn(draw: Draw) -> Drawn:
    return unrolled(draw, "RNN", 1)


@drawn("LSTMUnit")
@st.composite
def lstm_unit(draw: Draw) -> Drawn:
    streams, hidden = shape(draw, 2, most=7)
    feeds = {
        "c": normal(draw, 1, streams, hidden),
        "gates": normal(draw, 1, streams, 4 * hidden),
        "cont": generator(draw).choice(np.float32((0, 1)), (1, streams)),
    }
    return Drawn(layer("LSTMUnit", "", "c gates cont", "next_c next_h"), feeds, scale=1.0)
