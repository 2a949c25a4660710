"""Activations, arithmetic and normalizations on values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from prototxt.errors import CaffeModelError, NetError
from tests.verify.caffe_answers import run_layer

E = math.e
SIGMOID_1 = 1 / (1 + math.exp(-1))

ONE_TO_ONE = {
    'type: "ReLU"': ([-2, 0, 3], [0, 0, 3]),
    'type: "ReLU" relu_param { negative_slope: 0.5 }': ([-2, 0, 3], [-1, 0, 3]),
    'type: "ReLU6"': ([-2, 5, 7], [0, 5, 6]),
    'type: "ELU" elu_param { alpha: 2 }': ([-1, 0, 3], [2 / E - 2, 0, 3]),
    'type: "Sigmoid"': ([0, 1, -200], [0.5, SIGMOID_1, 0]),
    'type: "TanH"': ([0, 1, -50], [0, math.tanh(1), -1]),
    'type: "AbsVal"': ([-2, 0, 3], [2, 0, 3]),
    'type: "BNLL"': ([0, -1, 500], [math.log(2), math.log1p(1 / E), 500]),
    'type: "Swish" swish_param { beta: 2 }': ([0, 0.5, -0.5], [0, SIGMOID_1 / 2, SIGMOID_1 / 2 - 0.5]),
    'type: "HardSigmoid" hardsigmoid_param { alpha: 0.25 beta: 0.5 }': ([-3, 1, 9], [0, 0.75, 1]),
    'type: "HardSwish"': ([-4, 1, 5], [0, 4 / 6, 5]),
    'type: "Clip" clip_param { min: -1 max: 2 }': ([-3, 1, 9], [-1, 1, 2]),
    'type: "Threshold" threshold_param { threshold: 0.5 }': ([0.4, 0.5, 0.6], [0, 0, 1]),
    'type: "Dropout"': ([-3, 1, 9], [-3, 1, 9]),
    'type: "Dropout" dropout_param { dropout_ratio: 0.25 scale_train: false }': ([-4, 1, 8], [-3, 0.75, 6]),
    'type: "Power" power_param { power: 3 scale: 2 shift: -1 }': ([0, 1, 2], [-1, 1, 27]),
    'type: "Power" power_param { power: 0 }': ([0, np.inf, np.nan], [1, 1, 1]),
    'type: "Power" power_param { power: 2 scale: 0 shift: 3 }': ([0, np.inf, np.nan], [9, 9, 9]),
    'type: "Exp"': ([0, 1, -1], [1, E, 1 / E]),
    'type: "Exp" exp_param { base: 2 scale: 3 shift: 1 }': ([0, 1, -1], [2, 16, 0.25]),
    'type: "Log"': ([1, E, 0], [0, 1, -np.inf]),
    'type: "Log" log_param { base: 10 scale: 2 shift: 4 }': ([3, 48, -3], [1, 2, np.nan]),
}


@pytest.mark.parametrize("settings", ONE_TO_ONE)
def test_each_function_of_one_value_is_what_its_formula_says(settings: str) -> None:
    given, expected = ONE_TO_ONE[settings]
    (y,) = run_layer(settings, given)
    np.testing.assert_allclose(y, np.array(expected, np.float32), rtol=1e-6, atol=1e-7)


def test_prelu_has_a_slope_for_each_channel_or_one_for_all() -> None:
    x = np.array([[-2, 4], [6, -8], [-10, 12]], np.float32).reshape(1, 3, 2)
    (y,) = run_layer('type: "PReLU"', x, blobs=[[0.5, 0.25, -1]])
    assert y.reshape(3, 2).tolist() == [[-1, 4], [6, -2], [10, 12]]
    (y,) = run_layer('type: "PReLU" prelu_param { channel_shared: true }', x, blobs=[np.float32(0.5)])
    assert y.reshape(3, 2).tolist() == [[-1, 4], [6, -4], [-5, 12]]


def test_random_layers_are_refused_in_the_training_phase() -> None:
    with pytest.raises(NetError, match="at random"):
        run_layer('type: "Dropout"', [1.0], train=True)


def eltwise(fields: str, *bottoms: npt.ArrayLike) -> list[float]:
    (y,) = run_layer(f'type: "Eltwise" eltwise_param {{ {fields} }}', *bottoms)
    return [float(v) for v in y]


def test_eltwise_sums_multiplies_and_takes_the_largest() -> None:
    three = ([1, 5], [2, -3], [4, 0])
    assert eltwise("", *three) == [7, 2]
    assert eltwise("coeff: 1 coeff: -2 coeff: 0.5", *three) == [-1, 11]
    assert eltwise("operation: PROD", *three) == [8, 0]
    assert eltwise("operation: MAX", *three) == [4, 5]


@pytest.mark.parametrize(
    ("fields", "second", "message"),
    [
        ("", [[1, 2]], r"bottoms differ in shape: b0 is 2, b1 is 1×2"),
        ("coeff: 1", [1, 2], r"1 coeff for 2 bottoms"),
        ("operation: PROD coeff: 1 coeff: 1", [1, 2], r"takes coeff for SUM only"),
    ],
)
def test_eltwise_refuses_what_caffe_refuses(fields: str, second: list[float], message: str) -> None:
    with pytest.raises(NetError, match=message):
        eltwise(fields, [1, 2], second)


X = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


def test_scale_lies_on_the_axes_that_it_names() -> None:
    by_channel, by_last, whole = np.array([1, 2, 3]), np.array([1, 2, 3, 4]), np.arange(12).reshape(3, 4)
    assert np.array_equal(run_layer('type: "Scale"', X, blobs=[by_channel])[0], X * by_channel[:, None])
    settings = 'type: "Scale" scale_param {{ {} }}'
    (y,) = run_layer(settings.format("axis: -1 bias_term: true"), X, blobs=[by_last, by_last])
    assert np.array_equal(y, X * by_last + by_last)
    (y,) = run_layer(settings.format("axis: 1 num_axes: -1"), X, blobs=[whole])
    assert np.array_equal(y, X * whole)
    (y,) = run_layer(settings.format("num_axes: 0"), X, blobs=[np.float32(5)])
    assert np.array_equal(y, X * 5)


def test_scale_and_bias_take_their_factor_from_a_second_bottom() -> None:
    factor = np.arange(6).reshape(2, 3)
    (y,) = run_layer('type: "Scale" scale_param { axis: 0 bias_term: true }', X, factor, blobs=[factor])
    assert np.array_equal(y, X * factor[:, :, None] + factor[:, :, None])
    (y,) = run_layer('type: "Bias" bias_param { axis: -2 }', X, np.array([1, 2, 3]))
    assert np.array_equal(y, X + np.array([[1], [2], [3]]))
    (y,) = run_layer('type: "Bias"', X, np.float32(7))
    assert np.array_equal(y, X + 7)
    with pytest.raises(NetError, match="a factor of 2×3 does not fit 2×3×4 from axis 1 on"):
        run_layer('type: "Scale"', X, factor)


def test_argmax_breaks_ties_towards_the_last() -> None:
    x = np.array([[3, 7, 7, 1], [2, 2, 2, 2]], np.float32)
    (y,) = run_layer('type: "ArgMax" argmax_param { top_k: 3 out_max_val: true }', x)
    assert y.shape == (2, 2, 3)
    assert y.tolist() == [[[2, 1, 0], [7, 7, 3]], [[3, 2, 1], [2, 2, 2]]]
    (y,) = run_layer('type: "ArgMax" argmax_param { axis: 0 }', x)
    assert y.tolist() == [[0, 0, 0, 1]]


def batch_norm(x: npt.ArrayLike, factor: float, **options: bool) -> npt.NDArray[np.float32]:
    blobs = [[2, 6], [8, 32], [factor]]
    return run_layer('type: "BatchNorm" batch_norm_param { eps: 0 }', x, blobs=blobs, **options)[0]


def test_batch_norm_divides_its_sums_by_the_scale_factor() -> None:
    x = np.array([[5, 11]], np.float32)
    assert batch_norm(x, 2).tolist() == [[2, 2]]  # means 1 and 3, deviations 2 and 4
    assert batch_norm(x, 1).tolist() == pytest.approx(np.array([[3 / 8**0.5, 5 / 32**0.5]]))


def test_a_never_trained_batch_norm_divides_by_the_root_of_eps() -> None:
    (y,) = run_layer('type: "BatchNorm"', [[5.0, 11.0]], blobs=[[2, 6], [8, 32], [0]])
    np.testing.assert_allclose(y, np.array([[5, 11]]) / 1e-5**0.5, rtol=1e-6)


def test_batch_norm_measures_its_batch_in_the_training_phase_or_when_told_to() -> None:
    x = np.array([[5, 11], [7, 3]], np.float32)
    assert batch_norm(x, 1, train=True).tolist() == [[-1, 1], [1, -1]]
    text = 'type: "BatchNorm" batch_norm_param { use_global_stats: false eps: 0 }'
    assert run_layer(text, x, blobs=[[2, 6], [8, 32], [1]])[0].tolist() == [[-1, 1], [1, -1]]


def test_lrn_counts_missing_neighbours_as_zeros_and_divides_by_all() -> None:
    x = np.array([1, 2, 3, 4], np.float32)
    text = 'type: "LRN" lrn_param {{ local_size: 3 alpha: 3 beta: 1 k: 2 {} }}'
    (y,) = run_layer(text.format(""), x.reshape(1, 4, 1, 1))
    np.testing.assert_allclose(y.ravel(), [1 / 7, 2 / 16, 3 / 31, 4 / 27], rtol=1e-6)
    (y,) = run_layer(text.format("norm_region: WITHIN_CHANNEL"), x.reshape(1, 1, 2, 2))
    np.testing.assert_allclose(y.ravel(), x / (1 + 3 * 30 / 9), rtol=1e-6)  # k is 1 here, whatever was given


def test_lrn_needs_an_odd_size() -> None:
    with pytest.raises(NetError, match="local_size 4 is not odd"):
        run_layer('type: "LRN" lrn_param { local_size: 4 }', np.zeros((1, 2, 3, 4)))


def test_mvn_takes_off_the_mean_and_divides_by_the_deviation() -> None:
    x = np.array([[1, 3], [2, 10]], np.float32).reshape(1, 2, 1, 2)
    assert run_layer('type: "MVN"', x)[0].ravel() == pytest.approx([-1, 1, -1, 1])
    text = 'type: "MVN" mvn_param { normalize_variance: false across_channels: true }'
    assert run_layer(text, x)[0].ravel().tolist() == [-3, -1, -2, 6]


def test_normalize_scales_each_pixel_or_the_sample_to_length_one() -> None:
    x = np.array([[3, 0], [4, 5]], np.float32).reshape(1, 2, 1, 2)
    text = 'type: "Normalize" norm_param { across_spatial: false channel_shared: false }'
    (y,) = run_layer(text, x, blobs=[[10, 20]])
    np.testing.assert_allclose(y.ravel(), [6, 0, 16, 20], rtol=1e-6)
    (y,) = run_layer('type: "Normalize"', x, blobs=[np.float32(2)])
    np.testing.assert_allclose(y.ravel(), 2 * x.ravel() / 50**0.5, rtol=1e-6)


@pytest.mark.parametrize("kind", ["Softmax", "Pooling", "BatchNorm", "LRN", "ArgMax", "Slice", "Scale", "SPP"])
def test_no_layer_ends_in_a_foreign_error_on_a_scalar(kind: str) -> None:
    with pytest.raises(CaffeModelError, match="layer 'it'"):
        run_layer(f'type: "{kind}"', 1.0)
