"""Files of named arrays: what libraries write is read, what is damaged or hostile gives one clear error."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from prototxt.errors import RequestError, WeightsError
from weights.layouts import held
from weights.layouts.files import is_array_file, open_arrays, write_safetensors

RNG = np.random.default_rng(8)
ARRAYS = {
    "a.weight": RNG.standard_normal((4, 3, 2)).astype(np.float32),
    "a.bias": RNG.standard_normal(5),
    "half": RNG.standard_normal((2, 7)).astype(np.float16),
    "count": np.arange(3),
    "scalar": np.float32(2.5),
    "empty": np.zeros((0, 3), np.float32),
}


def write(path: Path) -> Path:
    if path.suffix == ".npz":
        np.savez(path, **ARRAYS)
    elif path.suffix == ".safetensors":
        save_file({name: np.asarray(array) for name, array in ARRAYS.items()}, path)
    else:
        with h5py.File(path, "w") as file:
            for name, array in ARRAYS.items():
                file[name.replace(".", "/")] = array
    return path


@pytest.mark.parametrize("suffix", ["npz", "safetensors", "h5"])
def test_numbers_of_every_kind_come_as_float32(suffix: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"w.{suffix}")
    assert is_array_file(path)
    with open_arrays(path) as found:
        assert found.keys() == ARRAYS.keys()
        for name, array in ARRAYS.items():
            assert found[name].shape == np.shape(array)
            assert found[name].array().dtype == np.float32
            assert np.array_equal(found[name], np.asarray(array, np.float32))


def test_a_written_file_is_what_the_library_reads(tmp_path: Path) -> None:
    arrays = {name: held(np.float32(array)) for name, array in ARRAYS.items()} | {"é/漢": held(np.float32([1]))}
    write_safetensors(tmp_path / "w.safetensors", arrays, {"format": "pt"})
    found = load_file(tmp_path / "w.safetensors")
    assert found.keys() == arrays.keys()
    assert all(np.array_equal(found[name], array) for name, array in arrays.items())


def test_a_failing_array_leaves_no_file(tmp_path: Path) -> None:
    def fail() -> Any:
        raise WeightsError("is damaged")

    from weights.layouts import LazyArray

    with pytest.raises(WeightsError, match="is damaged"):
        write_safetensors(tmp_path / "w.safetensors", {"a": held([1.0]), "b": LazyArray((2,), fail)})
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(RequestError, match="does not exist"):
        write_safetensors(tmp_path / "none" / "w.safetensors", {"a": held([1.0])})


@pytest.mark.parametrize("suffix", ["npz", "safetensors", "h5"])
@pytest.mark.parametrize("kept", [0.02, 0.3, 0.6, 0.95])
def test_a_truncated_file_gives_one_error(suffix: str, kept: float, tmp_path: Path) -> None:
    path = write(tmp_path / f"w.{suffix}")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(WeightsError) as caught:
        _read_all(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", ["npz", "safetensors", "h5"])
def test_changed_bytes_give_numbers_or_one_error(suffix: str, tmp_path: Path) -> None:
    data = write(tmp_path / f"w.{suffix}").read_bytes()
    rng = np.random.default_rng(9)
    path = tmp_path / "changed"
    refused = 0
    for _ in range(150):
        changed = bytearray(data)
        for place in rng.integers(0, min(len(data), 3000), 3):
            changed[place] = rng.integers(256)
        path.write_bytes(changed)
        try:
            _read_all(path)
        except WeightsError:
            refused += 1
    assert refused > 10


def _read_all(path: Path) -> None:
    with np.errstate(all="ignore"), open_arrays(path) as arrays:
        for array in arrays.values():
            array.array()


def test_pickles_in_an_npz_are_never_opened(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", a=np.array([{}], object))
    with pytest.raises(WeightsError, match="'a' holds Python objects, which are never read"):
        _read_all(tmp_path / "w.npz")


def test_an_npz_that_promises_more_than_it_has_is_refused(tmp_path: Path) -> None:
    head = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000, 1000), }"
    head += b" " * (118 - len(head) - 1) + b"\n"
    with zipfile.ZipFile(tmp_path / "w.npz", "w") as archive:
        archive.writestr("a.npy", b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head + bytes(40))
    with pytest.raises(WeightsError, match="'a' is 1000000×1000, but 168 bytes are stored"):
        _read_all(tmp_path / "w.npz")


def test_a_safetensors_header_that_lies_is_refused(tmp_path: Path) -> None:
    head = json.dumps({"a": {"dtype": "F32", "shape": [9, 9], "data_offsets": [0, 4]}}).encode()
    (tmp_path / "w.safetensors").write_bytes(len(head).to_bytes(8, "little") + head + bytes(4))
    with pytest.raises(WeightsError, match=r"is a damaged \.safetensors file"):
        _read_all(tmp_path / "w.safetensors")


def test_links_out_of_an_hdf5_file_are_not_followed(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file["layers/a"] = h5py.ExternalLink("/etc/hostname", "/")
    with pytest.raises(WeightsError, match="has a link to elsewhere at 'layers/a', which is not followed"):
        _read_all(tmp_path / "w.h5")


def test_text_in_an_array_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", a=np.array(["text"]))
    with pytest.raises(WeightsError, match="'a' holds <U4 values; expected numbers"):
        _read_all(tmp_path / "w.npz")


def test_caffes_own_files_are_not_taken_for_arrays(tmp_path: Path) -> None:
    from tests.weights.layouts.porting_nets import seeded_arrays, weights_of
    from weights import write_caffemodel, write_hdf5

    layers = weights_of({"conv1": seeded_arrays(18)["conv1"]}).layers
    write_caffemodel(tmp_path / "w.caffemodel", "", layers)
    write_hdf5(tmp_path / "w.caffemodel.h5", layers)
    assert not is_array_file(tmp_path / "w.caffemodel")
    assert not is_array_file(tmp_path / "w.caffemodel.h5")
