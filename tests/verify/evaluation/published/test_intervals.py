"""Wilson intervals beside numbers from elsewhere, and when an error agrees with a published one."""

from __future__ import annotations

import pytest

from verify.evaluation.published.intervals import judge, wilson
from verify.evaluation.records import Expected

RESNET_50 = Expected("resnet-50", top1=0.247, top5=0.078, variation=0.0015, images=50_000)


@pytest.mark.parametrize(
    ("wrong", "images", "low", "high"),
    [
        (10, 500, 0.0109, 0.0364),  # by hand: (10 + 1.9207 ± 1.96 √(10·490/500 + 0.9604)) / 503.8415
        (1, 10, 0.0179, 0.4042),  # Brown, Cai and DasGupta 2001 give Wilson's for 1 of 10
        (0, 20, 0.0, 0.1611),
        (20, 20, 0.8389, 1.0),
    ],
)
def test_intervals_are_wilsons(wrong: int, images: int, low: float, high: float) -> None:
    made = wilson(wrong, images)
    assert made.low == pytest.approx(low, abs=5e-5)
    assert made.high == pytest.approx(high, abs=5e-5)
    assert made.error == wrong / images


def test_before_the_first_image_everything_is_possible() -> None:
    made = wilson(0, 0)
    assert (made.low, made.high) == (0, 1)
    assert made.error != made.error


def test_a_wider_confidence_gives_a_wider_interval() -> None:
    assert wilson(10, 500, 0.99).high > wilson(10, 500, 0.95).high > wilson(10, 500, 0.8).high


def test_the_published_error_on_the_full_set_passes() -> None:
    verdict = judge(wilson(12_350, 50_000), wilson(3_900, 50_000), RESNET_50)
    assert verdict.outcome == "pass"
    assert verdict.reasons[0].startswith("top-1 error 24.70 % [24.32, 25.08] agrees with the published 24.7 %")


def test_the_authors_variation_and_the_last_digit_widen_what_passes() -> None:
    # 12,611 of 50,000 is 25.222 % [24.843, 25.604]: above 24.7 + 0.1, below 24.7 + 0.15.
    narrow = Expected(top1=0.247, variation=0.001, images=50_000)
    wide = Expected(top1=0.247, variation=0.0015, images=50_000)
    assert judge(wilson(12_611, 50_000), None, narrow).outcome == "fail"
    assert judge(wilson(12_611, 50_000), None, wide).outcome == "pass"


def test_a_higher_error_fails_and_says_by_how_much() -> None:
    verdict = judge(wilson(14_000, 50_000), wilson(3_900, 50_000), RESNET_50)
    assert verdict.outcome == "fail"
    assert "top-1 error 28.00 % [27.61, 28.40] is 3.3 points above the published 24.7 %" in verdict.reasons[0]


def test_the_worse_of_the_two_errors_decides_and_comes_first() -> None:
    verdict = judge(wilson(12_350, 50_000), wilson(9_000, 50_000), RESNET_50)
    assert verdict.outcome == "fail"
    assert verdict.reasons[0].startswith("top-5 error 18.00 %")


def test_few_images_that_agree_are_too_few_to_tell() -> None:
    verdict = judge(wilson(25, 100), wilson(8, 100), RESNET_50)
    assert verdict.outcome == "too few"
    assert "too few to tell" in verdict.reasons[0]


def test_few_images_that_are_all_wrong_fail() -> None:
    assert judge(wilson(99, 100), wilson(95, 100), RESNET_50).outcome == "fail"


def test_a_part_of_the_set_with_a_lower_error_proves_nothing_and_is_no_fault() -> None:
    squeezenet = Expected("squeezenet-1.0", top1=0.425, top5=0.197, variation=0.0005, images=50_000)
    verdict = judge(wilson(87, 300), wilson(34, 300), squeezenet)
    assert verdict.outcome == "too few"
    assert "13.5 points below the published 42.5 %" in verdict.reasons[0]
    assert "these are 300 of the set's 50,000 images" in verdict.reasons[0]


def test_the_full_set_with_a_lower_error_is_not_the_published_model() -> None:
    verdict = judge(wilson(11_000, 50_000), None, RESNET_50)
    assert verdict.outcome == "fail"
    assert "other weights, or another protocol" in verdict.reasons[0]


def test_scores_that_are_no_numbers_fail_whatever_the_error() -> None:
    verdict = judge(wilson(12_350, 50_000), None, RESNET_50, nonfinite=3)
    assert verdict.outcome == "fail"
    assert verdict.reasons == ("3 images with scores that are no numbers",)


def test_nothing_expected_is_no_verdict() -> None:
    assert judge(wilson(1, 10), None, None).outcome == "none"
    assert judge(None, None, RESNET_50).outcome == "none"


def test_too_few_images_do_not_hide_that_the_other_error_fails() -> None:
    assert judge(wilson(25, 100), wilson(60, 100), RESNET_50).outcome == "fail"
