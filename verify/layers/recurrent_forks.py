"""Sequences in forks for reading text: an LSTM without marks, and the marks.

    Lstm    i, f, o, g = W_x x + W_h h + b;  c = σ(f) c + σ(i) tanh(g);  h = σ(o) tanh(c);  blobs W_x, W_h, b

Facts from lstm_layer_Junhyuk.cpp and continuation_indicator_layer.cpp.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from verify.layers.activation import sigmoid
from verify.layers.inner_product import row_norm
from verify.layers.registry import Array, Call, Sensitivity, Wide, narrow, register, wide


def _lstm_error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    """Sums over the inputs and, step after step, over the state; saturating gates keep errors near their size."""
    matrices = [b.array() for b in call.parameters.blobs[:2] if b is not None]
    steps = call.x.shape[0]
    fan_in = steps * sum(m.shape[-1] for m in matrices)
    return [Sensitivity(fan_in, (steps * max(row_norm(m.reshape(-1, m.shape[-1])) for m in matrices),))]


@register("Lstm", error=_lstm_error)
def lstm(call: Call) -> list[Array]:
    """Hidden states T×N×num_output; all streams begin with the blob."""
    hidden = call.param.lstm_param.num_output
    call.require(hidden > 0, f"num_output {hidden} is not positive")
    call.require(call.x.ndim == 3, f"needs a bottom of time × streams × values, it has {call.x.ndim} axes")
    steps, streams, inputs = call.x.shape
    weight, recurrent, bias = call.parameters.take([(4 * hidden, inputs), (4 * hidden, hidden), (4 * hidden,)])
    given: Wide = wide(call.x) @ wide(weight).T + bias
    back = wide(recurrent).T
    h: Wide = np.zeros((streams, hidden))
    c: Wide = np.zeros((streams, hidden))
    out: Wide = np.empty((steps, streams, hidden))
    for t in range(steps):
        i, f, o, g = np.split(given[t] + h @ back, 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        out[t] = h
    return [narrow(out)]


@register(
    "ContinuationIndicator",
    bottoms=(0, 1),
    never_fed=True,
    error=lambda call, tops: [Sensitivity(1, (0.0,) * len(call.bottoms))],
)
def continuation_indicator(call: Call) -> list[Array]:
    """0 in the first row, 1 below; a column for each stream."""
    p = call.param.continuation_indicator_param
    idle = "batch_size" if call.bottoms else "axis"
    call.ignores("a bottom gives the streams, or batch_size", f"continuation_indicator_param.{idle}")
    streams = call.x.shape[call.axis(p.axis)] if call.bottoms else p.batch_size
    call.require(p.time_step > 0 and streams > 0, f"time_step {p.time_step} and {streams} streams are not positive")
    call.room((p.time_step, streams))
    top = np.ones((p.time_step, streams), np.float32)
    top[0] = 0
    return [top]
