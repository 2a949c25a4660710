"""Reading .caffemodel files: every encoding that Caffe and its forks write, and what they make of oddities."""

from __future__ import annotations

import struct
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from prototxt.errors import WeightsError
from prototxt.names import to_bytes
from tests.weights.caffe_bytes import (
    SMALL,
    doubles,
    floats,
    key,
    layer,
    legacy_shape,
    message,
    number,
    saved,
    shape,
    text,
    unpacked_doubles,
    unpacked_floats,
    unpacked_shape,
    v0_layer,
    v1_layer,
    varint,
)
from weights import Weights, nonfinite, open_weights


def open_blob(folder: Path, body: bytes) -> np.ndarray:
    with open_weights(saved(folder, layer("a", "Scale", body))) as weights:
        return weights.layers[0].blobs[0].array()


def refusal(folder: Path, data: bytes) -> str:
    path = saved(folder, data)
    with pytest.raises(WeightsError) as caught:
        open_weights(path)
    assert caught.value.position is not None
    assert caught.value.position.path == path
    return str(caught.value).removeprefix(f"{path}: error: ")


def test_the_file_gives_names_types_shapes_and_numbers_in_its_order(tmp_path):
    with open_weights(saved(tmp_path, SMALL)) as weights:
        assert weights.name == "small"
        assert [(x.name, x.type, [b.shape for b in x.blobs]) for x in weights.layers] == [
            ("data", "Input", []),
            ("conv", "Convolution", [(2, 3, 1, 2), (2,)]),
            ("scale", "Scale", [(1, 1, 1, 3)]),
        ]
        conv, scale = weights.layers[1:]
        assert conv.blobs[0].array()[1, 2, 0, 1] == 5.5
        assert conv.blobs[1].array().tolist() == [-1.5, 2.25]
        assert scale.blobs[0].array().ravel().tolist() == [1.0, 2.0, 4.0]
        assert [b.legacy for b in (*conv.blobs, *scale.blobs)] == [False, False, True]


@pytest.mark.parametrize(
    "body",
    [
        shape(2, 3) + floats([1, 2, 3, 4, 5, 6]),
        unpacked_shape(2, 3) + unpacked_floats([1, 2, 3, 4, 5, 6]),
        floats([1, 2]) + shape(2, 3) + floats([3, 4, 5]) + unpacked_floats([6]),
        shape(2) + floats([1, 2, 3, 4, 5, 6]) + unpacked_shape(3),
        shape(2, 3) + doubles([1, 2, 3, 4, 5, 6]),
        shape(2, 3) + unpacked_doubles([1, 2, 3]) + doubles([4, 5, 6]),
        shape(2, 3) + floats([9, 9]) + doubles([1, 2, 3, 4, 5, 6]),
        shape(2, 3) + number(10, 0) + message(12, struct.pack("<6d", 1, 2, 3, 4, 5, 6)),
        shape(2, 3) + number(10, 1) + message(12, struct.pack("<6f", 1, 2, 3, 4, 5, 6)),
        shape(2, 3) + number(10, 2) + message(12, struct.pack("<6e", 1, 2, 3, 4, 5, 6)),
        shape(2, 3) + number(10, 2) + message(12, b"no") + message(12, struct.pack("<6e", 1, 2, 3, 4, 5, 6)),
        shape(2, 3) + number(10, 1) + message(12, b"ignored") + floats([1, 2, 3, 4, 5, 6]),
        floats([7] * 9, field=6) + shape(2, 3) + unpacked_floats([8] * 3, field=6) + floats([1, 2, 3, 4, 5, 6]),
        shape(2, 3) + key(5, 0) + b"\x07" + floats([1, 2, 3, 4, 5, 6]) + key(99, 3) + number(5, 1) + key(99, 4),
        shape(2, 3) + b"".join(b"\xad\x00" + struct.pack("<f", v) for v in (1, 2, 3, 4, 5, 6)),
    ],
    ids=[
        "packed",
        "unpacked",
        "in pieces",
        "shape in pieces",
        "double",
        "double in pieces",
        "double before float",
        "raw double",
        "raw float",
        "raw half",
        "last raw counts",
        "float before raw",
        "diff ignored",
        "unknown fields",
        "long keys",
    ],
)
def test_each_way_to_write_numbers_reads_the_same(tmp_path, body):
    array = open_blob(tmp_path, body)
    assert array.dtype == np.dtype("<f4")
    assert array.flags.c_contiguous
    assert array.tolist() == [[1, 2, 3], [4, 5, 6]]


NUMBERS = shape(2) + floats([1, 2])


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (floats([1, 0], field=11), "field 11"),
        (number(10, 7), "field 10"),
        (message(10, b"\x01\x02"), "field 10"),
        (key(13, 5) + struct.pack("<f", 0.5), "field 13"),
        (message(99, b"x") + number(101, 0), "field 99|field 101"),
        (message(7, number(2, 5)), "field 2 of its shape"),
        (doubles([1, 2]), "data beside double_data"),
        (number(10, 1) + message(12, b"any"), "raw_data beside data"),
        (doubles([1, 2]) + message(12, b"any"), "data beside double_data|raw_data beside double_data"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_a_blob_has_beside_its_numbers_is_named(tmp_path, caplog, more, said):
    path = saved(tmp_path, layer("a", "Scale", NUMBERS + more) + layer("b", "Scale", NUMBERS, NUMBERS + more))
    with caplog.at_level("WARNING", "weights"), open_weights(path) as weights:
        assert weights.layers[0].blobs[0].array().tolist() == [1, 2]
    assert caplog.messages == [
        f"{path}: warning: blob 0 of layer 'a' and 1 more have {what}, which Caffe does not read: left out"
        for what in said.split("|")
    ]


def test_gradients_and_empty_fields_are_worth_no_word(tmp_path, caplog):
    gradients = floats([3, 4], field=6) + doubles([3, 4], field=9) + number(11, 1) + message(13, b"abcd")
    path = saved(tmp_path, layer("a", "Scale", NUMBERS + gradients + message(8) + message(12) + message(50)))
    with caplog.at_level("WARNING", "weights"), open_weights(path):
        assert not caplog.messages


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (number(10, 1) + floats([1], field=11) + number(13, 1) + floats([5], field=14), "field 11, field 13, field 14"),
        (message(10, b"\x01\x02") + key(13, 5) + struct.pack("<f", 0.5), "field 10, field 13"),
    ],
    ids=["compressed rows", "8 bits"],
)
def test_numbers_that_only_a_fork_can_read_are_refused(tmp_path, body, fields):
    with pytest.raises(WeightsError) as caught:
        open_weights(saved(tmp_path, layer("a", "Scale", shape(2) + body)))
    assert str(caught.value).endswith(
        "layer 'a' (Scale): blob 0 is 2, 2 values, but the file stores 0 values for it; "
        f"it has {fields}, which only a fork of Caffe can read"
    )


def test_arrays_are_writable_and_never_change_the_file(tmp_path):
    path = saved(tmp_path, SMALL)
    with open_weights(path) as weights:
        blob = weights.layers[1].blobs[0]
        assert not np.shares_memory(blob.array(), blob.array())
        array = blob.array()
        array[0, 0, 0, 0] = 77
    assert array[0, 0, 0, 0] == 77  # stays valid after close
    assert Path(path).read_bytes() == SMALL
    with pytest.raises(WeightsError, match="closed"):
        blob.array()


def test_torch_takes_the_arrays_without_a_warning(tmp_path):
    torch = pytest.importorskip("torch")
    with open_weights(saved(tmp_path, SMALL)) as weights:
        assert torch.from_numpy(weights.layers[1].blobs[0].array()).sum() == 33


def test_old_forms_of_layers_read_the_same_and_get_todays_types(tmp_path):
    blob = legacy_shape(4, 3, 1, 1) + unpacked_floats(range(12))
    files = [
        layer("a", "Convolution", blob) + layer("b", "SoftmaxWithLoss"),
        v1_layer("a", 4, blob) + v1_layer("b", 21),
        v0_layer("a", "conv", blob) + v0_layer("b", "softmax_loss"),
    ]
    for data in files:
        with open_weights(saved(tmp_path, data)) as weights:
            assert [(x.name, x.type) for x in weights.layers] == [("a", "Convolution"), ("b", "SoftmaxWithLoss")]
            assert weights.layers[0].blobs[0].array().tolist() == np.arange(12.0).reshape(4, 3, 1, 1).tolist()


def test_where_old_and_new_layers_meet_the_old_ones_count_as_in_caffes_upgrade(tmp_path, caplog):
    with open_weights(saved(tmp_path, layer("new", "ReLU") + v1_layer("old", 18))) as weights:
        assert [x.name for x in weights.layers] == ["old"]
    assert "only the old count" in caplog.text


def test_of_two_layers_with_one_name_the_last_is_found(tmp_path):
    data = layer("a", "Scale", shape(1) + floats([1])) + layer("a", "Scale", shape(1) + floats([2]))
    with open_weights(saved(tmp_path, data)) as weights:
        assert len(weights.layers) == 2
        found = weights.get("a")
        assert found is not None
        assert found.blobs[0].array().tolist() == [2]
        assert weights.get("b") is None


def test_a_name_that_is_no_utf8_keeps_its_bytes(tmp_path):
    data = message(100, message(1, b"caf\xe9"), text(2, "ReLU")) + layer('naïve/\n"层', "ReLU")
    with open_weights(saved(tmp_path, data)) as weights:
        assert [to_bytes(x.name) for x in weights.layers] == [b"caf\xe9", 'naïve/\n"层'.encode()]


def test_a_blob_of_no_dimensions_holds_one_value_and_one_with_a_zero_none(tmp_path):
    assert open_blob(tmp_path, floats([3])).shape == ()
    assert open_blob(tmp_path, shape(3, 0, 2)).shape == (3, 0, 2)
    assert open_blob(tmp_path, number(1, 5)).shape == (5, 0, 0, 0)  # the old form, the rest defaults to 0


@pytest.mark.parametrize(
    ("stored", "legacy", "wanted", "fits"),
    [
        ((1, 1, 1, 5), True, (5,), True),
        ((1, 1, 4, 5), True, (4, 5), True),
        ((1, 1, 1, 1), True, (), True),
        ((2, 3, 4, 5), True, (2, 3, 4, 5), True),
        ((1, 1, 1, 5), True, (1, 5), True),
        ((1, 1, 5, 1), True, (5,), False),
        ((1, 1, 1, 5), True, (1, 1, 1, 1, 5), False),
        ((1, 1, 1, 5), False, (5,), False),
        ((5,), False, (5,), True),
        ((5,), False, (1, 5), False),
    ],
)
def test_a_shape_fits_as_in_caffes_shapeequals(tmp_path, stored, legacy, wanted, fits):
    values = floats([0.5] * int(np.prod(stored)))
    form = legacy_shape(*stored) if legacy else shape(*stored)
    with open_weights(saved(tmp_path, layer("a", "Scale", form + values))) as weights:
        assert weights.layers[0].blobs[0].fits(wanted) is fits


@pytest.mark.parametrize(
    ("body", "message_"),
    [
        (shape(2, 3) + floats([1] * 5), "is 2×3, 6 values, but the file stores 5 values for it"),
        (shape(2, 3), "is 2×3, 6 values, but the file stores 0 values for it"),
        (b"", "is scalar, 1 value, but the file stores 0 values for it"),
        (shape(-1) + floats([1]), "has a negative dimension: -1"),
        (legacy_shape(1, 1, -2, 3) + floats([1]), "has a negative dimension: 1×1×-2×3"),
        (shape(2**40, 2**40) + floats([1]), "is 1099511627776×1099511627776, more values than Caffe can count"),
        (shape(0, 2**62, 2**62), "is 0×4611686018427387904×4611686018427387904, more values than Caffe can count"),
        (shape(2**31), "is 2147483648, more values than Caffe can count"),
        (shape(1 << 20, 1 << 10) + floats([1] * 3), "is 1048576×1024, 1073741824 values"),
        (shape(*[1] * 33) + floats([1]), "has more than 32 dimensions"),
        (unpacked_shape(*[0] * 5000), "has more than 32 dimensions"),
        (message(7, message(1, bytes(2_000_000))), "has more than 32 dimensions"),
        (shape(1) + message(5, b"abc"), "is damaged: 3 bytes at byte"),
        (shape(1) + message(8, b"abcd"), "is damaged: 4 bytes at byte"),
        (shape(2) + number(10, 2) + message(12, b"abc"), "has 3 bytes of raw_data, no whole number of 2-byte values"),
        (shape(1) + message(12, b"abcd"), "has raw_data of no type"),
        (shape(1) + number(10, 3) + message(12, b"abcd"), "has raw_data of no type"),
        (key(5, 2) + varint(2**63) + b"abcd", "9,223,372,036,854,775,808 bytes should follow at byte"),
        (key(5, 5) + b"abc", "4 bytes should follow at byte"),
        (b"\xff" * 11, "is longer than 64 bits"),
        (b"\x07", "begins no protobuf field"),
        (b"\x00", "begins no protobuf field"),
        (key(9, 4), "that never began"),
        (key(9, 3) + key(8, 4), "the wrong group ends"),
        (key(9, 3), "is cut off"),
        (key(9, 3) * 101, "nest deeper than 100"),
    ],
)
def test_a_blob_that_lies_is_refused_by_layer_and_number(tmp_path, body, message_):
    good = shape(1) + floats([1])
    text_ = refusal(tmp_path, layer("ok", "Scale", good) + layer("bad", "Scale", good, body))
    assert text_.startswith("layer 'bad' (Scale): blob 1 ")
    assert message_.replace("1073741824", "1,073,741,824") in text_


def test_the_whole_message_for_a_mismatch_reads_well(tmp_path):
    text_ = refusal(tmp_path, layer("conv1", "Convolution", shape(64, 3, 7, 7) + floats([0.0] * 9407)))
    assert text_ == (
        "layer 'conv1' (Convolution): blob 0 is 64×3×7×7, 9,408 values, but the file stores 9,407 values for it"
    )


def test_cut_at_every_byte_the_file_is_refused_or_holds_whole_layers(tmp_path):
    begins = [SMALL.index(message(1, name)) - 3 for name in (b"data", b"conv", b"scale")]
    ends = {end: count for count, end in enumerate([*begins[1:], len(SMALL)], 1)}
    for size in range(1, len(SMALL)):
        data = SMALL[:size]
        if size not in ends:
            assert refusal(tmp_path, data)
        else:
            with open_weights(saved(tmp_path, data)) as weights:
                assert len(weights.layers) == ends[size]


TINY_RECORDS = {
    "fields": lambda n: layer("a", "b", extra=number(11, 1) * n),
    "layers": lambda n: message(100) * n,
    "blobs": lambda n: message(100, message(7, number(1, 0)) * n),
    "pieces of a blob": lambda n: layer("a", "b", shape(0) + (message(5) + number(99, 0)) * n),
    "groups": lambda n: key(99, 3) + (key(98, 3) + key(98, 4)) * n + key(99, 4),
}


@pytest.mark.parametrize("kind", TINY_RECORDS)
def test_a_file_of_more_records_than_any_net_needs_is_refused(tmp_path, monkeypatch, kind):
    monkeypatch.setattr("weights.wire.MAX_RECORDS", 1000)
    monkeypatch.setattr("weights.caffemodel.MAX_ITEMS", 300)
    assert "it holds more than" in refusal(tmp_path, TINY_RECORDS[kind](1010))
    monkeypatch.undo()
    with suppress(WeightsError):  # some are fine, others still hold no layer
        open_weights(saved(tmp_path, TINY_RECORDS[kind](1010)))


def test_a_hostile_file_of_several_megabytes_takes_a_few_seconds_at_most(tmp_path):
    begin = time.process_time()
    assert "more than 1,000,000 protobuf records" in refusal(tmp_path, TINY_RECORDS["fields"](2_000_000))
    assert time.process_time() - begin < 10


def test_unpacked_floats_by_the_hundred_thousand_take_no_time(tmp_path):
    values = np.random.default_rng(5).standard_normal(400_000).astype("<f4")
    records = np.zeros((400_000, 5), np.uint8)
    records[:, 0] = 5 << 3 | 5
    records[:, 1:] = values.view(np.uint8).reshape(-1, 4)
    begin = time.process_time()
    array = open_blob(tmp_path, shape(1000, 400) + records.tobytes())
    assert time.process_time() - begin < 1
    assert np.array_equal(array.ravel(), values)


def test_nan_and_infinity_are_counted_by_layer_and_blob(tmp_path):
    inf, nan = float("inf"), float("nan")
    data = (
        layer("fine", "Scale", shape(2) + floats([1, 2]))
        + layer("bad", "Scale", shape(1) + floats([3]), shape(5) + floats([nan, inf, 1, -inf, nan]))
        + layer("huge", "Scale", shape(2) + floats([3e38, 3e38]))
    )
    with open_weights(saved(tmp_path, data)) as weights:
        found = list(nonfinite(weights))
    assert [(f.layer.name, f.blob, f.nans, f.infinities, f.values) for f in found] == [("bad", 1, 2, 2, 5)]


def test_the_index_of_a_large_file_reads_no_weights(tmp_path):
    """A sparse file of 1 GB: indexing must stay cheap, and the map must not count as memory."""
    path = tmp_path / "large.caffemodel"
    count = 1 << 28
    blob = shape(1 << 14, 1 << 14) + key(5, 2) + varint(4 * count)
    body = text(1, "big") + text(2, "InnerProduct") + key(7, 2) + varint(len(blob) + 4 * count) + blob
    with open(path, "wb") as file:
        file.write(key(100, 2) + varint(len(body) + 4 * count) + body)
        file.truncate(file.tell() + 4 * count)
    begin = time.process_time()
    with open_weights(path) as weights:
        assert weights.layers[0].blobs[0].shape == (1 << 14, 1 << 14)
    assert time.process_time() - begin < 0.2


def test_weights_close_themselves(tmp_path):
    with open_weights(saved(tmp_path, SMALL)) as weights:
        assert isinstance(weights, Weights)
    with pytest.raises(WeightsError, match="closed"):
        weights.layers[1].blobs[0].array()
