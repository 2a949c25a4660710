"""Sequences in forks for reading text: an LSTM without marks, and the marks.

    Lstm    i, f, o, g = W_x x + W_h h + b;  c = σ(f) c + σ(i) tanh(g);  h = σ(o) tanh(c);  blobs W_x, W_h, b

In Junhyuk's own Caffe the rows of the bottom are time × streams, in later forks these are its first two axes. With
marks as a second bottom, W_h h and f count where the mark is not 0; that of stream n at step t is the value t + n.

Facts from lstm_layer.cpp of junhyukoh/caffe-lstm, lstm_layer_Junhyuk.cpp and continuation_indicator_layer.cpp.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from verify.layers.activation import sigmoid
from verify.layers.inner_product import row_norm
from verify.layers.registry import UNBOUNDED, Array, Call, Sensitivity, Wide, marks, narrow, register, wide


def _lstm_error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    """Sums over the inputs and, step after step, over the state; saturating gates keep errors near their size."""
    matrices = [b.array() for b in call.parameters.blobs[:2] if b is not None]
    steps = call.x.shape[0]
    fan_in = steps * sum(m.shape[-1] for m in matrices)
    gain = steps * max(row_norm(m.reshape(-1, m.shape[-1])) for m in matrices)
    return [Sensitivity(fan_in, (gain, UNBOUNDED)[: len(call.bottoms)])]


def _sequence(call: Call) -> Array:
    """The first bottom as time × streams × values; rows of other bottoms than those of 3 axes are time × streams."""
    p = call.param.lstm_param
    if call.x.ndim == 3:
        call.require(
            not p.HasField("batch_size"), "has a batch_size, which forks whose bottoms have 3 axes do not read"
        )
        return call.x
    call.require(call.x.ndim > 0 and p.batch_size > 0, "needs rows, and a batch_size that is positive")
    rows = len(call.x)
    call.require(rows % p.batch_size == 0, f"{rows} rows are no multiple of batch_size {p.batch_size}")
    return call.x.reshape(rows // p.batch_size, p.batch_size, -1)


def _going_on(call: Call, steps: int, streams: int) -> npt.NDArray[np.bool_]:
    """Whether a stream goes on at a step, T×N; the state before the first is 0 either way."""
    if len(call.bottoms) == 1:
        return np.ones((steps, streams), bool)
    marks = call.bottoms[1]
    call.require(marks.ndim > 0 and len(marks) == marks.size, "has marks that are not all along the first axis")
    call.require(marks.size >= steps + streams - 1, f"has {marks.size} marks for {steps} steps of {streams} streams")
    flat = marks.ravel()
    return np.array([[flat[t + n] != 0 for n in range(streams)] for t in range(steps)])


@register("Lstm", bottoms=(1, 2), error=_lstm_error, feeds={1: marks})
def lstm(call: Call) -> list[Array]:
    """Hidden states T×N×num_output, or of rows the same without the axis of streams."""
    hidden = call.param.lstm_param.num_output
    call.require(hidden > 0, f"num_output {hidden} is not positive")
    x = _sequence(call)
    steps, streams, inputs = x.shape
    going_on = _going_on(call, steps, streams)
    weight, recurrent, bias = call.parameters.take([(4 * hidden, inputs), (4 * hidden, hidden), (4 * hidden,)])
    given: Wide = wide(x) @ wide(weight).T + bias
    back = wide(recurrent).T
    h: Wide = np.zeros((streams, hidden))
    c: Wide = np.zeros((streams, hidden))
    out: Wide = np.empty((steps, streams, hidden))
    for t in range(steps):
        on = going_on[t][:, None]
        i, f, o, g = np.split(given[t] + np.where(on, h @ back, 0.0), 4, axis=1)
        c = np.where(on, sigmoid(f) * c, 0.0) + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        out[t] = h
    return [narrow(out if call.x.ndim == 3 else out.reshape(-1, hidden))]


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
