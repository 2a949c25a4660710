"""Evaluations of trained nets on real images, beside what the original Caffe gave."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from resnet_convert.cli.main import main

CIFAR = ["--mean", "125.3,123,113.9", "--expect", "cifar10-resnet-20"]


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def words_for(shared: Path, case: str, *more: str) -> list[str]:
    folder = shared / "golden" / "models" / case
    return ["evaluate", str(folder / "net.prototxt"), str(folder / "weights.caffemodel"), *more]


@pytest.mark.parametrize("engine", ["onnx", pytest.param("torch", marks=pytest.mark.slow)])
def test_squeezenet_has_caffes_errors_and_scores(
    engine: str, shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, scores = shared / "images" / "imagenet_val_300", tmp_path / "scores.npy"
    data = ["--data", str(images), "--labels", str(images / "val.txt"), "--engine", engine]
    words = words_for(shared, "squeezenet-imagenet", *data, "--expect", "squeezenet-1.0", "--json")
    assert main([*words, "--scores", str(scores)]) == 0
    found = json.loads(capsys.readouterr().out)
    caffe = json.loads((images / "caffe_result.json").read_text())
    assert found["top1"]["error"] == pytest.approx(caffe["top1_error"])
    assert found["top5"]["error"] == pytest.approx(caffe["top5_error"])
    assert (found["top1"]["wrong"], found["top5"]["wrong"]) == (87, 34)
    expected = np.load(images / "squeezenet_caffe_scores.npy")
    assert np.abs(np.load(scores) - expected.reshape(300, 1000)).max() < 1e-4
    assert found["verdict"]["outcome"] == "too few"
    reason = found["verdict"]["reasons"][0]
    assert "13.5 points below the published 42.5 %: these are 300 of the set's 50,000 images" in reason


@pytest.mark.slow
def test_caffes_own_scores_for_squeezenet_can_be_compared_with(
    shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = shared / "images" / "imagenet_val_300"
    data = ["--data", str(images), "--labels", str(images / "val.txt"), "--mean", "104,117,123"]
    caffe = ["--caffe-scores", str(images / "squeezenet_caffe_scores.npy"), "--json"]
    assert main(words_for(shared, "squeezenet-imagenet", *data, *caffe)) == 0
    agreement = json.loads(capsys.readouterr().out)["agreement"]
    assert (agreement["same_top1"], agreement["images"]) == (300, 300)


@pytest.mark.slow
def test_resnet_20_agrees_with_the_interpreter_on_every_image_and_compression_is_named(
    shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ["--data", str(shared / "images" / "cifar10_test_jpeg.zip"), *CIFAR]
    assert main(words_for(shared, "cifar10-resnet20", *data, "--agree", "--json")) == 3
    found = json.loads(capsys.readouterr().out)
    assert (found["agreement"]["same_top1"], found["agreement"]["images"]) == (10_000, 10_000)
    assert found["top1"]["wrong"] == 1967
    error, blame = found["verdict"]["reasons"]
    assert error.startswith("top-1 error 19.67 % [18.90, 20.46] is 11.41 points above the published 8.26 %")
    assert "not the conversion" in blame
    assert "the images are compressed as JPEG, those of the published error were not" in blame


def test_a_published_mean_that_is_not_there_is_asked_for(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = ["--data", str(shared / "images" / "cifar10_test_jpeg.zip"), "--expect", "cifar10-resnet-20"]
    assert main(words_for(shared, "cifar10-resnet20", *data)) == 2
    text = capsys.readouterr().err
    assert "give it with --mean; --mean 125.3,123,113.9 comes close" in text
