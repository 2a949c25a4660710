"""A conversion reads each weight once, and loads neither onnx nor another framework for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from converter.api import convert
from weights import LayerWeights, blob_from_array, write_caffemodel
from weights.pieces import PiecewiseFile

ROOT = Path(__file__).resolve().parents[2]
SIZE = 300
NET = f"""
layer {{ name: 'x' type: 'Input' top: 'x' input_param {{ shape {{ dim: 1 dim: {SIZE} dim: 1 dim: 1 }} }} }}
layer {{ name: 'c' type: 'Convolution' bottom: 'x' top: 'c' convolution_param {{ num_output: {SIZE} kernel_size: 1 }} }}
layer {{ name: 'b' type: 'BatchNorm' bottom: 'c' top: 'c' }}
layer {{ name: 's' type: 'Scale' bottom: 'c' top: 'c' scale_param {{ bias_term: true }} }}
layer {{ name: 'f' type: 'InnerProduct' bottom: 'c' top: 'f' inner_product_param {{ num_output: {SIZE} }} }}
"""


def net_in(folder: Path) -> tuple[Path, Path]:
    net, weights = folder / "net.prototxt", folder / "net.caffemodel"
    net.write_text(NET)
    rng = np.random.default_rng(0)

    def blobs(*shapes: tuple[int, ...]) -> tuple[object, ...]:
        return tuple(blob_from_array(rng.uniform(0.5, 1, shape)) for shape in shapes)

    layers = [
        LayerWeights("c", "Convolution", blobs((SIZE, SIZE, 1, 1), (SIZE,))),  # type: ignore[arg-type]
        LayerWeights("b", "BatchNorm", blobs((SIZE,), (SIZE,), (1,))),  # type: ignore[arg-type]
        LayerWeights("s", "Scale", blobs((SIZE,), (SIZE,))),  # type: ignore[arg-type]
        LayerWeights("f", "InnerProduct", blobs((SIZE, SIZE), (SIZE,))),  # type: ignore[arg-type]
    ]
    write_caffemodel(weights, "net", layers)
    return net, weights


@pytest.mark.parametrize("to", ["onnx", "torch", "safetensors", "npz", "caffe"])
def test_each_byte_of_the_weights_is_read_once(to: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net, weights = net_in(tmp_path)
    taken: list[tuple[int, int]] = []
    read = PiecewiseFile.read

    def noted(file: PiecewiseFile, start: int, into: memoryview) -> None:
        taken.append((start, start + len(into)))
        read(file, start, into)

    monkeypatch.setattr(PiecewiseFile, "read", noted)
    convert(net, weights, to=to, output=tmp_path / "out")  # type: ignore[arg-type]
    size, total = weights.stat().st_size, sum(stop - start for start, stop in taken)
    # The index looks at a few pages, and the one value by which both statistics are divided is read with each.
    assert size - 1000 < total < size + 4 + 4096 * 16
    large = [span for span in taken if span[1] - span[0] > 4096]
    assert sum(stop - start for start, stop in large) == 2 * 4 * SIZE * SIZE
    assert len(set(large)) == len(large)


@pytest.mark.parametrize("to", ["onnx", "torch", "safetensors", "npz"])
def test_no_framework_is_loaded_to_write_a_model(to: str, tmp_path: Path) -> None:
    net, weights = net_in(tmp_path)
    code = (
        "import sys; from converter.api import convert; convert(*sys.argv[1:3], to=sys.argv[3], output=sys.argv[4]); "
        "print(*sorted({'onnx', 'torch', 'safetensors', 'h5py', 'onnxruntime'} & set(sys.modules)))"
    )
    words = [sys.executable, "-c", code, str(net), str(weights), to, str(tmp_path / "out")]
    ended = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout.split() == []
