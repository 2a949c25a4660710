"""Losses and Accuracy on values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from prototxt.errors import NetError
from tests.verify.caffe_answers import run_layer


def loss(settings: str, *bottoms: npt.ArrayLike) -> float:
    (y,) = run_layer(f"type: {settings}", *bottoms)
    assert y.shape == ()
    return float(y)


# Scores whose softmax at the labels is 1/2, 1/4, 1/5.
SCORES = np.log(np.array([[2, 1, 1], [1, 2, 1], [3, 1, 1]], np.float64))
LABELS = np.array([0, 2, 1])
COSTS = np.log([2, 4, 5])


@pytest.mark.parametrize(
    ("param", "expected"),
    [
        ("", COSTS.sum() / 3),
        ("ignore_label: 2", (COSTS[0] + COSTS[2]) / 2),
        ("ignore_label: 2 normalization: FULL", (COSTS[0] + COSTS[2]) / 3),
        ("ignore_label: 2 normalization: BATCH_SIZE", (COSTS[0] + COSTS[2]) / 3),
        ("ignore_label: 2 normalize: false", (COSTS[0] + COSTS[2]) / 3),
        ("ignore_label: 2 normalize: true", (COSTS[0] + COSTS[2]) / 2),
        ("normalization: NONE", COSTS.sum()),
        ("normalization: NONE normalize: true", COSTS.sum()),
    ],
)
def test_softmax_loss_divides_by_what_its_normalization_says(param: str, expected: float) -> None:
    assert loss(f'"SoftmaxWithLoss" loss_param {{ {param} }}', SCORES, LABELS) == pytest.approx(expected, rel=1e-6)


def test_the_loss_weight_does_not_change_the_top() -> None:
    assert loss('"SoftmaxWithLoss" loss_weight: 5', SCORES, LABELS) == pytest.approx(COSTS.sum() / 3, rel=1e-6)


def test_softmax_loss_saturates_and_counts_at_least_one_position() -> None:
    assert loss('"SoftmaxWithLoss"', [[0.0, 500.0]], [0]) == pytest.approx(87.3365)
    assert loss('"SoftmaxWithLoss" loss_param { ignore_label: 0 }', [[0.0, 500.0]], [0]) == 0


def test_softmax_loss_over_an_inner_axis_and_its_second_top() -> None:
    x = np.moveaxis(SCORES[None], 1, 2)  # 1 sample × 3 classes × 3 positions
    value, probabilities = run_layer('type: "SoftmaxWithLoss"', x, LABELS[None, None], tops=2)
    assert float(value) == pytest.approx(COSTS.sum() / 3, rel=1e-6)
    assert probabilities.shape == (1, 3, 3)
    np.testing.assert_allclose(probabilities[0, :, 2], [0.6, 0.2, 0.2], rtol=1e-6)


@pytest.mark.parametrize(
    ("labels", "message"),
    [([0, 1], r"2 labels for 3×1 positions"), ([0, 3, 1], r"a label is not within 0 and 2"), ([0, -1, 1], r"a label")],
)
def test_labels_that_do_not_fit_are_refused(labels: list[int], message: str) -> None:
    with pytest.raises(NetError, match=message):
        loss('"SoftmaxWithLoss"', SCORES, labels)


def test_sigmoid_cross_entropy_divides_by_the_batch_and_takes_soft_targets() -> None:
    x, t = np.array([[0, 2], [-1, 900]], np.float32), np.array([[1, 0], [0.25, 1]], np.float32)
    costs = [math.log(2), 2 + math.log1p(math.exp(-2)), 0.25 + math.log1p(math.exp(-1)), 0]
    assert loss('"SigmoidCrossEntropyLoss"', x, t) == pytest.approx(sum(costs) / 2, rel=1e-6)
    ignoring = '"SigmoidCrossEntropyLoss" loss_param { ignore_label: 1 normalization: VALID }'
    assert loss(ignoring, x, t) == pytest.approx((costs[1] + costs[2]) / 2, rel=1e-6)


def test_euclidean_and_hinge_losses() -> None:
    assert loss('"EuclideanLoss"', [[1, 2], [3, 4]], [[0, 2], [3, 1]]) == (1 + 9) / 2 / 2
    x = np.array([[0.5, -2, 3], [-1, 2, 0.5]], np.float32)
    assert loss('"HingeLoss"', x, [0, 1]) == (0.5 + 0 + 4 + 0 + 0 + 1.5) / 2
    assert loss('"HingeLoss" hinge_loss_param { norm: L2 }', x, [0, 1]) == (0.25 + 16 + 2.25) / 2


def test_contrastive_loss_and_its_old_form() -> None:
    a, b = np.array([[3, 4], [0, 0]], np.float32), np.array([[0, 0], [0.5, 0]], np.float32)
    assert loss('"ContrastiveLoss" contrastive_loss_param { margin: 2 }', a, b, [1, 0]) == (25 + 1.5**2) / 4
    old = '"ContrastiveLoss" contrastive_loss_param { margin: 2 legacy_version: true }'
    assert loss(old, a, b, [1, 0]) == (25 + 1.75) / 4


def test_multinomial_and_infogain_losses() -> None:
    p = np.array([[0.5, 0.5], [0, 1]], np.float32)
    expected = (math.log(2) - math.log(1e-20)) / 2
    assert loss('"MultinomialLogisticLoss"', p, [1, 0]) == pytest.approx(expected, rel=1e-6)
    matrix = np.array([[2, 0, 1], [0, 1, 0], [0, 3, 1]], np.float32)
    costs = [2 * math.log(2) + math.log(4), 3 * math.log(2) + math.log(4), math.log(5)]
    assert loss('"InfogainLoss"', SCORES, LABELS, matrix) == pytest.approx(sum(costs) / 3, rel=1e-6)


def test_accuracy_counts_ties_against_the_label() -> None:
    scores = np.array([[1, 3, 2], [2, 2, 1], [0, 0, 5], [4, 1, 1]], np.float32)
    labels = np.array([1, 0, 1, 2])
    accuracy = '"Accuracy" accuracy_param {{ {} }}'
    assert loss(accuracy.format(""), scores, labels) == 0.25
    assert loss(accuracy.format("top_k: 2"), scores, labels) == 0.5  # of the last two the label ties with another
    assert loss(accuracy.format("top_k: 3"), scores, labels) == 1
    assert loss(accuracy.format("ignore_label: 1"), scores, labels) == 0
    total, by_class = run_layer('type: "Accuracy" accuracy_param { top_k: 2 }', scores, labels, tops=2)
    assert float(total) == 0.5
    assert by_class.tolist() == [1, 0.5, 0]
