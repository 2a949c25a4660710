"""From image to input: sizes, offsets, mirrors and means, worked by hand and by OpenCV."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from prototxt.errors import RequestError
from verify.evaluation.running.transform import INTERPOLATIONS, Interpolation, Resize, Room, Transform


def coordinates(height: int, width: int) -> np.ndarray:
    """An image whose pixels say where they are: B = row, G = column, R = 7."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows, columns, np.full_like(rows, 7)], axis=2).astype(np.uint8)


@pytest.mark.parametrize(
    ("size", "after"),
    [((375, 500), (256, 341)), ((500, 375), (341, 256)), ((256, 256), (256, 256)), ((3, 2), (384, 256))],
)
def test_the_shorter_side_decides_and_the_other_is_rounded_to_the_nearest(
    size: tuple[int, int], after: tuple[int, int]
) -> None:
    assert Resize(shorter=256).size(*size) == after  # 500 * 256 / 375 = 341.33, 3 * 256 / 2 = 384


def test_a_half_is_rounded_up() -> None:
    assert Resize(shorter=3).size(2, 3) == (3, 5)  # 4.5


def test_the_crop_starts_at_half_the_difference_rounded_down() -> None:
    made = Transform(3, (4, 5)).apply(coordinates(9, 12))
    assert made.shape == (1, 3, 4, 5)
    assert made[0, 0, :, 0].tolist() == [2, 3, 4, 5]  # (9 - 4) / 2 = 2.5
    assert made[0, 1, 0].tolist() == [3, 4, 5, 6, 7]  # (12 - 5) / 2 = 3.5
    assert (made[0, 2] == 7).all()


def test_channels_are_bgr_unless_the_net_takes_rgb() -> None:
    image = coordinates(3, 2)
    assert Transform(3, (3, 2)).apply(image)[0, :, 2, 1].tolist() == [2, 1, 7]
    assert Transform(3, (3, 2), rgb=True).apply(image)[0, :, 2, 1].tolist() == [7, 1, 2]


def test_the_mean_goes_off_before_the_scale() -> None:
    mean = np.array([1.0, 0.5, 3.0], np.float32).reshape(3, 1, 1)
    made = Transform(3, (3, 2), mean=mean, scale=0.25).apply(coordinates(3, 2))
    assert made[0, :, 2, 1].tolist() == [0.25, 0.125, 1.0]


def test_a_mean_image_of_the_images_size_is_read_at_the_crops_offset() -> None:
    mean = np.arange(9 * 12, dtype=np.float32).reshape(1, 9, 12) + np.zeros((3, 1, 1), np.float32)
    made = Transform(3, (4, 5), mean=mean).apply(np.zeros((9, 12, 3), np.uint8))
    assert made[0, 0, 0, 0] == -(2 * 12 + 3)
    assert made[0, 2, 3, 4] == -(5 * 12 + 7)


def test_a_mean_image_of_the_crops_size_goes_off_as_it_is() -> None:
    mean = np.arange(20, dtype=np.float32).reshape(1, 4, 5) + np.zeros((3, 1, 1), np.float32)
    made = Transform(3, (4, 5), mean=mean).apply(np.zeros((9, 12, 3), np.uint8))
    assert (made[0] == -mean).all()


def test_a_mean_image_of_neither_size_is_refused_with_all_three_sizes() -> None:
    transform = Transform(3, (4, 5), mean=np.zeros((3, 8, 8), np.float32))
    with pytest.raises(RequestError, match="mean image is 8×8, which is neither the image's 9×12 nor the crop's 4×5"):
        transform.apply(coordinates(9, 12))


def test_a_mirrored_view_is_mirrored_after_its_mean_went_off() -> None:
    mean = np.arange(6, dtype=np.float32).reshape(1, 2, 3)
    image = np.array([[10, 20, 30], [40, 50, 60]], np.uint8)
    plain, mirrored = Transform(1, (2, 3), mean=mean, mirror=True).apply(image)
    assert plain[0].tolist() == [[10, 19, 28], [37, 46, 55]]
    assert mirrored[0].tolist() == [[28, 19, 10], [55, 46, 37]]


def test_ten_crops_are_the_corners_and_the_centre_and_their_mirrors() -> None:
    made = Transform(3, (4, 5), crops=10).apply(coordinates(9, 12))
    assert made.shape == (10, 3, 4, 5)
    corners = [(0, 0), (0, 7), (5, 0), (5, 7), (2, 3)]
    assert [(view[0, 0, 0], view[1, 0, 0]) for view in made[:5]] == corners
    assert [(view[0, 0, 0], view[1, 0, -1]) for view in made[5:]] == corners
    assert [(made[n] == made[n - 5][:, :, ::-1]).all() for n in range(5, 10)] == [True] * 5


@pytest.mark.parametrize("how", INTERPOLATIONS)
@pytest.mark.parametrize("channels", [1, 3])
def test_resizing_is_opencvs_own(how: Interpolation, channels: int) -> None:
    shape = (37, 53) if channels == 1 else (37, 53, 3)
    image = np.random.default_rng(4).integers(0, 256, shape, dtype=np.uint8)
    made = Transform(channels, (24, 24), Resize(warp=(24, 31)), interpolation=how).apply(image)
    resized = cv2.resize(image, (31, 24), interpolation=getattr(cv2, INTERPOLATIONS[how])).reshape(24, 31, channels)
    assert (made[0] == resized[:, 3:27].transpose(2, 0, 1)).all()  # (31 - 24) / 2 = 3.5


def test_halving_linearly_by_hand() -> None:
    image = np.array([[0, 100, 200, 40], [20, 60, 0, 80]], np.uint8)
    made = Transform(1, (1, 2), Resize(warp=(1, 2))).apply(image)
    assert made[0, 0].tolist() == [[45, 80]]  # means of 2×2 squares


def test_an_image_of_the_nets_size_stays_as_it_is_when_that_is_asked_for() -> None:
    image = coordinates(4, 5)
    prepared = Transform(3, (4, 5), Resize(shorter=8, unless_fitting=True))
    assert (prepared.apply(image)[0] == image.transpose(2, 0, 1)).all()
    assert prepared.apply(coordinates(5, 5)).shape == (1, 3, 4, 5)


def test_without_a_crop_the_whole_image_is_fed() -> None:
    assert Transform(3, None, Resize(shorter=6)).apply(coordinates(9, 12)).shape == (1, 3, 6, 8)


def test_an_image_smaller_than_the_input_is_refused_with_what_to_do() -> None:
    with pytest.raises(RequestError, match="an image of 3×9 is smaller than the net's 4×5: give --resize"):
        Transform(3, (4, 5)).apply(coordinates(3, 9))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"channels": 4, "crop": (2, 3)}, "an input of 4 channels takes no images"),
        ({"channels": 3, "crop": None, "crops": 10}, "ten crops need a crop size"),
        ({"channels": 1, "crop": (2, 3), "mean": np.zeros((3, 1, 1))}, "the mean is 3×1×1, but the net's input has 1"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        Transform(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("mean", [(3, 1, 1), (1, 1, 1), (3, 4, 5), (3, 9, 12), None], ids=str)
@pytest.mark.parametrize("more", [{"crops": 10}, {"mirror": True}, {"rgb": True}], ids=str)
def test_many_images_at_once_are_the_images_one_by_one(more: dict[str, object], mean: tuple[int, ...] | None) -> None:
    values = None if mean is None else np.random.default_rng(7).uniform(0, 9, mean).astype(np.float32)
    transform = Transform(3, (4, 5), mean=values, scale=0.017, **more)  # type: ignore[arg-type]
    images = [coordinates(9, 12), coordinates(9, 12)[::-1]]
    made = transform.apply_to_all(images, Room())
    assert made.tobytes() == b"".join(transform.apply(image).tobytes() for image in images)
    assert made.shape == (2 * transform.views, 3, 4, 5)


@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize("resize", [None, Resize(shorter=6), Resize(warp=(8, 7), unless_fitting=True)], ids=str)
def test_images_of_many_sizes_use_the_same_room_in_any_order(channels: int, resize: Resize | None) -> None:
    rng = np.random.default_rng(7)
    colors = (3,) if channels == 3 else ()
    transform = Transform(channels, (4, 5), resize, mirror=True)
    sizes = [(4, 5), (4, 5), (9, 6), (200, 150), (200, 150), (200, 150), (4, 5), (30, 90)]
    images = [rng.integers(0, 256, (*size, *colors), np.uint8) for size in sizes]
    room = Room()
    for some in (images, images[3:5], images[:1], images[::-1], [images[0]] * 2000):
        made = transform.apply_to_all(some, room)
        assert made.tobytes() == b"".join(transform.apply(image).tobytes() for image in some)


def test_it_says_what_it_does() -> None:
    mean = np.array([104, 117, 123], np.float32).reshape(3, 1, 1)
    transform = Transform(3, (224, 224), Resize(shorter=256), crops=10, mean=mean, scale=0.017)
    assert str(transform) == "BGR, shorter side 256, ten crops 224×224, minus 104,117,123, times 0.017"
