"""Fillers: Caffe's rules, checked against its own weights, hand-computed numbers and moments."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest

from prototxt.caffe_pb2 import FillerParameter
from prototxt.errors import RequestError, UnsupportedError
from weights import fill, open_weights


def filled(shape, seed=3, **settings):
    array = fill(FillerParameter(**settings), shape, np.random.default_rng(seed))
    assert array.dtype == np.float32
    assert array.shape == tuple(shape)
    assert array.flags.c_contiguous
    assert array.flags.writeable
    return array


def test_constant_is_the_default_and_zero_its_value():
    assert filled((2, 3)).tolist() == [[0, 0, 0], [0, 0, 0]]
    assert filled((2,), type="constant", value=0.2).tolist() == [np.float32(0.2)] * 2
    assert filled((), type="constant", value=3) == 3


def test_uniform_stays_within_its_limits_and_fills_them():
    values = filled((70, 90), type="uniform", min=-2, max=5)
    assert -2 <= values.min() < -1.99
    assert 4.99 < values.max() <= 5
    assert abs(values.mean() - 1.5) < 0.1


def test_gaussian_has_its_moments():
    values = filled((90, 110), type="gaussian", mean=0.5, std=0.02)
    assert abs(values.mean() - 0.5) < 1e-3
    assert abs(values.std() - 0.02) < 5e-4


def test_a_sparse_gaussian_keeps_about_that_many_values_an_input():
    values = filled((50, 400), type="gaussian", sparse=15)
    kept = (values != 0).sum(0)
    assert abs(kept.mean() - 15) < 0.5  # of 50 outputs, each input reaches 15
    assert not filled((4, 5), type="gaussian", sparse=0).any()


def test_positive_unitball_sums_to_one_over_each_output():
    values = filled((4, 3, 2, 5), type="positive_unitball")
    assert (values >= 0).all()
    assert np.allclose(values.reshape(4, -1).sum(1), 1)
    assert np.allclose(filled((6,), type="positive_unitball"), 1)


@pytest.mark.parametrize(
    ("norm", "n"), [("FAN_IN", 40 * 3 * 5), ("FAN_OUT", 60 * 3 * 5), ("AVERAGE", (40 + 60) / 2 * 3 * 5)]
)
@pytest.mark.parametrize("kind", ["xavier", "msra"])
def test_the_fans_of_60_outputs_40_inputs_and_3_by_5_kernels(kind, norm, n):
    values = filled((60, 40, 3, 5), type=kind, variance_norm=norm)
    if kind == "xavier":
        limit = sqrt(3 / n)
        assert np.abs(values).max() <= np.float32(limit)
        assert np.abs(values).max() > 0.999 * limit
    else:
        assert abs(values.std() / sqrt(2 / n) - 1) < 0.01
        assert np.abs(values).max() > 3 * sqrt(2 / n)
    assert abs(values.mean()) < 0.01 * sqrt(2 / n) * 2


@pytest.mark.parametrize(
    ("stated", "factor"),
    [
        ({"alpha": 0.75}, 0.8),
        ({"negative_slope": -0.75}, 0.8),
        ({"msra_coeff": 0.5}, 0.5),
        ({"alpha": 0.75, "msra_coeff": 2}, 1.6),
    ],
)
def test_forks_draw_msra_more_narrowly(stated, factor):
    """1 / sqrt(1 + 0.75²) is 0.8."""
    values = filled((60, 40, 3, 5), type="msra", **stated)
    assert values == pytest.approx(filled((60, 40, 3, 5), type="msra") * factor, rel=1e-5)


def test_the_diagonal_is_spread_over_the_kernel():
    values = filled((4, 3, 2, 5), type="diagonal", diag_val=[0.5, -2])
    expected = np.zeros((4, 3, 2, 5), np.float32)
    expected[0, 0], expected[1, 1], expected[2, 2] = 0.05, -0.2, 0.1
    assert np.array_equal(values, expected)
    with pytest.raises(RequestError, match="the diagonal filler needs outputs and channels, not 6"):
        filled((6,), type="diagonal")


def test_the_fans_of_a_matrix_and_of_a_vector():
    assert np.abs(filled((50, 2000), type="xavier")).max() <= np.float32(sqrt(3 / 2000))
    assert np.abs(filled((50, 2000), type="xavier", variance_norm="FAN_OUT")).max() > sqrt(3 / 50) * 0.999
    assert np.abs(filled((5000,), type="xavier")).max() > sqrt(3) * 0.999  # fan_in 1


def test_bilinear_equals_what_the_original_caffe_wrote(shared):
    with open_weights(shared / "golden" / "layers" / "deconv_bilinear" / "weights.caffemodel") as weights:
        expected = weights.layers[-1].blobs[0].array()
    assert expected.shape == (3, 1, 4, 4)
    assert np.allclose(filled((3, 1, 4, 4), type="bilinear"), expected, rtol=0, atol=1e-7)


def test_bilinear_of_an_odd_kernel_peaks_in_the_middle():
    expected = np.array([1, 2, 1]) / 2  # f = 2, c = 1 / 2
    assert filled((2, 1, 3, 3), type="bilinear")[1, 0].tolist() == np.outer(expected, expected).tolist()


def test_one_seed_gives_one_array():
    assert np.array_equal(filled((3, 4), 7, type="msra"), filled((3, 4), 7, type="msra"))
    assert not np.array_equal(filled((3, 4), 7, type="msra"), filled((3, 4), 8, type="msra"))


@pytest.mark.parametrize(
    ("shape", "settings", "reason"),
    [
        ((2,), {"type": "uniform", "min": 2, "max": 1}, "min 2 exceeds its max 1"),
        ((2,), {"type": "gaussian", "std": -1}, "std -1 is negative"),
        ((2, 5), {"type": "gaussian", "sparse": 3}, "sparse 3 is not between 0 and the 2 outputs"),
        ((), {"type": "gaussian", "sparse": 0}, "sparse 0 is not between"),
        ((2, 5), {"type": "gaussian", "sparse": -2}, "sparse -2 is not between"),
        ((2, 5), {"type": "xavier", "sparse": 1}, "the xavier filler cannot be sparse"),
        ((2, 1, 3, 4), {"type": "bilinear"}, "square kernels, not 2×1×3×4"),
        ((3, 3), {"type": "bilinear"}, "square kernels, not 3×3"),
        ((2, 0), {"type": "msra"}, "a parameter of 2×0 cannot be filled"),
        ((-1,), {}, "a parameter of -1 cannot be filled"),
        ((1 << 20, 1 << 20), {}, "a parameter of 1048576×1048576 cannot be filled"),
    ],
)
def test_what_a_filler_cannot_do_is_refused(shape, settings, reason):
    with pytest.raises(RequestError, match=reason):
        filled(shape, **settings)


def test_an_unknown_filler_is_named_beside_those_that_there_are():
    with pytest.raises(UnsupportedError, match="unknown filler type 'Xavier'; Caffe has constant, uniform, gaussian"):
        filled((2, 3), type="Xavier")


def test_numbers_that_stand_in_a_file_are_not_read():
    """Spatial transformers begin with the identity so; a weight file has what became of it."""
    with pytest.raises(UnsupportedError, match=r"takes its numbers from 'bias_init\.txt', which is not read"):
        filled((6,), type="file", file="bias_init.txt")
