"""A weight file that is cut short while it is in use is an error, never a signal."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from prototxt.errors import WeightsError
from weights import LayerRecord, blob_from_array, nonfinite, open_weights, write_caffemodel

ROOT = Path(__file__).resolve().parents[2]
BLOBS = 3
VALUES = 50_000
"""In a blob: more than a page of memory holds."""


def weight_file(path: Path) -> Path:
    layers = [
        LayerRecord(f"layer{n}", "InnerProduct", (blob_from_array(np.full((5, VALUES // 5), n + 1)),))
        for n in range(BLOBS)
    ]
    write_caffemodel(path, "net", layers)
    return path


def test_blobs_before_the_cut_are_read_and_the_others_are_told(tmp_path: Path) -> None:
    path = weight_file(tmp_path / "w.caffemodel")
    with open_weights(path) as weights:
        os.truncate(path, path.stat().st_size - 4 * VALUES - 1000)
        assert weights.layers[0].blobs[0].array().sum() == VALUES
        for layer in weights.layers[1:]:
            with pytest.raises(
                WeightsError, match=r"w\.caffemodel: error: was cut short while it was read: [\d,]+ byte"
            ):
                layer.blobs[0].array()
        with pytest.raises(WeightsError, match="958 bytes should follow at byte 399,131"):
            list(nonfinite(weights))


CUT = """
import os, sys
from resnet_convert.cli.main import main
from weights.pieces import PiecewiseFile

read, reads = PiecewiseFile.read, []

def cut(file, start, into):
    read(file, start, into)
    reads.append(start)
    if len(reads) == int(sys.argv[1]):
        os.truncate("w.caffemodel", 5000)

PiecewiseFile.read = cut
status = main(["net.prototxt", "w.caffemodel", "-o", "m.onnx", "--quiet"])
assert len(reads) >= int(sys.argv[1]), reads
sys.exit(status)
"""
NET = """
layer { name: 'x' type: 'Input' top: 'x' input_param { shape { dim: 1 dim: 10000 } } }
layer { name: 'layer0' type: 'InnerProduct' bottom: 'x' top: 'y'
  inner_product_param { num_output: 5 bias_term: false } }
"""


@pytest.mark.parametrize("reads", [1, 2, 3, 4, 5])
def test_a_conversion_whose_weights_are_cut_short_ends_with_their_error(reads: int, tmp_path: Path) -> None:
    """Blobs are looked at for NaN, written, and run by the interpreter."""
    weight_file(tmp_path / "w.caffemodel")
    (tmp_path / "net.prototxt").write_text(NET)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-c", CUT, str(reads)]
    ended = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "w.caffemodel: error: was cut short while it was read: " in ended.stderr
    assert "Traceback" not in ended.stderr


def test_an_hdf5_file_that_is_cut_short_is_told(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "w.caffemodel.h5"
    with h5py.File(path, "w") as file:
        for n in range(BLOBS):
            file[f"data/layer{n}/0"] = np.full((5, VALUES // 5), n + 1, np.float32)
    with open_weights(path) as weights:
        os.truncate(path, path.stat().st_size // 2)
        with pytest.raises(WeightsError, match=r"w\.caffemodel\.h5: .* cannot be read: the file was cut short"):
            weights.layers[-1].blobs[0].array()
