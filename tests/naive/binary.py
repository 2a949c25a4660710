"""HWGQ's sums by the signs of the weights."""

from __future__ import annotations

import numpy as np

from tests.drawn.base import layer
from tests.naive.base import Array, Naive, case, random


def used(weight: Array, alpha: bool) -> list[list[float]]:
    """A row an output, as BinWeightForward of binary_conv_layer.cu makes them: weight >= 0 ? alpha : -alpha."""
    rows = [[float(w) for w in stored.ravel()] for stored in weight]
    sizes = [sum(map(abs, row)) / len(row) if alpha else 1.0 for row in rows]
    return [[size if w >= 0 else -size for w in row] for size, row in zip(sizes, rows, strict=True)]


def binary_convolution(alpha: bool, params: str) -> Naive:
    """Two groups, a 2×3 kernel, stride 2×1, pad 1×0; one weight is 0, which counts as above."""
    x, weight, bias = random(1, 2, 4, 5, 7), random(2, 6, 2, 2, 3), random(3, 6)
    weight[2, 1, 1, 0] = 0
    rows = used(weight, alpha)
    y = np.zeros((2, 6, 3, 5))
    for n, o, row, column in np.ndindex(y.shape):
        total = float(bias[o])
        for place, (c, r, k) in enumerate(np.ndindex(2, 2, 3)):
            at = row * 2 + r - 1
            if 0 <= at < 5:
                total += rows[o][place] * float(x[n, o // 3 * 2 + c, at, column + k])
        y[n, o, row, column] = total
    window = "kernel_h: 2 kernel_w: 3 stride_h: 2 stride_w: 1 pad_h: 1 pad_w: 0"
    text = layer("BinaryConvolution", f"convolution_param {{ num_output: 6 group: 2 {window} }} {params}")
    return Naive(text, {"x": x}, {("it", "out"): np.float32(y)}, {"it": [weight, bias]})


@case("binary_convolution")
def scaled_convolution() -> Naive:
    return binary_convolution(alpha=True, params="binary_convolution_param { use_alpha: true }")


@case("binary_convolution_signs")
def signs_convolution() -> Naive:
    return binary_convolution(alpha=False, params="")


def binary_inner_product(rows: list[list[float]], x: Array, weight: Array, bias: Array, params: str) -> Naive:
    y = np.empty((2, 4))
    for n, o in np.ndindex(y.shape):
        y[n, o] = sum(w * float(v) for w, v in zip(rows[o], x[n].ravel(), strict=True)) + float(bias[o])
    text = layer("BinaryInnerProduct", f"inner_product_param {{ num_output: 4 }} {params}")
    return Naive(text, {"x": x}, {("it", "out"): np.float32(y)}, {"it": [weight, bias]})


@case("binary_inner_product")
def scaled_inner_product() -> Naive:
    x, weight, bias = random(4, 2, 3, 5), random(5, 4, 15), random(6, 4)
    weight[3, 7] = 0
    params = "binary_inner_product_param { use_alpha: true }"
    return binary_inner_product(used(weight, alpha=True), x, weight, bias, params)


@case("binary_inner_product_as_stored")
def stored_inner_product() -> Naive:
    """With use_binarization off the code copies the weights and asks for no alpha."""
    x, weight, bias = random(7, 2, 3, 5), random(8, 4, 15), random(9, 4)
    params = "binary_inner_product_param { use_alpha: true use_binarization: false }"
    return binary_inner_product([[float(w) for w in row] for row in weight], x, weight, bias, params)
