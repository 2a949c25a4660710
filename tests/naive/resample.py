"""FlowNet's resizing, pixel by pixel as InterpolationKernel, NearestNeighborKernel and DownsampleFeatures have it."""

from __future__ import annotations

import math

import numpy as np

from tests.drawn.base import layer
from tests.naive.base import Array, Naive, case, random


def away(value: float) -> int:
    """C's round."""
    return int(math.copysign(math.floor(abs(value) + 0.5), value))


def bicubic(x: float) -> float:
    x = abs(x)
    if x <= 1:
        return x * x * (1.5 * x - 2.5) + 1
    return x * (x * (-0.5 * x + 2.5) - 4) + 2 if x < 2 else 0.0


def triangle(x: float) -> float:
    if -1 <= x < 0:
        return x + 1
    return 1 - x if 0 <= x <= 1 else 0.0


def interpolated(x: Array, height: int, width: int, cubic: bool, antialias: bool) -> Array:
    y: Array = np.empty((*x.shape[:2], height, width), np.float32)
    fx, fy = x.shape[3] / width, x.shape[2] / height
    if not (fx > 1 or fy > 1):
        antialias = False
    ax, ay = 1 / (fx if antialias else 1.0), 1 / (fy if antialias else 1.0)
    kernel = 4 if cubic else 2
    rx, ry = (2 if f < 1 else math.ceil(kernel / a) for f, a in ((fx, ax), (fy, ay)))
    curve = bicubic if cubic else triangle
    for n, c, i, j in np.ndindex(y.shape):
        x_in, y_in = j * fx + fy / 2 - 0.5, i * fy + fx / 2 - 0.5
        total = weight = 0.0
        for row in range(away(y_in) - ry, away(y_in) + ry + 1):
            for column in range(away(x_in) - rx, away(x_in) + rx + 1):
                if 0 <= row < x.shape[2] and 0 <= column < x.shape[3]:
                    w = ax * curve(ax * (x_in - column)) * ay * curve(ay * (y_in - row))
                    total += w * float(x[n, c, row, column])
                    weight += w
        y[n, c, i, j] = total / weight if weight else 0.0
    return y


def resampled(name: str, size: tuple[int, int], params: str = "", cubic: bool = False, antialias: bool = True) -> None:
    @case(name)
    def make() -> Naive:
        x = random(1, 2, 3, 4, 6)
        text = layer("Resample", f"resample_param {{ height: {size[0]} width: {size[1]} {params} }}")
        return Naive(text, {"x": x}, {("it", "out"): interpolated(x, *size, cubic, antialias)})


resampled("resample_larger", (8, 9))
resampled("resample_smaller", (2, 3))
resampled("resample_mixed", (3, 8))
resampled("resample_smaller_between", (3, 4), "antialias: false", antialias=False)
resampled("resample_cubic_larger", (8, 12), "type: CUBIC", cubic=True)
resampled("resample_cubic_smaller", (3, 4), "type: CUBIC", cubic=True)


@case("resample_nearest")
def nearest() -> Naive:
    """As FlowNet2 enlarges its flow, four times, by a second bottom's size."""
    x, like = random(2, 2, 2, 3, 4), np.zeros((1, 1, 12, 16), np.float32)
    y: Array = np.empty((2, 2, 12, 16), np.float32)
    for n, c, i, j in np.ndindex(y.shape):
        y[n, c, i, j] = x[n, c, away(i * 0.25 + 0.125 - 0.5), away(j * 0.25 + 0.125 - 0.5)]
    text = layer("Resample", "resample_param { type: NEAREST antialias: false }", "x like")
    return Naive(text, {"x": x, "like": like}, {("it", "out"): y})


def downsampled(name: str, height: int, width: int) -> None:
    @case(name)
    def make() -> Naive:
        x = random(3, 2, 3, 6, 9)
        y: Array = np.empty((2, 3, height, width), np.float32)
        scale_x, scale_y = 8 / (width - 1), 5 / (height - 1)
        for n, c, i, j in np.ndindex(y.shape):
            bx, by, total, weight = j / (width - 1) * 8, i / (height - 1) * 5, 0.0, 0.0
            for row in range(away(by) - math.ceil(scale_y), away(by) + math.ceil(scale_y) + 1):
                for column in range(away(bx) - math.ceil(scale_x), away(bx) + math.ceil(scale_x) + 1):
                    if 0 <= row < 6 and 0 <= column < 9:
                        w = max(0, 1 - abs(column - bx) / scale_x) * max(0, 1 - abs(row - by) / scale_y)
                        total += w * float(x[n, c, row, column])
                        weight += w
            y[n, c, i, j] = total / weight
        text = layer("Downsample", f"downsample_param {{ top_height: {height} top_width: {width} }}")
        return Naive(text, {"x": x}, {("it", "out"): y})


downsampled("downsample", 3, 4)
downsampled("downsample_larger", 8, 5)
