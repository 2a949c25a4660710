"""Fields of Intel's and NVIDIA's Caffe: a ReLU inside of another layer, averages without pad, a factor of ELU."""

from __future__ import annotations

import math

import numpy as np

from tests.drawn.base import layer
from tests.naive.base import Array, Naive, case, random


def rectified(value: float, slope: float = 0.0) -> float:
    return value if value > 0 else slope * value


@case("convolution_relu_inside")
def convolution() -> Naive:
    """mkldnn_convolution_layer.cpp: relu with its negative_slope as the last step of the sum."""
    x, weight, bias, slope = random(1, 2, 3, 5, 4), random(2, 4, 3, 2, 3), random(3, 4), 0.25
    y: Array = np.empty((2, 4, 4, 2), np.float32)
    for n, o, h, w in np.ndindex(y.shape):
        terms = [float(weight[o, c, i, j]) * float(x[n, c, h + i, w + j]) for c, i, j in np.ndindex(3, 2, 3)]
        y[n, o, h, w] = rectified(sum(terms) + float(bias[o]), slope)
    params = "num_output: 4 kernel_h: 2 kernel_w: 3 engine: MKLDNN"
    text = layer("Convolution", f"convolution_param {{ {params} relu: true negative_slope: {slope} }}")
    return Naive(text, {"x": x}, {("it", "out"): y}, {"it": [weight, bias]})


@case("inner_product_relu_inside")
def inner_product() -> Naive:
    """mkldnn_inner_product_layer.cpp: the same, negative_slope 0 where none is stated."""
    x, weight = random(1, 3, 5), random(2, 4, 5)
    y: Array = np.empty((3, 4), np.float32)
    for n, o in np.ndindex(y.shape):
        y[n, o] = rectified(sum(float(weight[o, i]) * float(x[n, i]) for i in range(5)))
    params = "inner_product_param { num_output: 4 bias_term: false relu: true }"
    return Naive(layer("InnerProduct", params), {"x": x}, {("it", "out"): y}, {"it": [weight]})


@case("pooling_average_without_pad")
def pooling() -> Naive:
    """mkldnn_pooling_layer.cpp: with avg_include_pad false it divides by the pixels of the window in the image."""
    x = random(1, 2, 3, 5, 6)
    y: Array = np.empty((2, 3, 3, 3), np.float32)
    for n, c, h, w in np.ndindex(y.shape):
        spans = [(max(2 * i - 1, 0), min(2 * i + 2, size)) for i, size in ((h, 5), (w, 6))]
        (top, bottom), (left, right) = spans
        values = [float(x[n, c, i, j]) for i in range(top, bottom) for j in range(left, right)]
        y[n, c, h, w] = sum(values) / len(values)
    params = "pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 1 avg_include_pad: false round_mode: FLOOR }"
    return Naive(layer("Pooling", params), {"x": x}, {("it", "out"): y})


@case("elu_lambda")
def elu() -> Naive:
    """NVIDIA's elu_layer.cpp: lambda times what BVLC's gives."""
    x: Array = random(1, 2, 3, 4)
    y = np.float32([1.5 * (v if v > 0 else 0.5 * (math.exp(v) - 1)) for v in map(float, x.ravel())]).reshape(x.shape)
    return Naive(layer("ELU", "elu_param { alpha: 0.5 lambda: 1.5 }"), {"x": x}, {("it", "out"): y})
