"""Pooling against loops that spell out its windows, for the shapes where frameworks differ."""

from __future__ import annotations

import itertools
import math

import numpy as np
import numpy.typing as npt
import pytest

from prototxt.errors import NetError
from tests.verify.caffe_answers import run_layer

LOWEST = float(np.finfo(np.float32).min)


def positions(sizes: tuple[int, int], kernel: int, stride: int, pad: int) -> list[int]:
    out = [math.ceil((size + 2 * pad - kernel) / stride) + 1 for size in sizes]
    if pad:
        out = [n - 1 if (n - 1) * stride >= size + pad else n for n, size in zip(out, sizes, strict=True)]
    return out


def pooled(
    x: npt.NDArray[np.float32], kernel: int, stride: int, pad: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Largest value, its place, and average of each window."""
    height, width = x.shape[2:]
    rows, columns = positions((height, width), kernel, stride, pad)
    best = np.full((*x.shape[:2], rows, columns), LOWEST)
    place, mean = np.full(best.shape, -1.0), np.zeros(best.shape)
    for n, c, i, j in np.ndindex(*best.shape):
        top, left = i * stride - pad, j * stride - pad
        size = (min(top + kernel, height + pad) - top) * (min(left + kernel, width + pad) - left)
        for r, s in itertools.product(range(top, top + kernel), range(left, left + kernel)):
            if 0 <= r < height and 0 <= s < width:
                mean[n, c, i, j] += x[n, c, r, s]
                if x[n, c, r, s] > best[n, c, i, j]:
                    best[n, c, i, j], place[n, c, i, j] = x[n, c, r, s], r * width + s
        mean[n, c, i, j] = mean[n, c, i, j] / size if size else np.nan
    return best, place, mean


GEOMETRIES = [(3, 2, 0), (3, 2, 1), (2, 2, 1), (5, 3, 2), (3, 1, 1), (2, 3, 0), (4, 3, 3), (6, 1, 0), (1, 2, 0)]


@pytest.mark.parametrize("sizes", [(8, 7), (6, 11), (7, 9)], ids=str)
@pytest.mark.parametrize(("kernel", "stride", "pad"), GEOMETRIES)
def test_windows_round_up_and_are_clipped_as_caffe_does(
    sizes: tuple[int, int], kernel: int, stride: int, pad: int
) -> None:
    x = np.random.default_rng(7).integers(-9, 9, (2, 3, *sizes)).astype(np.float32)  # integers: many ties
    best, place, mean = pooled(x, kernel, stride, pad)
    geometry = f"kernel_size: {kernel} stride: {stride} pad: {pad}"
    largest, mask = run_layer(f'type: "Pooling" pooling_param {{ pool: MAX {geometry} }}', x, tops=2)
    assert np.array_equal(largest, best)
    assert np.array_equal(mask, place)
    (average,) = run_layer(f'type: "Pooling" pooling_param {{ pool: AVE {geometry} }}', x)
    np.testing.assert_allclose(average, mean, rtol=1e-6, atol=1e-6)


def test_a_last_window_that_starts_in_the_padding_is_dropped() -> None:
    (y,) = run_layer('type: "Pooling" pooling_param { kernel_size: 2 stride: 2 pad: 1 }', np.zeros((1, 1, 7, 9)))
    assert y.shape == (1, 1, 4, 5)


def test_without_padding_a_stride_beyond_the_kernel_leaves_an_empty_window() -> None:
    x = np.arange(5, dtype=np.float32).reshape(1, 1, 5, 1)
    geometry = "kernel_h: 1 kernel_w: 1 stride_h: 5 stride_w: 1"
    largest, mask = run_layer(f'type: "Pooling" pooling_param {{ {geometry} }}', x, tops=2)
    assert largest.ravel().tolist() == [0, LOWEST]
    assert mask.ravel().tolist() == [0, -1]


@pytest.mark.parametrize("field", ["round_mode: FLOOR", "ceil_mode: false"])
def test_rounding_down_must_be_asked_for(field: str) -> None:
    x = np.zeros((1, 2, 8, 7))
    text = 'type: "Pooling" pooling_param {{ kernel_size: 3 stride: 2 {} }}'
    assert run_layer(text.format(field), x)[0].shape == (1, 2, 3, 3)
    assert run_layer(text.format(""), x)[0].shape == (1, 2, 4, 3)


def test_global_pooling_takes_the_whole_image() -> None:
    x = np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4)
    assert run_layer('type: "Pooling" pooling_param { global_pooling: true }', x)[0].ravel().tolist() == [11, 23]
    text = 'type: "Pooling" pooling_param { pool: AVE global_pooling: true }'
    assert run_layer(text, x)[0].ravel().tolist() == [5.5, 17.5]


def test_not_a_number_never_wins_a_maximum() -> None:
    x = np.array([[np.nan, 2, 1], [-np.inf, np.nan, 5]], np.float32).reshape(1, 1, 2, 3)
    largest, mask = run_layer('type: "Pooling" pooling_param { kernel_size: 2 stride: 1 }', x, tops=2)
    assert largest.ravel().tolist() == [2, 5]
    assert mask.ravel().tolist() == [1, 5]


def test_stochastic_pooling_in_the_test_phase_weighs_values_by_themselves() -> None:
    x = np.array([[1, 2, 0], [3, 4, 0]], np.float32).reshape(1, 1, 2, 3)
    (y,) = run_layer('type: "Pooling" pooling_param { pool: STOCHASTIC kernel_size: 2 stride: 2 }', x)
    assert y.ravel().tolist() == [3.0, 0.0]  # (1 + 4 + 9 + 16) / 10, and an empty sum


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("kernel_size: 3 pad: 3", r"pad \(3, 3\) is not below kernel"),
        ("stride: 2", r"kernel 0×0 is not positive"),
        ("kernel_size: 20", r"kernel 20 is larger than the padded size 5"),
        ("global_pooling: true stride: 2", r"global_pooling allows no pad"),
        ("pool: STOCHASTIC kernel_size: 2 pad: 1", r"STOCHASTIC takes no pad"),
    ],
)
def test_a_window_that_cannot_be_is_refused(fields: str, message: str) -> None:
    with pytest.raises(NetError, match=message):
        run_layer(f'type: "Pooling" pooling_param {{ {fields} }}', np.zeros((1, 2, 5, 6)))


def test_pyramid_levels_follow_each_other() -> None:
    x = np.arange(1, 13, dtype=np.float32).reshape(1, 1, 3, 4)
    (y,) = run_layer('type: "SPP" spp_param { pyramid_height: 2 pool: AVE }', x)
    assert y[0, 0] == 6.5
    # 3 rows in 2 bins: kernel 2, pad 1, so the first bin is row 0 and a padding row that counts as zeros
    np.testing.assert_allclose(y[0, 1:], [0.75, 1.75, 7.5, 9.5])
