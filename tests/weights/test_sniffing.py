"""Files that are no weights: each is refused by what it is."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from prototxt.errors import MissingDependencyError, WeightsError
from tests.weights.caffe_bytes import SMALL, floats, legacy_shape, message, number, saved, shape, text
from weights import open_weights

ROOT = Path(__file__).resolve().parents[2]


def zipped(name: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(name, b"x" * 100)
    return out.getvalue()


def npy() -> bytes:
    out = io.BytesIO()
    np.save(out, np.ones((2, 3)))
    return out.getvalue()


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 102462397\n"
ONNX = (
    number(1, 8)
    + text(2, "pytorch")
    + text(3, "2.1")
    + message(7, message(1, text(1, "x"), text(4, "Relu")))
    + message(8, number(2, 17))
)
BLOB = floats([1, 2, 3])

FOREIGN = {
    "empty": (b"", "is empty"),
    "lfs": (LFS, "is a Git LFS pointer, not the weights: run `git lfs pull`"),
    "html": (
        b"\n<!DOCTYPE html><html><body>Sign in</body></html>",
        "is a web page, not the weights: the download went wrong",
    ),
    "html with bom": ("\ufeff<HTML>é</HTML>".encode(), "is a web page, not the weights: the download went wrong"),
    "prototxt": (
        b'# net\nname: "a"\nlayer { name: "b" }',
        "is a prototxt, not the weights: the binary .caffemodel is needed",
    ),
    "prototxt in GBK": (
        "# 网络\nlayers {\n}".encode("gbk"),
        "is a prototxt, not the weights: the binary .caffemodel is needed",
    ),
    "text": (b"Not Found", "is text, not the weights; it begins with 'Not Found'"),
    "torch zip": (zipped("archive/data.pkl"), "is a PyTorch checkpoint, not Caffe weights"),
    "npz": (zipped("arr_0.npy"), "is a NumPy archive (.npz), not Caffe weights"),
    "zip": (zipped("net.caffemodel"), "is a ZIP archive: unpack it first"),
    "pickle": (pickle.dumps({"a": 1}, 2), "is a Python pickle, not Caffe weights"),
    "npy": (npy(), "is a NumPy array (.npy), not Caffe weights"),
    "gzip": (gzip.compress(SMALL, mtime=0), "is a gzip archive: unpack it first"),
    "safetensors": ((40).to_bytes(8, "little") + b'{"a":1}' + b" " * 40, "is a safetensors file, not Caffe weights"),
    "onnx": (ONNX, "is an ONNX model, not Caffe weights"),
    "solverstate": (
        number(1, 6000) + text(2, "net_iter_6000.caffemodel") + message(3, shape(3) + BLOB) + number(4, 2),
        "is a solver state (.solverstate), which has no weights: give the .caffemodel saved with it",
    ),
    "solverstate without a net": (
        number(1, 6000) + text(2, "") + message(3, shape(3) + BLOB),
        "is a solver state (.solverstate), which has no weights: give the .caffemodel saved with it",
    ),
    "mean": (
        legacy_shape(1, 3, 1, 1) + BLOB,
        "is a single blob, such as a mean image (.binaryproto), not the weights of a net",
    ),
    "mean of new form": (
        BLOB + shape(3, 1, 1),
        "is a single blob, such as a mean image (.binaryproto), not the weights of a net",
    ),
    "nothing known": (number(9, 1), "is no .caffemodel: it holds no layers"),
    "zeros": (bytes(100), "is damaged or cut short: byte 0 begins no protobuf field"),
    "only unnamed layers": (message(100, text(2, "ReLU")), "is no .caffemodel: its layers have no names"),
    "keras-like HDF5 head": (b"\x89HDF\r\n\x1a\n" + bytes(100), "is a damaged HDF5 file"),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_a_file_of_another_kind_is_named(tmp_path, case):
    data, expected = FOREIGN[case]
    path = saved(tmp_path, data)
    with pytest.raises(WeightsError) as caught:
        open_weights(path)
    if "HDF5" in expected:
        pytest.importorskip("h5py")
        assert str(caught.value).startswith(f"{path}: error: {expected}")
    else:
        assert str(caught.value) == f"{path}: error: {expected}"


def test_a_missing_file_a_folder_and_a_pipe_are_named(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name, expected in {
        "none": "no such file",
        ".": "is a directory; a file is needed",
        "pipe": "is no regular file; weights are mapped into memory, so write them to a file first",
        "a\0b": "cannot be read: embedded null byte",
        "x" * 300: "cannot be read: File name too long",
    }.items():
        with pytest.raises(WeightsError) as caught:
            open_weights(f"{tmp_path}/{name}")
        assert str(caught.value).endswith(f": error: {expected}")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_is_named(tmp_path):
    path = saved(tmp_path, SMALL)
    os.chmod(path, 0)
    with pytest.raises(WeightsError, match="cannot be read: Permission denied"):
        open_weights(path)


def test_importing_and_opening_binary_weights_needs_no_framework_and_no_h5py(tmp_path):
    path = saved(tmp_path, SMALL)
    program = (
        f"import sys, weights; weights.open_weights({path!r}).close();"
        "print(sorted({'torch', 'onnx', 'onnxruntime', 'h5py'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "[]\n"


def test_without_h5py_an_hdf5_file_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    path = saved(tmp_path, b"\x89HDF\r\n\x1a\n" + bytes(100))
    with pytest.raises(MissingDependencyError, match="pip install h5py"):
        open_weights(path)
