"""The embedded example: a ResNet that the original Caffe trained, and Caffe's own scores on 500 images."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from converter.api import prepare
from converter.options import Options, Preprocessing
from prototxt import load_net
from tests.golden import run_onnx, run_torch
from weights import load_mean, open_weights

DIGITS = Path(__file__).resolve().parents[1] / "examples" / "digits"


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """500×1×16×16, as decoded: 0 to 255."""
    names = [line.split()[0] for line in (DIGITS / "val.txt").read_text().splitlines()]
    pixels = [cv2.imread(str(DIGITS / "val" / name), cv2.IMREAD_GRAYSCALE) for name in names]
    return np.stack(pixels)[:, None].astype(np.float32)


def labels() -> np.ndarray:
    return np.array([int(line.split()[1]) for line in (DIGITS / "val.txt").read_text().splitlines()])


@pytest.mark.parametrize("engine", ["onnx", "torch"])
@pytest.mark.parametrize("fold", ["none", "bn", "conv"])
def test_the_converted_net_scores_as_caffe_did(engine: str, fold: str, images: np.ndarray, tmp_path: Path) -> None:
    options = Options(
        fold=fold,  # type: ignore[arg-type]
        input_shapes={"data": ("N", 1, 16, 16)},
        preprocessing=Preprocessing(load_mean(DIGITS / "mean.binaryproto")),
    )
    with open_weights(DIGITS / "digits_resnet.caffemodel") as weights:
        graph = prepare(load_net(DIGITS / "deploy.prototxt"), weights, options).graph
        feeds = {"data": images}
        scores = (run_onnx(graph, feeds, tmp_path) if engine == "onnx" else run_torch(graph, feeds))["prob"]
    result = json.loads((DIGITS / "RESULT.json").read_text())
    wrong = np.flatnonzero(scores.argmax(1) != labels())
    assert wrong.tolist() == result["wrong_val_indices"]
    assert len(wrong) / len(images) == result["caffe_top1_error"] == 0.02
    top5 = np.argsort(-scores, axis=1)[:, :5]
    assert np.flatnonzero((top5 != labels()[:, None]).all(1)).tolist() == result["wrong_top5_val_indices"]
    assert np.abs(scores - np.load(DIGITS / "caffe_scores.npy")).max() < 1e-5


def test_pool1_follows_caffes_rounding() -> None:
    with open_weights(DIGITS / "digits_resnet.caffemodel") as weights:
        graph = prepare(load_net(DIGITS / "deploy.prototxt"), weights, Options()).graph
    (pool,) = [v for node in graph.nodes for v in node.outputs if v.name == "pool1"]
    assert pool.shape == (1, 16, 8, 8)
