"""The paper's whole family from the builder, and MSRA's own nets at full size."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

from converter.api import prepare
from converter.options import Options
from prototxt import format_net, load_net, parse_net, resnet
from tests.golden import assert_close, run_onnx, run_torch
from verify import run
from weights import open_weights

SLOW = [pytest.param(depth, marks=pytest.mark.slow) for depth in (44, 110, 18, 34, 50, 101, 152)]


@pytest.mark.parametrize("depth", [20, 32, 56, *SLOW])
def test_every_resnet_of_the_paper_converts(depth: int, tmp_path: Path) -> None:
    net = parse_net(format_net(resnet(depth)))
    classes = 10 if depth in (20, 32, 44, 56, 110) else 1000
    side = 32 if classes == 10 else 224
    ready = prepare(net, None, Options(random_weights=depth))
    x = np.random.default_rng(0).standard_normal((1, 3, side, side)).astype(np.float32) * 64
    expected = run(net, ready.weights, {"data": x}).blobs
    last = net.layers[-1].tops[0]
    assert expected[last].shape == (1, classes)
    assert ready.fired["fold_batch_norm"] == sum(layer.type == "BatchNorm" for layer in net.layers)
    for results in (run_onnx(ready.graph, {"data": x}, tmp_path), run_torch(ready.graph, {"data": x})):
        assert_close(results[last], expected[last], f"ResNet-{depth}")


@pytest.mark.slow
@pytest.mark.parametrize(("depth", "factor"), [(50, "1"), (101, "999.98236"), (152, "1")])
def test_msra_nets_give_caffes_numbers(depth: int, factor: str, shared: Path, tmp_path: Path) -> None:
    folder = shared / "golden" / "msra" / f"ResNet-{depth}"
    name = f"prototxt/KaimingHe+deep-residual-networks/prototxt/ResNet-{depth}-deploy.prototxt"
    with tarfile.open(shared / "corpus" / "prototxt.tar.xz") as archive:
        text = archive.extractfile(name)
        assert text is not None
        (tmp_path / "net.prototxt").write_bytes(text.read())
    maker = shared / "bin" / "make_resnet_weights.py"
    command = [sys.executable, str(maker), "net.prototxt", "w.caffemodel", "--scale-factor", factor]
    subprocess.run(command, cwd=tmp_path, check=True)
    with np.load(folder / "golden.npz") as golden:
        feeds, expected = {"data": golden["in:data"]}, golden["full:prob"]
    with open_weights(tmp_path / "w.caffemodel") as weights:
        graph = prepare(load_net(tmp_path / "net.prototxt"), weights, Options(fold="conv")).graph
        for results in (run_onnx(graph, feeds, tmp_path), run_torch(graph, feeds)):
            assert_close(results["prob"], expected.reshape(results["prob"].shape), f"ResNet-{depth}")
