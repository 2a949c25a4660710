"""`resnet-convert evaluate` on the embedded example, as a user runs it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import onnx
import pytest

import resnet_convert
from resnet_convert.cli.main import main
from weights import LayerWeights, blob_from_array, open_weights, write_caffemodel

DIGITS = Path(__file__).resolve().parents[2] / "examples" / "digits"
NET, WEIGHTS = str(DIGITS / "deploy.prototxt"), str(DIGITS / "digits_resnet.caffemodel")
DATA = ["--data", str(DIGITS / "val"), "--labels", str(DIGITS / "val.txt")]
MEAN = ["--mean", str(DIGITS / "mean.binaryproto")]
EXPECT = ["--expect", "digits-resnet"]


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def found(capsys: pytest.CaptureFixture[str], *words: str, status: int = 0) -> dict[str, object]:
    """What `--json` prints."""
    assert main(["evaluate", NET, WEIGHTS, *DATA, "--json", *words]) == status
    made: dict[str, object] = json.loads(capsys.readouterr().out)
    return made


@pytest.mark.parametrize("engine", ["onnx", "onnxruntime", "torch", "interpreter", "opencv"])
def test_the_digits_have_caffes_errors_in_every_engine(engine: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", NET, WEIGHTS, *DATA, *EXPECT, "--engine", engine]) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert first == (
        "digits-resnet: PASS: top-1 error 2.0 % [1.1, 3.6] of 500 images (published 2.0), "
        "top-5 0.2 % [0.0, 1.1] (published 0.2); same class as Caffe (caffe_scores.npy) for 500 of 500 images"
    )


def rotated_bias(path: Path, by: int = 1) -> str:
    """The digits' weights with the last layer's bias moved on by some classes."""
    with open_weights(WEIGHTS) as weights:
        layers = []
        for layer in weights.layers:
            blobs = [blob.array() for blob in layer.blobs]
            if layer.name == "fc10":
                blobs[1] = np.roll(blobs[1], by)
            layers.append(LayerWeights(layer.name, layer.type, tuple(map(blob_from_array, blobs))))
        write_caffemodel(path, "rotated", layers)
    return str(path)


def test_a_rotated_bias_fails_with_status_3_and_says_by_how_much(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The fc10 biases are small: one image of 500 turns right by it, and every score moves."""
    assert main(["evaluate", NET, rotated_bias(tmp_path / "rotated.caffemodel"), *DATA, *EXPECT, *MEAN]) == 3
    text = capsys.readouterr().err
    assert "top-1 error 1.8 % [0.9, 3.4] of 500 images is 0.2 points below the published 2.0" in text.splitlines()[0]
    assert "scores differ from those of Caffe (caffe_scores.npy) by up to" in text
    assert "of these very images, as the original Caffe scored them" in text
    assert "otherwise than published: rotated.caffemodel has" in text


@pytest.mark.parametrize("by", [-1, 2])
def test_a_fault_that_leaves_the_errors_as_they_are_shows_in_the_scores(
    by: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = rotated_bias(tmp_path / "rotated.caffemodel", by)
    assert main(["evaluate", NET, weights, *DATA, *EXPECT, *MEAN]) == 3
    text = capsys.readouterr().err
    assert "top-1 error 2.0 % [1.1, 3.6] of 500 images" in text.splitlines()[0]
    assert "scores differ from those of Caffe (caffe_scores.npy) by up to" in text


def test_caffes_scores_can_be_given(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    made = found(capsys, *MEAN, "--caffe-scores", str(DIGITS / "caffe_scores.npy"), "--limit", "99")
    agreement = made["agreement"]
    assert isinstance(agreement, dict)
    assert (agreement["ok"], agreement["images"]) == (True, 99)
    few = tmp_path / "few.npy"
    np.save(few, np.zeros((3, 10), np.float32))
    assert main(["evaluate", NET, WEIGHTS, *DATA, *MEAN, "--caffe-scores", str(few)]) == 2
    assert "few.npy: error: is float32 3×10; expected a row of scores for each of 500 images" in capsys.readouterr().err


def test_scores_are_caffes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found(capsys, *EXPECT, "--scores", str(tmp_path / "scores.npy"))
    scores = np.load(tmp_path / "scores.npy")
    assert np.abs(scores - np.load(DIGITS / "caffe_scores.npy")).max() < 1e-5


def test_the_json_says_which_images_were_wrong(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    made = found(capsys, *EXPECT, "--report", str(tmp_path / "page.html"))
    expected = json.loads((DIGITS / "RESULT.json").read_text())["wrong_val_indices"]
    names = [line.split()[0] for line in (DIGITS / "val.txt").read_text().splitlines()]
    misjudged = made["misjudged"]
    assert isinstance(misjudged, list)
    assert sorted(names.index(entry["name"]) for entry in misjudged) == expected
    assert made["verdict"]["outcome"] == "pass"  # type: ignore[index]
    assert (tmp_path / "page.html").stat().st_size > 10_000


def test_agreement_with_the_interpreter_needs_no_labels(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", NET, WEIGHTS, "--data", str(DIGITS / "val"), *MEAN, "--agree", "--json"]
    assert main(words) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["agreement"]["same_top1"] == made["agreement"]["images"] == 500
    assert made["agreement"]["largest_difference"] < 1e-5
    assert made["top1"] is None


def test_a_crop_is_the_size_that_the_net_is_run_at(capsys: pytest.CaptureFixture[str]) -> None:
    """As in Caffe, which reshapes it: nobody need say that size twice."""
    crop = ["--mean", "48", "--crop", "12", "--agree", "20"]
    runs = [found(capsys, *crop, "--engine", engine) for engine in ("onnx", "torch", "interpreter", "opencv")]
    runs.append(found(capsys, *crop, "--input-shape", "data=N,1,12,12"))
    assert {run["agreement"]["same_top1"] for run in runs} == {20}
    assert len({run["top1"]["wrong"] for run in runs}) == 1


def test_a_model_of_another_size_than_the_crops_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tmp_path / "model.onnx"
    assert main([NET, WEIGHTS, "--to", "onnx", "-o", str(model), "-q"]) == 0
    assert main(["evaluate", NET, WEIGHTS, *DATA, "--model", str(model), "--crop", "12"]) == 2
    assert f"{model}: error: takes images of 1×16×16, not of 1×12×12" in capsys.readouterr().err


def test_a_model_that_disagrees_with_caffe_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other.onnx"
    resnet_convert.convert(NET, rotated_bias(tmp_path / "rotated.caffemodel"), output=other)
    words = ["--model", str(other), *MEAN, "--agree", "100", "--seed", "3"]
    made = found(capsys, *words, status=3)
    agreement = made["agreement"]
    assert isinstance(agreement, dict)
    assert agreement["images"] == 100
    assert not agreement["ok"]
    assert len(agreement["flips"]) == 100 - agreement["same_top1"]
    assert "scores differ from those of the interpreter by up to" in made["verdict"]["reasons"][0]  # type: ignore[index]


def test_junit_xml_fails_where_the_evaluation_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "junit.xml"
    found(capsys, *MEAN, "--expect-top1", "30", "--junit", str(file), status=3)
    (suite,) = ElementTree.parse(file).getroot().iter("testsuite")
    assert suite.get("failures") == "2"  # the verdict and the error
    failure = next(suite.iter("failure"))
    assert "28.0 points below" in (failure.get("message") or "")


def test_labels_that_count_from_one_are_found_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [line.split() for line in (DIGITS / "val.txt").read_text().splitlines()]
    labels = tmp_path / "from_one.txt"
    labels.write_text("".join(f"{name} {int(label) + 1}\n" for name, label in lines))
    words = ["evaluate", NET, WEIGHTS, "--data", str(DIGITS / "val"), "--labels", str(labels), *EXPECT]
    assert main(words) == 3
    text = capsys.readouterr().err
    assert "the labels seem to be in another order than the net's classes: counted from 0 instead of 1" in text
    assert "the top-1 error would be 2.0 % instead of" in text


def test_a_sample_is_random_and_always_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    one = found(capsys, *MEAN, "--limit", "100", "--seed", "5")
    two = found(capsys, *MEAN, "--limit", "100", "--seed", "5")
    other = found(capsys, *MEAN, "--limit", "100", "--seed", "6")
    for made in (one, two, other):
        assert (made["images"], made["available"]) == (100, 500)
    assert one["by_class"] == two["by_class"] != other["by_class"]


def test_the_size_of_batches_changes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    made = [found(capsys, *EXPECT, "--batch-size", size) for size in ("1", "7", "500")]
    assert made[0]["by_class"] == made[1]["by_class"] == made[2]["by_class"]


def test_damaged_and_odd_images_are_counted_and_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "val"
    shutil.copytree(DIGITS / "val", folder)
    (folder / "digits_val_00000001.png").write_bytes(b"nothing")
    (folder / "digits_val_00000002.png").unlink()
    whole = cv2.imread(str(DIGITS / "val" / "digits_val_00000003.png"), cv2.IMREAD_GRAYSCALE)
    cv2.imwrite(str(folder / "digits_val_00000003.png"), whole.astype(np.uint16) * 256)
    words = ["evaluate", NET, WEIGHTS, "--data", str(folder), "--labels", str(DIGITS / "val.txt"), *EXPECT, "--json"]
    assert main(words) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["images"] == 498
    assert [name for name, _ in made["skipped"]] == ["digits_val_00000001.png", "digits_val_00000002.png"]
    assert made["kinds"]["16-bit"] == 1
    assert made["top1"]["wrong"] == 10


def test_a_model_with_baked_preprocessing_is_fed_images_as_decoded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    baked = tmp_path / "baked.onnx"
    assert main(["convert", NET, WEIGHTS, *MEAN, "-o", str(baked), "-q"]) == 0
    made = found(capsys, *EXPECT, "--model", str(baked))
    assert made["top1"]["wrong"] == 10  # type: ignore[index]
    assert "mean, scale and order of channels are baked into the model" in made["notes"]  # type: ignore[operator]


def test_ten_crops_and_mirrors_are_averaged(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = [*MEAN, "--limit", "20", "--engine", "torch"]
    found(capsys, *words, "--mirror", "--scores", str(tmp_path / "mirror.npy"))
    found(capsys, *words, "--scores", str(tmp_path / "plain.npy"))
    found(capsys, *words, "--crops", "10", "--scores", str(tmp_path / "ten.npy"))
    plain, mirror, ten = (np.load(tmp_path / f"{name}.npy") for name in ("plain", "mirror", "ten"))
    assert np.abs(plain - mirror).max() > 0.01
    # An image of the crop's size has five equal crops: ten crops are the image and its mirror.
    np.testing.assert_allclose(ten, mirror, atol=1e-6)


def test_the_training_net_is_scored_at_what_its_accuracy_layer_reads(
    capsys: pytest.CaptureFixture[str],
) -> None:
    net = str(DIGITS / "train_val.prototxt")
    words = ["evaluate", net, WEIGHTS, *DATA, *EXPECT, "--input-shape", "data=1,1,16,16", "--json"]
    assert main(words) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["top1"]["wrong"] == 10


def test_a_run_is_only_resumed_with_the_same_images_scores_and_options(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    journal, other = ["--journal", str(tmp_path / "run.journal")], tmp_path / "val"
    shutil.copytree(DIGITS / "val", other)
    found(capsys, *MEAN, *journal)
    assert found(capsys, *MEAN, *journal, "--resume")["resumed"] == 500
    refused = {
        "data": ["--data", str(other)],
        "scores": ["--outputs", "fc10"],
        "engine": ["--engine", "torch"],
        "orientation": ["--ignore-orientation"],
        "images and preprocessing": ["--scale", "1.00001"],
    }
    for name, words in refused.items():
        assert main(["evaluate", NET, WEIGHTS, *DATA, *MEAN, *journal, "--resume", *words]) == 2
        assert f"belongs to another run: its {name} was" in capsys.readouterr().err


def test_a_model_of_other_classes_cannot_be_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other.onnx"
    assert main(["convert", NET, WEIGHTS, "--outputs", "pool5", "--no-verify", "-q", "-o", str(other)]) == 0
    assert main(["evaluate", NET, WEIGHTS, *DATA, *MEAN, "--model", str(other), "--agree", "9"]) == 2
    assert "the model gives 64 scores an image, the interpreter 10" in capsys.readouterr().err


def test_metadata_that_makes_no_sense_is_the_models_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = onnx.load(str(resnet_convert.convert(NET, WEIGHTS, output=tmp_path / "net.onnx").files[0]))
    for text in ("{", "[]", '{"input_order": 3}'):
        entry = model.metadata_props.add(key="resnet_convert.preprocess", value=text)
        onnx.save(model, str(tmp_path / "odd.onnx"))
        model.metadata_props.remove(entry)
        assert main(["evaluate", NET, WEIGHTS, *DATA, *MEAN, "--model", str(tmp_path / "odd.onnx")]) == 2
        assert "its metadata 'resnet_convert.preprocess' makes no sense" in capsys.readouterr().err


def test_from_python() -> None:
    made = resnet_convert.evaluate(NET, WEIGHTS, DIGITS / "val", labels=DIGITS / "val.txt", expect="digits-resnet")
    assert made.verdict.outcome == "pass"
    assert made.top1 is not None
    assert made.top1.wrong == 10


REFUSED = {
    "an unknown name": (["--expect", "digit-resnet"], "did you mean digits-resnet"),
    "a mean of three values for one channel": (
        ["--mean", "104,117,123"],
        "the mean is 3×1×1, but the net's input has 1",
    ),
    "no such data": (["--data", "/nowhere/at/all"], "/nowhere/at/all"),
    "labels that are none": (["--labels", str(DIGITS / "mean.binaryproto")], "mean.binaryproto"),
    "labels that lead nowhere": (["--labels", "/nowhere/val.txt"], "/nowhere/val.txt"),
    "two score blobs": (["--outputs", "prob,fc10"], "scores are one blob, but --outputs names 2"),
    "no such blob": (["--outputs", "probability"], "probability"),
    "a model that is none": (["--model", NET], "deploy.prototxt"),
    "a resize that is none": (["--resize", "big"], "'big' is no size"),
    "an error over 100": (["--expect-top1", "247"], "'247' is no error in percent"),
    "an input larger than the images": (
        ["--resize", "none", "--input-shape", "data=1,1,32,32"],
        "smaller than the net's",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_makes_no_sense_is_refused_in_one_line(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    words, message = REFUSED[case]
    assert main(["evaluate", NET, WEIGHTS, *DATA, *MEAN, *words]) in (1, 2)
    text = capsys.readouterr()
    assert message in text.err
    assert len(text.err.strip().splitlines()) == 1
    assert text.out == ""


def test_the_list_of_published_errors_is_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--expect", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    (row,) = [line for line in lines if line.startswith("resnet-50 ")]
    assert row.split()[:3] == ["resnet-50", "24.7", "7.8"]
