"""Films: C3D's convolution, its transpose and pooling, Synopsys' pooling, video-caffe's layers of any axes."""

from __future__ import annotations

import numpy as np

from tests.drawn.base import layer
from tests.naive.base import Array, Naive, case, random

LOWEST = float(np.finfo(np.float32).min)
Triple = tuple[int, int, int]


def convolved(x: Array, weight: Array, bias: Array, stride: Triple, pad: Triple) -> Array:
    """vol2col_cpu and a product: frames first, then rows, then columns."""
    kernel = weight.shape[2:]
    sizes = [(n + 2 * p - k) // s + 1 for n, k, s, p in zip(x.shape[2:], kernel, stride, pad, strict=True)]
    y = np.empty((len(x), len(weight), *sizes), np.float64)
    for n, o, *place in np.ndindex(y.shape):
        total = float(bias.ravel()[o])
        for c, *tap in np.ndindex(weight.shape[1:]):
            at = [i * s - p + k for i, s, p, k in zip(place, stride, pad, tap, strict=True)]
            if all(0 <= a < size for a, size in zip(at, x.shape[2:], strict=True)):
                total += float(weight[(o, c, *tap)]) * float(x[(n, c, *at)])
        y[(n, o, *place)] = total
    return y.astype(np.float32)


FILM = "num_output: 4 kernel_size: 2 kernel_depth: 3 stride: 2 temporal_stride: 1 pad: 0 temporal_pad: 1"


def film(kind: str, section: str, params: str) -> Naive:
    x, weight, bias = random(1, 2, 3, 5, 6, 7), random(2, 4, 3, 3, 2, 2), random(3, 1, 1, 1, 1, 4)
    answer = convolved(x, weight, bias, (1, 2, 2), (1, 0, 0))
    return Naive(layer(kind, f"{section} {{ {params} }}"), {"x": x}, {("it", "out"): answer}, {"it": [weight, bias]})


@case("convolution3d_of_c3d_1_1")
def convolution3d() -> Naive:
    """convolution3d_layer.cpp: each filter group sees all channels, so that groups change nothing."""
    return film("Convolution3D", "convolution3d_param", FILM + " filter_group: 2")


@case("convolution3d_of_c3d_1_0")
def convolution3d_old() -> Naive:
    """The fields of `layers { type: CONVOLUTION3D convolution_param { kernel_depth } }`, in today's form."""
    return film("Convolution3D", "convolution_param", FILM)


@case("deconvolution3d")
def deconvolution3d() -> Naive:
    """deconvolution3d_layer.cpp: col2vol_cpu adds each value's kernel where it lies, and pads are cut off."""
    x, weight, bias = random(4, 2, 3, 4, 5, 6), random(5, 3, 2, 3, 2, 2), random(6, 1, 1, 1, 1, 2)
    depth, rows, columns = 3 * 2 - 2 * 1 + 3, 4 * 3 + 2, 5 * 3 + 2
    y = np.zeros((2, 2, depth, rows, columns)) + bias.reshape(1, 2, 1, 1, 1)
    for n, c, f, i, j in np.ndindex(x.shape):
        for o, df, di, dj in np.ndindex(weight.shape[1:]):
            at = f * 2 + df - 1
            if 0 <= at < depth:
                y[n, o, at, i * 3 + di, j * 3 + dj] += float(x[n, c, f, i, j]) * float(weight[c, o, df, di, dj])
    params = "num_output: 2 kernel_size: 2 kernel_depth: 3 stride: 3 temporal_stride: 2 temporal_pad: 1"
    text = layer("Deconvolution3D", f"convolution3d_param {{ {params} }}")
    return Naive(text, {"x": x}, {("it", "out"): y}, {"it": [weight, bias]})


def pooled(
    x: Array, method: str, counts: Triple, kernel: Triple, stride: Triple, before: Triple, behind: Triple
) -> Array:
    """One window after the other, as pool3d_layer.cpp and pooling3d_layer.cpp go."""
    y = np.empty((*x.shape[:2], *counts), np.float64)
    for n, c, *place in np.ndindex(y.shape):
        low = [i * s - p for i, s, p in zip(place, stride, before, strict=True)]
        padded = [min(a + k, s + p) for a, k, s, p in zip(low, kernel, x.shape[2:], behind, strict=True)]
        inner = [(max(a, 0), min(b, s)) for a, b, s in zip(low, padded, x.shape[2:], strict=True)]
        size, values = 1, []
        for a, b in inner if method == "AVE_EXC_PAD" else zip(low, padded, strict=True):
            size *= b - a
        for f in range(*inner[0]):
            for i in range(*inner[1]):
                values += [float(x[n, c, f, i, j]) for j in range(*inner[2])]
        y[(n, c, *place)] = max([LOWEST, *values]) if method == "MAX" else sum(values) / size
    return y.astype(np.float32)


@case("pooling3d_of_c3d_max")
def c3d_max() -> Naive:
    """Sizes round up: 6 frames by 3 and 4 make 2, the second of 2 frames; 8 columns by 2 and 3 make 3."""
    x = random(7, 2, 3, 6, 5, 8)
    y = pooled(x, "MAX", (2, 2, 3), (3, 2, 2), (4, 3, 3), (0, 0, 0), (0, 0, 0))
    params = "pooling3d_param { pool: MAX kernel_size: 2 kernel_depth: 3 stride: 3 temporal_stride: 4 }"
    return Naive(layer("Pooling3D", params), {"x": x}, {("it", "out"): y})


@case("pooling3d_of_p3d")
def p3d() -> Naive:
    """P3D's pooling3d_layer.cpp: 6 frames by 1 and 4 make 3 by rounding up, 5 rows 3, and 8 columns 4.

    The last window of frames starts at 8, that of columns at 9 with the pad: once any axis is padded, both go.
    """
    x = random(7, 2, 3, 6, 5, 8)
    y = pooled(x, "AVE", (2, 3, 3), (1, 3, 2), (4, 2, 3), (0, 1, 1), (0, 1, 1))
    sizes = "kernel_h: 3 kernel_w: 2 kernel_l: 1 stride_h: 2 stride_w: 3 stride_l: 4 pad: 1 pad_l: 0"
    return Naive(layer("Pooling3D", f"pooling3d_param {{ pool: AVE {sizes} }}"), {"x": x}, {("it", "out"): y})


@case("pooling3d_of_p3d_max")
def p3d_max() -> Naive:
    """As the first of P3D's own: 5 frames by 2 and 2 make 3, the last of one frame."""
    x = random(8, 2, 3, 5, 6, 8)
    y = pooled(x, "MAX", (3, 3, 4), (2, 3, 3), (2, 2, 2), (0, 0, 0), (0, 0, 0))
    params = "pooling3d_param { pool: MAX pad: 0 kernel_size: 3 stride: 2 pad_l: 0 kernel_l: 2 stride_l: 2 }"
    return Naive(layer("Pooling3D", params), {"x": x}, {("it", "out"): y})


@case("pooling3d_of_c3d_average")
def c3d_average() -> Naive:
    """Rows and columns padded by 2: their third windows start at 6, behind the image, and stay: 0 over their size."""
    x = random(8, 2, 3, 4, 5, 6)
    y = pooled(x, "AVE", (2, 3, 3), (2, 3, 3), (2, 4, 4), (0, 2, 2), (0, 2, 2))
    params = "pooling_param { pool: AVE kernel_size: 3 kernel_depth: 2 stride: 4 temporal_stride: 2 pad: 2 }"
    return Naive(layer("Pooling3D", params), {"x": x}, {("it", "out"): y})


@case("pooling3d_of_synopsys")
def synopsys() -> Naive:
    """Pads of each side: (4+1-2)/2 + 1 is 2, rounded down, (5+1-3)/1 + 1 is 4 and (6+3-2)/3 + 1 is 3."""
    x = random(9, 2, 3, 4, 5, 6)
    y = pooled(x, "AVE", (2, 4, 3), (2, 3, 2), (2, 1, 3), (0, 1, 1), (1, 0, 2))
    sizes = "kernel_d: 2 kernel_h: 3 kernel_w: 2 stride_d: 2 stride_h: 1 stride_w: 3"
    pads = "pad_d1: 1 pad_h0: 1 pad_w0: 1 pad_w1: 2"
    return Naive(layer("Pooling3D", f"pooling3d_param {{ pool: AVE {sizes} {pads} }}"), {"x": x}, {("it", "out"): y})


@case("pooling3d_of_synopsys_inside")
def synopsys_inside() -> Naive:
    """AVE_EXC_PAD, sizes rounded up: three windows of each axis, and the third of frames and rows, at 5, is dropped."""
    x = random(10, 2, 3, 4, 5, 6)
    y = pooled(x, "AVE_EXC_PAD", (2, 2, 3), (2, 2, 2), (3, 3, 3), (1, 1, 1), (1, 1, 1))
    params = "pooling3d_param { pool: AVE_EXC_PAD kernel_size: 2 stride: 3 pad: 1 ceil_mode: true }"
    return Naive(layer("Pooling3D", params), {"x": x}, {("it", "out"): y})


@case("nd_convolution")
def nd_convolution() -> Naive:
    """cudnn_ndconv_layer.cpp: two groups of channels."""
    x, weight, bias = random(11, 2, 4, 5, 6, 7), random(12, 6, 2, 3, 2, 1), random(13, 6)
    y = np.concatenate(
        [convolved(x[:, 2 * g : 2 * g + 2], weight[3 * g : 3 * g + 3], bias[3 * g : 3 * g + 3], (2, 1, 3), (1, 0, 2))
         for g in range(2)], axis=1
    )  # fmt: skip
    shapes = "kernel_shape { dim: 3 dim: 2 dim: 1 } stride_shape { dim: 2 dim: 1 dim: 3 } "
    shapes += "pad_shape { dim: 1 dim: 0 dim: 2 }"
    text = layer("NdConvolution", f"convolution_param {{ num_output: 6 group: 2 {shapes} }}")
    return Naive(text, {"x": x}, {("it", "out"): y}, {"it": [weight, bias]})


@case("nd_pooling_max")
def nd_pooling() -> Naive:
    """cudnn_ndpooling_layer.cpp: sizes round up; of the padded last axis the fourth window, at 8, is dropped."""
    x = random(14, 2, 3, 4, 5, 8)
    y = pooled(x, "MAX", (2, 3, 3), (3, 2, 2), (2, 2, 3), (0, 0, 1), (0, 0, 1))
    shapes = "kernel_shape { dim: 3 dim: 2 dim: 2 } stride_shape { dim: 2 dim: 2 dim: 3 } "
    shapes += "pad_shape { dim: 0 dim: 0 dim: 1 }"
    return Naive(layer("NdPooling", f"pooling_param {{ pool: MAX {shapes} }}"), {"x": x}, {("it", "out"): y})
