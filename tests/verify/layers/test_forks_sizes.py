"""Layers that only forks have and that change an image's size: Interp, Upsample, UpsampleDarknet."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from prototxt.errors import NetError
from tests.verify.caffe_answers import run_layer, run_text

IMAGE = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)


def plane(*rows: list[float]) -> npt.NDArray[np.float32]:
    return np.array([[rows]], np.float32)


def interp(fields: str, *bottoms: npt.ArrayLike) -> npt.NDArray[np.float32]:
    return run_layer(f'type: "Interp" interp_param {{ {fields} }}', *bottoms)[0]


def test_interp_lays_corners_on_corners() -> None:
    y = interp("height: 3 width: 5", plane([0, 4, 8], [6, 10, 14]))
    assert y.tolist() == plane([0, 2, 4, 6, 8], [3, 5, 7, 9, 11], [6, 8, 10, 12, 14]).tolist()


def test_interp_shrinks_to_points_between_pixels() -> None:
    y = interp("height: 2 width: 3", plane([0, 1, 2, 3], [10, 20, 30, 40], [7, 7, 7, 9]))
    assert y.tolist() == plane([0, 1.5, 3], [7, 7, 9]).tolist()


def test_interp_to_one_row_takes_the_first() -> None:
    assert interp("height: 1 width: 2", plane([3, 4, 5], [6, 7, 8])).tolist() == plane([3, 5]).tolist()


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ("zoom_factor: 3", (3 * 6 + 1, 3 * 8 + 1)),
        ("shrink_factor: 4", (6 // 4 + 1, 8 // 4 + 1)),
        ("shrink_factor: 3 zoom_factor: 2", (2 * 2 + 1, 2 * 2 + 1)),
        ("full_zoom_factor: 2", (14, 18)),
        ("height: 5 width: 11", (5, 11)),
        ("height: 5 width: 11 shrink_factor: 3 zoom_factor: 2", (5, 11)),
        ("height: 5 width: 11 zoom_factor: 2", (13, 17)),
        ("pad_beg: -1 pad_end: -2 zoom_factor: 2", (7, 11)),
    ],
)
def test_interp_sizes(fields: str, size: tuple[int, int]) -> None:
    assert interp(fields, np.ones((2, 3, 7, 9))).shape == (2, 3, *size)


def test_interp_crops_before_it_interpolates() -> None:
    x = np.arange(2 * 3 * 5 * 6, dtype=np.float32).reshape(2, 3, 5, 6)
    y = interp("pad_beg: -1 pad_end: -2 height: 2 width: 3", x)
    assert np.array_equal(y, x[:, :, 1:3, 1:4])


def test_interp_takes_its_size_from_a_second_bottom() -> None:
    y = interp("use_blob_size: true", plane([0, 2], [4, 6]), np.zeros((2, 7, 2, 3)))
    assert y.tolist() == plane([0, 1, 2], [4, 5, 6]).tolist()


@pytest.mark.parametrize(
    ("fields", "bottoms", "message"),
    [
        ("", 1, "says neither height and width nor a factor"),
        ("height: 3", 1, "says neither height and width nor a factor"),
        ("zoom_factor: 0", 1, "zoom_factor 0 is not positive"),
        ("pad_beg: 1 zoom_factor: 2", 1, "can only crop"),
        ("pad_end: -4 zoom_factor: 2", 1, "leave nothing"),
        ("use_blob_size: true", 1, "needs a second bottom"),
        ("zoom_factor: 2", 2, "takes its size from the second bottom"),
    ],
)
def test_interp_refuses(fields: str, bottoms: int, message: str) -> None:
    with pytest.raises(NetError, match=message):
        interp(fields, *[np.ones((1, 2, 4, 5))] * bottoms)


# Upsample, UpsampleDarknet


@pytest.mark.parametrize(
    "settings",
    ["upsample_param { scale: 3 }", "upsample_darknet_param { stride: 3 }"],
)
def test_upsampling_repeats_each_pixel(settings: str) -> None:
    kind = "UpsampleDarknet" if "darknet" in settings else "Upsample"
    (y,) = run_layer(f'type: "{kind}" {settings}', IMAGE)
    assert y.shape == (2, 3, 12, 15)
    assert np.array_equal(y[1, 2, 5], np.repeat(IMAGE[1, 2, 1], 3))
    assert y[0, 1, 11, 14] == 39


def test_upsampling_by_mask_puts_values_back_where_they_came_from() -> None:
    x = np.array([[[[5, 6, 7]], [[8, 9, 10]]]], np.float32)
    mask = np.array([[[[0, 3, 11]], [[7, 2, 4]]]], np.float32)
    (y,) = run_layer('type: "Upsample" upsample_param { scale: 2 }', x, mask)
    assert y.tolist() == [[[[5, 0, 0, 6, 0, 0], [0, 0, 0, 0, 0, 7]], [[0, 0, 9, 0, 10, 0], [0, 8, 0, 0, 0, 0]]]]


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ("", (4, 6)),
        ("scale: 3", (6, 9)),
        ("scale_h: 4 scale_w: 2", (8, 6)),
        ("scale: 2 pad_out_h: true", (3, 6)),
        ("scale_h: 3 scale_w: 2 pad_out_w: true", (6, 5)),
        ("upsample_h: 7 upsample_w: 5", (7, 5)),
        ("scale: 2 upsample_h: 7 upsample_w: 5", (7, 5)),
    ],
)
def test_upsampling_by_mask_sizes(fields: str, size: tuple[int, int]) -> None:
    x = np.ones((1, 2, 2, 3))
    (y,) = run_layer(f'type: "Upsample" upsample_param {{ {fields} }}', x, np.arange(12).reshape(1, 2, 2, 3) % 6)
    assert y.shape == (1, 2, *size)


def test_upsampling_undoes_pooling_that_made_its_mask() -> None:
    x = np.random.default_rng(3).standard_normal((2, 3, 5, 7)).astype(np.float32)
    text = """
    layer { name: "pool" type: "Pooling" bottom: "x" top: "p" top: "m" pooling_param { kernel_size: 2 stride: 2 } }
    layer { name: "up" type: "Upsample" bottom: "p" bottom: "m" top: "y"
      upsample_param { scale: 2 pad_out_h: true pad_out_w: true } }
    """
    y = run_text(text, {"x": x}).blobs["y"]
    assert y.shape == x.shape
    assert np.count_nonzero(y) == 2 * 3 * 3 * 4
    assert np.array_equal(y[y != 0], x[y != 0])


def test_of_two_values_for_one_place_the_later_in_scan_order_counts() -> None:
    mask = np.array([[[[1, 1], [3, 1]]]])
    (y,) = run_layer('type: "Upsample" upsample_param { scale: 2 }', plane([1, 2], [3, 4]), mask)
    assert y[0, 0, 0].tolist() == [0, 4, 0, 3]


@pytest.mark.parametrize(
    ("fields", "mask", "message"),
    [
        ("scale: 2.5", None, "scale 2.5 is not a whole number"),
        ("scale: 0", None, "factor 0 is not positive"),
        ("upsample_h: 4 upsample_w: 4", None, "upsample_h, upsample_w, which needs a mask"),
        ("scale: 1", [[0, 1], [2, 3]], "scale 1×1 is not above 1"),
        ("scale_h: 2", [[0, 1], [2, 3]], "scale_h and scale_w together"),
        ("scale: 3 pad_out_h: true", [[0, 1], [2, 3]], "pad_out needs scale 2"),
        ("scale: 2", [[0, 1], [2, 16]], "not within 4×4"),
        ("scale: 2", [[0, 1], [2, -1]], "not within 4×4"),
        ("scale: 2", [[0, 1, 2]], "bottoms differ in shape"),
    ],
)
def test_upsample_refuses(fields: str, mask: list[list[int]] | None, message: str) -> None:
    masks = [] if mask is None else [np.array([[mask]])]
    with pytest.raises(NetError, match=message):
        run_layer(f'type: "Upsample" upsample_param {{ {fields} }}', plane([1, 2], [3, 4]), *masks)
