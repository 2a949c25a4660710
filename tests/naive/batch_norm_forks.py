"""BN, from the sources of PSPNet's and SegNet's forks (bn_layer.cpp)."""

from __future__ import annotations

import numpy as np

from tests.drawn.base import layer
from tests.naive.base import Naive, case, random


def _blobs(channels: int, shape: tuple[int, ...]) -> list[np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    slope, bias, mean, variance = random(3, 4, channels)
    return [values.reshape(shape) for values in (slope, bias, mean, abs(variance) + np.float32(0.1))]


@case("bn_slope_bias_mean_variance")
def four_blobs() -> Naive:
    """PSPNet's: the moving averages are used as they are stored."""
    x = random(1, 2, 3, 4, 5)
    blobs = _blobs(3, (1, 3, 1, 1))
    y = np.empty_like(x)
    for n, c, h, w in np.ndindex(*x.shape):
        slope, bias, mean, variance = (float(blob[0, c, 0, 0]) for blob in blobs)
        y[n, c, h, w] = slope * (x[n, c, h, w] - mean) * (variance + 1e-3) ** -0.5 + bias
    text = layer("BN", "bn_param { slope_filler { value: 1 } bias_filler { value: 0 } frozen: true eps: 1e-3 }")
    return Naive(text, {"x": x}, {("it", "out"): y}, {"it": blobs})


@case("bn_scale_shift_mean_variance")
def four_blobs_of_chen() -> Naive:
    """Chenglong Chen's Caffe for Windows: var_eps is 1e-10 by default, beside a variance that shows it."""
    x = random(5, 2, 3, 4, 5)
    scale, shift, mean, _ = blobs = _blobs(3, (1, 3, 1, 1))
    blobs[3] = np.asarray([1e-6, 1e-7, 0.5], np.float32).reshape(1, 3, 1, 1)
    y = np.empty_like(x)
    for n, c, h, w in np.ndindex(*x.shape):
        deviation = (float(blobs[3][0, c, 0, 0]) + 1e-10) ** 0.5
        y[n, c, h, w] = (x[n, c, h, w] - mean[0, c, 0, 0]) / deviation * scale[0, c, 0, 0] + shift[0, c, 0, 0]
    text = layer("BN", "bn_param { scale_filler { value: 1 } shift_filler { value: 0 } moving_average: true }")
    return Naive(text, {"x": x}, {("it", "out"): y}, {"it": blobs})


@case("bn_no_moving_average")
def four_blobs_of_chen_by_default() -> Naive:
    """The same fork: moving_average is false by default, and the batch's own statistics count, beside four blobs."""
    x = random(9, 3, 2, 2, 3)
    blobs = _blobs(2, (1, 2, 1, 1))
    y = np.empty_like(x)
    for c in range(2):
        seen = [float(value) for value in x[:, c].ravel()]
        mean = sum(seen) / len(seen)
        deviation = (sum((value - mean) ** 2 for value in seen) / len(seen) + 1e-10) ** 0.5
        y[:, c] = (x[:, c] - mean) / deviation * blobs[0][0, c, 0, 0] + blobs[1][0, c, 0, 0]
    text = layer("BN", "bn_param { scale_filler { value: 1 } shift_filler { value: 0 } }")
    return Naive(text, {"x": x}, {("it", "out"): y}, {"it": blobs})


@case("bn_deprecated_moving_average")
def history_of_segstereo() -> Naive:
    """SegStereo's fork keeps moving_average for old files' sake: use_history_in_test alone decides."""
    x = random(10, 2, 3, 2, 2)
    blobs = _blobs(3, (1, 3, 1, 1))
    y = np.empty_like(x)
    for n, c, h, w in np.ndindex(*x.shape):
        scale, shift, mean, variance = (float(blob[0, c, 0, 0]) for blob in blobs)
        y[n, c, h, w] = scale * (x[n, c, h, w] - mean) / (variance + 0.5) ** 0.5 + shift
    text = layer("BN", "bn_param { var_eps: 0.5 use_history_in_test: true moving_average: false }")
    return Naive(text, {"x": x}, {("it", "out"): y}, {"it": blobs})


@case("bn_var_eps_of_the_batch")
def history_left_aside() -> Naive:
    """SegStereo's fork, which follows that one: use_history_in_test: false has the batch's own statistics."""
    x = random(6, 2, 3, 4, 5)
    blobs = _blobs(3, (1, 3, 1, 1))
    y = np.empty_like(x)
    for c in range(3):
        mean = sum(float(x[n, c, h, w]) for n, h, w in np.ndindex(2, 4, 5)) / 40
        variance = sum((float(x[n, c, h, w]) - mean) ** 2 for n, h, w in np.ndindex(2, 4, 5)) / 40
        y[:, c] = (x[:, c] - mean) / (variance + 0.25) ** 0.5 * blobs[0][0, c, 0, 0] + blobs[1][0, c, 0, 0]
    text = layer("BN", "bn_param { decay: 0.05 var_eps: 0.25 use_history_in_test: false }")
    return Naive(text, {"x": x}, {("it", "out"): y}, {"it": blobs})


@case("bn_segnet_inference")
def segnet_inference() -> Naive:
    """SegNet's bn_mode INFERENCE: mean and variance are in scale and shift."""
    x = random(2, 2, 3, 4, 5)
    scale, shift = _blobs(3, (1, 3, 1, 1))[:2]
    y = np.empty_like(x)
    for n, c, h, w in np.ndindex(*x.shape):
        y[n, c, h, w] = x[n, c, h, w] * scale[0, c, 0, 0] + shift[0, c, 0, 0]
    text = layer("BN", "bn_param { scale_filler { value: 1 } shift_filler { value: 0.001 } bn_mode: INFERENCE }")
    return Naive(text, {"x": x}, {("it", "out"): y}, {"it": [scale, shift]})


@case("bn_moments_of_the_batch")
def moments() -> Naive:
    """DeconvNet's fork: a second and third top are E(x) and E(x²) - E(x)² of the batch, before eps."""
    x = random(8, 2, 3, 4, 5)
    scale, shift = _blobs(3, (1, 3, 1, 1))[:2]
    mean, variance, y = np.zeros((1, 3, 1, 1)), np.zeros((1, 3, 1, 1)), np.empty_like(x)
    for c in range(3):
        total = squares = 0.0
        for n, h, w in np.ndindex(2, 4, 5):
            total += float(x[n, c, h, w]) / 40
            squares += float(x[n, c, h, w]) ** 2 / 40
        mean[0, c], variance[0, c] = total, squares - total**2
        y[:, c] = (x[:, c] - total) / (squares - total**2 + 1e-9) ** 0.5 * scale[0, c, 0, 0] + shift[0, c, 0, 0]
    text = layer("BN", "bn_param { scale_filler { value: 1 } }", tops="out mean variance")
    answers = {("it", "out"): y, ("it", "mean"): mean, ("it", "variance"): variance}
    return Naive(text, {"x": x}, answers, {"it": [scale, shift]})


@case("bn_segnet_learn")
def segnet_learn() -> Naive:
    """SegNet's bn_mode LEARN, the default: E(x²) - E(x)² of the batch, in the test phase as well."""
    x = random(4, 2, 3, 4, 5)
    scale, shift = _blobs(3, (1, 3, 1, 1))[:2]
    y = np.empty_like(x)
    for c in range(3):
        total = squares = 0.0
        for n, h, w in np.ndindex(2, 4, 5):
            total += float(x[n, c, h, w]) / 40
            squares += float(x[n, c, h, w]) ** 2 / 40
        deviation = (squares - total**2 + 1e-9) ** 0.5
        y[:, c] = (x[:, c] - total) / deviation * scale[0, c, 0, 0] + shift[0, c, 0, 0]
    text = layer("BN", "bn_param { scale_filler { value: 1 } shift_filler { value: 0.001 } }")
    return Naive(text, {"x": x}, {("it", "out"): y}, {"it": [scale, shift]})
