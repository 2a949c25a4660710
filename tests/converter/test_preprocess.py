"""Baked preprocessing: the model takes decoded RGB images, the net still gets what Caffe fed it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from converter.api import prepare
from converter.options import Options, Preprocessing
from prototxt import parse_net
from prototxt.errors import CaffeModelError, RequestError
from tests.golden import assert_close, run_onnx, run_torch
from weights.mean import read_mean

RNG = np.random.default_rng(11)
NET = """layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 7 dim: 5 } } }
         layer { name: "p" type: "Power" bottom: "data" top: "p" power_param { shift: 1 } }"""


@pytest.mark.parametrize(
    "preprocessing",
    [
        Preprocessing(np.array([104, 117, 123], np.float32), 0.017, True),
        Preprocessing(np.array([104, 117, 123], np.float32)),
        Preprocessing(np.array([127.5], np.float32), 1 / 128),
        Preprocessing(None, 1 / 255, True),
        Preprocessing(RNG.uniform(0, 255, (3, 9, 8)).astype(np.float32), 1.0, True),
    ],
    ids=["all", "mean", "one mean", "no mean", "mean image"],
)
def test_the_net_gets_what_caffe_would_feed_it(preprocessing: Preprocessing, tmp_path: Path) -> None:
    images = RNG.integers(0, 256, (2, 3, 7, 5)).astype(np.float32)
    graph = prepare(parse_net(NET), None, Options(preprocessing=preprocessing)).graph
    x = images[:, ::-1] if preprocessing.rgb else images
    mean = preprocessing.mean
    if mean is not None:
        x = x - (mean[None, :, 1:8, 1:6] if mean.ndim == 3 else mean.reshape(1, -1, 1, 1))
    expected = (x * preprocessing.scale + 1).astype(np.float32)
    assert_close(run_onnx(graph, {"data": images}, tmp_path)["p"], expected, "onnx", 1e-6)
    assert_close(run_torch(graph, {"data": images})["p"], expected, "torch", 1e-6)


def test_the_model_says_what_was_baked_in() -> None:
    ready = prepare(
        parse_net(NET), None, Options(preprocessing=Preprocessing(np.array([1, 2, 3], np.float32), 0.5, True))
    )
    assert json.loads(ready.metadata["resnet_convert.preprocess"]) == {
        "input": "data",
        "input_order": "rgb",
        "mean": [1.0, 2.0, 3.0],
        "mean_shape": None,
        "scale": 0.5,
    }


@pytest.mark.parametrize(
    ("mean", "message"),
    [
        (np.ones(2, np.float32), "error: 2 mean values for the 3 channels of input 'data'"),
        (np.ones((3, 6, 5), np.float32), "error: the mean image is 3×6×5, but input 'data' is 2×3×7×5"),
    ],
)
def test_a_mean_that_does_not_fit_is_refused(mean: np.ndarray, message: str) -> None:
    with pytest.raises(RequestError) as caught:
        prepare(parse_net(NET), None, Options(preprocessing=Preprocessing(mean)))
    assert str(caught.value) == message


def test_values_and_files_are_told_apart(tmp_path: Path) -> None:
    assert read_mean("104,117.5,123").tolist() == [104, 117.5, 123]
    np.save(tmp_path / "mean.npy", np.ones((3, 2, 2), np.float32))
    assert read_mean(str(tmp_path / "mean.npy")).shape == (3, 2, 2)
    with pytest.raises(CaffeModelError, match="expected numbers like 104,117,123"):
        read_mean("104,117,abc")
    with pytest.raises(CaffeModelError, match=r"nowhere\.binaryproto"):
        read_mean(str(tmp_path / "nowhere.binaryproto"))
