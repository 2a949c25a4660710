"""When one way of scoring is better than another, held against scipy and against chance."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from verify.evaluation.causes.paired import FEWEST, LEAST, chance, log_likelihoods


@pytest.mark.parametrize("seed", range(12))
def test_chance_is_wilcoxons(seed: int) -> None:
    rng = np.random.default_rng(seed)
    differences = rng.normal(0.3 * (seed % 4 - 1), 1, 40 + 13 * seed)
    if seed % 2:
        differences = np.round(differences, 1)  # ties, and zeros
    expected = stats.wilcoxon(differences, alternative="greater", zero_method="wilcox", method="asymptotic").pvalue
    assert chance(differences) == pytest.approx(expected, rel=1e-9)


def test_too_few_differences_are_no_evidence() -> None:
    assert chance(np.zeros(200)) == 1
    few = np.zeros(200)
    few[: FEWEST - 1] = 5
    assert chance(few) == 1
    few[: FEWEST + 5] = 5
    assert chance(few) < 1e-3
    assert chance(np.full(30, np.nan)) == 1


def test_under_chance_alone_it_is_small_as_often_as_it_says() -> None:
    rng = np.random.default_rng(7)
    found = [chance(rng.standard_t(2, 60)) for _ in range(4000)]
    for level in (0.3, 0.05, 0.01):
        assert np.mean(np.array(found) < level) == pytest.approx(level, abs=4 * math.sqrt(level / 4000))


def test_probabilities_are_taken_as_they_are() -> None:
    scores = np.array([[0.25, 0.75, 0.0], [1.0, 0.0, 0.0]], np.float32)
    found = log_likelihoods(scores, np.array([1, 2]))
    np.testing.assert_allclose(found, [math.log(0.75), math.log(LEAST)])


def test_other_scores_are_logits_however_large() -> None:
    scores = np.array([[1e4, 1e4, 0.0], [-2.0, 0.0, 3.0]], np.float32)
    found = log_likelihoods(scores, np.array([0, 1]))
    expected = -math.log(math.exp(-2) + 1 + math.exp(3))
    np.testing.assert_allclose(found, [math.log(0.5), expected], rtol=1e-12)


def test_scores_that_add_up_to_one_by_chance_in_one_row_are_no_probabilities() -> None:
    scores = np.array([[0.5, 0.5], [3.0, 1.0]], np.float32)
    np.testing.assert_allclose(log_likelihoods(scores, np.array([0, 0])), [math.log(0.5), -math.log1p(math.exp(-2))])
