"""An evaluation in the terminal: the verdict's line, and how figures are written."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.verify.evaluation.evaluations import (
    BY_CLASS,
    FAILED,
    HOSTILE,
    NAMED_BY_AN_ENEMY,
    PASSED,
    PUBLISHED,
    UNLABELLED,
)
from verify.evaluation.records import Agreement, ClassResult, Counted, Verdict
from verify.evaluation.shown.figures import Measured, class_error, short_names, title, worst_first
from verify.evaluation.shown.text import format_evaluation, verdict_line


def test_a_pass_is_one_line_with_both_errors_and_what_was_published() -> None:
    assert verdict_line(replace(PASSED, agreement=None)) == (
        "digits-resnet: PASS: top-1 error 2.0 % [1.1, 3.6] of 500 images (published 2.0), "
        "top-5 0.2 % [0.0, 1.1] (published 0.2)"
    )


def test_a_failure_says_by_how_much_and_only_of_the_error_that_is_off() -> None:
    assert verdict_line(FAILED) == (
        "digits-resnet: FAIL: top-1 error 99.0 % [97.7, 99.6] of 500 images is 97.0 points above the published 2.0, "
        "top-5 0.2 % [0.0, 1.1] (published 0.2)"
    )


def test_a_failure_may_lie_below_what_was_published() -> None:
    low = replace(FAILED, top1=Counted(10, 500, 0.011, 0.036), expected=replace(PUBLISHED, top1=0.247))
    assert "2.0 % [1.1, 3.6] of 500 images is 22.7 points below the published 24.7" in verdict_line(low)


def test_a_failure_for_another_reason_says_that_reason() -> None:
    odd = replace(PASSED, verdict=Verdict("fail", ("3 images with scores that are no numbers",)), agreement=None)
    assert verdict_line(odd).endswith("(published 0.2): 3 images with scores that are no numbers")


def test_too_few_images_are_no_pass_and_no_failure() -> None:
    few = replace(PASSED, verdict=Verdict("too few", ("why",)))
    assert verdict_line(few).startswith("digits-resnet: TOO FEW IMAGES TO TELL: top-1 error 2.0 %")


def test_with_nothing_published_the_line_is_the_errors_alone_under_the_weights_name() -> None:
    bare = replace(PASSED, expected=None, verdict=Verdict("none"), agreement=None)
    assert verdict_line(bare) == (
        "digits_resnet.caffemodel: top-1 error 2.0 % [1.1, 3.6] of 500 images, top-5 0.2 % [0.0, 1.1]"
    )


def test_without_labels_the_line_is_how_far_the_model_agrees_with_the_judge() -> None:
    assert verdict_line(UNLABELLED) == (
        "digits_resnet.caffemodel: 500 images without labels; "
        "same class as interpreter (numpy 2.3.1) for 498 of 500 images"
    )


def test_no_image_at_all_is_said() -> None:
    assert "no image was scored" in verdict_line(replace(UNLABELLED, images=0, agreement=Agreement("x", 0, 0, 0.0)))


@pytest.mark.parametrize(
    ("wrong", "images", "published", "error", "said", "gap"),
    [
        (10, 500, 0.02, "2.0 %", "2.0", "0.0"),
        (87, 300, 0.0875, "29.0 %", "8.75", "20.2"),  # one image is 0.3 points: a second decimal would mean nothing
        (93, 1000, 0.0875, "9.30 %", "8.75", "0.55"),  # the published figure has two decimals
        (93, 1000, 0.247, "9.3 %", "24.7", "15.4"),
        (869, 10000, 0.087, "8.69 %", "8.7", "0.01"),  # more decimals than the published one, lest the gap read 0.0
        (12330, 50000, 0.247, "24.66 %", "24.7", "0.04"),
        (12330, 50000, 0.2, "24.66 %", "20.0", "4.7"),
        (1, 3, None, "33.3 %", "", ""),
    ],
)
def test_figures_have_the_decimals_that_they_deserve(
    wrong: int, images: int, published: float | None, error: str, said: str, gap: str
) -> None:
    measured = Measured("top-1", Counted(wrong, images, 0.0, 1.0), published)
    assert (measured.error, measured.said, measured.gap) == (error, said, gap)


def test_an_interval_that_touches_the_published_band_is_on_neither_side() -> None:
    seen = Counted(30, 1000, 0.021, 0.042)
    assert Measured("top-1", seen, 0.02, 0.001).side == ""
    assert Measured("top-1", seen, 0.02, 0.0009).side == "above"
    assert Measured("top-1", seen, 0.043, 0.0009).side == "below"
    assert Measured("top-1", seen).side == ""


def test_the_text_has_the_worst_classes_flips_skipped_images_and_kinds() -> None:
    assert format_evaluation(PASSED).splitlines()[1:] == [
        "  worst of 10 classes:",
        "    five: 4 of 50 wrong (8 %), taken for three (3), six (1)",
        "    eight: 3 of 50 wrong (6 %), taken for three (2), zero (1)",
        "    three: 2 of 50 wrong (4 %), taken for five (2)",
        "    one: 1 of 50 wrong (2 %), taken for seven (1)",
        "  largest difference from interpreter (numpy 2.3.1) of any score: 2.5e-06 (float32 explains 9.8e-05)",
        "    8_021.png: eight here, zero there, it is eight (scores differ by 2.5e-06)",
        "    5_007.png: three here, five there, it is five (scores differ by 3.1e-07)",
        "  skipped 3 images:",
        "    a.png: no image",
        "    b.png: the file ends early",
        "    c.png: no image",
        "  special images: 11 greyscale, 2 CMYK",
        "  note: labels are from val.txt",
        "  500 of 503 images in 1.2 s (400 images/s) in onnxruntime 1.23.2",
    ]


def test_reasons_that_only_repeat_the_verdicts_line_are_left_out() -> None:
    lines = format_evaluation(FAILED).splitlines()
    assert lines[1] == "  with every label one higher the error would be 2.0 %"


def test_the_short_text_counts_what_it_leaves_out_and_the_long_one_leaves_nothing_out() -> None:
    many = replace(PASSED, skipped=tuple((f"{i}.png", "no image") for i in range(8)))
    assert "    (3 more skipped)" in format_evaluation(many).splitlines()
    assert "    7.png: no image" in format_evaluation(many, verbose=True).splitlines()


def test_no_name_can_move_the_cursor_or_start_a_line() -> None:
    text = format_evaluation(NAMED_BY_AN_ENEMY, verbose=True)
    plain = replace(NAMED_BY_AN_ENEMY, **dict.fromkeys(("net", "weights", "data", "engine"), "plain"))
    assert not set("\x1b\x00\u2028\udcff") & set(text)
    assert len(text.splitlines()) == len(format_evaluation(plain, verbose=True).splitlines())
    assert not any(line.endswith(" ") for line in text.splitlines())


def test_one_wrong_image_of_one_is_no_worse_than_forty_of_fifty() -> None:
    ranked = worst_first([ClassResult(1, "a", 1, 1), ClassResult(2, "b", 50, 40), ClassResult(3, "c", 50, 41)])
    assert [result.name for result in ranked] == ["c", "b", "a"]
    assert worst_first(BY_CLASS)[0].name == "five"


def test_the_error_of_a_class_is_as_fine_as_its_images_allow() -> None:
    assert class_error(ClassResult(0, "a", 50, 7)) == "14 %"
    assert class_error(ClassResult(0, "a", 1000, 7)) == "0.7 %"
    assert class_error(ClassResult(0, "a", 0, 0)) == "–"


def test_names_are_cut_to_their_first_synonym_where_that_still_tells_them_apart() -> None:
    names = ("tench, Tinca tinca", "maillot", "maillot, tank suit", ", odd", "")
    assert short_names(names) == ("tench", "maillot", "maillot, tank suit", ", odd", "")


@pytest.mark.parametrize(
    ("weights", "net", "name"),
    [("a/b.caffemodel", "n.prototxt", "b.caffemodel"), ("c:\\x\\y.h5", "", "y.h5"), ("", "n.prototxt", "n.prototxt")],
)
def test_an_evaluation_is_called_by_its_weights_or_net(weights: str, net: str, name: str) -> None:
    assert title(replace(PASSED, expected=None, weights=weights, net=net)) == name
    assert title(replace(PASSED, expected=replace(PUBLISHED, name=HOSTILE))) == HOSTILE
