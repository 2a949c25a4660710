"""Convolution with weights of each place's own, value by value as local_layer.cpp multiplies im2col's columns."""

from __future__ import annotations

import numpy as np

from tests.drawn.base import layer
from tests.naive.base import Array, Naive, case, random


def local(name: str, stride: int, pad: int, size: tuple[int, int], bias_term: bool) -> None:
    """x is 2×3×5×6, the kernel 2, for 4 outputs."""

    @case(name)
    def make() -> Naive:
        places = size[0] * size[1]
        x, weight, bias = random(1, 2, 3, 5, 6), random(2, 4, 1, 12, places), random(3, 1, 1, 4, places)
        y: Array = np.empty((2, 4, *size), np.float32)
        for n, m, i, j in np.ndindex(y.shape):
            total = float(bias[0, 0, m, i * size[1] + j]) if bias_term else 0.0
            for k in range(12):
                c, h, w = k // 4, i * stride - pad + k // 2 % 2, j * stride - pad + k % 2
                if 0 <= h < 5 and 0 <= w < 6:
                    total += float(weight[m, 0, k, i * size[1] + j]) * float(x[n, c, h, w])
            y[n, m, i, j] = total
        params = f"num_output: 4 kernel_size: 2 stride: {stride} pad: {pad} bias_term: {str(bias_term).lower()}"
        blobs = {"it": [weight, bias] if bias_term else [weight]}
        return Naive(layer("Local", f"local_param {{ {params} }}"), {"x": x}, {("it", "out"): y}, blobs)


local("local", 1, 0, (4, 5), True)
local("local_padded", 2, 1, (3, 4), False)
