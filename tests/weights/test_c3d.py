"""Blobs of C3D 1.0, whose BlobProto has a length before the height, and every field behind it one further on."""

from __future__ import annotations

from pathlib import Path

from tests.weights import caffe_bytes as raw
from weights import open_weights


def test_blobs_of_c3d_have_a_length_and_their_data_one_field_further(tmp_path: Path) -> None:
    sizes = b"".join(raw.number(field, dim) for field, dim in enumerate((2, 1, 3, 1, 2), 1))
    values, diff = [0.5 * n for n in range(12)], raw.floats([1.0] * 12, 7)
    data = raw.v1_layer("a", 30, sizes + raw.floats(values, 6) + diff, sizes + raw.unpacked_floats(values, 6))
    with open_weights(raw.saved(tmp_path, data)) as weights:
        for blob in weights.layers[0].blobs:
            assert blob.shape == (2, 1, 3, 1, 2)
            assert blob.array().ravel().tolist() == values
            assert blob.fits((2, 1, 3, 1, 2))
            assert not blob.fits((2, 3, 2))


def test_a_bias_of_c3d_fits_a_vector(tmp_path: Path) -> None:
    sizes = b"".join(raw.number(field, dim) for field, dim in enumerate((1, 1, 1, 2, 3), 1))
    with open_weights(raw.saved(tmp_path, raw.v1_layer("a", 14, sizes + raw.floats([1.0] * 6, 6)))) as weights:
        blob = weights.layers[0].blobs[0]
        assert blob.fits((2, 3))
        assert blob.fits((1, 2, 3))
        assert not blob.fits((3, 2))


def test_a_number_in_field_5_beside_floats_in_it_is_passed_over(tmp_path: Path) -> None:
    data = raw.layer("a", "Scale", raw.shape(2) + raw.number(5, 7) + raw.floats([1.0, 2.0]) + raw.floats([9.0, 9.0], 6))
    with open_weights(raw.saved(tmp_path, data)) as weights:
        assert weights.layers[0].blobs[0].shape == (2,)
        assert weights.layers[0].blobs[0].array().tolist() == [1.0, 2.0]
