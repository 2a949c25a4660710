"""Arithmetic and normalisation that only forks of Caffe have, by hand or by loops over their sources' formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest

from prototxt.errors import NetError, WeightsError
from tests.verify.caffe_answers import run_layer, run_text

X = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
IMAGE = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 1, 1)])
def test_axpy_scales_each_channel_of_each_item(shape: tuple[int, ...]) -> None:
    a = np.array([1, 2, 3, -1, 0, 0.5], np.float32)
    (y,) = run_layer('type: "Axpy"', a.reshape(shape), IMAGE, np.full_like(IMAGE, 7))
    assert y.shape == IMAGE.shape
    assert y[0, 2, 1, 3] == 3 * 48 + 7
    assert y[1, 0, 3, 4] == -79 + 7
    assert np.all(y[1, 1] == 7)
    assert y[1, 2, 0, 1] == 0.5 * 101 + 7


@pytest.mark.parametrize(("a", "y"), [((3, 2), (2, 3, 4, 5)), ((2, 3, 4, 1), (2, 3, 4, 5)), ((2, 3), (2, 3, 4, 1))])
def test_axpy_refuses_what_it_would_have_to_repeat(a: tuple[int, ...], y: tuple[int, ...]) -> None:
    with pytest.raises(NetError, match=r"none for each channel|x is 2×3×4×5, y is 2×3×4×1"):
        run_layer('type: "Axpy"', np.ones(a), IMAGE, np.ones(y))


def test_mul_repeats_sizes_of_one_and_leading_axes_on_either_side() -> None:
    (y,) = run_layer('type: "Mul"', X, np.array([[1], [10], [100]]))
    assert y.shape == (2, 3, 4)
    assert y[1, 2, 3] == 2300
    assert y[1, 1, 0] == 160
    (y,) = run_layer('type: "Mul"', np.array([1, 2, 3, 4]), X)
    assert y[1, 0].tolist() == [12, 26, 42, 60]
    (y,) = run_layer('type: "Mul"', np.ones((2, 1, 4)) * 2, np.ones((1, 3, 1)) * 3)
    assert y.shape == (2, 3, 4)
    assert np.all(y == 6)


def test_mul_refuses_sizes_that_differ() -> None:
    with pytest.raises(NetError, match="bottoms of 2×3×4 and 2×3 do not fit"):
        run_layer('type: "Mul"', X, np.ones((2, 3)))


# HDF5Output


def test_hdf5_output_makes_nothing_and_wants_two_bottoms_of_as_many_items() -> None:
    text = 'layer {{ name: "out" type: "HDF5Output" {} hdf5_output_param {{ file_name: "x.h5" }} }}'
    both = {"a": np.ones((2, 3)), "b": np.ones((2, 1))}
    assert list(run_text(text.format('bottom: "a" bottom: "b"'), both).blobs) == ["a", "b"]
    with pytest.raises(NetError, match="has 1 bottom, expected 2"):
        run_text(text.format('bottom: "a"'), both)
    with pytest.raises(NetError, match="differ in their number of items"):
        run_text(text.format('bottom: "a" bottom: "b"'), both | {"b": np.ones((3, 1))})


CHANNELS = np.array([[1, 2, 0.5], [0, -1, 3], [4, 0, 1], [3, 8, 0.25]], np.float32)


@pytest.mark.parametrize("shape", [(1, 3), (1, 3, 1, 1), (3,)])
def test_bn_with_four_blobs_uses_slope_bias_mean_variance(shape: tuple[int, ...]) -> None:
    blobs = [row.reshape(shape) for row in CHANNELS]
    (y,) = run_layer('type: "BN" bn_param { eps: 1 }', IMAGE, blobs=blobs)
    assert y[0, 0, 0].tolist() == [-2, -1.5, -1, -0.5, 0]  # (x - 4) / 2
    assert y[0, 1, 0, 1] == np.float32(2 * 21 / 3 - 1)
    assert y[1, 2, 3, 4] == np.float32(0.5 * 118 / math.sqrt(1.25) + 3)


def test_bn_in_training_uses_the_batch_unless_it_is_frozen() -> None:
    (y,) = run_layer('type: "BN"', IMAGE, blobs=list(CHANNELS), train=True)
    assert np.allclose(y.mean(axis=(0, 2, 3)), CHANNELS[1], atol=1e-5)
    assert np.allclose(y.std(axis=(0, 2, 3)), CHANNELS[0], atol=1e-5)
    frozen = run_layer('type: "BN" bn_param { frozen: true eps: 1 }', IMAGE, blobs=list(CHANNELS), train=True)
    assert frozen[0][0, 0, 0].tolist() == [-2, -1.5, -1, -0.5, 0]


def test_segnets_bn_is_an_affine_map_once_folded_and_the_batchs_own_before() -> None:
    (y,) = run_layer('type: "BN" bn_param { bn_mode: INFERENCE }', IMAGE, blobs=list(CHANNELS[:2]))
    assert y[0, 1, 0].tolist() == [39, 41, 43, 45, 47]
    (y,) = run_layer('type: "BN" bn_param { bn_mode: LEARN }', IMAGE, blobs=list(CHANNELS[:2]))
    assert np.allclose(y.mean(axis=(0, 2, 3)), CHANNELS[1], atol=1e-5)
    assert np.allclose(y.std(axis=(0, 2, 3)), CHANNELS[0], atol=1e-5)


def test_bn_refuses_blobs_that_are_not_a_value_a_channel() -> None:
    with pytest.raises(NetError, match="has 3 blobs"):
        run_layer('type: "BN"', IMAGE, blobs=list(CHANNELS[:3]))
    with pytest.raises(WeightsError, match="makes it 1×3"):
        run_layer('type: "BN"', IMAGE, blobs=[np.ones(4)] * 4)
