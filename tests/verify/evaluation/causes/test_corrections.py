"""Which mistakes are looked for: each undone by one change, and none that cannot matter or cannot be tried."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from verify.evaluation.causes.corrections import Correction, corrections, describe_mean, describe_resize
from verify.evaluation.running.transform import Resize, Transform

BGR_MEAN = np.array([104, 117, 123], np.float32).reshape(3, 1, 1)
RIGHT = Transform(3, (20, 22), Resize(shorter=30), mean=BGR_MEAN)
WIDE = [np.zeros((35, 50, 3), np.uint8), np.zeros((60, 41, 3), np.uint8)]

MISTAKES = {
    "order": replace(RIGHT, rgb=True),
    "order with the mean": replace(RIGHT, rgb=True, mean=BGR_MEAN[::-1]),
    "no mean": replace(RIGHT, mean=None),
    "mean of 0 to 1": replace(RIGHT, mean=BGR_MEAN / 255),
    "mean in the other order": replace(RIGHT, mean=BGR_MEAN[::-1]),
    "scale": replace(RIGHT, scale=0.017),
    "warp": replace(RIGHT, resize=Resize(warp=(30, 30))),
    "another side": replace(RIGHT, resize=Resize(shorter=40)),
    "as stored": replace(RIGHT, resize=None),
    "interpolation": replace(RIGHT, interpolation="cubic"),
}


def equal(one: Transform, other: Transform) -> bool:
    means = [np.zeros(1, np.float32) if each.mean is None else each.mean for each in (one, other)]
    return replace(one, mean=None) == replace(other, mean=None) and np.allclose(*means, rtol=1e-5)


def tried(
    now: Transform,
    published: Transform | None = None,
    images: list[npt.NDArray[np.uint8]] = WIDE,
    *,
    baked: bool = False,
) -> list[Correction]:
    return corrections(now, published, images, baked=baked)


@pytest.mark.parametrize("case", MISTAKES)
def test_each_usual_mistake_is_undone_by_one_of_the_changes(case: str) -> None:
    now = MISTAKES[case]
    assert sum(equal(change.apply(now), RIGHT) for change in tried(now, RIGHT)) == 1


@pytest.mark.parametrize(
    "case", ["order", "order with the mean", "no mean", "mean in the other order", "scale", "warp"]
)
def test_most_are_found_without_knowing_the_protocol(case: str) -> None:
    now = MISTAKES[case]
    assert sum(equal(change.apply(now), RIGHT) for change in tried(now)) == 1


def test_a_mean_that_is_subtracted_twice_is_left_out_once() -> None:
    assert any(change.apply(RIGHT).mean is None for change in tried(RIGHT, RIGHT))


@pytest.mark.parametrize("now", [RIGHT, *MISTAKES.values()])
def test_every_change_changes_something_and_no_two_the_same(now: Transform) -> None:
    made = [change.apply(now) for change in tried(now, RIGHT)]
    assert not any(equal(each, now) for each in made)
    assert not any(equal(one, other) for i, one in enumerate(made) for other in made[:i])


def test_grey_images_have_no_order() -> None:
    grey = Transform(1, (20, 22), mean=np.full((1, 1, 1), 33, np.float32))
    assert {change.kind for change in tried(grey, images=[np.zeros((20, 22, 1), np.uint8)])} == {"mean", "scale"}


def test_a_model_that_subtracts_by_itself_is_not_asked_about_it() -> None:
    kinds = {change.kind for change in tried(replace(RIGHT, mean=None), RIGHT, baked=True)}
    assert kinds == {"order", "resize"}


def test_sizes_that_no_image_notices_are_not_tried() -> None:
    square = [np.zeros((30, 30, 3), np.uint8)]
    made = [change.apply(RIGHT).resize for change in tried(RIGHT, images=square) if change.kind == "resize"]
    assert Resize(warp=(30, 30)) not in made
    assert None not in made


def test_an_image_that_would_be_too_small_is_no_way() -> None:
    small = [np.zeros((12, 50, 3), np.uint8)]
    assert None not in [change.apply(RIGHT).resize for change in tried(RIGHT, images=small)]
    made = [change.apply(RIGHT).resize for change in tried(RIGHT)]
    assert None in made


def test_a_mean_image_is_only_used_where_it_fits() -> None:
    image = np.arange(3 * 30 * 30, dtype=np.float32).reshape(3, 30, 30)
    warped = replace(RIGHT, resize=Resize(warp=(30, 30)), mean=image)
    kinds = [change.kind for change in tried(warped, warped)]
    assert "resize" not in kinds  # every other size has no mean
    assert {"order", "mean", "scale"} <= set(kinds)
    theirs = replace(RIGHT, mean=image)
    assert not any(change.apply(RIGHT).mean is image for change in tried(RIGHT, theirs))


def test_the_authors_mean_is_turned_with_the_order() -> None:
    now = replace(RIGHT, rgb=True, mean=None)
    (first,) = [change for change in tried(now, RIGHT) if change.kind == "mean"]
    assert first.option == "--mean 123,117,104"


def test_whole_images_have_one_size() -> None:
    whole = replace(RIGHT, crop=None)
    assert "resize" not in {change.kind for change in tried(whole, whole)}


def test_words() -> None:
    assert describe_mean(BGR_MEAN / np.float32(255)) == "the mean 0.407843,0.458824,0.482353"
    assert describe_mean(np.zeros((3, 8, 9), np.float32)) == "a mean image of 8×9"
    assert describe_resize(Resize(shorter=256, unless_fitting=True)).endswith("256 unless they have the net's size")
    assert describe_resize(Resize(warp=(7, 8))) == "warped to 7×8"
