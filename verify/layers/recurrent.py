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
from typing import TypeAlias

import numpy as np

from prototxt import NetLayer
from verify.layers.activation import sigmoid
from verify.layers.inner_product import row_norm
from verify.layers.registry import Array, Call, Sensitivity, Wide, largest, marks, narrow, register, wide
from verify.layers.shared.rounding import LAMBDA, SHAKES, UNIT_ROUNDOFF

Noise: TypeAlias = np.random.Generator | None


class _Unrolled:
    """What LSTM and RNN share: bottoms told apart, and the part of the gates that the state does not enter.

    With `noise` each sum is off by a number as large as it may round in float32.
    """

    def __init__(
        self, call: Call, noise: Noise, states: int, gates: int, extra: Sequence[tuple[int, ...]] = ()
    ) -> None:
        p, self.noise = call.param.recurrent_param, noise
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
        self.terms = [
            (inputs, row_norm(learned[0]) * largest(call.x)),
            (self.hidden, row_norm(self.state_weight) * max(1.0, largest(self.start[0]))),
            (1, largest(learned[1])),
        ]
        self.gates: Wide = wide(call.x.reshape(-1, inputs)) @ wide(learned[0]).T + learned[1]
        self.gates = self.gates.reshape(self.steps, self.streams, width)
        if self.static is not None:
            self.gates += wide(self.static.reshape(self.streams, -1)) @ wide(learned[2]).T
            self.terms.append((learned[2].shape[1], row_norm(learned[2]) * largest(self.static)))

    def gate(self, step: int, state: Wide) -> Wide:
        """The sums of one step, before they are squashed."""
        return self.rounded(self.gates[step] + (self.cont[step][:, None] * state) @ self.recurrent, self.terms)

    def rounded(self, sums: Wide, terms: Sequence[tuple[int, float]]) -> Wide:
        """Sums of so many terms, each so large together."""
        if self.noise is None:
            return sums
        size = UNIT_ROUNDOFF * math.sqrt(sum(n for n, _ in terms)) * sum(size for _, size in terms)
        return sums + size * self.noise.standard_normal(sums.shape)


def _error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    """What the sums of each step round is squashed, held and fed back: so the layer runs with noise as large as that.

    Where this turns a state by a tenth of what it is squashed to, nothing can be asked of the steps that follow.
    """
    blobs = [b.array() for b in call.parameters.blobs if b is not None]
    gain = call.x.shape[0] * max(row_norm(b.reshape(-1, b.shape[-1])) for b in blobs if b.ndim > 1)
    states = _lstm_states if call.layer.type == "LSTM" else _rnn_states
    runs = [states(call, np.random.default_rng(draw)) for draw in range(SHAKES)]
    found = []
    for place, top in enumerate(tops):
        off = np.stack([run[place] for run in runs]) - top
        own = LAMBDA * math.sqrt(largest((off**2).mean(axis=0)))
        found.append(Sensitivity(1, (gain,) * len(call.bottoms), math.inf if own > 0.1 else own))
    return found


def _last_hidden(layer: NetLayer) -> dict[int, int]:
    """The last h is the memory of that step's h, which alone makes up the first top where there is one step."""
    return {1: len(layer.bottoms)} if len(layer.tops) > 1 else {}


@register("LSTM", bottoms=(2, 5), error=_error, feeds={1: marks}, shares=_last_hidden)
def lstm(call: Call) -> list[Array]:
    """Hidden states T×N×num_output; with expose_hidden also the last h and c, 1×N×num_output."""
    return [narrow(top) for top in _lstm_states(call)]


def _lstm_states(call: Call, noise: Noise = None) -> list[Wide]:
    net = _Unrolled(call, noise, states=2, gates=4)
    h, c = net.start
    out: Wide = np.empty((net.steps, net.streams, net.hidden))
    for t in range(net.steps):
        keep = net.cont[t][:, None]
        i, f, o, g = np.split(net.gate(t, h), 4, axis=1)
        c = np.where(keep == 0, 0.0, keep * sigmoid(f)) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        out[t] = h
    return [out, h[None], c[None]]


@register("RNN", bottoms=(2, 4), error=_error, feeds={1: marks})
def rnn(call: Call) -> list[Array]:
    """Outputs T×N×num_output; with expose_hidden also the last h, 1×N×num_output."""
    return [narrow(top) for top in _rnn_states(call)]


def _rnn_states(call: Call, noise: Noise = None) -> list[Wide]:
    size = call.param.recurrent_param.num_output
    net = _Unrolled(call, noise, states=1, gates=1, extra=[(size, size), (size,)])
    (h,) = net.start
    weight, bias = net.rest
    terms = [(size + 1, row_norm(narrow(weight)) + largest(bias))]
    out: Wide = np.empty((net.steps, net.streams, net.hidden))
    for t in range(net.steps):
        h = np.tanh(net.gate(t, h))
        out[t] = np.tanh(net.rounded(h @ weight.T + bias, terms))
    return [out, h[None]]


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
