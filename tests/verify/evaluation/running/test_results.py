"""Ranks as Caffe's Accuracy layer counts them, and results put together."""

from __future__ import annotations

import numpy as np

from verify.evaluation.running.results import RESULT, BatchResult, assess, merge

SCORES = np.array(
    [
        [0.1, 0.5, 0.2, 0.05, 0.1, 0.04, 0.01],
        [0.3, 0.3, 0.2, 0.1, 0.05, 0.03, 0.02],
        [0.9, 0.01, 0.02, 0.03, 0.01, 0.02, 0.01],
        [np.nan, 0.5, 0.1, 0.1, 0.1, 0.1, 0.1],
    ],
    np.float32,
)


def test_the_rank_is_how_many_others_score_at_least_as_much() -> None:
    made = assess([4, 5, 6], [1, 2, 5], SCORES[:3])
    assert made["rank"].tolist() == [0, 2, 3]  # 0.02 ties with class 2 and is below 0.9 and 0.03
    assert made["index"].tolist() == [4, 5, 6]
    assert made["best"][2].tolist() == [0, 3, 2, 5, 1]
    np.testing.assert_array_equal(made["own"], np.array([0.5, 0.2, 0.02], np.float32))
    np.testing.assert_array_equal(made["score"], np.array([0.5, 0.3, 0.9], np.float32))


def test_a_tie_counts_against_the_image_as_in_caffe() -> None:
    assert assess([0, 1], [0, 1], SCORES[[1, 1]])["rank"].tolist() == [1, 1]


def test_scores_that_are_no_numbers_are_wrong_in_every_top_k() -> None:
    made = assess([0], [1], SCORES[3:])
    assert made["rank"].tolist() == [7]
    assert not made["finite"][0]


def test_labels_that_the_net_does_not_have_are_wrong_and_no_label_is_no_rank() -> None:
    assert assess([0, 1], [7, None], SCORES[:2])["rank"].tolist() == [7, -1]


def test_a_net_of_few_classes_has_few_best_ones() -> None:
    assert assess([0], [1], SCORES[:1, :3])["best"].tolist() == [[1, 2, 0, -1, -1]]


def test_batches_come_together_in_their_own_order() -> None:
    first = BatchResult(0, 7, assess([0, 1], [1, 1], SCORES[:2]), kinds={"CMYK": 1})
    second = BatchResult(1, 7, assess([3], [0], SCORES[2:3]), ((2, "damaged"),), {"CMYK": 2, "16-bit": 1})
    results, skipped, kinds = merge([second, first])
    assert results["index"].tolist() == [0, 1, 3]
    assert skipped == [(2, "damaged")]
    assert kinds == {"16-bit": 1, "CMYK": 3}


def test_a_record_stays_small() -> None:
    assert RESULT.itemsize < 50
