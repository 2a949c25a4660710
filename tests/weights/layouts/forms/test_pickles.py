"""Pickles of arrays: those that NumPy makes are read whatever made them; nothing that a pickle says is run."""

from __future__ import annotations

import builtins
import os
import pickle
import pickletools
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prototxt.errors import RequestError, WeightsError
from tests.resnet_convert.test_outputs import FULL, files_of_at_most
from tests.weights.layouts.forms.damage import assert_changes_are_errors_or_numbers, assert_cuts_are_errors
from weights.layouts import held
from weights.layouts.files import is_array_file, read_state
from weights.layouts.forms.pickle_file import write_pickle

RNG = np.random.default_rng(6)
ARRAYS: dict[str, Any] = {
    "conv1_w": RNG.standard_normal((4, 3, 2, 5)).astype(np.float32),
    "turned": RNG.standard_normal((3, 7)).T,
    "cut": RNG.standard_normal((6, 8)).astype(np.float32)[1:5:2, ::3],
    "half": np.float16([0.5, -2]),
    "big": np.arange(3, dtype=">i8"),
    "other end": np.float32([1, 2]).astype(">f4"),
    "yes": np.array([True, False, True]),
    "scalar": np.float64(2.5),
    "point": np.array(7, np.int16),
    "empty": np.zeros((0, 3), np.float32),
    "größe/漢": np.ones(2, np.uint8),
}


def pickled(path: Path, content: Any, protocol: int = 4, names: str = "numpy._core") -> Path:
    """With the names of NumPy 2 or, where a protocol spells them out, those before it."""
    data = pickle.dumps(content, protocol)
    new, old = b"numpy._core.", b"numpy.core."
    if names == "numpy.core":
        data = data.replace(b"c" + new, b"c" + old)
        data = data.replace(b"\x8c\x16numpy._core.multiarray", b"\x8c\x15numpy.core.multiarray")
        data = data.replace(b"\x8c\x13numpy._core.numeric", b"\x8c\x12numpy.core.numeric")
        if protocol == 5:  # frames tell their lengths
            data = pickletools.optimize(data)
        assert new not in data
    path.write_bytes(data)
    return path


def assert_holds(path: Path, arrays: dict[str, Any] = ARRAYS) -> None:
    assert is_array_file(path)
    found = read_state(path)
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        assert found[name].shape == np.shape(array), name
        assert found[name].dtype == array.dtype, name
        assert np.array_equal(found[name], array), name


@pytest.mark.parametrize("names", ["numpy.core", "numpy._core"])
@pytest.mark.parametrize("protocol", range(4))
def test_arrays_of_every_kind_have_their_numbers(protocol: int, names: str, tmp_path: Path) -> None:
    assert_holds(pickled(tmp_path / "w.pkl", ARRAYS, protocol, names))


@pytest.mark.parametrize("protocol", [4, 5])
def test_arrays_of_newer_protocols_have_their_numbers(protocol: int, tmp_path: Path) -> None:
    assert_holds(pickled(tmp_path / "w.pkl", ARRAYS, protocol))


@pytest.mark.parametrize(
    "content",
    [
        {"model": ARRAYS, "__author__": "Caffe2", "matching_heuristics": True},
        OrderedDict(ARRAYS),
        {"blobs": {**ARRAYS, "conv1_w_momentum": np.ones(2)}, "cfg": "TRAIN: …"},
        {"__author__": "x", "model": {"module." + name: array for name, array in ARRAYS.items()}},
    ],
    ids=["detectron2", "ordered", "detectron", "wrapped"],
)
def test_the_arrays_are_found_where_detectron_has_them(content: Any, tmp_path: Path) -> None:
    assert_holds(pickled(tmp_path / "w.pkl", content))


PYTHON_2 = b"""(dp1\nS'conv1_w'\np2\ncnumpy.core.multiarray\n_reconstruct\np3\n(cnumpy\nndarray\np4\n(I0\ntS'b'\ntRp5
(I1
(I2\nI1\ntcnumpy\ndtype\np6\n(S'f4'\nI0\nI1\ntRp7\n(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbI00
S'\\x00\\x00\\x80?\\x00\\x00\\x00\\xc0'\ntbsS'\\xe9'\np8\ng5\ns."""
"""As Python 2 pickled {"conv1_w": float32 [[1], [-2]], "\xe9": the same array}: bytes are strings there."""


def test_a_pickle_of_python_2_is_read_as_latin_1(tmp_path: Path) -> None:
    (tmp_path / "w.pkl").write_bytes(PYTHON_2)
    array = np.float32([[1], [-2]])
    assert_holds(tmp_path / "w.pkl", {"conv1_w": array, "é": array})


class Call:
    """Calls something when a pickle of it is followed."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", range(6))
def test_nothing_is_run(protocol: int, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    path = pickled(tmp_path / "w.pkl", {"w": np.ones(2), "x": Call(os.system, f"touch {mark}")}, protocol)
    with pytest.raises(
        WeightsError, match=r"w.pkl: error: holds posix.system; of a pickle only dictionaries and arrays"
    ):
        read_state(path)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (builtins.eval, ("1",)),
        (builtins.getattr, (str, "join")),
        (builtins.open, ("/etc/passwd",)),
        (np.load, ("/etc/passwd",)),
        (np.zeros, (1 << 40,)),
        (np.memmap, ("/etc/passwd",)),
        (bytearray, (1 << 40,)),
        (pickle.loads, (b"",)),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_no_other_function_is_known(function: Any, arguments: Any, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r": error: holds [\w.]+; of a pickle only dictionaries and arrays are read"):
        read_state(pickled(tmp_path / "w.pkl", {"w": np.ones(2), "x": Call(function, *arguments)}))


ARRAY_OF = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I%d\ntS'b'\ntR"
FLOATS = b"cnumpy\ndtype\n(S'f4'\nI0\nI1\ntR"


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        (ARRAY_OF % 10**12 + b"(I1\n(I2\nt" + FLOATS + b"I00\nS'1234'\ntb", r"an array of \(2,\) float32 has 4 bytes"),
        (b"cnumpy\nndarray\n(I99999999999\ntR", "an array is made in no way that NumPy pickles one"),
        (ARRAY_OF % 0 + b"(I1\n(I-2\nI-2\nt" + FLOATS + b"I00\nS''\ntb", "a size below 0"),
        (b"cnumpy\ndtype\n(S'O'\nI0\nI1\ntR", "arrays by their names|no arrays"),
        (ARRAY_OF % 0 + b"(I1\n(t" + FLOATS.replace(b"f4", b"O") + b"I00\n(lp9\ntb", "Python objects in an array"),
        (b"cnumpy\ndtype\n(S'f4,(1000000,1000000)f8'\nI0\nI1\ntR", "an array of type 'f4,"),
        (b"r\xff\xff\xff\x7f", "names place 2147483647 of the memory"),
        (b"p99999999999\n", "names place 99999999999 of the memory"),
        (b"\x82\x01", "an extension of the pickle's writer"),
        (b"X\xff\xff\xff\x7fabc", "it breaks off at byte"),
        (b"\x96\xff\xff\xff\xff\xff\x00\x00\x00abc", "it breaks off at byte"),
        (b"P1\n", "it refers to what lies outside the file"),
        (b"g77\n", "is a damaged pickle"),
        (b"c_codecs\nencode\n(S'abc'\nS'rot13'\ntR", "bytes in the encoding 'rot13'"),
    ],
)
def test_steps_that_no_writer_of_arrays_takes_are_refused(steps: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "w.pkl").write_bytes(b"\x80\x02}S'w'\n" + steps + b"s.")
    with pytest.raises(WeightsError, match=message):
        read_state(tmp_path / "w.pkl")


def test_methods_that_a_pickle_gets_cannot_be_changed(tmp_path: Path) -> None:
    """BUILD would set attributes of what is on the stack; for a function of a module that would last."""
    (tmp_path / "w.pkl").write_bytes(b"\x80\x02}S'w'\nc_codecs\nencode\n(N}S'__defaults__'\n(S'x'\ntstbs.")
    with pytest.raises(WeightsError, match="is a damaged pickle"):
        read_state(tmp_path / "w.pkl")
    assert_holds(pickled(tmp_path / "w.pkl", ARRAYS, 2))


def test_a_dictionary_that_holds_itself_is_refused(tmp_path: Path) -> None:
    loop: dict[str, Any] = {}
    loop["model"] = loop
    with pytest.raises(WeightsError, match="holds no arrays where checkpoints have them"):
        read_state(pickled(tmp_path / "w.pkl", loop))


def test_text_in_an_array_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="'w' holds <U4 values; expected numbers"):
        read_state(pickled(tmp_path / "w.pkl", {"w": np.array(["text"])}))


@pytest.mark.parametrize("protocol", range(6))
def test_a_file_that_breaks_off_is_one_error(protocol: int, tmp_path: Path) -> None:
    data = pickle.dumps({"model": {"w": np.ones((5, 7), np.float32), "v": np.arange(3)}}, protocol)
    assert_cuts_are_errors(tmp_path / "w.pkl", data, range(8, len(data), 7))


@pytest.mark.parametrize("protocol", range(6))
def test_changed_bytes_give_numbers_or_one_error(protocol: int, tmp_path: Path) -> None:
    assert_changes_are_errors_or_numbers(tmp_path / "w.pkl", pickle.dumps({"model": ARRAYS}, protocol), protocol)


def test_a_written_file_is_what_pickle_reads(tmp_path: Path) -> None:
    floats = {name: held(np.float32(array)) for name, array in ARRAYS.items()}
    write_pickle(tmp_path / "w.pkl", floats, "model", {"__author__": "Caffe2", "matching_heuristics": True})
    with (tmp_path / "w.pkl").open("rb") as file:
        found = pickle.load(file, encoding="latin1")
    assert (found["__author__"], found["matching_heuristics"], list(found["model"])) == ("Caffe2", True, list(ARRAYS))
    for name, array in found["model"].items():
        assert type(array) is np.ndarray
        assert (array.dtype, array.shape) == (np.float32, np.shape(ARRAYS[name]))
        assert np.array_equal(array, np.float32(ARRAYS[name]))
    assert {name: array.tolist() for name, array in read_state(tmp_path / "w.pkl").items()} == {
        name: array.tolist() for name, array in found["model"].items()
    }
    write_pickle(tmp_path / "bare.pkl", floats)
    with (tmp_path / "bare.pkl").open("rb") as file:
        assert list(pickle.load(file)) == list(ARRAYS)


def test_names_are_those_that_every_numpy_has(tmp_path: Path) -> None:
    write_pickle(tmp_path / "w.pkl", {"w": held([1.0])})
    named = {
        argument for step, argument, _ in pickletools.genops((tmp_path / "w.pkl").read_bytes()) if step.name == "GLOBAL"
    }
    assert named == {"numpy.core.multiarray _reconstruct", "numpy ndarray", "numpy dtype"}


def test_a_file_that_cannot_be_written_leaves_none(tmp_path: Path) -> None:
    for size in (0, 100, 5000):
        with files_of_at_most(size), pytest.raises(RequestError, match=FULL):
            write_pickle(tmp_path / "w.pkl", {"w": held(np.ones((50, 60), np.float32))})
        assert list(tmp_path.iterdir()) == []
