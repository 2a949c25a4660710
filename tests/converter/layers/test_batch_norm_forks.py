"""BN: the forms that the stored blobs and the dialect tell apart, folding, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from converter.api import prepare
from converter.options import Options
from prototxt import parse_net
from prototxt.errors import CaffeModelError
from tests.converter.layers.test_rarer_agreement import refusal
from tests.drawn.base import Drawn, layer, net_text
from tests.golden import assert_close, run_onnx, run_torch
from tests.naive.base import Array, random
from verify import run
from weights import ArrayWeights

X = random(1, 2, 3, 4, 5)
SLOPE, BIAS, MEAN, LAST = (row.reshape(1, 3, 1, 1) for row in random(2, 4, 3))


def assert_gives(params: str, blobs: list[Array], expected: Array, folder: Path, **dialects: str) -> None:
    net = parse_net(net_text(Drawn(layer("BN", params), {"x": X})), "net.prototxt", dialects=dialects)
    weights = ArrayWeights({"it": blobs})
    graph = prepare(net, weights, Options()).graph
    assert_close(run_onnx(graph, {"x": X}, folder)["out"], expected, "onnx")
    assert_close(run_torch(graph, {"x": X})["out"], expected, "torch")
    assert_close(run(net, weights, {"x": X}).blobs["out"], expected, "interpreter")


def test_the_fourth_blob_of_cudnn_4_is_the_inverse_deviation(tmp_path: Path) -> None:
    blobs = [SLOPE, BIAS, MEAN, np.abs(LAST)]
    expected = SLOPE * (X - MEAN) * np.abs(LAST) + BIAS
    assert_gives("bn_param { slope_filler { value: 1 } }", blobs, expected, tmp_path, BN="cudnn4")


def test_four_blobs_outweigh_segnets_fields(tmp_path: Path) -> None:
    blobs = [SLOPE, BIAS, MEAN, np.abs(LAST)]
    expected = SLOPE * (X - MEAN) / np.sqrt(np.abs(LAST) + 0.01) + BIAS
    params = "bn_param { scale_filler { value: 1 } bn_mode: INFERENCE eps: 0.01 }"
    assert_gives(params, blobs, expected, tmp_path)
    assert_gives(params, blobs, expected, tmp_path, BN="segnet")


@pytest.mark.parametrize("shape", [(3,), (1, 3), (1, 3, 1, 1)])
def test_two_blobs_outweigh_the_other_forks_fields(shape: tuple[int, ...], tmp_path: Path) -> None:
    blobs = [SLOPE.reshape(shape), BIAS.reshape(shape)]
    mean, variance = X.mean(axis=(0, 2, 3), keepdims=True), X.var(axis=(0, 2, 3), keepdims=True)
    assert_gives("bn_param { slope_filler { value: 1 } }", blobs, SLOPE * (X - mean) / variance**0.5 + BIAS, tmp_path)
    assert_gives("bn_param { slope_filler {} bn_mode: INFERENCE }", blobs, SLOPE * X + BIAS, tmp_path)


def test_statistics_of_the_batch_where_no_moving_average_is_wanted(tmp_path: Path) -> None:
    blobs = [SLOPE, BIAS, MEAN, np.abs(LAST)]
    mean, variance = X.mean(axis=(0, 2, 3), keepdims=True), X.var(axis=(0, 2, 3), keepdims=True)
    expected = SLOPE * (X - mean) / np.sqrt(variance + np.float32(1e-5)) + BIAS
    assert_gives("bn_param { moving_average: false }", blobs, expected, tmp_path)


@pytest.mark.parametrize(
    ("params", "dialect", "nodes"),
    [
        ("slope_filler { type: 'uniform' }", "pspnet", ["conv"]),
        ("slope_filler { type: 'uniform' }", "cudnn4", ["conv"]),
        ("scale_filler { type: 'uniform' } bn_mode: INFERENCE", "segnet", ["conv"]),
        ("scale_filler { type: 'uniform' } bn_mode: LEARN", "segnet", ["conv", "it"]),
    ],
)
def test_folds_into_the_convolution_before(params: str, dialect: str, nodes: list[str], tmp_path: Path) -> None:
    text = 'layer { name: "conv" type: "Convolution" bottom: "x" top: "y"'
    text += "convolution_param { num_output: 4 kernel_size: 2 } } "
    text += layer("BN", f"bn_param {{ {params} }}", "y")
    net = parse_net(net_text(Drawn(text, {"x": X})), "net.prototxt", dialects={"BN": dialect})
    ready = prepare(net, None, Options(random_weights=3, fold="conv"))
    assert [node.name for node in ready.graph.nodes] == nodes
    expected = run(net, ready.weights, {"x": X}).blobs["out"]
    assert_close(run_onnx(ready.graph, {"x": X}, tmp_path)["out"], expected, "onnx", 1e-5)


@pytest.mark.parametrize(
    ("params", "sizes", "message"),
    [
        (
            "\nbn_param { eps: -1 }",
            (2, 3, 4, 5),
            "net.prototxt:3:12: error: layer 'it' (BN): eps is -1; expected 0 or more",
        ),
        ("", (2, 3, 4, 5, 1, 2), "layer 'it' (BN): the bottom is 2×3×4×5×1×2; expected 2 to 5 axes"),
        ("bn_param { bn_mode: LEARN }", (2, 3), "layer 'it' (BN): the bottom is 2×3; expected 4 axes (N×C×H×W)"),
    ],
)
def test_refuses(params: str, sizes: tuple[int, ...], message: str) -> None:
    assert refusal(layer("BN", params), {"x": np.zeros(sizes, np.float32)}).endswith(message)


def test_refuses_three_blobs() -> None:
    net = parse_net(net_text(Drawn(layer("BN"), {"x": X})), "n")
    with pytest.raises(CaffeModelError, match="the file has 3 blobs, but"):
        prepare(net, ArrayWeights({"it": [SLOPE, BIAS, MEAN]}), Options())
