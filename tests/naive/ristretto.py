"""Ristretto's layers in numbers of few bits, value by value as the kernels of base_ristretto_layer.cu and .cuh do it.

Python's round() takes the even one of two that are as near, as rint does.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable

import numpy as np

from tests.drawn.base import layer
from tests.naive.base import Array, Naive, case, random

Trim = Callable[[float], float]


def fixed(bits: int, fl: int) -> Trim:
    """Trim2FixedPoint_kernel."""
    most, least = (2 ** (bits - 1) - 1) * 2.0**-fl, -(2 ** (bits - 1)) * 2.0**-fl
    return lambda value: round(max(min(value, most), least) / 2.0**-fl) * 2.0**-fl


def minifloat(mant: int, exp: int) -> Trim:
    """Trim2MiniFloat_device."""
    bias = 2 ** (exp - 1) - 1

    def trim(value: float) -> float:
        (word,) = struct.unpack("I", struct.pack("f", value))
        sign, stored, mantissa = word >> 31, word >> 23 & 255, word & (1 << 23) - 1
        exponent = stored - 127 + bias
        if stored == 0 or exponent < 0:
            return 0.0
        if exponent > 2**exp - 1:
            exponent, short = 2**exp - 1, 2**mant - 1
        else:
            short = round(mantissa / 2 ** (23 - mant))
        return float((-1) ** sign * ((short + 2**mant) / 2**mant) * 2.0 ** (exponent - bias))

    return trim


def power_of_2(least: int, most: int) -> Trim:
    """Trim2IntegerPowerOf2_kernel."""

    def trim(value: float) -> float:
        exponent = round(math.log2(abs(value))) if value else least
        return (1 if value >= 0 else -1) * 2.0 ** max(min(exponent, most), least)

    return trim


def each(trim: Trim, values: Array) -> list[float]:
    return [trim(float(value)) for value in values.ravel()]


def quarters(seed: int, *sizes: int) -> Array:
    """Values of which many lie in the middle between two numbers, and whose sums are exact."""
    return np.round(random(seed, *sizes) * 12).astype(np.float32) / np.float32(4)


def convolved(x: Array, w: Array, b: Array) -> Array:
    """A kernel of 2×3, stride 2×1, pad 1×0, in one group."""
    y = np.zeros((len(x), len(w), (x.shape[2] + 2 - 2) // 2 + 1, x.shape[3] - 3 + 1), np.float32)
    for n, o, r, c in np.ndindex(y.shape):
        total = float(b[o])
        for i, k, m in np.ndindex(w.shape[1:]):
            if 0 <= 2 * r + k - 1 < x.shape[2]:
                total += float(x[n, i, 2 * r + k - 1, c + m]) * float(w[o, i, k, m])
        y[n, o, r, c] = total
    return y


def trimmed(trim: Trim, values: Array) -> Array:
    return np.float32(each(trim, values)).reshape(values.shape)


WINDOW = "convolution_param { num_output: 4 kernel_h: 2 kernel_w: 3 stride_h: 2 stride_w: 1 pad_h: 1 pad_w: 0 }"


def convolution(how: str, bottom: Trim, top: Trim, weight: Trim, bias: Trim) -> Naive:
    x, w, b = quarters(1, 2, 3, 5, 6), quarters(2, 4, 3, 2, 3), quarters(3, 4)
    w[1, 2, 0, 1] = 0
    y = trimmed(top, convolved(trimmed(bottom, x), trimmed(weight, w), trimmed(bias, b)))
    text = layer("ConvolutionRistretto", f"{WINDOW} quantization_param {{ {how} }}")
    return Naive(text, {"x": x}, {("it", "out"): y}, {"it": [w, b]})


@case("convolution_ristretto")
def fixed_point_convolution() -> Naive:
    how = "bw_layer_in: 5 fl_layer_in: 1 bw_layer_out: 6 fl_layer_out: -1 bw_params: 4 fl_params: 1"
    return convolution(how, fixed(5, 1), fixed(6, -1), fixed(4, 1), fixed(4, 1))


@case("convolution_ristretto_minifloat")
def minifloat_convolution() -> Naive:
    """One bit of mantissa and three of exponent: from 1/8 to 24."""
    small = minifloat(1, 3)
    return convolution("precision: MINIFLOAT mant_bits: 1 exp_bits: 3", small, small, small, small)


@case("convolution_ristretto_powers")
def shifting_convolution() -> Naive:
    """Weights of ±1/2 to ±4, 0 among those above; the blobs are fixed point, the bias is what it was."""
    how = (
        "precision: INTEGER_POWER_OF_2_WEIGHTS exp_min: -1 exp_max: 2 "
        "bw_layer_in: 8 fl_layer_in: 1 bw_layer_out: 7 fl_layer_out: 0"
    )
    return convolution(how, fixed(8, 1), fixed(7, 0), power_of_2(-1, 2), lambda value: value)


@case("deconvolution_ristretto")
def deconvolution() -> Naive:
    """A kernel of 2×3 at stride 1×2, in two groups, without a bias."""
    x, w = quarters(4, 2, 4, 3, 5), quarters(5, 4, 3, 2, 3)
    bottom, top, weight = fixed(4, 0), fixed(8, -2), fixed(6, 1)
    used, kernel = trimmed(bottom, x), trimmed(weight, w)
    y = np.zeros((2, 6, 4, 11), np.float32)
    for n, i, r, c in np.ndindex(x.shape):
        for o, k, m in np.ndindex(3, 2, 3):
            y[n, i // 2 * 3 + o, r + k, 2 * c + m] += used[n, i, r, c] * kernel[i, o, k, m]
    window = "num_output: 6 group: 2 kernel_h: 2 kernel_w: 3 stride_h: 1 stride_w: 2 bias_term: false"
    how = "bw_layer_in: 4 fl_layer_in: 0 bw_layer_out: 8 fl_layer_out: -2 bw_params: 6 fl_params: 1"
    text = layer("DeconvolutionRistretto", f"convolution_param {{ {window} }} quantization_param {{ {how} }}")
    return Naive(text, {"x": x}, {("it", "out"): trimmed(top, y)}, {"it": [w]})


@case("fc_ristretto")
def fully_connected() -> Naive:
    """The matrix is inputs × outputs; what is not stated are 32 bits, 16 of them behind the point."""
    x, w, b = quarters(6, 2, 3, 5), quarters(7, 15, 4), quarters(8, 4)
    bottom, weight = fixed(4, 1), fixed(4, 0)
    rows, matrix, offset = trimmed(bottom, x).reshape(2, 15), trimmed(weight, w), trimmed(weight, b)
    y = np.empty((2, 4), np.float32)
    for n, o in np.ndindex(y.shape):
        y[n, o] = sum(float(rows[n, i]) * float(matrix[i, o]) for i in range(15)) + float(offset[o])
    how = "bw_layer_in: 4 fl_layer_in: 1 bw_params: 4 fl_params: 0"
    params = f"inner_product_param {{ num_output: 4 transpose: true }} quantization_param {{ {how} }}"
    return Naive(layer("FcRistretto", params), {"x": x}, {("it", "out"): y}, {"it": [w, b]})


@case("fc_ristretto_memory")
def later_readers() -> Naive:
    """Who reads the bottom, or what lies in its memory, after the layer, reads what it left there; who read it before
    did not.
    """
    x, w = quarters(9, 2, 3, 5), quarters(10, 4, 15)
    used = trimmed(fixed(4, 0), x)
    y = np.empty((2, 4), np.float32)
    for n, o in np.ndindex(y.shape):
        y[n, o] = sum(float(used[n].ravel()[i]) * float(w[o, i]) for i in range(15))
    how = "bw_layer_in: 4 fl_layer_in: 0 bw_params: 16 fl_params: 4"
    params = f"inner_product_param {{ num_output: 4 bias_term: false }} quantization_param {{ {how} }}"
    doubled = "power_param { scale: 2 }"
    text = "\n".join(
        (
            f'layer {{ name: "early" type: "Power" bottom: "x" top: "early" {doubled} }}',
            'layer { name: "flat" type: "Flatten" bottom: "x" top: "flat" }',
            layer("FcRistretto", params, "flat"),
            f'layer {{ name: "late" type: "Power" bottom: "x" top: "late" {doubled} }}',
            f'layer {{ name: "later" type: "Power" bottom: "flat" top: "later" {doubled} }}',
        )
    )
    answers = {
        ("early", "early"): 2 * x,
        ("it", "out"): y,
        ("late", "late"): 2 * used,
        ("later", "later"): 2 * used.reshape(2, 15),
    }
    return Naive(text, {"x": x}, answers, {"it": [w]})


@case("lrn_ristretto")
def response_normalisation() -> Naive:
    """LRNFillScaleQ and LRNComputeOutputQ: each number is one of 3 bits of mantissa and 4 of exponent."""
    x, trim = random(11, 2, 7, 3, 4) * np.float32(2), minifloat(3, 4)
    size, alpha, beta, k, channels = 5, 0.5, 0.75, 1.0, 7
    y = np.empty_like(x)
    for n, h, w in np.ndindex(2, 3, 4):
        read = [trim(float(value)) for value in x[n, :, h, w]]
        total, scale = 0.0, [0.0] * channels
        for head in range(channels + 2):
            if head < channels:
                total = trim(total + trim(read[head] * read[head]))
            if head >= size:
                total = trim(total - trim(read[head - size] * read[head - size]))
            if head >= 2:
                scale[head - 2] = trim(k + trim(total * float(np.float32(alpha / size))))
        for c in range(channels):
            y[n, c, h, w] = trim(read[c] * trim(scale[c] ** -beta))
    params = "lrn_param { alpha: 0.5 } quantization_param { precision: MINIFLOAT mant_bits: 3 exp_bits: 4 }"
    return Naive(layer("LRNRistretto", params), {"x": x}, {("it", "out"): y})
