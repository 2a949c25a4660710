"""Layers of forks for reading text: an LSTM without marks, marks, the best path of CTC, DenseNet's block.

    Lstm         i, f, o, g = W_x x + W_h h + b;  c = σ(f) c + σ(i) tanh(g);  h = σ(o) tanh(c);  blobs W_x, W_h, b
    DenseBlock   x <- x, conv3×3(relu(norm(x)))  or  x, conv3×3(relu(norm(conv1×1(relu(norm(x))))))

Facts from lstm_layer_Junhyuk.cpp, continuation_indicator_layer.cpp, ctc_decoder_layer.cpp (ChWick's fork, Intel's and
caffe_ocr's) and caffe_ocr's DenseBlock_layer.cpp and .cu.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from verify.layers.activation import sigmoid
from verify.layers.convolution import convolve
from verify.layers.inner_product import row_norm
from verify.layers.registry import UNBOUNDED, Array, Call, Sensitivity, Wide, largest, marks, narrow, register, wide
from verify.layers.window import Window


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
    "ContinuationIndicator", bottoms=(0, 1), error=lambda call, tops: [Sensitivity(1, (0.0,) * len(call.bottoms))]
)
def continuation_indicator(call: Call) -> list[Array]:
    """0 in the first row, 1 below; a column for each stream."""
    p = call.param.continuation_indicator_param
    streams = call.x.shape[call.axis(p.axis)] if call.bottoms else p.batch_size
    call.require(p.time_step > 0 and streams > 0, f"time_step {p.time_step} and {streams} streams are not positive")
    call.room((p.time_step, streams))
    top = np.ones((p.time_step, streams), np.float32)
    top[0] = 0
    return [top]


def _decoder_error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    """Classes jump; a score is a sum over the steps."""
    steps = call.x.shape[0]
    rules = [
        Sensitivity(1, (UNBOUNDED,) * len(call.bottoms)),
        Sensitivity(steps, (float(steps), UNBOUNDED)[: len(call.bottoms)]),
    ]
    return rules[: len(tops)]


@register("CTCGreedyDecoder", bottoms=(1, 2), error=_decoder_error, feeds={1: marks})
def ctc_greedy_decoder(call: Call) -> list[Array]:
    """The best class of each step but blanks and repetitions, then -1; minus the sum of the best scores."""
    call.require(call.x.ndim == 3, f"needs a bottom of time × streams × classes, it has {call.x.ndim} axes")
    steps, streams, classes = call.x.shape
    p, ocr = call.param.ctc_decoder_param, call.layer.dialect == "caffe_ocr"
    call.require(len(call.bottoms) == (1 if ocr else 2), f"has {len(call.bottoms)} bottoms, expected {1 if ocr else 2}")
    blank = 0 if ocr and not p.HasField("blank_index") else p.blank_index
    blank = classes - 1 if blank < 0 else blank
    runs = np.ones((steps, streams)) if ocr else call.bottoms[1].reshape(steps, streams)
    best = np.argmax(call.x, axis=2)
    sequences: Array = np.full((streams, steps), -1, np.float32)
    scores = np.zeros((streams, 1, 1, 1))
    for n in range(streams):
        ends = np.flatnonzero(runs[1:, n] == 0)
        length = int(ends[0]) + 1 if ends.size else steps
        kept, before = [], -1
        for label in best[:length, n]:
            if label != blank and not (p.ctc_merge_repeated and label == before):
                kept.append(label)
            before = label
        sequences[n, : len(kept)] = kept
        scores[n] = -wide(np.max(call.x[:length, n], axis=1)).sum()
    sequences = sequences.T if call.layer.dialect == "chwick" else sequences
    tops = [np.ascontiguousarray(sequences)[:, :, None, None], narrow(scores)]
    return tops[: len(call.layer.tops)]


class _Block:
    """DenseBlock's blobs, by group and transition."""

    def __init__(self, call: Call) -> None:
        p = call.param.denseblock_param
        self.count, self.growth, self.inner = p.numTransition, p.growthRate, 4 * p.growthRate if p.use_BC else 0
        call.require(call.x.ndim == 4, f"needs a bottom of 4 axes, it has {call.x.ndim}")
        call.require(self.count > 0 and self.growth > 0, f"{self.count} transitions of {self.growth} are not positive")
        wide_ones = [call.x.shape[1] + i * self.growth for i in range(self.count)]
        inner = [self.inner] * self.count
        shapes: list[tuple[int, ...]] = [(self.growth, c, 3, 3) for c in (inner if self.inner else wide_ones)]
        shapes += [(1, c, 1, 1) for c in wide_ones] * 4
        if self.inner:
            shapes += [(self.inner, c, 1, 1) for c in wide_ones]
            shapes += [(1, c, 1, 1) for c in inner] * 4
        *blobs, factor = call.parameters.take([*shapes, (1,)])
        self.groups = [blobs[start : start + self.count] for start in range(0, len(blobs), self.count)]
        self.factor = float(factor[0]) or 1.0

    def rectified(self, x: Array, group: int, transition: int) -> Array:
        """relu of the normalisation whose factors are group `group`; eps is 1e-5."""
        factor, summand, mean, variance = (wide(g[transition]) for g in self.groups[group : group + 4])
        spread = np.sqrt(variance / self.factor + 1e-5)
        return narrow(np.maximum(factor * (wide(x) - mean / self.factor) / spread + summand, 0))

    def slopes(self, group: int, transition: int) -> float:
        """The steepest of these normalisations."""
        factor, variance = wide(self.groups[group][transition]), wide(self.groups[group + 3][transition])
        return largest(factor / np.sqrt(variance / self.factor + 1e-5))

    def kernels(self, transition: int) -> Iterator[tuple[int, Array]]:
        """(group of the normalisation before, filters) of a transition's convolutions; 3×3 turned by half a circle."""
        if self.inner:
            yield 1, self.groups[5][transition]
        yield (6 if self.inner else 1), self.groups[0][transition][:, :, ::-1, ::-1]


def _dense_error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    """A transition adds its own slope to that of what it reads."""
    block = _Block(call)
    gain, fan_in = 1.0, 1
    for transition in range(block.count):
        slope = 1.0
        for group, kernel in block.kernels(transition):
            rows = kernel.reshape(kernel.shape[0], -1)
            slope *= block.slopes(group, transition) * row_norm(rows)
            fan_in += rows.shape[1]
        gain = max(gain, gain * slope)
    return [Sensitivity(fan_in, (gain,))]


@register("DenseBlock", error=_dense_error)
def dense_block(call: Call) -> list[Array]:
    """growthRate channels more with each transition."""
    block, x = _Block(call), call.x
    n, c, h, w = x.shape
    call.room((n, c + block.count * block.growth, h, w))
    for transition in range(block.count):
        y = x
        for group, kernel in block.kernels(transition):
            pad = (kernel.shape[2] // 2,) * 2
            window = Window(kernel.shape[2:], (1, 1), pad, pad, (1, 1))
            y = convolve(block.rectified(y, group, transition), np.ascontiguousarray(kernel), None, window, 1)
        x = np.concatenate([x, y], axis=1)
    return [x]
