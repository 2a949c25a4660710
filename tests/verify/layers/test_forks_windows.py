"""Convolution and Pooling with the fields of forks: pads of their own for each side."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from prototxt.errors import CaffeModelError, NetError
from tests.verify.caffe_answers import run_layer


def plane(*rows: list[float]) -> npt.NDArray[np.float32]:
    return np.array([[rows]], np.float32)


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
