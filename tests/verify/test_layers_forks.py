"""Layers that only forks of Caffe have: expectations worked out by hand, or by loops over their sources' formulas."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from caffe_answers import run_layer, run_text

from prototxt.errors import CaffeModelError, NetError, WeightsError

X = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
IMAGE = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)


def plane(*rows: list[float]) -> npt.NDArray[np.float32]:
    return np.array([[rows]], np.float32)


# Axpy, Mul


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 1, 1)])
def test_axpy_scales_each_channel_of_each_item(shape: tuple[int, ...]) -> None:
    a = np.array([1, 2, 3, -1, 0, 0.5], np.float32)
    (y,) = run_layer('type: "Axpy"', a.reshape(shape), IMAGE, np.full_like(IMAGE, 7))
    assert y.shape == IMAGE.shape
    assert y[0, 2, 1, 3] == 3 * 48 + 7
    assert y[1, 0, 3, 4] == -79 + 7
    assert np.all(y[1, 1] == 7)
    assert y[1, 2, 0, 1] == 0.5 * 101 + 7


@pytest.mark.parametrize(("a", "y"), [((3, 2), (2, 3, 4, 5)), ((2, 3, 4, 1), (2, 3, 4, 5)), ((2, 3), (2, 3, 4, 1))])
def test_axpy_refuses_what_it_would_have_to_repeat(a: tuple[int, ...], y: tuple[int, ...]) -> None:
    with pytest.raises(NetError, match=r"none for each channel|x is 2×3×4×5, y is 2×3×4×1"):
        run_layer('type: "Axpy"', np.ones(a), IMAGE, np.ones(y))


def test_mul_repeats_sizes_of_one_and_leading_axes_on_either_side() -> None:
    (y,) = run_layer('type: "Mul"', X, np.array([[1], [10], [100]]))
    assert y.shape == (2, 3, 4)
    assert y[1, 2, 3] == 2300
    assert y[1, 1, 0] == 160
    (y,) = run_layer('type: "Mul"', np.array([1, 2, 3, 4]), X)
    assert y[1, 0].tolist() == [12, 26, 42, 60]
    (y,) = run_layer('type: "Mul"', np.ones((2, 1, 4)) * 2, np.ones((1, 3, 1)) * 3)
    assert y.shape == (2, 3, 4)
    assert np.all(y == 6)


def test_mul_refuses_sizes_that_differ() -> None:
    with pytest.raises(NetError, match="bottoms of 2×3×4 and 2×3 do not fit"):
        run_layer('type: "Mul"', X, np.ones((2, 3)))


# HDF5Output


def test_hdf5_output_makes_nothing_and_wants_two_bottoms_of_as_many_items() -> None:
    text = 'layer {{ name: "out" type: "HDF5Output" {} hdf5_output_param {{ file_name: "x.h5" }} }}'
    both = {"a": np.ones((2, 3)), "b": np.ones((2, 1))}
    assert list(run_text(text.format('bottom: "a" bottom: "b"'), both).blobs) == ["a", "b"]
    with pytest.raises(NetError, match="has 1 bottom, expected 2"):
        run_text(text.format('bottom: "a"'), both)
    with pytest.raises(NetError, match="differ in their number of items"):
        run_text(text.format('bottom: "a" bottom: "b"'), both | {"b": np.ones((3, 1))})


# Pad, Reverse, Squeeze, Transpose, DepthToSpace


def test_pad_puts_numbers_before_and_behind_each_axis_in_turn() -> None:
    settings = "paddings: 0 paddings: 1 paddings: 2 paddings: 0 paddings: 3 paddings: 4 constant_values: -1.5"
    (y,) = run_layer(f'type: "Pad" pad_param {{ {settings} }}', X)
    assert y.shape == (3, 5, 11)
    assert np.array_equal(y[:2, 2:, 3:7], X)
    assert np.all(np.delete(y[:2, 2:], range(3, 7), 2) == -1.5)
    assert np.all(y[2] == -1.5)
    assert np.all(y[:, :2] == -1.5)


@pytest.mark.parametrize(("axis", "index"), [("axis: 0", (1, 0, 0)), ("axis: 1", (0, 2, 0)), ("axis: 2", (0, 0, 3))])
def test_reverse_turns_one_axis_round(axis: str, index: tuple[int, ...]) -> None:
    (y,) = run_layer(f'type: "Reverse" reverse_param {{ {axis} }}', X)
    assert y.shape == X.shape
    assert y[0, 0, 0] == X[index]
    assert sorted(y.ravel()) == list(range(24))
    assert y[tuple(i if i == n - 1 else 0 for i, n in zip(index, (2, 3, 4), strict=True))] == 0


@pytest.mark.parametrize(
    ("fields", "shape"),
    [("", (3, 5)), ("axis: 1", (3, 1, 5)), ("axis: -2", (3, 1, 5)), ("axis: 1 axis: 2", (3, 5))],
)
def test_squeeze_drops_the_axes_of_size_one_that_it_names(fields: str, shape: tuple[int, ...]) -> None:
    x = np.arange(15, dtype=np.float32).reshape(3, 1, 1, 5)
    (y,) = run_layer(f'type: "Squeeze" squeeze_param {{ {fields} }}', x)
    assert y.shape == shape
    assert np.array_equal(y.ravel(), x.ravel())


def test_squeeze_may_leave_a_scalar() -> None:
    (y,) = run_layer('type: "Squeeze"', np.ones((1, 1)))
    assert y.shape == ()


def test_transpose_takes_axis_dim_i_for_axis_i() -> None:
    (y,) = run_layer('type: "Transpose" transpose_param { dim: 2 dim: 0 dim: 1 }', X)
    assert y.shape == (4, 2, 3)
    assert y[3, 1, 2] == X[1, 2, 3]
    assert y[1, 0, 2] == X[0, 2, 1]


def depth_to_space(x: npt.NDArray[np.float32], b: int, place: Any) -> npt.NDArray[np.float32]:
    n, c, h, w = x.shape
    d = c // (b * b)
    y = np.zeros((n, d, h * b, w * b), np.float32)
    for i, k, r, s in itertools.product(*map(range, y.shape)):
        y[i, k, r, s] = x[i, place(k, r % b, s % b, b, d), r // b, s // b]
    return y


@pytest.mark.parametrize("kind", ["NCHW", "DCR", "CRD", "NHWC"])
def test_depth_to_space_spreads_the_depth_over_a_square(kind: str) -> None:
    x = np.arange(2 * 12 * 3 * 5, dtype=np.float32).reshape(2, 12, 3, 5)
    place = (
        (lambda k, r, s, b, d: (k * b + r) * b + s) if kind == "CRD" else (lambda k, r, s, b, d: (r * b + s) * d + k)
    )
    expected = depth_to_space(x, 2, place)
    fields = f'block_size: 2 data_format: "{kind}"' if kind != "NHWC" else "block_size: 2"
    given = x.transpose(0, 2, 3, 1) if kind == "NHWC" else x
    (y,) = run_layer(f'type: "DepthToSpace" depth_to_space_param {{ {fields} }}', given)
    assert np.array_equal(y, expected.transpose(0, 2, 3, 1) if kind == "NHWC" else expected)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ('type: "Pad" pad_param { paddings: 1 paddings: 1 }', "has 2 paddings for 3 axes, expected 6"),
        ('type: "Reverse" reverse_param { axis: 3 }', "axis 3 is outside a blob of 3 axes"),
        ('type: "Squeeze" squeeze_param { axis: 1 }', "axis 1 has size 3, only size 1 can go"),
        ('type: "Transpose" transpose_param { dim: 0 dim: 2 }', r"dim \[0, 2\] is no order of 3 axes"),
        ('type: "Transpose" transpose_param { dim: 0 dim: 2 dim: 2 }', "is no order of 3 axes"),
        ('type: "DepthToSpace" depth_to_space_param { block_size: 2 }', "needs a bottom of 4 axes"),
    ],
)
def test_rearrangements_that_do_not_work_out_are_refused(settings: str, message: str) -> None:
    with pytest.raises(NetError, match=message):
        run_layer(settings, X)


# Interp


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


# BN


CHANNELS = np.array([[1, 2, 0.5], [0, -1, 3], [4, 0, 1], [3, 8, 0.25]], np.float32)


@pytest.mark.parametrize("shape", [(1, 3), (1, 3, 1, 1), (3,)])
def test_bn_with_four_blobs_uses_slope_bias_mean_variance(shape: tuple[int, ...]) -> None:
    blobs = [row.reshape(shape) for row in CHANNELS]
    (y,) = run_layer('type: "BN" bn_param { eps: 1 }', IMAGE, blobs=blobs)
    assert y[0, 0, 0].tolist() == [-2, -1.5, -1, -0.5, 0]  # (x - 4) / 2
    assert y[0, 1, 0, 1] == np.float32(2 * 21 / 3 - 1)
    assert y[1, 2, 3, 4] == np.float32(0.5 * 118 / math.sqrt(1.25) + 3)


def test_bn_in_training_uses_the_batch_unless_it_is_frozen() -> None:
    (y,) = run_layer('type: "BN"', IMAGE, blobs=list(CHANNELS), train=True)
    assert np.allclose(y.mean(axis=(0, 2, 3)), CHANNELS[1], atol=1e-5)
    assert np.allclose(y.std(axis=(0, 2, 3)), CHANNELS[0], atol=1e-5)
    frozen = run_layer('type: "BN" bn_param { frozen: true eps: 1 }', IMAGE, blobs=list(CHANNELS), train=True)
    assert frozen[0][0, 0, 0].tolist() == [-2, -1.5, -1, -0.5, 0]


def test_segnets_bn_is_an_affine_map_once_folded_and_the_batchs_own_before() -> None:
    (y,) = run_layer('type: "BN" bn_param { bn_mode: INFERENCE }', IMAGE, blobs=list(CHANNELS[:2]))
    assert y[0, 1, 0].tolist() == [39, 41, 43, 45, 47]
    (y,) = run_layer('type: "BN" bn_param { bn_mode: LEARN }', IMAGE, blobs=list(CHANNELS[:2]))
    assert np.allclose(y.mean(axis=(0, 2, 3)), CHANNELS[1], atol=1e-5)
    assert np.allclose(y.std(axis=(0, 2, 3)), CHANNELS[0], atol=1e-5)


def test_bn_refuses_blobs_that_are_not_a_value_a_channel() -> None:
    with pytest.raises(NetError, match="has 3 blobs"):
        run_layer('type: "BN"', IMAGE, blobs=list(CHANNELS[:3]))
    with pytest.raises(WeightsError, match="makes it 1×3"):
        run_layer('type: "BN"', IMAGE, blobs=[np.ones(4)] * 4)


# Convolution and Pooling with pads of their own for each side


def convolve(
    x: Any, w: Any, stride: int, dilation: int, before: tuple[int, int], out: tuple[int, int]
) -> npt.NDArray[np.float32]:
    """One channel to one, by the sum itself."""
    y = np.zeros(out, np.float32)
    for i, j, k, m in itertools.product(range(out[0]), range(out[1]), *map(range, w.shape)):
        r, s = i * stride + k * dilation - before[0], j * stride + m * dilation - before[1]
        if 0 <= r < x.shape[0] and 0 <= s < x.shape[1]:
            y[i, j] += x[r, s] * w[k, m]
    return y


@pytest.mark.parametrize(
    ("fields", "stride", "dilation", "before", "out"),
    [
        ("pad_l: 1 pad_r: 2 pad_t: 0 pad_b: 3", 1, 1, (0, 1), (9, 6)),
        ("pad_r: 2 stride: 2", 2, 1, (0, 0), (3, 3)),
        ("pad_t: 2 pad_l: 1 dilation: 2", 1, 2, (2, 1), (7, 2)),
        ("pad_type: 1", 1, 1, (0, 1), (7, 5)),
        ("pad_type: 1 stride: 3", 3, 1, (0, 0), (3, 2)),
        ("pad_type: 1 dilation: 2", 1, 2, (0, 1), (7, 5)),
        ("hole: 2", 1, 2, (0, 0), (5, 1)),
        ("hole_h: 2 hole_w: 2", 1, 2, (0, 0), (5, 1)),
    ],
)
def test_convolution_as_forks_pad_and_dilate_it(
    fields: str, stride: int, dilation: int, before: tuple[int, int], out: tuple[int, int]
) -> None:
    rng = np.random.default_rng(5)
    x, w = rng.integers(-5, 6, (7, 5)).astype(np.float32), rng.integers(-3, 4, (2, 3)).astype(np.float32)
    settings = f"num_output: 1 kernel_h: 2 kernel_w: 3 bias_term: false {fields}"
    (y,) = run_layer(f'type: "Convolution" convolution_param {{ {settings} }}', x[None, None], blobs=[w[None, None]])
    assert y[0, 0].tolist() == convolve(x, w, stride, dilation, before, out).tolist()


def test_deconvolution_cuts_each_side_by_its_own_pad() -> None:
    settings = "num_output: 1 kernel_size: 4 stride: 2 bias_term: false"
    x, w = np.arange(1, 13).reshape(1, 1, 3, 4), np.arange(16).reshape(1, 1, 4, 4)
    (whole,) = run_layer(f'type: "Deconvolution" convolution_param {{ {settings} }}', x, blobs=[w])
    sides = "pad_l: 1 pad_r: 2 pad_b: 3"
    (y,) = run_layer(f'type: "Deconvolution" convolution_param {{ {settings} {sides} }}', x, blobs=[w])
    assert y.shape == (1, 1, 5, 7)
    assert np.array_equal(y, whole[:, :, :-3, 1:-2])


@pytest.mark.parametrize(
    ("kind", "fields", "message"),
    [
        ("Convolution", "pad: 0 pad_l: 1", "more than one way"),
        ("Convolution", "pad_type: 1 pad_l: 1", "more than one way"),
        ("Convolution", "pad_type: 2", "pad_type 2 is unknown"),
        ("Convolution", "hole: 2 dilation: 2", "has dilation and hole"),
        ("Convolution", "saturate: Signed", "computes in whole numbers"),
        ("Deconvolution", "pad_type: 1", "no meaning for Deconvolution"),
    ],
)
def test_convolution_refuses(kind: str, fields: str, message: str) -> None:
    settings = f"num_output: 1 kernel_size: 3 bias_term: false {fields}"
    with pytest.raises(NetError, match=message):
        run_layer(
            f'type: "{kind}" convolution_param {{ {settings} }}', np.ones((1, 1, 5, 6)), blobs=[np.ones((1, 1, 3, 3))]
        )


ROW = plane([1, 2, 3, 4, 5])


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("pool: MAX kernel_w: 2 pad_l: 1 stride_w: 2", [1, 3, 5]),
        ("pool: MAX kernel_w: 2 pad_r: 1 stride_w: 2", [2, 4, 5]),
        ("pool: AVE kernel_w: 3 pad_l: 2 stride_w: 1", [1 / 3, 1, 2, 3, 4]),
        ("pool: AVE kernel_w: 3 pad_l: 1 pad_r: 1 stride_w: 2", [1, 3, 3]),
        ("pool: AVE_EXC_PAD kernel_w: 3 pad_l: 1 pad_r: 1 stride_w: 2", [1.5, 3, 4.5]),
        ("pool: AVE_TF kernel_w: 3 pad_l: 2 stride_w: 1", [1, 1.5, 2, 3, 4]),
        ("pool: AVE_EXC_PAD kernel_w: 3 stride_w: 3", [2, 4.5]),
        ("pool: AVE kernel_w: 4 pad_type: 1 stride_w: 2", [6 / 4, 14 / 4, 9 / 4]),
        ("pool: AVE_EXC_PAD kernel_w: 4 pad_type: 1 stride_w: 1", [2, 2.5, 3.5, 4, 4.5]),
        ("pool: MAX kernel_w: 2 pad_type: 1 stride_w: 2", [2, 4, 5]),
        ("pool: MAX kernel_w: 1 pad_type: 1 stride_w: 3", [1, 4]),
        ("pool: MAX kernel_w: 2 pad_l: 1 stride_w: 2 ceil_mode: false", [1, 3, 5]),
        ("pool: MAX kernel_w: 2 pad_l: 1 pad_r: 1 stride_w: 3", [1, 4]),
        ("pool: MAX kernel_w: 3 pad_r: 2 stride_w: 4", [3, 5]),
        ("pool: MAX kernel_w: 3 pad_r: 2 stride_w: 3", [3, 5]),
    ],
)
def test_pooling_as_synopsys_pads_it(fields: str, expected: list[float]) -> None:
    (y,) = run_layer(f'type: "Pooling" pooling_param {{ kernel_h: 1 stride_h: 1 {fields} }}', ROW)
    assert y.tolist() == plane(list(np.array(expected, np.float32))).tolist()


def test_a_window_that_would_start_in_the_pad_behind_is_dropped() -> None:
    fields = "pool: MAX kernel_w: 2 stride_w: 5 pad_r: 1"
    (y,) = run_layer(f'type: "Pooling" pooling_param {{ kernel_h: 1 stride_h: 1 {fields} }}', ROW)
    assert y.tolist() == plane([2]).tolist()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("pad: 1 pad_l: 1", "another pad"),
        ("pad_type: 1 pad: 0", "pad_type and another pad"),
        ("pad_type: 1 pad_b: 1", "pad_type and another pad"),
        ("pad_type: 3", "pad_type 3 is unknown"),
        ("pad_b: 3", "is not below kernel"),
        ("output_shift_instead_division: 4", "computes in whole numbers"),
    ],
)
def test_pooling_refuses(fields: str, message: str) -> None:
    with pytest.raises(CaffeModelError, match=message):
        run_layer(f'type: "Pooling" pooling_param {{ kernel_size: 3 {fields} }}', np.ones((1, 1, 5, 6)))
