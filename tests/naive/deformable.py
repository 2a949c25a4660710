"""Deformable convolutions, place by place as deformable_im2col.cu reads them."""

from __future__ import annotations

import math

import numpy as np

from tests.drawn.base import layer
from tests.naive.base import Array, Naive, case, random

GROUPS, SPLIT = 2, 2


def pixel(image: Array, i: int, j: int) -> float:
    height, width = image.shape
    return float(image[i, j]) if 0 <= i < height and 0 <= j < width else 0.0


def first_version(image: Array, h: float, w: float) -> float:
    """deformable_im2col_bilinear: from the last row or column on, that row or column alone."""
    height, width = image.shape
    if not (0 <= h < height and 0 <= w < width):
        return 0.0
    low, left = math.floor(h), math.floor(w)
    if low >= height - 1:
        low, h = height - 1, height - 1
    if left >= width - 1:
        left, w = width - 1, width - 1
    below, right, lh, lw = min(low + 1, height - 1), min(left + 1, width - 1), h - low, w - left
    top = (1 - lw) * pixel(image, low, left) + lw * pixel(image, low, right)
    return (1 - lh) * top + lh * ((1 - lw) * pixel(image, below, left) + lw * pixel(image, below, right))


def second_version(image: Array, h: float, w: float) -> float:
    """dmcn_im2col_bilinear: what lies outside counts as 0."""
    height, width = image.shape
    if not (-1 < h < height and -1 < w < width):
        return 0.0
    low, left = math.floor(h), math.floor(w)
    lh, lw = h - low, w - left
    top = (1 - lw) * pixel(image, low, left) + lw * pixel(image, low, left + 1)
    return (1 - lh) * top + lh * ((1 - lw) * pixel(image, low + 1, left) + lw * pixel(image, low + 1, left + 1))


def convolved(
    x: Array,
    offset: Array,
    factor: Array | None,
    weight: Array,
    bias: Array,
    kernel: tuple[int, int],
    stride: int,
    pad: int,
) -> Array:
    """Offsets are read from each item's memory in steps of the top's size; two groups of them, and of channels."""
    kh, kw = kernel
    n, channels, height, width = x.shape
    rows, columns = (height + 2 * pad - kh) // stride + 1, (width + 2 * pad - kw) // stride + 1
    y = np.zeros((n, len(weight), rows, columns))
    for i, o, row, column in np.ndindex(y.shape):
        memory, factors = offset[i].ravel(), None if factor is None else factor[i].ravel()
        total = float(bias[o])
        for c, r, s in np.ndindex(channels // GROUPS, kh, kw):
            channel = o // (len(weight) // GROUPS) * (channels // GROUPS) + c
            split, tap = channel // (channels // SPLIT), r * kw + s
            start = split * 2 * kh * kw
            at = [((start + 2 * tap + k) * rows + row) * columns + column for k in (0, 1)]
            h = row * stride - pad + r + float(memory[at[0]])
            w = column * stride - pad + s + float(memory[at[1]])
            if factors is None:
                value = first_version(x[i, channel], h, w)
            else:
                value = second_version(x[i, channel], h, w)
                value *= float(factors[((split * kh * kw + tap) * rows + row) * columns + column])
            total += float(weight[o, c, r, s]) * value
        y[i, o, row, column] = total
    return y.astype(np.float32)


def deformed(modulated: bool, kernel: tuple[int, int], stride: int, stated: str) -> Naive:
    taps = kernel[0] * kernel[1]
    x, offset = random(1, 2, 4, 6, 7), 2 * random(2, 2, 2 * SPLIT * taps, 6, 7)
    factor = random(3, 2, SPLIT * taps, 6, 7) if modulated else None
    weight, bias = random(4, 8, 2, *kernel), random(5, 8)
    y = convolved(x, offset, factor, weight, bias, kernel, stride, 1)
    feeds = {"x": x, "offset": offset} | ({} if factor is None else {"factor": factor})
    name = "modulated_deformable_convolution_param" if modulated else "deformable_convolution_param"
    kind = "ModulatedDeformableConvolution" if modulated else "DeformableConvolution"
    fields = f"num_output: 8 kernel_h: {kernel[0]} kernel_w: {kernel[1]} stride: {stride} pad: 1 group: 2 {stated}"
    return Naive(
        layer(kind, f"{name} {{ {fields} }}", " ".join(feeds)), feeds, {("it", "out"): y}, {"it": [weight, bias]}
    )


@case("deformable_convolution")
def deformable() -> Naive:
    """A top of the bottom's size, as ResNets have it; how many groups have offsets is left to their channels."""
    return deformed(False, (3, 3), 1, "")


@case("deformable_convolution_stride")
def stepped() -> Naive:
    return deformed(False, (3, 2), 2, "deformable_group: 2")


@case("modulated_deformable_convolution")
def modulated() -> Naive:
    return deformed(True, (3, 3), 1, "")


@case("modulated_deformable_convolution_stride")
def modulated_and_stepped() -> Naive:
    return deformed(True, (3, 2), 2, "deformable_group: 2")
