"""Damaged and made-up files: only WeightsError escapes, and what is read is what protobuf's own parser reads."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import example, given, settings
from hypothesis import strategies as st

from prototxt import caffe_pb2
from prototxt.errors import WeightsError
from tests.weights import caffe_bytes as wire
from weights import load_mean, nonfinite, open_weights

RAW = wire.layer("r", "Scale", wire.shape(3) + wire.number(10, 2) + wire.message(12, b"\x00\x3c\x00\x40\x00\xc2"))
OLD = wire.v1_layer("old", 14, wire.legacy_shape(1, 1, 2, 3) + wire.floats(range(6)))
OLDER = wire.v0_layer("older", "conv", wire.legacy_shape(2, 1, 1, 1) + wire.unpacked_floats([1, 2]))
SEEDS = (wire.SMALL, wire.SMALL + RAW, wire.text(1, "n") + OLD + OLDER)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


def reference(data: bytes) -> list[list[np.ndarray]] | None:
    """Blobs by layer as protobuf parses them; None where it refuses the bytes."""
    try:
        net = caffe_pb2.NetParameter.FromString(data)
    except DecodeError:
        return None
    layers = [(x.layer if x.HasField("layer") else x) for x in net.layers] or net.layer
    return [[blob_values(blob) for blob in x.blobs] for x in layers]


def blob_values(blob) -> np.ndarray:
    raw = np.frombuffer(blob.raw_data[: len(blob.raw_data) // 8 * 8], "<f8")
    if blob.HasField("raw_data_type") and blob.raw_data_type in (1, 2):
        width = 4 if blob.raw_data_type == 1 else 2
        raw = np.frombuffer(blob.raw_data[: len(blob.raw_data) // width * width], f"<f{width}")
    with np.errstate(over="ignore", invalid="ignore"):
        for values in (blob.double_data, blob.data):
            if values:
                return np.array(values, np.float64).astype(np.float32)
        return raw.astype(np.float32)


def check(folder: Path, data: bytes) -> None:
    path = wire.saved(folder, data)
    expected = reference(data)
    found, refusal = None, ""
    try:
        with open_weights(path) as weights:
            found = [[blob.array().ravel() for blob in x.blobs] for x in weights.layers]
            list(nonfinite(weights))
    except WeightsError as error:
        refusal = error.message
    if expected is None:
        return
    if found is None:
        # Then for what the file says, not for how it is encoded; but protobuf lets field 0 pass where it skips a group.
        assert "damaged" not in refusal or "begins no protobuf field" in refusal
    else:
        assert [len(x) for x in found] == [len(x) for x in expected]
        for ours, theirs in zip(found, expected, strict=True):
            assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(ours, theirs, strict=True))


VARINTS = st.integers(0, 2**64 - 1) | st.integers(0, 5)
FLOATS = st.lists(st.floats(width=32), max_size=5)
BLOB_FIELD = st.one_of(
    st.builds(lambda dims: wire.shape(*dims), st.lists(VARINTS, max_size=3)),
    st.builds(lambda dims: wire.unpacked_shape(*dims), st.lists(VARINTS, max_size=3)),
    st.builds(wire.number, st.integers(1, 12), VARINTS),
    st.builds(wire.floats, FLOATS, st.sampled_from([5, 6])),
    st.builds(wire.unpacked_floats, FLOATS, st.sampled_from([5, 6])),
    st.builds(wire.doubles, FLOATS, st.sampled_from([8, 9])),
    st.builds(wire.unpacked_doubles, FLOATS, st.sampled_from([8, 9])),
    st.builds(wire.message, st.integers(1, 13), st.binary(max_size=16)),
    st.builds(lambda inner: wire.key(77, 3) + inner + wire.key(77, 4), st.binary(max_size=8)),
)
BLOB = st.lists(BLOB_FIELD, max_size=5).map(b"".join)


@st.composite
def fitting_blob(draw):
    """A blob whose shape is right, with its fields in any order and its numbers in any pieces."""
    values = draw(FLOATS)
    cut = draw(st.integers(0, len(values)))
    pieces = [draw(st.sampled_from([wire.floats, wire.unpacked_floats]))(part) for part in (values[:cut], values[cut:])]
    noise = [wire.floats([1.0, 2.0], 6), wire.number(99, 1), wire.key(98, 3) + wire.key(98, 4)]
    order = draw(st.permutations([wire.shape(len(values)), *draw(st.lists(st.sampled_from(noise), max_size=2))]))
    return order[0] + pieces[0] + b"".join(order[1:]) + pieces[1]


LAYER = st.builds(
    lambda form, blobs: form("x", *blobs),
    st.sampled_from(
        [
            lambda name, *blobs: wire.layer(name, "Scale", *blobs),
            lambda name, *blobs: wire.v1_layer(name, 4, *blobs),
            lambda name, *blobs: wire.v0_layer(name, "conv", *blobs),
        ]
    ),
    st.lists(fitting_blob() | fitting_blob() | BLOB, max_size=3),
)


@settings(max_examples=600)
@given(data=wire.mutated(SEEDS))
@example(data=wire.SMALL[:-1])
def test_a_mutated_file_is_refused_or_read_as_protobuf_reads_it(folder, data):
    check(folder, data)


@settings(max_examples=400)
@given(layers=st.lists(LAYER, min_size=1, max_size=3))
def test_a_made_up_file_is_refused_or_read_as_protobuf_reads_it(folder, layers):
    check(folder, b"".join(layers))


@settings(max_examples=200)
@given(data=st.binary(max_size=60))
def test_noise_is_refused_or_read_as_protobuf_reads_it(folder, data):
    check(folder, data)


@settings(max_examples=200)
@given(data=BLOB | fitting_blob() | st.binary(max_size=40))
def test_any_bytes_given_as_a_mean_are_an_image_or_refused(folder, data):
    path = wire.saved(folder, data, "mean.binaryproto")
    with suppress(WeightsError):
        assert load_mean(path).ndim == 3


@settings(max_examples=150)
@given(data=st.data())
def test_a_mutated_hdf5_file_is_refused_or_read(folder, data):
    h5py = pytest.importorskip("h5py")
    whole = folder / "whole.h5"
    if not whole.exists():
        with h5py.File(whole, "w") as file:
            file["data/a/0"] = np.arange(6, dtype=np.float32).reshape(2, 3)
            file["data/b/c/0"] = np.arange(4, dtype=np.float64)
    content = bytearray(whole.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = wire.saved(folder, bytes(content), "mutated.h5")
    with suppress(WeightsError), open_weights(path) as weights:
        for layer in weights.layers:
            for blob in layer.blobs:
                assert not blob.stored or blob.array().shape == blob.shape


@settings(max_examples=300)
@given(data=st.data())
def test_a_mutated_npy_mean_is_an_image_or_refused(folder, data):
    np.save(folder / "whole.npy", np.arange(6, dtype=np.float32).reshape(1, 2, 3))
    content = bytearray((folder / "whole.npy").read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(6, 100))] = data.draw(st.integers(0, 255) | st.sampled_from(list(b"(){}[],:'0")))
    path = wire.saved(folder, bytes(content), "mutated.npy")
    with suppress(WeightsError):
        assert load_mean(path).ndim == 3
