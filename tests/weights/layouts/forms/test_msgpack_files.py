"""Flax' trees: msgpack's own messages are read, what is written holds the same; Flax itself is asked where it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prototxt.errors import RequestError, WeightsError
from tests.resnet_convert.test_outputs import FULL, files_of_at_most
from tests.weights.layouts.forms.damage import assert_changes_are_errors_or_numbers, assert_cuts_are_errors
from weights.layouts import held
from weights.layouts.files import is_array_file, read_state
from weights.layouts.forms import msgpack_file
from weights.layouts.forms.msgpack_file import write_msgpack

msgpack = pytest.importorskip("msgpack")

RNG = np.random.default_rng(7)
ARRAYS: dict[str, Any] = {
    "params/Conv_0/kernel": RNG.standard_normal((3, 2, 4, 5)).astype(np.float32),
    "params/Conv_0/bias": RNG.standard_normal(5),
    "params/größe/漢": np.arange(7, dtype=np.int32),
    "batch_stats/BatchNorm_0/mean": np.float16([0.5, -2]),
    "batch_stats/BatchNorm_0/count": np.array(9, np.uint8),
    "batch_stats/yes": np.array([True, False]),
    "batch_stats/none": np.zeros((0, 3), np.float32),
}


def message(array: Any, kind: str = "", data: bytes | None = None, code: int = 1) -> Any:
    array = np.asarray(array)
    stored = array.tobytes() if data is None else data
    return msgpack.ExtType(code, msgpack.packb((array.shape, kind or array.dtype.name, stored), use_bin_type=True))


def nested(arrays: dict[str, Any]) -> dict[str, Any]:
    root: dict[str, Any] = {}
    for name, array in arrays.items():
        *folders, last = name.split("/")
        place = root
        for folder in folders:
            place = place.setdefault(folder, {})
        place[last] = array
    return root


def packed(path: Path, content: Any) -> Path:
    path.write_bytes(msgpack.packb(content, use_bin_type=True))
    return path


def assert_holds(path: Path, arrays: dict[str, Any]) -> None:
    assert is_array_file(path)
    found = read_state(path)
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        assert (found[name].dtype, found[name].shape) == (np.asarray(array).dtype, np.shape(array)), name
        assert np.array_equal(found[name], array), name


def test_arrays_of_every_kind_have_their_numbers(tmp_path: Path) -> None:
    content = nested({name: message(array) for name, array in ARRAYS.items()})
    assert_holds(packed(tmp_path / "w.msgpack", content), ARRAYS)


def test_scalars_bfloat16_and_chunks_are_read(tmp_path: Path) -> None:
    chunks = {str(number): message(np.float32([number, 1, 2])) for number in range(4)}
    content = {
        "scalar": message(np.float64(2.5), code=3),
        "brain": message(np.zeros(3), "bfloat16", np.uint16([0x3FC0, 0xC040, 0x0380]).tobytes()),
        "whole": {"__msgpack_chunked_array__": True, "shape": {"0": 4, "1": 3}, "chunks": chunks},
    }
    found = read_state(packed(tmp_path / "w.msgpack", content))
    assert (found["scalar"].shape, found["scalar"].item()) == ((), 2.5)
    assert found["brain"].tolist() == [1.5, -3.0, 2.0**-120]
    assert found["whole"].tolist() == [[0, 1, 2], [1, 1, 2], [2, 1, 2], [3, 1, 2]]


def test_what_is_no_array_is_left_out_aloud(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = packed(tmp_path / "w.msgpack", {"step": 3, "params": {"w": message(np.float32([1])), "n": None}})
    assert_holds(path, {"params/w": np.float32([1])})
    assert f"{path}: warning: left out, since they are no arrays: 'step', 'params/n'" in caplog.text


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"a": 1}, "holds no arrays"),
        ({"a": message(np.zeros(3), "float32", bytes(8))}, "is damaged: cannot reshape array of size 2 into shape"),
        ({"a": message(np.zeros(3), "float32", bytes(9))}, "is damaged: buffer size must be a multiple"),
        ({"a": message(np.zeros(3), "object", bytes(24))}, "is damaged: an array of object; expected numbers"),
        ({"a": message(np.zeros(3), "S1000000000", b"")}, "is damaged: an array of S1000000000"),
        ({"a": msgpack.ExtType(1, msgpack.packb(([-1, -4], "float32", bytes(16))))}, r"an array of \(-1, -4\)"),
        ({"a": msgpack.ExtType(1, msgpack.packb([[1] * 40, "float32", bytes(4)]))}, "'a' is 1×1×.* more than Caffe"),
        ({"a": msgpack.ExtType(1, msgpack.packb([[1] * 99, "float32", bytes(4)]))}, "is damaged: 99 exceeds"),
        ({"a": msgpack.ExtType(1, b"\xc1")}, "is damaged"),
        ({"a": {"__msgpack_chunked_array__": True}}, "is damaged: 'shape'"),
        ({"a": [0] * 100}, "is damaged: 100 exceeds max_array_len"),
    ],
)
def test_what_is_wrong_is_said(content: Any, reason: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=reason):
        read_state(packed(tmp_path / "w.msgpack", content))


def test_dictionaries_in_dictionaries_have_an_end(tmp_path: Path) -> None:
    for depth in (70, 600, 3000):
        (tmp_path / "w.msgpack").write_bytes(b"\x81\xa1a" * depth + b"\xc0")
        with pytest.raises(WeightsError, match="is damaged"):
            read_state(tmp_path / "w.msgpack")


def test_a_list_that_promises_more_than_there_is_takes_no_memory(tmp_path: Path) -> None:
    (tmp_path / "w.msgpack").write_bytes(b"\x81\xa1a" + b"\xdd\x7f\xff\xff\xff" * 500)
    with pytest.raises(WeightsError, match="is damaged: 2147483647 exceeds max_array_len"):
        read_state(tmp_path / "w.msgpack")


def test_a_file_that_breaks_off_is_one_error(tmp_path: Path) -> None:
    path = packed(tmp_path / "w.msgpack", nested({name: message(array) for name, array in ARRAYS.items()}))
    data = path.read_bytes()
    assert_cuts_are_errors(path, data, range(8, len(data), 5))


def test_changed_bytes_give_numbers_or_one_error(tmp_path: Path) -> None:
    path = packed(tmp_path / "w.msgpack", nested({name: message(array) for name, array in ARRAYS.items()}))
    assert_changes_are_errors_or_numbers(path, path.read_bytes(), 8)


@pytest.mark.parametrize("most", [1 << 28, 7])
def test_a_written_file_holds_what_was_given(most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(msgpack_file, "_CHUNK", most)
    floats = {name: np.asarray(array, np.float32) for name, array in ARRAYS.items()}
    write_msgpack(tmp_path / "w.msgpack", {name: held(array) for name, array in floats.items()})
    assert_holds(tmp_path / "w.msgpack", {name: floats[name] for name in sorted(floats)})


@pytest.mark.parametrize("most", [1 << 28, 7])
def test_flax_reads_it_and_writes_the_same_bytes(most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serialization = pytest.importorskip("flax.serialization")
    monkeypatch.setattr(msgpack_file, "_CHUNK", most)
    monkeypatch.setattr(serialization, "MAX_CHUNK_SIZE", 4 * most)
    floats = {name: np.asarray(array, np.float32) for name, array in ARRAYS.items()}
    write_msgpack(tmp_path / "w.msgpack", {name: held(array) for name, array in floats.items()})
    data = (tmp_path / "w.msgpack").read_bytes()
    found = serialization.msgpack_restore(data)
    for name, array in floats.items():
        folder, _, rest = name.partition("/")
        value = found[folder]
        for key in rest.split("/"):
            value = value[key]
        assert np.array_equal(value, array)
        assert value.shape == array.shape
    assert serialization.msgpack_serialize(nested(floats)) == data


def test_what_flax_writes_is_read(tmp_path: Path) -> None:
    serialization, jnp = pytest.importorskip("flax.serialization"), pytest.importorskip("jax.numpy")
    content = {"params": {"a": jnp.arange(6.0).reshape(2, 3), "b": jnp.bfloat16(1.5) * jnp.ones(3, jnp.bfloat16)}}
    (tmp_path / "w.msgpack").write_bytes(serialization.to_bytes(content))
    expected = {"params/a": np.arange(6, dtype=np.float32).reshape(2, 3), "params/b": np.float32([1.5] * 3)}
    assert_holds(tmp_path / "w.msgpack", expected)


def test_a_file_that_cannot_be_written_leaves_none(tmp_path: Path) -> None:
    for size in (0, 100, 5000):
        with files_of_at_most(size), pytest.raises(RequestError, match=FULL):
            write_msgpack(tmp_path / "w.msgpack", {"params/w": held(np.ones((50, 60), np.float32))})
        assert list(tmp_path.iterdir()) == []
