"""Synopsys' layers, from the sources of its fork."""

from __future__ import annotations

import math

import numpy as np

from tests.drawn.base import layer
from tests.drawn.synopsys import python
from tests.naive.base import Array, Naive, case, random

F = np.float32


def scale_of(before: int, after: int, corners: bool) -> np.float32:
    """CalculateResizeScale."""
    return F(before - 1) / F(after - 1) if corners and after > 1 else F(before) / F(after)


def nearest(x: Array, rows: int, columns: int, corners: bool, half: bool) -> Array:
    """N×C×H×W by the loops of resize_nearest_neighbor_layer.cpp."""
    _, _, h, w = x.shape
    down, across = scale_of(h, rows, corners), scale_of(w, columns, corners)

    def at(i: int, scale: np.float32, size: int) -> int:
        if half:
            return max(min(math.floor((F(i) + F(0.5)) * scale), size - 1), 0)
        place = F(i) * scale
        return min(math.floor(float(place) + 0.5) if corners else math.floor(place), size - 1)

    y = np.empty((*x.shape[:2], rows, columns), np.float32)
    for i, j in np.ndindex(rows, columns):
        y[:, :, i, j] = x[:, :, at(i, down, h), at(j, across, w)]
    return y


def bilinear(x: Array, rows: int, columns: int, corners: bool, half: bool) -> Array:
    """N×C×H×W by the loops of resize_bilinear_layer.cpp."""
    _, _, h, w = x.shape
    y = np.empty((*x.shape[:2], rows, columns), np.float32)

    def weights(i: int, size: int, after: int) -> tuple[int, int, float]:
        scale = scale_of(size, after, corners)
        place = (F(i) + F(0.5)) * scale - F(0.5) if half else F(i) * scale
        low = math.floor(place)
        return max(low, 0), min(math.ceil(place), size - 1), float(place - F(low))

    for i, j in np.ndindex(rows, columns):
        top, bottom, down = weights(i, h, rows)
        left, right, across = weights(j, w, columns)
        above = x[:, :, top, left] + (x[:, :, top, right] - x[:, :, top, left]) * across
        below = x[:, :, bottom, left] + (x[:, :, bottom, right] - x[:, :, bottom, left]) * across
        y[:, :, i, j] = above + (below - above) * down
    return y


def resized(kind: str, section: str, text: str, x: Array, y: Array) -> Naive:
    """In N×H×W×C where the text does not say NCHW."""
    if "NCHW" not in text:
        x, y = x.transpose(0, 2, 3, 1), y.transpose(0, 2, 3, 1)
    return Naive(layer(kind, f"{section} {{ {text} }}"), {"x": x.copy()}, {("it", "out"): y})


NEAREST = ("ResizeNearestNeighbor", "resize_nearest_neighbor_param")
BILINEAR = ("ResizeBilinear", "resize_bilinear_param")


@case("resize_nearest")
def repeated() -> Naive:
    x = random(1, 2, 3, 4, 5)
    return resized(*NEAREST, "output_height: 8 output_width: 15", x, nearest(x, 8, 15, False, False))


@case("resize_nearest_align_corners")
def nearest_corners() -> Naive:
    x = random(2, 2, 3, 7, 5)
    text = "output_height: 4 output_width: 12 align_corners: true data_format: 'NCHW'"
    return resized(*NEAREST, text, x, nearest(x, 4, 12, True, False))


@case("resize_nearest_half_pixel")
def nearest_half() -> Naive:
    x = random(3, 2, 3, 8, 5)
    text = "scale_height: 0.4 scale_width: 1.5 half_pixel_centers: true"
    return resized(*NEAREST, text, x, nearest(x, 3, 7, False, True))


@case("resize_bilinear")
def bilinear_of_old() -> Naive:
    x = random(4, 2, 3, 4, 5)
    return resized(*BILINEAR, "output_height: 7 output_width: 13", x, bilinear(x, 7, 13, False, False))


@case("resize_bilinear_align_corners")
def bilinear_corners() -> Naive:
    x = random(5, 2, 3, 4, 6)
    text = "output_height: 9 output_width: 1 align_corners: true data_format: 'NCHW'"
    return resized(*BILINEAR, text, x, bilinear(x, 9, 1, True, False))


@case("resize_bilinear_half_pixel")
def bilinear_half() -> Naive:
    x = random(6, 2, 3, 4, 7)
    text = "output_height: 10 scale_width: 0.72 half_pixel_centers: true data_format: 'NCHW'"
    return resized(*BILINEAR, text, x, bilinear(x, 10, 5, False, True))


@case("depth_to_space_nhwc")
def depth_last() -> Naive:
    x, b, depth = random(7, 2, 4, 5, 12), 2, 3
    y = np.empty((2, 8, 10, 3), np.float32)
    for h, w, d in np.ndindex(8, 10, 3):
        y[:, h, w, d] = x[:, h // b, w // b, d + (h % b * b + w % b) * depth]
    return Naive(layer("DepthToSpace", "depth_to_space_param { block_size: 2 }"), {"x": x}, {("it", "out"): y})


@case("depth_to_space_nchw")
def depth_first() -> Naive:
    x, b, depth = random(8, 2, 12, 4, 5), 2, 3
    y = np.empty((2, 3, 8, 10), np.float32)
    for d, h, w in np.ndindex(3, 8, 10):
        y[:, d, h, w] = x[:, d + (h % b * b + w % b) * depth, h // b, w // b]
    text = "depth_to_space_param { block_size: 2 data_format: 'NCHW' }"
    return Naive(layer("DepthToSpace", text), {"x": x}, {("it", "out"): y})


@case("depth_to_space_crd")
def depth_by_channel() -> Naive:
    x, b = random(9, 2, 12, 4, 5), 2
    y = np.empty((2, 3, 8, 10), np.float32)
    for d, h, w in np.ndindex(3, 8, 10):
        y[:, d, h, w] = x[:, (d * b + h % b) * b + w % b, h // b, w // b]
    text = "depth_to_space_param { block_size: 2 data_format: 'CRD' }"
    return Naive(layer("DepthToSpace", text), {"x": x}, {("it", "out"): y})


@case("reshape_pixelshuffler")
def pixels_of_channels() -> Naive:
    """reshape_layer.cpp; it puts value after value where its channel's number says."""
    x, r = random(10, 2, 18, 4, 5), 3
    y = np.empty((2, 2, 12, 15), np.float32)
    for c, h, w in np.ndindex(18, 4, 5):
        y[:, c // (r * r), h * r + c // r % r, w * r + c % (r * r) % r] = x[:, c, h, w]
    return Naive(layer("Reshape", "reshape_param { pixelshuffler: 3 }"), {"x": x}, {("it", "out"): y})


@case("space_to_batch")
def places_to_images() -> Naive:
    """Blocks of 1×2×3 over channels, rows and columns, with borders."""
    x = random(11, 2, 4, 5, 7)
    padded = np.zeros((2, 4, 8, 9), np.float32)
    padded[:, :, 1:6, 2:9] = x
    y = np.empty((12, 4, 4, 3), np.float32)
    for n, c, i, j in np.ndindex(2, 4, 8, 9):
        y[(i % 2 * 3 + j % 3) * 2 + n, c, i // 2, j // 3] = padded[n, c, i, j]
    text = "block_shape: 1 block_shape: 2 block_shape: 3 " + " ".join(f"paddings: {p}" for p in (0, 0, 1, 2, 2, 0))
    return Naive(layer("SpaceToBatchND", f"space_to_batch_nd_param {{ {text} }}"), {"x": x}, {("it", "out"): y})


@case("batch_to_space")
def images_to_places() -> Naive:
    """Blocks of 3×2 over the first two axes behind the batch, with crops."""
    x = random(12, 12, 4, 5, 3)
    whole = np.empty((2, 12, 10, 3), np.float32)
    for n, i, j in np.ndindex(2, 12, 10):
        whole[n, i, j] = x[(i % 3 * 2 + j % 2) * 2 + n, i // 3, j // 2]
    text = "block_shape: 3 block_shape: 2 " + " ".join(f"crops: {c}" for c in (1, 2, 3, 0))
    answers = {("it", "out"): whole[:, 1:10, 3:]}
    return Naive(layer("BatchToSpaceND", f"batch_to_space_nd_param {{ {text} }}"), {"x": x}, answers)


def pooled_the_same(x: Array, kernel: tuple[int, int], stride: tuple[int, int], method: str) -> Array:
    """pooling_layer.cpp with pad_type 1."""
    _, _, height, width = x.shape
    pads = []
    for size, k, s in zip((height, width), kernel, stride, strict=True):
        along = max(k - s, 0) if size % s == 0 else max(k - size % s, 0)
        pads.append((along // 2, along - along // 2))
    rows, columns = (math.ceil(size / s) for size, s in zip((height, width), stride, strict=True))
    y = np.empty((*x.shape[:2], rows, columns), np.float32)
    for i, j in np.ndindex(rows, columns):
        top, left = i * stride[0] - pads[0][0], j * stride[1] - pads[1][0]
        bottom, right = min(top + kernel[0], height + pads[0][1]), min(left + kernel[1], width + pads[1][1])
        around = (bottom - top) * (right - left)
        top, left, bottom, right = max(top, 0), max(left, 0), min(bottom, height), min(right, width)
        window = x[:, :, top:bottom, left:right].astype(np.float64)
        if method == "MAX":
            y[:, :, i, j] = window.max((2, 3))
        else:
            inside = (bottom - top) * (right - left)
            y[:, :, i, j] = window.sum((2, 3)) / (around if method == "AVE" else inside)
    return y


def same_case(seed: int, method: str) -> Naive:
    x = random(seed, 2, 3, 10, 7)
    params = f"pool: {method} kernel_h: 4 kernel_w: 3 stride_h: 3 stride_w: 2 pad_type: 1"
    y = pooled_the_same(x, (4, 3), (3, 2), method)
    return Naive(layer("Pooling", f"pooling_param {{ {params} }}"), {"x": x}, {("it", "out"): y})


@case("pooling_same_max")
def same_max() -> Naive:
    return same_case(13, "MAX")


@case("pooling_same_average")
def same_average() -> Naive:
    return same_case(14, "AVE")


@case("pooling_same_average_inside")
def same_average_inside() -> Naive:
    return same_case(15, "AVE_EXC_PAD")


@case("add_broadcast")
def added() -> Naive:
    x, y = random(16, 2, 1, 4, 1), random(17, 3, 1, 5)
    total = np.empty((2, 3, 4, 5), np.float32)
    for n, c, i, j in np.ndindex(2, 3, 4, 5):
        total[n, c, i, j] = x[n, 0, i, 0] + y[c, 0, j]
    return Naive(layer("Add", bottoms="x y"), {"x": x, "y": y}, {("it", "out"): total})


@case("python_eltwise_sum")
def weighted_sum() -> Naive:
    x, y = random(18, 4, 3), random(19, 3)
    total = np.empty((4, 3), np.float32)
    for i, j in np.ndindex(4, 3):
        total[i, j] = 2 * x[i, j] - 0.5 * y[j]
    text = python("eltwise", "Eltwise", "{'operation': 1, 'coeff': [2, -0.5]}", "x y")
    return Naive(text, {"x": x, "y": y}, {("it", "out"): total})


@case("python_shape")
def sizes() -> Naive:
    return Naive(python("shape", "TensorShape"), {"x": random(20, 2, 3, 5)}, {("it", "out"): np.array([2.0, 3.0, 5.0])})


@case("python_pad_edge")
def edge() -> Naive:
    x = random(21, 2, 3, 4, 5)
    y = np.empty((2, 3, 7, 9), np.float32)
    for i, j in np.ndindex(7, 9):
        y[:, :, i, j] = x[:, :, min(max(i - 1, 0), 3), min(max(j - 4, 0), 4)]
    text = "{'pad_t': 1, 'pad_b': 2, 'pad_l': 4, 'pad_r': 0, 'pad_mode': 'edge'}"
    return Naive(python("pad", "PadTensor", text), {"x": x}, {("it", "out"): y})


@case("python_reshape")
def reshaped() -> Naive:
    x = random(22, 2, 3, 4)
    y = np.empty((4, 6), np.float32)
    for place, (n, c, i) in enumerate(np.ndindex(2, 3, 4)):
        y[place // 6, place % 6] = x[n, c, i]
    feeds = {"x": x, "sizes": np.array([4, -1], np.float32)}
    return Naive(python("reshape", "Reshape", bottoms="x sizes"), feeds, {("it", "out"): y})


@case("eltwise_covering")
def summand_of_some_axes() -> Naive:
    """eltwise_layer.cpp: the second of three bottoms has the sizes of axes 1 and 2 only."""
    x, y, z = random(23, 2, 3, 4, 5), random(24, 3, 4), random(25, 2, 3, 4, 5)
    total = np.empty(x.shape, np.float32)
    for n, c, i, j in np.ndindex(2, 3, 4, 5):
        total[n, c, i, j] = 2 * x[n, c, i, j] - y[c, i] + 0.5 * z[n, c, i, j]
    text = layer("Eltwise", "eltwise_param { axis: 1 coeff: 2 coeff: -1 coeff: 0.5 }", "x y z")
    return Naive(text, {"x": x, "y": y, "z": z}, {("it", "out"): total})


@case("eltwise_quotient")
def quotient() -> Naive:
    x, y = random(26, 2, 3, 4), np.float32(3) + np.abs(random(27, 3))
    divided = np.empty(x.shape, np.float32)
    for n, c, i in np.ndindex(2, 3, 4):
        divided[n, c, i] = x[n, c, i] / y[c]
    text = layer("Eltwise", "eltwise_param { axis: -2 operation: DIV }", "x y")
    return Naive(text, {"x": x, "y": y}, {("it", "out"): divided})


@case("eltwise_minimum")
def minimum() -> Naive:
    x, y, z = random(28, 2, 3), np.float32(0.1), random(29, 2, 3)
    least = np.empty(x.shape, np.float32)
    for n, c in np.ndindex(2, 3):
        least[n, c] = min(x[n, c], y, z[n, c])
    text = layer("Eltwise", "eltwise_param { operation: MIN }", "x y z")
    return Naive(text, {"x": x, "y": np.array(y), "z": z}, {("it", "out"): least})
