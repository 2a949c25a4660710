"""inisis' fork: borders, an axis put in, max pooling undone, rows repeated; and LSTMUnit of Caffe itself."""

from __future__ import annotations

import math

import numpy as np

from tests.drawn.base import layer
from tests.naive.base import Array, Naive, case, random


def framed(x: Array, mode: str, sides: tuple[int, int, int, int]) -> Array:
    """pad_layer.cpp: first each row to its left and right, then whole rows above and below."""
    up, down, left, right = sides
    n, c, h, w = x.shape
    y = np.zeros((n, c, h + up + down, w + left + right), np.float32)
    y[:, :, up : up + h, left : left + w] = x
    for i in range(up, up + h):
        for j in range(left):
            y[:, :, i, j] = {"C": 0.5, "R": x[:, :, i - up, 0], "F": x[:, :, i - up, left - j]}[mode]
        for j in range(right):
            source = {"C": 0.5, "R": x[:, :, i - up, w - 1], "F": x[:, :, i - up, w - 2 - j]}
            y[:, :, i, left + w + j] = source[mode]
    for i in range(up):
        y[:, :, i] = {"C": np.float32(0.5), "R": y[:, :, up], "F": y[:, :, 2 * up - i]}[mode]
    for i in range(down):
        last = up + h - 1
        y[:, :, last + 1 + i] = {"C": np.float32(0.5), "R": y[:, :, last], "F": y[:, :, last - 1 - i]}[mode]
    return y


def bordered(name: str, seed: int) -> Naive:
    x, sides = random(seed, 2, 3, 4, 5), (1, 2, 3, 0)
    text = layer("Pad", f"pad_param {{ pad_type: {name} pad_u: 1 pad_d: 2 pad_l: 3 pad_value: 0.5 }}")
    return Naive(text, {"x": x}, {("it", "out"): framed(x, {"CONSTANT": "C", "REPLICATE": "R"}.get(name, "F"), sides)})


@case("pad_image_constant")
def constant() -> Naive:
    return bordered("CONSTANT", 1)


@case("pad_image_replicate")
def replicate() -> Naive:
    return bordered("REPLICATE", 2)


@case("pad_image_reflect")
def reflect() -> Naive:
    return bordered("REFLECT", 3)


@case("pad_image_cut")
def cut() -> Naive:
    """Four sides below 0: row i shows row i + |pad_u|."""
    x = random(4, 2, 3, 6, 8)
    y = np.empty((2, 3, 3, 4), np.float32)
    for i, j in np.ndindex(3, 4):
        y[:, :, i, j] = x[:, :, i + 1, j + 3]
    text = layer("Pad", "pad_param { pad_u: -1 pad_d: -2 pad_l: -3 pad_r: -1 }")
    return Naive(text, {"x": x}, {("it", "out"): y})


@case("unsqueeze")
def unsqueezed() -> Naive:
    """unsqueeze.cpp: a negative dim counts from behind the last axis."""
    x = random(5, 2, 3, 4)
    return Naive(layer("Unsqueeze", "unsqueeze_param { dim: -2 }"), {"x": x}, {("it", "out"): x.reshape(2, 3, 1, 4)})


@case("max_unpool")
def unpooled() -> Naive:
    x = random(6, 2, 3, 4, 5)
    rng = np.random.default_rng(7)
    mask = np.stack([rng.permutation(9 * 11)[:20] for _ in range(6)]).reshape(x.shape).astype(np.float32)
    y = np.zeros((2, 3, 9, 11), np.float32)
    for n, c, h, w in np.ndindex(*x.shape):
        y[n, c].ravel()[int(mask[n, c, h, w])] = x[n, c, h, w]
    text = layer("MaxUnPool", "max_unpool_param { dst_h: 9 dst_w: 11 }", "x mask")
    return Naive(text, {"x": x, "mask": mask}, {("it", "out"): y})


@case("relu6_slope_and_threshold")
def bounded() -> Naive:
    x = 3 * random(11, 2, 3, 4)
    y = np.empty_like(x)
    for place in np.ndindex(x.shape):
        y[place] = min(max(x[place], 0) + 0.25 * min(x[place], 0), 1.5)
    params = "relu6_param { negative_slope: 0.25 threshold: 1.5 }"
    return Naive(layer("ReLU6", params), {"x": x}, {("it", "out"): y})


@case("upsample_of_3_axes")
def widened() -> Naive:
    x = random(8, 2, 3, 5)
    y = np.empty((2, 3, 15), np.float32)
    for j in range(15):
        y[:, :, j] = x[:, :, j // 3]
    return Naive(layer("Upsample", "upsample_param { scale: 3 dims_num: 3 }"), {"x": x}, {("it", "out"): y})


@case("lstm_unit")
def unit() -> Naive:
    """lstm_unit_layer.cpp, value by value."""
    c, gates, cont = random(9, 1, 2, 3), random(10, 1, 2, 12), np.float32([[1, 0]])
    next_c, next_h = np.empty((1, 2, 3)), np.empty((1, 2, 3))
    for n, d in np.ndindex(2, 3):
        i, f, o = (1 / (1 + math.exp(-gates[0, n, k * 3 + d])) for k in range(3))
        g = math.tanh(gates[0, n, 9 + d])
        next_c[0, n, d] = (f * c[0, n, d] if cont[0, n] else 0) + i * g
        next_h[0, n, d] = o * math.tanh(next_c[0, n, d])
    text = layer("LSTMUnit", "", "c gates cont", "next_c next_h")
    answers = {("it", "next_c"): next_c, ("it", "next_h"): next_h}
    return Naive(text, {"c": c, "gates": gates, "cont": cont}, answers)


def interpolated(x: Array, rows: int, columns: int, corners: bool) -> Array:
    """bilinear_interpolate_layer.cpp: where each pixel lies, held within the image, and the two it lies between."""
    n, c, height, width = x.shape
    y = np.empty((n, c, rows, columns), np.float32)
    for i, j in np.ndindex(rows, columns):
        at = []
        for size, count, k in ((height, rows, i), (width, columns, j)):
            place = (size - 1) / (count - 1) * k if corners else size / count * (k + 0.5) - 0.5
            place = max(0.0, min(place, size - 1.0))
            low = min(max(math.floor(place), 0), size - 2)
            at.append((low, place - low))
        (h, down), (w, across) = at
        upper = (1 - across) * x[:, :, h, w] + across * x[:, :, h, w + 1]
        lower = (1 - across) * x[:, :, h + 1, w] + across * x[:, :, h + 1, w + 1]
        y[:, :, i, j] = (1 - down) * upper + down * lower
    return y


@case("bilinear_interpolate")
def corner_on_corner() -> Naive:
    x = random(12, 2, 3, 4, 5)
    text = layer("BilinearInterpolate", "bilinear_interpolate_param { dst_h: 9 dst_w: 7 }")
    return Naive(text, {"x": x}, {("it", "out"): interpolated(x, 9, 7, True)})


@case("bilinear_interpolate_half_pixels")
def half_pixels() -> Naive:
    """int(4 · 1.7) is 6, int(5 · 1.7) is 8."""
    x = random(13, 2, 3, 4, 5)
    text = layer("BilinearInterpolate", "bilinear_interpolate_param { scale_factor: 1.7 align_corners: false }")
    return Naive(text, {"x": x}, {("it", "out"): interpolated(x, 6, 8, False)})


@case("bilinear_interpolate_one_size")
def one_size() -> Naive:
    """The width that is not given stays."""
    x = random(14, 2, 3, 4, 5)
    text = layer("BilinearInterpolate", "bilinear_interpolate_param { dst_h: 6 }")
    return Naive(text, {"x": x}, {("it", "out"): interpolated(x, 6, 5, True)})
