"""Mean images, from .binaryproto in its forms and from .npy."""

from __future__ import annotations

import numpy as np
import pytest

from prototxt.errors import WeightsError
from tests.weights.caffe_bytes import SMALL, doubles, floats, legacy_shape, saved, shape
from weights import load_mean

VALUES = [float(n) for n in range(24)]
EXPECTED = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


@pytest.mark.parametrize(
    "data",
    [
        legacy_shape(1, 2, 3, 4) + floats(VALUES),
        legacy_shape(1, 2, 3, 4) + doubles(VALUES),
        floats(VALUES) + shape(1, 2, 3, 4),
        floats(VALUES) + shape(2, 3, 4),
    ],
)
def test_each_form_of_binaryproto_gives_channels_rows_columns(tmp_path, data):
    mean = load_mean(saved(tmp_path, data, "mean.binaryproto"))
    assert mean.dtype == np.float32
    assert mean.flags.owndata
    assert np.array_equal(mean, EXPECTED)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (EXPECTED.astype(np.float64), EXPECTED),
        (EXPECTED[None].astype(np.uint8), EXPECTED),
        (np.asfortranarray(EXPECTED), EXPECTED),
        (np.array([104.0, 117.0, 123.0]), np.array([104, 117, 123], np.float32).reshape(3, 1, 1)),
    ],
)
def test_npy_files_are_taken_too(tmp_path, array, expected):
    np.save(tmp_path / "mean.npy", array)
    mean = load_mean(tmp_path / "mean.npy")
    assert np.array_equal(mean, expected)
    assert mean.flags.c_contiguous


def npy_header(text: str) -> bytes:
    body = text.encode().ljust(118) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(body).to_bytes(2, "little") + body


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is empty"),
        (
            legacy_shape(1, 2, 3, 4) + floats(VALUES[:-1]),
            "24 values, but the file stores 23 values",
        ),
        (legacy_shape(2, 2, 3, 2) + floats(VALUES), "is 2×2×3×2; a mean is channels × height × width"),
        (floats(VALUES) + shape(24), "is 24; a mean is"),
        (floats(VALUES) + shape(6, 4), "is 6×4; a mean is"),
        (floats([]) + shape(3, 0, 4), "is 3×0×4; a mean is"),
        (legacy_shape(1, 1, 1, 2) + floats([1, float("nan")]), "holds NaN or infinity"),
        (legacy_shape(1, 1, 1, 1) + doubles([1e300]), "holds NaN or infinity"),
        ((legacy_shape(1, 2, 3, 4) + floats(VALUES))[:-1], "is damaged or cut short"),
        (SMALL, r"is no mean image|is damaged"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer"),
        (b"<html></html>", "is a web page"),
        (npy_header("{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776, 4, 4), }"), "is a damaged .npy"),
        (npy_header("{'descr': '|O', 'fortran_order': False, 'shape': (3,), }") + bytes(24), "is a damaged .npy"),
        (npy_header("{'descr': '<U1', 'fortran_order': False, 'shape': (3,), }") + bytes(12), "holds <U1 values"),
        (npy_header("{'descr': ") + bytes(12), "is a damaged .npy"),
        (b"\x93NUMPY\x09", "is a damaged .npy"),
    ],
)
def test_what_is_no_mean_image_is_refused(tmp_path, data, reason):
    path = saved(tmp_path, data, "mean")
    with pytest.raises(WeightsError, match=reason) as caught:
        load_mean(path)
    assert str(caught.value).startswith(f"{path}: error: ")
