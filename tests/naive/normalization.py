"""Normalisation with the small number on the other side of the root, and over blobs whose sizes all differ."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from tests.drawn.base import layer
from tests.naive.base import Array, Naive, case, random

EPS = 0.25
Values = npt.NDArray[np.floating]


@case("batch_norm_eps_behind_root")
def batch_norm() -> Naive:
    """Synopsys' batch_norm_layer.cpp: x less the mean over the root of the variance plus eps."""
    x, mean, variance = random(1, 2, 3, 4, 5), random(2, 3), abs(random(3, 3)) + np.float32(0.1)
    y = np.empty_like(x)
    for n, c, h, w in np.ndindex(x.shape):
        y[n, c, h, w] = (float(x[n, c, h, w]) - float(mean[c]) / 4) / (math.sqrt(float(variance[c]) / 4) + EPS)
    params = f"batch_norm_param {{ eps: {EPS} add_eps_before_sqrt: false }}"
    blobs = {"it": [mean, variance, np.float32([4])]}
    return Naive(layer("BatchNorm", params), {"x": x}, {("it", "out"): y}, blobs)


def _normalised(x: Array, mean: Values, variance: Values, eps: float, scale: Array, bias: Array) -> Array:
    y: Array = np.empty_like(x)
    for n, c, h, w in np.ndindex(x.shape):
        centred = float(x[n, c, h, w]) - float(mean[c])
        y[n, c, h, w] = centred / math.sqrt(float(variance[c]) + eps) * float(scale[c]) + float(bias[c])
    return y


def _parameters() -> tuple[Array, Array, Array, Array]:
    """Mean, variance, scale and bias of three channels."""
    return random(2, 3), abs(random(3, 3)) + np.float32(0.1), random(4, 3), random(5, 3)


@case("batch_norm_nvidia")
def batch_norm_of_nvidia() -> Naive:
    """NVIDIA's batch_norm_layer.cpp of 0.16 and 0.17: eps is at least 1e-5, use_global_stats is not looked at, nor is
    the third blob.
    """
    x, (mean, variance, scale, bias) = random(1, 2, 3, 4, 5), _parameters()
    variance[1] = 2e-5
    params = "batch_norm_param { scale_bias: true use_global_stats: false eps: 1e-7 }"
    blobs = {"it": [mean, variance, np.float32([1]), scale, bias]}
    answers = {("it", "out"): _normalised(x, mean, variance, 1e-5, scale, bias)}
    return Naive(layer("BatchNorm", params), {"x": x}, answers, blobs)


@case("batch_norm_nvidia_015")
def batch_norm_of_digits() -> Naive:
    """NVIDIA's cudnn_batch_norm_layer.cpp of 0.15: scale and bias come first, each 1×C×1×1, and the last blob is 0."""
    x, (mean, variance, scale, bias) = random(1, 2, 3, 4, 5), _parameters()
    blobs = {"it": [b.reshape(1, -1, 1, 1) for b in (scale, bias, mean, variance, np.float32([0]))]}
    answers = {("it", "out"): _normalised(x, mean, variance, 0.001, scale, bias)}
    return Naive(layer("BatchNorm", "batch_norm_param { eps: 0.001 }"), {"x": x}, answers, blobs)


@case("batch_norm_intel")
def batch_norm_of_intel() -> Naive:
    """Intel's mkldnn_batch_norm_layer.cpp: sums divided by the factor, and a ReLU after scale and bias."""
    x, (mean, variance, scale, bias) = random(1, 2, 3, 4, 5), _parameters()
    y = np.maximum(_normalised(x, mean / 4, variance / 4, EPS, scale, bias), 0)
    params = f"batch_norm_param {{ engine: MKLDNN eps: {EPS} relu: true }}"
    blobs = {"it": [mean, variance, np.float32([4]), scale, bias]}
    return Naive(layer("BatchNorm", params), {"x": x}, {("it", "out"): y}, blobs)


@case("batch_norm_intel_without_bias")
def batch_norm_without_bias() -> Naive:
    """The same with bias_term: false, four blobs."""
    x, (mean, variance, scale, _) = random(1, 2, 3, 4, 5), _parameters()
    y = _normalised(x, mean / 4, variance / 4, EPS, scale, np.zeros(3, np.float32))
    params = f"batch_norm_param {{ engine: MKL2017 bias_term: false eps: {EPS} }}"
    blobs = {"it": [mean, variance, np.float32([4]), scale]}
    return Naive(layer("BatchNorm", params), {"x": x}, {("it", "out"): y}, blobs)


@case("batch_norm_intel_2016")
def batch_norm_of_2016() -> Naive:
    """Intel's mkl_batch_norm_layer.cpp until November 2016: scale and shift, and the batch's statistics always."""
    x, (_, _, scale, bias) = random(1, 2, 3, 4, 5), _parameters()
    mean, variance = np.empty(3, np.float64), np.empty(3, np.float64)
    for c in range(3):
        values = [float(v) for v in x[:, c].ravel()]
        mean[c] = sum(values) / len(values)
        variance[c] = sum((v - mean[c]) ** 2 for v in values) / len(values)
    params = f"batch_norm_param {{ engine: MKL2017 eps: {EPS} use_global_stats: true }}"
    answers = {("it", "out"): _normalised(x, mean, variance, EPS, scale, bias)}
    return Naive(layer("BatchNorm", params), {"x": x}, answers, {"it": [scale, bias]})


@case("mvn_eps_under_root")
def mvn() -> Naive:
    """Synopsys' mvn_layer.cpp: the variance divides by the number of values, and eps joins it."""
    x = random(1, 2, 3, 4, 5)
    y = np.empty_like(x)
    for n, c in np.ndindex(2, 3):
        values = [float(v) for v in x[n, c].ravel()]
        mean = sum(values) / len(values)
        variance = sum((v - mean) ** 2 for v in values) / len(values)
        for h, w in np.ndindex(4, 5):
            y[n, c, h, w] = (float(x[n, c, h, w]) - mean) / math.sqrt(variance + EPS)
    params = f"mvn_param {{ eps: {EPS} add_eps_before_sqrt: true }}"
    return Naive(layer("MVN", params), {"x": x}, {("it", "out"): y})


@case("normalize_pixels")
def normalize() -> Naive:
    """SSD's normalize_layer.cpp: a pixel over the root of its channels' squares and eps, times a factor a channel."""
    x, factor = random(1, 2, 3, 4, 5), random(2, 3)
    y = np.empty_like(x)
    for n, h, w in np.ndindex(2, 4, 5):
        norm = math.sqrt(sum(float(v) ** 2 for v in x[n, :, h, w]) + EPS)
        for c in range(3):
            y[n, c, h, w] = float(x[n, c, h, w]) / norm * float(factor[c])
    params = f"norm_param {{ across_spatial: false channel_shared: false eps: {EPS} }}"
    return Naive(layer("Normalize", params), {"x": x}, {("it", "out"): y}, {"it": [factor]})


@case("normalize_eps_behind_root")
def normalize_whole() -> Naive:
    """Synopsys' normalize_layer.cpp: over a whole item, eps added to the root."""
    x, factor = random(1, 2, 3, 4, 5), random(2, 1)
    y = np.empty_like(x)
    for n in range(2):
        norm = math.sqrt(sum(float(v) ** 2 for v in x[n].ravel())) + EPS
        for c, h, w in np.ndindex(3, 4, 5):
            y[n, c, h, w] = float(x[n, c, h, w]) / norm * float(factor[0])
    params = f"norm_param {{ eps: {EPS} add_eps_before_sqrt: false }}"
    return Naive(layer("Normalize", params), {"x": x}, {("it", "out"): y}, {"it": [factor.reshape(())]})


@case("normalize_happynear_l2")
def unit_vectors() -> Naive:
    """happynear's normalize_layer.cpp: 1e-6 under the root; a second top has the roots; the section may lack."""
    x = random(1, 2, 3, 4, 5) * np.float32(0.002)
    y, norms = np.empty_like(x), np.empty((2, 1, 4, 5), np.float32)
    for n, h, w in np.ndindex(2, 4, 5):
        norms[n, 0, h, w] = math.sqrt(sum(float(v) ** 2 for v in x[n, :, h, w]) + 1e-6)
        for c in range(3):
            y[n, c, h, w] = float(x[n, c, h, w]) / float(norms[n, 0, h, w])
    return Naive(layer("Normalize", tops="out norms"), {"x": x}, {("it", "out"): y, ("it", "norms"): norms})


@case("normalize_happynear_l1")
def unit_sums() -> Naive:
    """The same with magnitudes; a bottom of two axes gives a top of four."""
    x = random(2, 4, 5)
    y = np.empty((4, 5, 1, 1), np.float32)
    for n, c in np.ndindex(4, 5):
        y[n, c, 0, 0] = float(x[n, c]) / (sum(abs(float(v)) for v in x[n]) + 1e-6)
    return Naive(layer("Normalize", "normalize_param { normalize_type: 'L1' }"), {"x": x}, {("it", "out"): y})


@case("normalize_without_fields")
def nothing_said() -> Naive:
    """No section and no blob: an ArcFace net's."""
    x = random(3, 4, 5)
    y = np.empty((4, 5, 1, 1), np.float32)
    for n, c in np.ndindex(4, 5):
        y[n, c, 0, 0] = float(x[n, c]) / math.sqrt(sum(float(v) ** 2 for v in x[n]) + 1e-6)
    return Naive(layer("Normalize"), {"x": x}, {("it", "out"): y})


@case("normalize_without_fields_of_ssd")
def only_a_blob() -> Naive:
    """No section, and one blob: SSD's, over the whole item and with its eps."""
    x = random(4, 2, 3, 4)
    y = np.empty_like(x)
    for n in range(2):
        norm = math.sqrt(sum(float(v) ** 2 for v in x[n].ravel()) + 1e-10)
        for c, w in np.ndindex(3, 4):
            y[n, c, w] = float(x[n, c, w]) / norm * 2.5
    return Naive(layer("Normalize"), {"x": x}, {("it", "out"): y}, {"it": [np.float32(2.5).reshape(())]})


@case("grn")
def grn() -> Naive:
    """OpenVINO's grn_layer.cpp: each pixel over the root of its channels' squares and the bias."""
    x = random(6, 2, 3, 4, 5)
    y = np.empty_like(x)
    for n, h, w in np.ndindex(2, 4, 5):
        root = math.sqrt(sum(float(v) ** 2 for v in x[n, :, h, w]) + EPS)
        for c in range(3):
            y[n, c, h, w] = float(x[n, c, h, w]) / root
    return Naive(layer("GRN", f"grn_param {{ bias: {EPS} }}"), {"x": x}, {("it", "out"): y})


@case("grn_untrained")
def grn_of_vectors() -> Naive:
    """Its own bias, of two axes; dummy_backward is of training alone."""
    x = random(7, 4, 5) * np.float32(0.001)
    y = np.empty_like(x)
    for n in range(4):
        root = math.sqrt(sum(float(v) ** 2 for v in x[n]) + 1e-7)
        y[n] = [float(v) / root for v in x[n]]
    return Naive(layer("GRN", "grn_param { dummy_backward: true }"), {"x": x}, {("it", "out"): y})


@case("l2_normalize")
def l2_normalize() -> Naive:
    """C3D 1.1's l2_normalize_layer.cpp: each item over the root of all its squares and 1e-7."""
    x = random(5, 2, 3, 4, 5)
    y = np.empty_like(x)
    for n in range(2):
        root = math.sqrt(sum(float(v) ** 2 for v in x[n].ravel()) + 1e-7)
        for c, h, w in np.ndindex(3, 4, 5):
            y[n, c, h, w] = float(x[n, c, h, w]) / root
    return Naive(layer("L2Normalize"), {"x": x}, {("it", "out"): y})
