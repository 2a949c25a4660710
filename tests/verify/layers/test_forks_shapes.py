"""Layers that only forks have and that move values about: Pad, Reverse, Squeeze, Transpose, DepthToSpace."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from prototxt.errors import NetError
from tests.verify.caffe_answers import run_layer

X = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


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
