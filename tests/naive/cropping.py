"""Images cut into pieces, and pieces put together, from the sources of the forks that have them: waifu2x-caffe's,
JAA-Net's, RCF's and Greentea's."""

from __future__ import annotations

import numpy as np

from tests.drawn.base import layer
from tests.naive.base import Array, Naive, case, random


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


def stacked(a: Array, b: Array) -> Array:
    """Greentea's mergecrop_layer.cu, MergeCropForward with STACK: its index arithmetic, value by value."""
    channels_a, channels_b = a.shape[1], b.shape[1]
    shape_a, shape_b = a.shape[2:], b.shape[2:]
    size_a, size_b = int(np.prod(shape_a)), int(np.prod(shape_b))
    pad = [(large - small) // 2 for small, large in zip(shape_a, shape_b, strict=True)]
    top = np.empty((a.shape[0], channels_a + channels_b, *shape_a), np.float32)
    for index in range(top.size):
        batch_id = index // ((channels_a + channels_b) * size_a)
        bottom_id = (index - batch_id * (channels_a + channels_b) * size_a) // (channels_a * size_a) % 2
        at, counter = [0] * len(shape_a), index
        for i in reversed(range(len(shape_a))):
            at[i], counter = counter % shape_a[i], counter // shape_a[i]
        if bottom_id == 0:
            place = batch_id * channels_a + index // size_a % channels_a
            for i, size in enumerate(shape_a):
                place = place * size + at[i]
            top.flat[index] = a.flat[place]
        else:
            place, step = (batch_id * channels_b + index // size_a % channels_b) * size_b, 1
            for i in reversed(range(len(shape_a))):
                place, step = place + step * (at[i] + pad[i]), step * shape_b[i]
            top.flat[index] = b.flat[place]
    return top


@case("merge_crop")
def merge_crop() -> Naive:
    """As many channels: the middle of the second behind the first."""
    a, b = random(1, 2, 3, 4, 5), random(2, 2, 3, 6, 10)
    y = stacked(a, b)
    assert (y[:, :3] == a).all()
    assert (y[:, 3:] == b[:, :, 1:5, 2:7]).all()
    params = "mergecrop_param { forward: true forward: true backward: true backward: true }"
    return Naive(layer("MergeCrop", params, "a b"), {"a": a, "b": b}, {("it", "out"): y})


@case("merge_crop_of_unlike_channels")
def merge_crop_of_unlike_channels() -> Naive:
    """2 and 5 channels: in the first item a0 a1 b2 b3 a0 a1 b1, in the second, which counts from 7 on, others."""
    a, b = random(1, 2, 2, 3, 4), random(2, 2, 5, 4, 7)
    y = stacked(a, b)
    for channel, taken in enumerate((a[0, 0], a[0, 1], b[0, 2, :3, 1:5], b[0, 3, :3, 1:5], a[0, 0], a[0, 1])):
        assert (y[0, channel] == taken).all()
    assert (y[0, 6] == b[0, 1, :3, 1:5]).all()
    assert (y[1, 0] == a[1, 1]).all()
    return Naive(layer("MergeCrop", bottoms="a b"), {"a": a, "b": b}, {("it", "out"): y})


@case("merge_crop_added")
def merge_crop_added() -> Naive:
    """The same with ADD, over three axes."""
    a, b = random(1, 2, 3, 2, 4, 5), random(2, 2, 3, 5, 6, 8)
    y = np.empty_like(a)
    for n, c, d, h, w in np.ndindex(*a.shape):
        y[n, c, d, h, w] = a[n, c, d, h, w] + b[n, c, d + 1, h + 1, w + 1]
    return Naive(layer("MergeCrop", "mergecrop_param { operation: ADD }", "a b"), {"a": a, "b": b}, {("it", "out"): y})
