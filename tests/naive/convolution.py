"""Convolutions with a group for each channel."""

from __future__ import annotations

import numpy as np

from tests.drawn.base import layer
from tests.naive.base import Array, Naive, case, random


def depthwise(x: Array, weight: Array, bias: Array, outputs: int) -> Array:
    """A 2×3 kernel, stride 2×1, pad 1×0, dilation 1×2: output o reads channel o · channels / outputs, and no other."""
    n, channels, height, width = x.shape
    y = np.zeros((n, outputs, (height + 2 - 2) // 2 + 1, width - 5 + 1), np.float64)
    for i, o, row, column in np.ndindex(y.shape):
        total = float(bias[o])
        for r, c in np.ndindex(2, 3):
            at, across = row * 2 + r - 1, column + 2 * c
            if 0 <= at < height:
                total += float(weight[o, 0, r, c]) * float(x[i, o * channels // outputs, at, across])
        y[i, o, row, column] = total
    return y.astype(np.float32)


WINDOW = "kernel_h: 2 kernel_w: 3 stride_h: 2 stride_w: 1 pad_h: 1 pad_w: 0 dilation: 1 dilation: 2"


def of_kind(kind: str, params: str, outputs: int) -> Naive:
    x = random(1, 2, 3, 5, 7)
    weight, bias = random(2, outputs, 1, 2, 3), random(3, outputs)
    text = layer(kind, f"convolution_param {{ {params} {WINDOW} }}")
    answer = depthwise(x, weight, bias, outputs)
    return Naive(text, {"x": x}, {("it", "out"): answer}, {"it": [weight, bias]})


@case("depthwise_convolution")
def depthwise_convolution() -> Naive:
    """depthwise_conv_layer.cpp: channels, and here two outputs of each."""
    return of_kind("DepthwiseConvolution", "num_output: 6 group: 3", 6)


@case("convolution_depthwise")
def convolution_depthwise() -> Naive:
    """conv_dw_layer.cpp: as many outputs as channels, whatever num_output and group say."""
    return of_kind("ConvolutionDepthwise", "num_output: 4 group: 2", 3)


@case("convolution_of_points_without_steps")
def of_points() -> Naive:
    """Kernels of one pixel with a dilation of 0, as UberNet has them: kernel_extent is 0 · (1 - 1) + 1."""
    x = random(11, 2, 3, 5, 7)
    weight, bias = random(12, 4, 3, 1, 1), random(13, 4)
    y = np.zeros((2, 4, 3, 4))
    for n, o, row, column in np.ndindex(y.shape):
        products = [float(weight[o, c, 0, 0]) * float(x[n, c, 2 * row, 2 * column]) for c in range(3)]
        y[n, o, row, column] = sum(products) + float(bias[o])
    text = layer("Convolution", "convolution_param { num_output: 4 kernel_size: 1 stride: 2 dilation: 0 }")
    return Naive(text, {"x": x}, {("it", "out"): np.float32(y)}, {"it": [weight, bias]})
