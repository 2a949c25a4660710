"""FlowNet's ChannelNorm, Mean and DataAugmentation at test time, value by value from their sources."""

from __future__ import annotations

import math

import numpy as np

from tests.drawn.base import layer
from tests.naive.base import Array, Naive, case, random


@case("channel_norm")
def channel_norm() -> Naive:
    """channel_norm_layer.cpp: sqrt of the squares' sum."""
    x = random(1, 2, 3, 4, 5)
    y: Array = np.empty((2, 1, 4, 5), np.float32)
    for n, h, w in np.ndindex(2, 4, 5):
        y[n, 0, h, w] = math.sqrt(sum(float(x[n, c, h, w]) ** 2 for c in range(3)))
    return Naive(layer("ChannelNorm"), {"x": x}, {("it", "out"): y})


@case("mean_of_two")
def mean() -> Naive:
    """mean_layer.cpp: output_scale * (input_scale * data - mean_scale * value[c % 2]), for both bottoms."""
    x, z = random(2, 2, 4, 2, 3), random(3, 1, 2, 3, 2)
    answers: dict[tuple[str, str], Array] = {}
    for top, data in (("a", x), ("b", z)):
        y = np.empty_like(data)
        for n, c, h, w in np.ndindex(*data.shape):
            y[n, c, h, w] = 0.5 * (2 * float(data[n, c, h, w]) - 0.25 * (3, -1)[c % 2])
        answers["it", top] = y
    params = "operation: SUBTRACT value: 3 value: -1 mean_scale: 0.25 input_scale: 2 output_scale: 0.5"
    return Naive(layer("Mean", f"mean_param {{ {params} }}", "x z", "a b"), {"x": x, "z": z}, answers)


@case("mean_added")
def mean_added() -> Naive:
    """One value for all channels."""
    x = random(7, 2, 3, 2, 4)
    y = np.float32([float(v) + 1.5 for v in x.ravel()]).reshape(x.shape)
    return Naive(layer("Mean", "mean_param { operation: ADD value: 1.5 }"), {"x": x}, {("it", "out"): y})


def sampled(image: Array, xpos: float, ypos: float) -> float:
    """SpatialAugmentation: held within the image less 1.05, then bilinear."""
    height, width = image.shape
    xpos, ypos = max(0.0, min(xpos, width - 1.05)), max(0.0, min(ypos, height - 1.05))
    left, top = math.floor(xpos), math.floor(ypos)
    dx, dy = xpos - left, ypos - top
    above = (1 - dx) * float(image[top, left]) + dx * float(image[top, left + 1])
    return (1 - dy) * above + dy * ((1 - dx) * float(image[top + 1, left]) + dx * float(image[top + 1, left + 1]))


def augmented(name: str, params: str, size: tuple[int, int], mean: str, blobs: bool = True) -> None:
    """A case whose top is the image's middle of `size`, or all of it, less one of three means."""

    @case(name)
    def make() -> Naive:
        x, stored = random(4, 2, 3, 5, 6), random(5, 1, 3, *((5, 4) if mean == "pixel" else (2, 7)))
        per_channel = random(6, 1, 3, 1, 1)
        y: Array = np.empty((2, 3, *size), np.float32)
        for n, c, h, w in np.ndindex(y.shape):
            moved = (
                sampled(x[n, c], w + (6 - size[1]) / 2, h + (5 - size[0]) / 2) if "crop" in params else x[n, c, h, w]
            )
            less = {
                "channel": float(per_channel[0, c, 0, 0]),
                "pixel": float(stored[0, c, h, w]) if mean == "pixel" else 0.0,
                "average": float(stored[0, c].astype(float).mean()),
                "stated": (0.5, 0.25, -1.0)[c],
            }[mean]
            y[n, c, h, w] = float(moved) - less
        text = layer("DataAugmentation", f"augmentation_param {{ {params} }}")
        count = np.full((1, 1, 1, 1), 12, np.float32)
        given = {"it": [count, stored, per_channel]} if blobs else {}
        return Naive(text, {"x": x}, {("it", "out"): y}, given)


augmented("data_augmentation", "augment_during_test: true recompute_mean: 12 mean_per_pixel: false", (5, 6), "channel")
augmented("data_augmentation_pixels", "recompute_mean: 10 crop_height: 5 crop_width: 4", (5, 4), "pixel")
augmented("data_augmentation_average", "recompute_mean: 10", (5, 6), "average")
augmented(
    "data_augmentation_stated",
    "crop_height: 2 crop_width: 3 mean: 0.5 mean: 0.25 mean: -1 mean_per_pixel: false mirror { prob: 0.5 }",
    (2, 3),
    "stated",
    blobs=False,
)
