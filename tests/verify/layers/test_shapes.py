"""Layers that move values, and those that reduce them, on blobs whose values tell where they came from."""

from __future__ import annotations

import numpy as np
import pytest

from prototxt.errors import NetError
from tests.verify.caffe_answers import run_layer

X = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


def test_split_and_dropout_hand_the_blob_on() -> None:
    one, two = run_layer('type: "Split"', X, tops=2)
    assert np.array_equal(one, X)
    assert np.array_equal(two, X)


@pytest.mark.parametrize(
    ("fields", "shape"),
    [("", (2, 12)), ("axis: 0", (24,)), ("axis: 0 end_axis: 1", (6, 4)), ("axis: -1", (2, 3, 4))],
)
def test_flatten_joins_the_axes_that_it_names(fields: str, shape: tuple[int, ...]) -> None:
    (y,) = run_layer(f'type: "Flatten" flatten_param {{ {fields} }}', X)
    assert y.shape == shape
    assert np.array_equal(y.ravel(), X.ravel())


@pytest.mark.parametrize(
    ("fields", "shape"),
    [
        ("shape { dim: 0 dim: -1 }", (2, 12)),
        ("shape { dim: 4 dim: 6 }", (4, 6)),
        ("shape { dim: 2 dim: 2 } axis: 2", (2, 3, 2, 2)),
        ("shape { dim: 6 dim: -1 } axis: 0 num_axes: 2", (6, 1, 4)),
        ("shape { dim: 1 } axis: 1 num_axes: 0", (2, 1, 3, 4)),
        ("shape { dim: 1 } axis: -1 num_axes: 0", (2, 3, 4, 1)),
        ("shape { dim: 0 dim: 2 dim: 2 } axis: -3", (2, 3, 2, 2)),  # -1 is behind the last axis,
    ],
)
def test_reshape_keeps_copies_and_works_out_sizes(fields: str, shape: tuple[int, ...]) -> None:
    (y,) = run_layer(f'type: "Reshape" reshape_param {{ {fields} }}', X)
    assert y.shape == shape
    assert np.array_equal(y.ravel(), X.ravel())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ('type: "Reshape" reshape_param { shape { dim: 5 dim: -1 } }', "24 values do not divide by 5"),
        ('type: "Reshape" reshape_param { shape { dim: 5 } }', "24 values do not fill 5"),
        ('type: "Reshape" reshape_param { shape { dim: -1 dim: -1 } }', "more than one -1"),
        ('type: "Reshape" reshape_param { shape { dim: 0 } axis: 3 }', "copies axis 3 of 3"),
        ('type: "Flatten" flatten_param { axis: 2 end_axis: 0 }', "axis 2 lies behind end_axis 0"),
        ('type: "Flatten" flatten_param { axis: 3 }', "axis 3 is outside a blob of 3 axes"),
        ('type: "Tile" tile_param { tiles: 0 }', "tiles 0 is not positive"),
        ('type: "Tile" tile_param { tiles: 1000000000 }', "more values than a blob can hold"),
        ('type: "Permute" permute_param { order: 1 order: 1 }', "names an axis twice"),
        ('type: "Permute" permute_param { order: 3 }', "outside a blob of 3"),
    ],
)
def test_shapes_that_do_not_work_out_are_refused(settings: str, message: str) -> None:
    with pytest.raises(NetError, match=message):
        run_layer(settings, X)


@pytest.mark.parametrize("field", ["axis: 2", "concat_dim: 2", "axis: -1"])
def test_concat_joins_along_its_axis(field: str) -> None:
    other = -X[:, :, :1]
    (y,) = run_layer(f'type: "Concat" concat_param {{ {field} }}', X, other)
    assert y.shape == (2, 3, 5)
    assert np.array_equal(y[:, :, 4:], other)


def test_concat_names_the_bottom_that_does_not_fit() -> None:
    with pytest.raises(NetError, match="b1 is 2×3×1, b0 is 2×3×4; only axis 1 may differ"):
        run_layer('type: "Concat"', X, X[:, :, :1])


def test_slice_cuts_into_equal_parts_or_at_its_points() -> None:
    parts = run_layer('type: "Slice"', X, tops=3)
    assert [p.ravel().tolist() for p in parts] == [X[:, i].ravel().tolist() for i in range(3)]
    first, second = run_layer('type: "Slice" slice_param { slice_dim: 2 slice_point: 3 }', X, tops=2)
    assert np.array_equal(first, X[:, :, :3])
    assert np.array_equal(second, X[:, :, 3:])


@pytest.mark.parametrize(
    ("fields", "tops", "message"),
    [
        ("", 2, "size 3 does not divide into 2"),
        ("slice_point: 1", 3, "has 1 slice_point for 3 tops, expected 2"),
        ("slice_point: 2 slice_point: 2", 3, r"slice_point \[2, 2\] do not rise"),
        ("slice_point: 3", 2, r"do not rise within 0 and 3"),
    ],
)
def test_slice_refuses_cuts_that_leave_nothing(fields: str, tops: int, message: str) -> None:
    with pytest.raises(NetError, match=message):
        run_layer(f'type: "Slice" slice_param {{ {fields} }}', X, tops=tops)


def test_crop_cuts_to_the_other_bottom_at_its_offsets() -> None:
    like = np.zeros((2, 2, 3))
    (y,) = run_layer('type: "Crop" crop_param { axis: 1 offset: 1 }', X, like)
    assert np.array_equal(y, X[:, 1:, 1:])
    (y,) = run_layer('type: "Crop" crop_param { axis: -2 offset: 0 offset: 1 }', X, like)
    assert np.array_equal(y, X[:, :2, 1:])
    with pytest.raises(NetError, match="offset 2 and size 2 leave axis 1 of size 3"):
        run_layer('type: "Crop" crop_param { axis: 1 offset: 2 offset: 0 }', X, like)


def test_tile_repeats_the_whole_axis() -> None:
    (y,) = run_layer('type: "Tile" tile_param { axis: 1 tiles: 2 }', X)
    assert np.array_equal(y, np.concatenate([X, X], axis=1))


def test_items_are_picked_by_index_and_by_filter() -> None:
    (y,) = run_layer('type: "BatchReindex"', X, np.array([1, 1, 0]))
    assert np.array_equal(y, X[[1, 1, 0]])
    with pytest.raises(NetError, match="an index is not within 0 and 1"):
        run_layer('type: "BatchReindex"', X, np.array([2]))
    one, two = run_layer('type: "Filter"', X, X[:, 0], np.array([[0], [1]]), tops=2)
    assert np.array_equal(one, X[1:])
    assert np.array_equal(two, X[1:, 0])
    assert run_layer('type: "Filter"', X, np.zeros(2))[0].shape == (0, 3, 4)


def test_permute_lets_axes_not_named_follow() -> None:
    (y,) = run_layer('type: "Permute" permute_param { order: 2 }', X)
    assert np.array_equal(y, X.transpose(2, 0, 1))


def test_shuffles_deal_channels_out() -> None:
    channels = np.arange(6, dtype=np.float32).reshape(1, 6, 1)
    (y,) = run_layer('type: "ShuffleChannel" shuffle_channel_param { group: 2 }', channels)
    assert y.ravel().tolist() == [0, 3, 1, 4, 2, 5]
    pixels = np.arange(8, dtype=np.float32).reshape(1, 8, 1, 1)
    (y,) = run_layer('type: "PixelShuffle" pixelshuffle_param { upscale_factor: 2 }', pixels)
    assert y.tolist() == [[[[0, 1], [2, 3]], [[4, 5], [6, 7]]]]


@pytest.mark.parametrize(
    ("operation", "expected"),
    [("SUM", [4, -12]), ("ASUM", [8, 12]), ("SUMSQ", [40, 80]), ("MEAN", [2, -6])],
)
def test_reductions_cover_every_axis_behind_theirs(operation: str, expected: list[float]) -> None:
    x = np.array([[[6], [-2]], [[-8], [-4]]], np.float32)
    (y,) = run_layer(f'type: "Reduction" reduction_param {{ operation: {operation} axis: 1 coeff: 2 }}', x)
    np.testing.assert_allclose(y, 2 * np.array(expected))
    assert run_layer('type: "Reduction"', x)[0].shape == ()


def test_softmax_sums_to_one_along_its_axis_and_never_overflows() -> None:
    x = np.array([[1000, 0], [1000, np.log(3)]], np.float32)
    (y,) = run_layer('type: "Softmax"', x)
    np.testing.assert_allclose(y, [[1, 0], [1, 0]])
    (y,) = run_layer('type: "Softmax" softmax_param { axis: 0 }', x)
    np.testing.assert_allclose(y, [[0.5, 0.25], [0.5, 0.75]], rtol=1e-6)


def test_data_that_lies_in_the_net_need_not_be_fed() -> None:
    learned = np.arange(6, dtype=np.float32).reshape(2, 3)
    (y,) = run_layer('type: "Parameter" parameter_param { shape { dim: 2 dim: 3 } }', blobs=[learned])
    assert np.array_equal(y, learned)
    filler = 'data_filler { type: "constant" value: 5 }'
    one, two = run_layer(f'type: "DummyData" dummy_data_param {{ shape {{ dim: 2 dim: 1 }} {filler} }}', tops=2)
    assert one.tolist() == two.tolist() == [[5], [5]]
    random = 'type: "DummyData" dummy_data_param { shape { dim: 2 } data_filler { type: "gaussian" } }'
    with pytest.raises(NetError, match="must be fed"):
        run_layer(random)
