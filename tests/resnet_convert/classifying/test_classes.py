"""`resnet-convert classify` of nets that give scores of classes, beside what the original Caffe gave."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from resnet_convert.cli.main import main
from tests.resnet_convert.classifying.digits import (
    DIGITS,
    MEAN,
    NET,
    SYNSETS,
    WEIGHTS,
    Found,
    Refused,
    assert_caffes,
    digit,
)

pytestmark = pytest.mark.usefixtures("in_a_folder")


@pytest.mark.parametrize("engine", ["onnx", "torch", "interpreter", "opencv"])
def test_the_best_classes_are_caffes_in_every_engine(engine: str, found: Found) -> None:
    made = found(*map(digit, range(40)), *MEAN, *SYNSETS, "--engine", engine)
    assert_caffes(made, range(40))
    assert (made["finds"], made["blob"], made["probabilities"]) == ("classes", "prob", True)


def test_all_digits_have_caffes_class_whatever_the_size_of_batches(found: Found) -> None:
    for size in ("1", "7", "500"):
        assert_caffes(found(str(DIGITS / "val"), *MEAN, "--batch-size", size, "--top", "1"), range(500), top=1)


def test_a_converted_model_gives_the_same_and_so_does_one_with_its_mean_baked_in(found: Found) -> None:
    assert main([NET, WEIGHTS, "-o", "m.onnx", "--no-verify", "-q"]) == 0
    assert main([NET, WEIGHTS, *MEAN, "-o", "baked.onnx", "--no-verify", "-q"]) == 0
    assert_caffes(found(*map(digit, range(9)), *MEAN, "--model", "m.onnx"), range(9))
    for words in ([], MEAN):
        baked = found(*map(digit, range(9)), "--model", "baked.onnx", *words)
        assert_caffes(baked, range(9))
    assert "mean, scale and order of channels are baked into the model" in baked["notes"]


@pytest.mark.slow
def test_a_folder_with_a_pytorch_module_gives_the_same(found: Found) -> None:
    assert main([NET, WEIGHTS, "-o", "m", "--to", "torch", "--no-verify", "-q"]) == 0
    assert_caffes(found(*map(digit, range(9)), *MEAN, "--model", "m"), range(9))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--threshold", "0.3"], "--threshold is for boxes, and 'prob' gives scores of classes"),
        (["-o", "out.png"], "-o is for boxes, and 'prob' gives scores of classes"),
        (["--top", "0"], "argument --top: '0' is no number above 0"),
        (["--threshold", "1.5"], "argument --threshold: '1.5' is no number from 0 to 1"),
        (["--expect", "resnet-50-multiscale"], "resnet-50-multiscale is measured on whole images of several sizes"),
        (["--expect", "resnet-51"], "no published errors go by the name 'resnet-51'; did you mean"),
    ],
)
def test_options_that_make_no_sense_are_refused(words: list[str], said: str, refused: Refused) -> None:
    assert said in refused(2, NET, WEIGHTS, digit(0), *MEAN, *words)
    assert os.listdir() == []


def test_what_expect_knows_is_listed_without_a_net(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["classify", "--expect", "list"]) == 0
    listed = capsys.readouterr().out
    assert main(["evaluate", "--expect", "list"]) == 0
    assert capsys.readouterr().out == listed
    assert "resnet-50 " in listed


def test_ten_crops_and_mirrors_are_averaged_as_in_an_evaluation(found: Found) -> None:
    for words in (["--crops", "10"], ["--mirror"]):
        data = ["--data", str(DIGITS / "val"), *MEAN, *words]
        assert main(["evaluate", NET, WEIGHTS, *data, "--scores", "s.npy", "-q"]) == 0
        made = found(*map(digit, range(6)), *MEAN, *words)
        for seen, scores in zip(made["images"], np.load("s.npy"), strict=False):
            np.testing.assert_allclose([e["score"] for e in seen["classes"]], np.sort(scores)[::-1][:5], rtol=1e-5)


def squeezenet(shared: Path, *images: str) -> list[str]:
    folder = shared / "golden" / "models" / "squeezenet-imagenet"
    return [str(folder / "net.prototxt"), str(folder / "weights.caffemodel"), *images, "--expect", "squeezenet-1.0"]


def test_a_thousand_classes_have_imagenets_names(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = str(shared / "images" / "imagenet_val_300" / "ILSVRC2012_val_00000560.JPEG")
    assert main(["classify", *squeezenet(shared, image), "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["images"][0]["classes"][0] | {"score": 0} == {
        "label": 705,
        "name": "passenger car",
        "wnid": "n03895866",
        "score": 0,
    }
    assert main(["classify", *squeezenet(shared, image)[:3], "--mean", "104,117,123", "--json"]) == 0
    unsaid = json.loads(capsys.readouterr().out)
    assert unsaid["images"][0]["classes"][0]["name"] == "passenger car"
    assert "the 1,000 classes are taken for ILSVRC 2012's in Caffe's order (--labels)" in unsaid["notes"]


@pytest.mark.slow
def test_three_hundred_photos_have_the_original_caffes_classes(
    shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shared / "images" / "imagenet_val_300"
    assert main(["classify", *squeezenet(shared, str(folder)), "--json"]) == 0
    made = json.loads(capsys.readouterr().out)["images"]
    names = [line.split()[0] for line in (folder / "val.txt").read_text().splitlines()]
    caffe = dict(zip(names, np.load(folder / "squeezenet_caffe_scores.npy"), strict=True))
    assert len(made) == 300
    for seen in made:
        scores = caffe[Path(seen["image"]).name]
        best = np.argsort(-scores, kind="stable")[:5]
        assert [each["label"] for each in seen["classes"]] == best.tolist(), seen["image"]
        np.testing.assert_allclose([each["score"] for each in seen["classes"]], scores[best], atol=1e-4)
