"""Layers that enlarge or shrink images, from the sources of DeepLab's and SegNet's forks."""

from __future__ import annotations

import numpy as np

from tests.drawn.base import layer
from tests.naive.base import Array, Naive, case, random


def _interpolated(x: Array, rows: int, columns: int) -> Array:
    """interp.cpp: the corners of top and bottom coincide."""
    y = np.empty((*x.shape[:2], rows, columns), np.float32)
    for i, j in np.ndindex(rows, columns):
        r = i * (x.shape[2] - 1) / (rows - 1) if rows > 1 else 0.0
        s = j * (x.shape[3] - 1) / (columns - 1) if columns > 1 else 0.0
        r0, s0 = int(r), int(s)
        r1, s1 = min(r0 + 1, x.shape[2] - 1), min(s0 + 1, x.shape[3] - 1)
        above = (1 - (s - s0)) * x[:, :, r0, s0] + (s - s0) * x[:, :, r0, s1]
        below = (1 - (s - s0)) * x[:, :, r1, s0] + (s - s0) * x[:, :, r1, s1]
        y[:, :, i, j] = (1 - (r - r0)) * above + (r - r0) * below
    return y


@case("interp_zoom")
def zoomed() -> Naive:
    """DeepLab's: zoom_factor - 1 values between two pixels."""
    x = random(1, 2, 3, 4, 5)
    return Naive(
        layer("Interp", "interp_param { zoom_factor: 3 }"), {"x": x}, {("it", "out"): _interpolated(x, 10, 13)}
    )


@case("interp_of_one_row")
def one_row() -> Naive:
    x = random(1, 2, 3, 1, 4)
    text = layer("Interp", "interp_param { height: 6 width: 7 }")
    return Naive(text, {"x": x}, {("it", "out"): _interpolated(x, 6, 7)})


@case("interp_along_one_row")
def along_one_row() -> Naive:
    x = random(1, 2, 3, 1, 4)
    text = layer("Interp", "interp_param { height: 1 width: 7 }")
    return Naive(text, {"x": x}, {("it", "out"): _interpolated(x, 1, 7)})


@case("interp_of_one_pixel")
def one_pixel() -> Naive:
    x = random(1, 2, 3, 1, 1)
    text = layer("Interp", "interp_param { height: 6 width: 7 }")
    return Naive(text, {"x": x}, {("it", "out"): _interpolated(x, 6, 7)})


@case("interp_zoom_of_openvino")
def zoomed_like_openvino() -> Naive:
    """OpenVINO's model optimizer multiplies the size, and its nets take images of multiples of 32."""
    x = random(2, 2, 1, 32, 64)
    text = layer("Interp", "interp_param { zoom_factor: 3 }")
    return Naive(text, {"x": x}, {("it", "out"): _interpolated(x, 96, 192)})


@case("interp_like_a_blob")
def like_another() -> Naive:
    """soeaver's: height and width of a second bottom."""
    x, like = random(3, 2, 3, 4, 5), random(4, 1, 8, 7, 6)
    text = layer("Interp", "interp_param { use_blob_size: true }", "x like")
    return Naive(text, {"x": x, "like": like}, {("it", "out"): _interpolated(x, 7, 6)})


@case("upsample_without_scale")
def upsampled_once() -> Naive:
    """MobileNet-YOLO's, Chen's and Sophgo's caffe.proto have 1 as the default, SegNet's, which has a mask, 2."""
    x = random(7, 2, 3, 4, 5)
    return Naive(layer("Upsample", ""), {"x": x}, {("it", "out"): x})


@case("upsample_by_mask")
def upsampled() -> Naive:
    """SegNet's upsample_layer.cpp: the places count within a plane of twice the size, less one row."""
    x = random(5, 2, 3, 4, 5)
    rng = np.random.default_rng(6)
    mask = np.stack([rng.permutation(7 * 10)[:20] for _ in range(6)]).reshape(x.shape).astype(np.float32)
    y = np.zeros((2, 3, 7, 10), np.float32)
    for n, c, h, w in np.ndindex(*x.shape):
        y[n, c].ravel()[int(mask[n, c, h, w])] = x[n, c, h, w]
    text = layer("Upsample", "upsample_param { scale: 2 pad_out_h: true }", "x mask")
    return Naive(text, {"x": x, "mask": mask}, {("it", "out"): y})
