"""Layers of forks for reading text, from their sources."""

from __future__ import annotations

import math

import numpy as np

from tests.drawn.base import layer
from tests.naive.base import Array, Naive, case, random


@case("lstm_without_marks")
def lstm() -> Naive:
    """lstm_layer_Junhyuk.cpp: gates i, f, o, g of H each, states 0 before the first step."""
    steps, streams, inputs, hidden = 5, 2, 3, 4
    x, weight, recurrent = random(1, steps, streams, inputs), random(2, 16, inputs), random(3, 16, hidden)
    bias = random(4, 16)

    def sigmoid(v: float) -> float:
        return 1 / (1 + math.exp(-v))

    y = np.zeros((steps, streams, hidden))
    for n in range(streams):
        h, c = [0.0] * hidden, [0.0] * hidden
        for t in range(steps):
            gates = [
                bias[r] + float(weight[r] @ x[t, n]) + sum(recurrent[r, k] * h[k] for k in range(4)) for r in range(16)
            ]
            for d in range(hidden):
                kept = sigmoid(gates[hidden + d]) * c[d]
                c[d] = kept + sigmoid(gates[d]) * math.tanh(gates[3 * hidden + d])
            h = [sigmoid(gates[2 * hidden + d]) * math.tanh(c[d]) for d in range(hidden)]
            y[t, n] = h
    text = layer("Lstm", "lstm_param { num_output: 4 clipping_threshold: 0.1 }")
    return Naive(text, {"x": x}, {("it", "out"): y}, {"it": [weight, recurrent, bias]})


@case("lstm_of_rows_with_marks")
def lstm_of_rows() -> Naive:
    """lstm_layer.cpp of junhyukoh/caffe-lstm: 4 steps of 3 streams; a stream's mark of step t is the value t + n."""
    x, weight, recurrent, bias = random(6, 12, 2, 1, 1), random(7, 8, 2), random(8, 8, 2), random(9, 8)
    clip = np.float32([1, 0, 2, 1, 0, 1, 0, 0, 1, 0, 0, 0])

    def sigmoid(v: float) -> float:
        return 1 / (1 + math.exp(-v))

    y = np.zeros((12, 2))
    for n in range(3):
        h, c = [0.0, 0.0], [0.0, 0.0]
        for t in range(4):
            goes_on = clip[t + n] != 0
            gates = [float(bias[r]) + float(weight[r] @ x[3 * t + n, :, 0, 0]) for r in range(8)]
            if goes_on:
                gates = [gate + sum(float(recurrent[r, k]) * h[k] for k in range(2)) for r, gate in enumerate(gates)]
            for d in range(2):
                forget = sigmoid(gates[2 + d]) if goes_on else 0.0
                c[d] = forget * c[d] + sigmoid(gates[d]) * math.tanh(gates[6 + d])
            h = [sigmoid(gates[4 + d]) * math.tanh(c[d]) for d in range(2)]
            y[3 * t + n] = h
    text = layer("Lstm", "lstm_param { num_output: 2 batch_size: 3 }", "x clip")
    feeds = {"x": x, "clip": clip.reshape(12, 1)}
    return Naive(text, feeds, {("it", "out"): y}, {"it": [weight, recurrent, bias]})


@case("continuation_indicator")
def indicator() -> Naive:
    """Marks for the LSTM behind it, which begins anew with each row of 0."""
    y = np.ones((4, 3), np.float32)
    for n in range(3):
        y[0, n] = 0
    params = "continuation_indicator_param { time_step: 4 axis: 1 }"
    return Naive(layer("ContinuationIndicator", params), {"x": random(5, 2, 3, 5)}, {("it", "out"): y})


def best_path(x: Array, n: int, length: int, blank: int, merges: bool) -> tuple[list[int], float]:
    """CTCGreedyDecoderLayer::Decode for one stream."""
    found, before, score = [], -1, 0.0
    for t in range(length):
        largest = 0
        for c in range(1, x.shape[2]):
            if x[t, n, c] > x[t, n, largest]:
                largest = c
        score -= float(x[t, n, largest])
        if largest != blank and not (merges and largest == before):
            found.append(largest)
        before = largest
    return found, score


@case("ctc_greedy_decoder")
def decoded_with_marks() -> Naive:
    """Intel's: the last class is the blank; a sequence ends before the first 0 behind its beginning."""
    steps, streams, classes = 9, 3, 4
    x, marks = random(6, steps, streams, classes), np.ones((steps, streams), np.float32)
    marks[0] = 0
    marks[5, 1] = marks[7, 1] = marks[1, 2] = 0
    y, scores = np.full((streams, steps, 1, 1), -1.0), np.empty((streams, 1, 1, 1))
    for n, length in enumerate((9, 5, 1)):
        found, scores[n, 0, 0, 0] = best_path(x, n, length, classes - 1, True)
        y[n, : len(found), 0, 0] = found
    text = layer("CTCGreedyDecoder", bottoms="x marks", tops="out score")
    return Naive(text, {"x": x, "marks": marks}, {("it", "out"): y, ("it", "score"): scores})


@case("ctc_greedy_decoder_ocr")
def decoded_without_marks() -> Naive:
    """caffe_ocr's: class 0 is the blank, and each sequence as long as the blob; repetitions kept."""
    steps, streams, classes = 8, 2, 3
    x = random(7, steps, streams, classes)
    y = np.full((streams, steps, 1, 1), -1.0)
    for n in range(streams):
        found, _ = best_path(x, n, steps, 0, False)
        y[n, : len(found), 0, 0] = found
    params = "ctc_decoder_param { ctc_merge_repeated: false }"
    return Naive(layer("CTCGreedyDecoder", params), {"x": x}, {("it", "out"): y})


def convolved(x: Array, kernel: Array) -> Array:
    """convolution_Fwd: a filter's first row meets the image's last one."""
    n, _, height, width = x.shape
    outs, _, k, _ = kernel.shape
    y = np.zeros((n, outs, height, width))
    for o, i, j, a, b in np.ndindex(outs, height, width, k, k):
        row, column = i + k // 2 - a, j + k // 2 - b
        if 0 <= row < height and 0 <= column < width:
            y[:, o, i, j] += (x[:, :, row, column].astype(np.float64) * kernel[o, :, a, b]).sum(1)
    return y.astype(np.float32)


def rectified(x: Array, blobs: list[Array], factor: float) -> Array:
    """BN_inf_Fwd and ReLU_Fwd, with the scale factor as the GPU's code has it where it is 0."""
    gamma, beta, mean, variance = blobs
    y = gamma * (x - mean / factor) / np.sqrt(variance / factor + np.float32(1e-5)) + beta
    return np.maximum(y, 0).astype(np.float32)


def dense(bottleneck: bool, factor: float) -> Naive:
    transitions, growth, channels = 3, 2, 5
    x = random(8, 2, channels, 4, 6)
    wide = [channels + i * growth for i in range(transitions)]
    inner = 4 * growth

    def statistics(seed: int, sizes: list[int]) -> list[list[Array]]:
        groups = [[random(seed + g, 1, c, 1, 1) for c in sizes] for g in range(4)]
        groups[3] = [np.abs(a) + np.float32(0.3) for a in groups[3]]
        return groups

    read = [inner] * transitions if bottleneck else wide
    filters = [random(20 + i, growth, c, 3, 3) for i, c in enumerate(read)]
    first = statistics(30, wide)
    narrow = [random(40 + i, inner, c, 1, 1) for i, c in enumerate(wide)]
    second = statistics(50, [inner] * transitions)
    blobs = [*filters, *(blob for group in first for blob in group)]
    if bottleneck:
        blobs += [*narrow, *(blob for group in second for blob in group)]
    y = x
    for i in range(transitions):
        part = rectified(y, [group[i] for group in first], factor or 1.0)
        if bottleneck:
            part = rectified(convolved(part, narrow[i]), [group[i] for group in second], factor or 1.0)
        y = np.concatenate([y, convolved(part, filters[i])], axis=1)
    params = f"numTransition: 3 growthRate: 2 initChannel: 64 use_BC: {str(bottleneck).lower()}"
    answers = {("it", "out"): y}
    factors = np.array([factor], np.float32)
    return Naive(layer("DenseBlock", f"denseblock_param {{ {params} }}"), {"x": x}, answers, {"it": [*blobs, factors]})


@case("dense_block")
def plain_block() -> Naive:
    return dense(False, 0.0)


@case("dense_block_bottleneck")
def bottleneck_block() -> Naive:
    return dense(True, 2.5)
