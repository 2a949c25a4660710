"""Images cut into pieces, and pieces put together: waifu2x-caffe's fork, JAA-Net's and RCF's, from their sources."""

from __future__ import annotations

import numpy as np

from tests.drawn.base import layer
from tests.naive.base import Naive, case, random


@case("auto_crop")
def auto_crop() -> Naive:
    """RCF's auto_crop_layer.cpp: pixel 0 of a pooling of 2 lies at 0.5, of a kernel of 4 at 1.5 less.

    Along the columns the kernel is 6 wide with 1 of padding, which puts it at the same place.
    """
    x, weight = random(3, 2, 1, 5, 8), random(4, 1, 1, 4, 6)
    up = np.zeros((2, 1, 8, 12))
    for n, h, w in np.ndindex(2, 3, 4):
        largest = x[n, 0, 2 * h : 2 * h + 2, 2 * w : 2 * w + 2].max()
        for i, j in np.ndindex(4, 6):
            up[n, 0, 2 * h + i, 2 * w + j] += largest * weight[0, 0, i, j]
    unpadded = up[:, :, :, 1:-1]
    y = np.empty((2, 1, 5, 8))
    for n, h, w in np.ndindex(2, 5, 8):
        y[n, 0, h, w] = unpadded[n, 0, 1 + h, 1 + w]
    text = 'layer { name: "down" type: "Pooling" bottom: "x" top: "down" pooling_param { kernel_size: 2 stride: 2 } }\n'
    text += 'layer { name: "up" type: "Deconvolution" bottom: "down" top: "up" convolution_param { num_output: 1 '
    text += "kernel_h: 4 kernel_w: 6 stride: 2 pad_h: 0 pad_w: 1 bias_term: false } }\n"
    text += layer("AutoCrop", "", "up x")
    return Naive(text, {"x": x}, {("it", "out"): y}, {"up": [weight]})


@case("crop_center")
def crop_center() -> Naive:
    """waifu2x-caffe's crop_center_layer.cpp: as much off the end as off the start."""
    x = random(1, 2, 3, 7, 10)
    y = np.empty((2, 1, 5, 4), np.float32)
    for n, c, h, w in np.ndindex(*y.shape):
        y[n, c, h, w] = x[n, c + 1, h + 1, w + 3]
    text = layer("CropCenter", "crop_center_param { crop_size: 0 crop_size: 1 crop_size: 1 crop_size: 3 }")
    return Naive(text, {"x": x}, {("it", "out"): y})


@case("division")
def division() -> Naive:
    """JAA-Net's division_layer.cpp: xcoord counts columns, ycoord rows."""
    x = random(2, 2, 3, 6, 9)
    tops = [np.empty((2, 3, 2, 5), np.float32) for _ in range(2)]
    for top, row, column in zip(tops, (0, 4), (3, 1), strict=True):
        for n, c, h, w in np.ndindex(*top.shape):
            top[n, c, h, w] = x[n, c, row + h, column + w]
    params = "division_param { height: 2 width: 5 xcoord: 3 xcoord: 1 ycoord: 0 ycoord: 4 }"
    return Naive(layer("Division", params, "x", "a b"), {"x": x}, {("it", "a"): tops[0], ("it", "b"): tops[1]})


@case("combination")
def combination() -> Naive:
    """JAA-Net's combination_layer.cpp."""
    shapes, corners = [(2, 5), (2, 3), (4, 5), (4, 3)], [(0, 0), (0, 5), (2, 0), (2, 5)]
    feeds = {f"p{i}": random(i, 2, 3, *size) for i, size in enumerate(shapes)}
    y = np.empty((2, 3, 6, 8), np.float32)
    for piece, (row, column) in zip(feeds.values(), corners, strict=True):
        for n, c, h, w in np.ndindex(*piece.shape):
            y[n, c, row + h, column + w] = piece[n, c, h, w]
    places = " ".join(f"xcoord: {column} ycoord: {row}" for row, column in corners)
    text = layer("Combination", f"combination_param {{ {places} }}", " ".join(feeds))
    return Naive(text, feeds, {("it", "out"): y})
