"""Layers that move values about."""

from __future__ import annotations

import numpy as np

from tests.drawn.base import layer
from tests.naive.base import Naive, case, random


@case("shuffle_channel")
def shuffled() -> Naive:
    """ShuffleNet's shuffle_channel_layer.cpp: row i and column j of the table of channels become row j, column i."""
    x = random(1, 2, 6, 5, 7)
    y = np.empty_like(x)
    for i, j in np.ndindex(3, 2):
        y[:, j * 3 + i] = x[:, i * 2 + j]
    return Naive(layer("ShuffleChannel", "shuffle_channel_param { group: 3 }"), {"x": x}, {("it", "out"): y})


@case("pad")
def padded() -> Naive:
    """Synopsys' pad_layer.cpp: two numbers an axis, before and behind, the first axis first."""
    x = random(1, 2, 3, 4)
    y = np.full((2 + 1, 3 + 2, 4 + 3 + 1), -1.5, np.float32)
    for i, j, k in np.ndindex(x.shape):
        y[i + 1, j, k + 3] = x[i, j, k]
    widths = " ".join(f"paddings: {n}" for n in (1, 0, 0, 2, 3, 1))
    return Naive(layer("Pad", f"pad_param {{ {widths} constant_values: -1.5 }}"), {"x": x}, {("it", "out"): y})


@case("reverse")
def reversed_axis() -> Naive:
    """caffe_ocr's reverse_layer.cpp."""
    x = random(1, 5, 2, 3, 4)
    y = np.empty_like(x)
    for i in range(5):
        y[4 - i] = x[i]
    return Naive(layer("Reverse", "reverse_param { axis: 0 }"), {"x": x}, {("it", "out"): y})


@case("squeeze")
def squeezed() -> Naive:
    """Synopsys' squeeze_layer.cpp, here with its axis counted from the end."""
    x = random(1, 2, 1, 3, 4)
    y = np.empty((2, 3, 4), np.float32)
    for i, k, m in np.ndindex(y.shape):
        y[i, k, m] = x[i, 0, k, m]
    return Naive(layer("Squeeze", "squeeze_param { axis: -3 }"), {"x": x}, {("it", "out"): y})


@case("tile_from_axis")
def tiled() -> Naive:
    """bottom-up-attention's tile_layer.cpp: as many copies of axis 2 as the first axis is long, whatever tiles says."""
    x = random(1, 3, 2, 5)
    y = np.empty((3, 2, 15), np.float32)
    for i, j, copy, k in np.ndindex(3, 2, 3, 5):
        y[i, j, copy * 5 + k] = x[i, j, k]
    text = layer("Tile", "tile_param { axis: 2 tiles: 7 tiles_from_axis: -3 }")
    return Naive(text, {"x": x}, {("it", "out"): y})


@case("transpose")
def transposed() -> Naive:
    """caffe_ocr's transpose_layer.cpp: axis i of the top is axis dim i of the bottom."""
    x = random(1, 2, 3, 4, 5)
    y = np.empty((5, 2, 4, 3), np.float32)
    for i, j, k, m in np.ndindex(x.shape):
        y[m, i, k, j] = x[i, j, k, m]
    params = "transpose_param { dim: 3 dim: 0 dim: 2 dim: 1 }"
    return Naive(layer("Transpose", params), {"x": x}, {("it", "out"): y})


@case("upsample_darknet")
def upsampled() -> Naive:
    """Synopsys' upsample_darknet_layer.cpp: every pixel `stride` times down and across."""
    x = random(1, 2, 3, 4, 5)
    y = np.empty((2, 3, 12, 15), np.float32)
    for row, column in np.ndindex(12, 15):
        y[:, :, row, column] = x[:, :, row // 3, column // 3]
    params = "upsample_darknet_param { stride: 3 }"
    return Naive(layer("UpsampleDarknet", params), {"x": x}, {("it", "out"): y})
