"""LSTM and RNN over time-major blobs, unrolled (Caffe: recurrent_layer.cpp, lstm_layer.cpp, lstm_unit, rnn_layer).

    bottoms  x: T×N×…, cont: T×N (0 where a sequence begins), perhaps static: N×…, with expose_hidden the first state
    LSTM     i, f, o, g = W_xc x + b_c (+ W_xc_static s) + W_hc (cont·h)
             c = cont·σ(f)·c + σ(i)·tanh(g);  h = σ(o)·tanh(c)
    RNN      h = tanh(W_xh x + b_h (+ W_xh_static s) + W_hh (cont·h));  y = tanh(W_ho h + b_o)

Blobs: W_x, b, (W_static), W_h, and for RNN W_ho, b_o. The state before the first step is 0 unless it is a bottom.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from verify.layers.activation import sigmoid
from verify.layers.inner_product import row_norm
from verify.layers.registry import Array, Call, Sensitivity, Wide, largest, marks, narrow, register, wide


class _Unrolled:
    """What LSTM and RNN share: bottoms told apart, and the part of the gates that the state does not enter."""

    def __init__(self, call: Call, states: int, gates: int, extra: Sequence[tuple[int, ...]] = ()) -> None:
        p = call.param.recurrent_param
        self.hidden = p.num_output
        call.require(self.hidden > 0, f"num_output {self.hidden} is not positive")
        call.require(call.x.ndim >= 2, "needs a bottom of time × streams × values")
        first = states if p.expose_hidden else 0
        spare = len(call.bottoms) - 2 - first
        call.require(spare in (0, 1), f"has {len(call.bottoms)} bottoms, expected {2 + first} or {3 + first}")
        self.steps, self.streams = call.x.shape[:2]
        call.require(call.bottoms[1].shape == (self.steps, self.streams), "the second bottom is not time × streams")
        self.cont = wide(call.bottoms[1])
        self.static = call.bottoms[2] if spare else None
        self.start = self._start(call, call.bottoms[len(call.bottoms) - first :], states)
        self._project(call, gates * self.hidden, extra)

    def _start(self, call: Call, given: Sequence[Array], states: int) -> list[Wide]:
        shape = (self.streams, self.hidden)
        if not given:
            return [np.zeros(shape) for _ in range(states)]
        call.require(all(g.size == math.prod(shape) for g in given), f"a first state is not 1×{shape[0]}×{shape[1]}")
        return [wide(g.reshape(shape)) for g in given]

    def _project(self, call: Call, width: int, extra: Sequence[tuple[int, ...]]) -> None:
        inputs = math.prod(call.x.shape[2:])
        shapes: list[tuple[int, ...]] = [(width, inputs), (width,)]
        if self.static is not None:
            call.require(self.static.shape[:1] == (self.streams,), "the static bottom is not streams × values")
            shapes.append((width, math.prod(self.static.shape[1:])))
        learned = call.parameters.take([*shapes, (width, self.hidden), *extra])
        self.input_weight, self.state_weight = learned[0], learned[len(shapes)]
        self.rest = [wide(a) for a in learned[len(shapes) + 1 :]]
        self.recurrent = wide(self.state_weight).T
        self.gates: Wide = wide(call.x.reshape(-1, inputs)) @ wide(learned[0]).T + learned[1]
        self.gates = self.gates.reshape(self.steps, self.streams, width)
        if self.static is not None:
            self.gates += wide(self.static.reshape(self.streams, -1)) @ wide(learned[2]).T


def _error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    """Sums over the inputs and, step after step, over the state; saturating gates keep errors near their size.

    Where the gates round by a tenth of what they are squashed to, each step may turn a state that the next goes on
    with, and nothing can be asked of the last.
    """
    blobs = [b.array() for b in call.parameters.blobs if b is not None]
    matrices = [b.reshape(-1, b.shape[-1]) for b in blobs if b.ndim > 1]
    fan_in = call.x.shape[0] * sum(m.shape[1] for m in matrices)
    gain = call.x.shape[0] * max(row_norm(m) for m in matrices)
    rounding = 2.0**-24 * math.sqrt(fan_in) * gain * largest(call.x)
    own = math.inf if 9 * rounding > 0.1 else 0.0  # 9: the deviations that verify.bounds allows for
    return [Sensitivity(fan_in, (gain,) * len(call.bottoms), own) for _ in tops]


@register("LSTM", bottoms=(2, 5), error=_error, feeds={1: marks})
def lstm(call: Call) -> list[Array]:
    """Hidden states T×N×num_output; with expose_hidden also the last h and c, 1×N×num_output."""
    net = _Unrolled(call, states=2, gates=4)
    h, c = net.start
    out: Wide = np.empty((net.steps, net.streams, net.hidden))
    for t in range(net.steps):
        keep = net.cont[t][:, None]
        i, f, o, g = np.split(net.gates[t] + (keep * h) @ net.recurrent, 4, axis=1)
        c = np.where(keep == 0, 0.0, keep * sigmoid(f)) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        out[t] = h
    return [narrow(out), narrow(h[None]), narrow(c[None])]


@register("RNN", bottoms=(2, 4), error=_error, feeds={1: marks})
def rnn(call: Call) -> list[Array]:
    """Outputs T×N×num_output; with expose_hidden also the last h, 1×N×num_output."""
    size = call.param.recurrent_param.num_output
    net = _Unrolled(call, states=1, gates=1, extra=[(size, size), (size,)])
    (h,) = net.start
    weight, bias = net.rest
    out: Wide = np.empty((net.steps, net.streams, net.hidden))
    for t in range(net.steps):
        h = np.tanh(net.gates[t] + (net.cont[t][:, None] * h) @ net.recurrent)
        out[t] = np.tanh(h @ weight.T + bias)
    return [narrow(out), narrow(h[None])]


def _unit_error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    """Slopes: of c by the marks, and by c itself and a quarter of it through the gates; h squashes c once more."""
    held = largest(call.bottoms[2])
    gate = 1.0 + 0.25 * held * largest(call.x)
    return [Sensitivity(2, (held, gate, math.inf)), Sensitivity(2, (held, gate + 0.25, math.inf))]


@register("LSTMUnit", bottoms=3, error=_unit_error, feeds={2: marks})
def lstm_unit(call: Call) -> list[Array]:
    """c and h of one step, 1×N×D each (lstm_unit_layer.cpp)."""
    gates, cont = call.bottoms[1], call.bottoms[2]
    n, d = call.x.shape[1:] if call.x.ndim == 3 else (0, 0)
    call.require(call.x.shape == (1, n, d) and n > 0, f"c has {call.x.ndim} axes, expected 1×N×D")
    call.require(gates.shape == (1, n, 4 * d) and cont.shape == (1, n), "gates are not 1×N×4D, or marks not 1×N")
    i, f, o, g = np.split(wide(gates), 4, axis=2)
    keep = wide(cont)[:, :, None]
    c = np.where(keep == 0, 0.0, keep * sigmoid(f)) * wide(call.x) + sigmoid(i) * np.tanh(g)
    return [narrow(c), narrow(sigmoid(o) * np.tanh(c))]
