"""Forks' layers that work on each value alone, from their sources."""

from __future__ import annotations

import math

import numpy as np

from tests.drawn.base import layer
from tests.naive.base import Naive, case, random


@case("selu")
def selu() -> Naive:
    """soeaver's selu_layer.cpp, with the constants that are its defaults."""
    x = random(1, 2, 3, 4, 5)
    y = np.empty_like(x)
    for place in np.ndindex(*x.shape):
        value = float(x[place])
        y[place] = 1.050700987 * (value if value > 0 else 1.67326324 * (math.exp(value) - 1))
    return Naive(layer("SeLu"), {"x": x}, {("it", "out"): y})


@case("selu_dropout")
def selu_dropout() -> Naive:
    """soeaver's selu_dropout_layer.cpp: a copy in phase TEST."""
    x = random(2, 2, 3, 4, 5)
    return Naive(
        layer("SeLuDropout", "selu_dropout_param { dropout_ratio: 0.05 }"), {"x": x}, {("it", "out"): x.copy()}
    )


@case("insanity")
def insanity() -> Naive:
    """happynear's insanity_layer.cpp in phase TEST: max(x, 0) + min(x, 0) / m; m is 3.91523 for 3 and 5."""
    x = random(5, 2, 3, 4, 5)
    y = np.empty_like(x)
    for place in np.ndindex(*x.shape):
        value = float(x[place])
        y[place] = max(value, 0.0) + min(value, 0.0) / ((5 - 3) / (math.log(5) - math.log(3)))
    return Naive(layer("Insanity", "insanity_param { lb: 3 ub: 5 }"), {"x": x}, {("it", "out"): y})


@case("brelu")
def brelu() -> Naive:
    """DehazeNet's brelu_layer.cpp."""
    x = random(3, 2, 3, 4, 5)
    y = np.empty_like(x)
    for place in np.ndindex(*x.shape):
        y[place] = min(max(float(x[place]), -0.5), 0.75)
    return Naive(layer("BReLU", "brelu_param { minval: -0.5 maxval: 0.75 }"), {"x": x}, {("it", "out"): y})


@case("quant")
def quant() -> Naive:
    """HWGQ's quant_layer.cpp, by the centers of its nets; thresholds are in the middle, each of its step's own."""
    x = random(5, 2, 3, 4, 5) * 1.5
    x[0, 0, 0, :3] = 0, 0.75, 1.5
    y = np.empty_like(x)
    for at in np.ndindex(*x.shape):
        v = float(x[at])
        y[at] = -0.25 if v <= 0 else 0.5 if v <= 0.75 else 1.0 if v <= 1.5 else 2.0
    assert y[0, 0, 0, :3].tolist() == [-0.25, 0.5, 1.0]
    params = "quant_param { centers: 0.5 centers: 1 centers: 2 clip_thr: 2 negative_slope: 0.25 }"
    return Naive(layer("Quant", params), {"x": x}, {("it", "out"): y})


@case("quant_signs")
def quant_signs() -> Naive:
    x = random(6, 2, 3, 4, 5)
    x[1, 2, 3] = 0
    params = 'quant_param { forward_func: "sign" backward_func: "hard_tanh" }'
    return Naive(layer("Quant", params), {"x": x}, {("it", "out"): np.where(x < 0, np.float32(-1), np.float32(1))})


@case("spatial_dropout")
def spatial_dropout() -> Naive:
    """ENet's spatial_dropout.py: times 1 / (1 - p) out of training, too."""
    x = random(4, 2, 3, 4, 5)
    code = "python_param { module: 'spatial_dropout' layer: 'SpatialDropoutLayer' "
    code += "param_str: \"{'phase': 'TEST', 'p': '0.1'}\" }"
    return Naive(layer("Python", code), {"x": x}, {("it", "out"): x * (1.0 / (1.0 - 0.1))})


@case("mish")
def mish() -> Naive:
    """mish_layer.cpp of the YOLO v4 forks: x - 2 x / ((exp(x) + 1)² + 1)."""
    x = 4 * random(9, 2, 3, 4)
    y = np.empty_like(x)
    for place in np.ndindex(*x.shape):
        value = float(x[place])
        y[place] = value - 2 * value / ((math.exp(value) + 1) ** 2 + 1)
    return Naive(layer("Mish"), {"x": x}, {("it", "out"): y})


@case("neg_relu")
def neg_relu() -> Naive:
    """iResNet's neg_relu_layer.cu: in < 0 ? in : in * negative_slope."""
    x = random(11, 2, 3, 4, 5)
    y = np.float32([v if v < 0 else 0.0 for v in map(float, x.ravel())]).reshape(x.shape)
    return Naive(layer("NegReLU", "relu_param { negative_slope: 0 }"), {"x": x}, {("it", "out"): y})


@case("neg_relu_slope")
def neg_relu_slope() -> Naive:
    x = random(12, 2, 3, 4, 5)
    y = np.float32([v if v < 0 else 0.25 * v for v in map(float, x.ravel())]).reshape(x.shape)
    return Naive(layer("NegReLU", "relu_param { negative_slope: 0.25 }"), {"x": x}, {("it", "out"): y})


@case("exp_max")
def exp_max() -> Naive:
    """LiteFlowNet's expmax_layer.cu, as it is used: the exponential of what is below the largest channel."""
    x = random(13, 1, 3, 4, 5)
    y = np.empty_like(x)
    for _, c, h, w in np.ndindex(*x.shape):
        y[0, c, h, w] = math.exp(float(x[0, c, h, w]) - float(x[0, :, h, w].max()))
    return Naive(layer("ExpMax"), {"x": x}, {("it", "out"): y})


@case("exp_max_of_base_2")
def exp_max_of_base_2() -> Naive:
    """inner_scale_ = log(base) * scale, outer_scale_ = pow(base, shift)."""
    x = random(14, 1, 3, 4, 5)
    y = np.empty_like(x)
    for _, c, h, w in np.ndindex(*x.shape):
        y[0, c, h, w] = 2**1.5 * 2 ** (0.5 * (float(x[0, c, h, w]) - float(x[0, :, h, w].max())))
    params = "expmax_param { base: 2 scale: 0.5 shift: 1.5 }"
    return Naive(layer("ExpMax", params), {"x": x}, {("it", "out"): y})


@case("neg_square")
def neg_square() -> Naive:
    """LiteFlowNet's negsquare_layer.cu."""
    x = random(15, 2, 3, 4, 5)
    y = np.float32([-float(v) * float(v) for v in x.ravel()]).reshape(x.shape)
    return Naive(layer("NegSquare"), {"x": x}, {("it", "out"): y})
