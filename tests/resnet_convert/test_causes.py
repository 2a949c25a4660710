"""Mistakes that were planted into an evaluation are named, and a run without one names none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import pytest

import resnet_convert
from resnet_convert.cli.main import main
from tests.resnet_convert.test_json import DIGITS, NET, WEIGHTS, check

MEAN = ["--mean", str(DIGITS / "mean.binaryproto")]
Evaluate = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def digits(capsys: pytest.CaptureFixture[str]) -> Evaluate:
    """What an evaluation of the digits finds, as JSON."""

    def run(*words: str, model: str = "") -> dict[str, Any]:
        data = ["--data", str(DIGITS / "val"), "--labels", str(DIGITS / "val.txt"), "--expect", "digits-resnet"]
        main(["evaluate", NET, WEIGHTS, *data, *(["--model", model] if model else []), *words, "--json"])
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        check("evaluate", found)
        return found

    return run


PLANTED = {
    "mean": (["--mean", "0"], "a mean image of 16×16 instead of the mean 0"),
    "scale": (["--scale", "0.00392156862"], "a scale of 1 instead of 0.003922"),
    "resize": (["--resize", "20"], "images as stored instead of resized to a shorter side of 20"),
}


@pytest.mark.parametrize("kind", PLANTED)
def test_a_mistake_is_named_with_the_error_that_there_would_be_without(kind: str, digits: Evaluate) -> None:
    words, what = PLANTED[kind]
    found = digits(*words)
    (cause,) = found["diagnosis"]["causes"]
    assert (cause["kind"], cause["what"]) == (kind, what)
    assert (found["diagnosis"]["images"], cause["error"]) == (200, pytest.approx(0.02, abs=0.011))
    assert found["diagnosis"]["error"] > 0.1
    (other,) = [each for each in found["expected"]["other"] if f"(--{kind})" in each]
    assert " instead of " in other


def test_two_mistakes_are_two_causes(digits: Evaluate) -> None:
    found = digits("--scale", "0.0039", "--resize", "20")["diagnosis"]
    assert {cause["kind"] for cause in found["causes"]} == {"scale", "resize"}
    assert found["error"] > found["causes"][0]["error"] > found["causes"][1]["error"]
    assert found["causes"][1]["error"] == pytest.approx(0.02, abs=0.011)


@pytest.mark.parametrize("seed", range(4))
def test_a_run_without_a_mistake_names_none(seed: int, digits: Evaluate) -> None:
    """Though its error is held against a smaller one, so that a mistake is looked for."""
    found = digits("--expect-top1", "0.3", "--limit", "400", "--seed", str(seed))
    assert found["diagnosis"]["tried"] > 2
    assert found["diagnosis"]["causes"] == []
    assert found["expected"]["other"] == []


def test_nothing_is_looked_for_where_the_error_is_the_published_one(digits: Evaluate) -> None:
    assert digits()["diagnosis"] is None


DEPARTURES = {
    "mean": (["--mean", "48"], "the mean 48 instead of a mean image of 16×16 (--mean)"),
    "scale": (["--scale", "0.5"], "a scale of 0.5 instead of 1 (--scale)"),
    "size": (["--resize", "20x24"], "images warped to 20×24 instead of as stored (--resize)"),
    "crops": (["--crops", "10"], "10 crops instead of 1"),
    "mirror": (["--mirror"], "the mirror images as well"),
    "crop": (["--crop", "12"], "a crop of 12×12 instead of the whole image (--crop)"),
    "interpolation": (["--interpolation", "cubic"], "cubic interpolation instead of linear (--interpolation)"),
}


@pytest.mark.parametrize("case", DEPARTURES)
def test_every_option_that_departs_from_the_protocol_is_listed(case: str, digits: Evaluate) -> None:
    words, said = DEPARTURES[case]
    (other,) = digits(*words, "--limit", "30")["expected"]["other"]
    assert other.startswith(said)


def test_options_that_say_what_was_published_depart_from_nothing(digits: Evaluate) -> None:
    assert digits(*MEAN, "--scale", "1", "--resize", "none", "--crops", "1")["expected"]["other"] == []


def test_shifted_labels_are_the_cause(digits: Evaluate, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [line.split() for line in (DIGITS / "val.txt").read_text().splitlines()]
    (tmp_path / "shifted.txt").write_text("".join(f"{name} {int(label) + 1}\n" for name, label in rows))
    (cause,) = digits("--labels", str(tmp_path / "shifted.txt"))["diagnosis"]["causes"]
    assert (cause["kind"], cause["what"]) == ("labels", "the labels counted from 0 instead of 1")
    assert cause["error"] == pytest.approx(0.02)


def test_what_is_baked_into_a_model_is_not_tried(digits: Evaluate, tmp_path: Path) -> None:
    model = str(tmp_path / "baked.onnx")
    assert main([NET, WEIGHTS, *MEAN, "--no-verify", "-q", "-o", model]) == 0
    found = digits("--resize", "20", model=model)
    assert [cause["kind"] for cause in found["diagnosis"]["causes"]] == ["resize"]
    assert digits(model=model)["diagnosis"] is None


def test_the_text_the_page_and_the_files_for_ci_say_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {name: tmp_path / name for name in ("page.html", "j.xml", "s.md")}
    found = resnet_convert.evaluate(
        NET,
        WEIGHTS,
        DIGITS / "val",
        labels=DIGITS / "val.txt",
        expect="digits-resnet",
        scale=0.0039,
        report=files["page.html"],
        junit=files["j.xml"],
        summary=files["s.md"],
    )
    assert found.diagnosis is not None
    assert found.diagnosis.causes[0].option == "--scale 1"
    for path in files.values():
        assert "with a scale of 1 instead of 0.0039 (" in path.read_text().replace("\\", "")


SQUEEZENET = {
    "order": (["--input-order", "rgb"], "BGR instead of RGB"),
    "no mean": (["--mean", "0,0,0"], "the mean 104,117,123 instead of the mean 0,0,0"),
    "mean/255": (
        ["--mean", "0.40784,0.45882,0.48235"],
        "the mean 104,117,123 instead of the mean 0.40784,0.45882,0.48235",
    ),
    "mean in the other order": (["--mean", "123,117,104"], "the mean 104,117,123 instead of the mean 123,117,104"),
}


@pytest.fixture
def squeezenet(shared: Path, capsys: pytest.CaptureFixture[str]) -> Evaluate:
    """What an evaluation of SqueezeNet 1.0 on 300 photos finds, as JSON."""

    def run(*words: str, data: Path = shared / "images" / "imagenet_val_300") -> dict[str, Any]:
        model, labels = shared / "golden" / "models" / "squeezenet-imagenet", data / "val.txt"
        given = [str(model / "net.prototxt"), str(model / "weights.caffemodel"), "--data", str(data)]
        more = [] if "--labels" in words else ["--labels", str(labels)]
        main(["evaluate", *given, *more, "--expect", "squeezenet-1.0", *words, "--json"])
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        return found

    return run


@pytest.mark.slow
@pytest.mark.parametrize("case", SQUEEZENET)
def test_a_mistake_on_photos_is_named(case: str, squeezenet: Evaluate) -> None:
    words, what = SQUEEZENET[case]
    found = squeezenet(*words)
    (cause,) = found["diagnosis"]["causes"]
    assert cause["what"] == what
    assert cause["error"] == pytest.approx(0.29, abs=0.03)
    assert [f"({words[0]})" in each for each in found["expected"]["other"]].count(True) == 1


@pytest.mark.slow
def test_photos_without_a_mistake_name_none(squeezenet: Evaluate) -> None:
    found = squeezenet()
    assert found["diagnosis"]["causes"] == []
    assert [each for each in found["expected"]["other"] if "(--" in each] == []


@pytest.mark.slow
def test_photos_that_are_warped_in_place_of_the_shorter_side(
    squeezenet: Evaluate, shared: Path, tmp_path: Path
) -> None:
    """Photos with mirrored borders: their middle is what was scored, and warping squeezes it."""
    photos = shared / "images" / "imagenet_val_300"
    (tmp_path / "val.txt").write_text((photos / "val.txt").read_text())
    for path in photos.glob("*.JPEG"):
        pixels = cv2.resize(cv2.imread(str(path)), (256, 256))
        cv2.imwrite(str(tmp_path / path.name), cv2.copyMakeBorder(pixels, 0, 0, 110, 110, cv2.BORDER_REFLECT))
    (cause,) = squeezenet(data=tmp_path)["diagnosis"]["causes"]
    assert cause["kind"] == "resize"
    assert cause["what"].startswith("images resized to a shorter side of 256 instead of warped to 256×256")
    right = squeezenet("--resize", "256", data=tmp_path)
    assert right["diagnosis"]["causes"] == []
    said = "images resized to a shorter side of 256 instead of warped to 256×256 (--resize)"
    assert said in right["expected"]["other"]


@pytest.mark.slow
def test_photos_with_shifted_labels(squeezenet: Evaluate, shared: Path, tmp_path: Path) -> None:
    rows = [line.split() for line in (shared / "images" / "imagenet_val_300" / "val.txt").read_text().splitlines()]
    labels = tmp_path / "shifted.txt"
    labels.write_text("".join(f"{name} {int(label) + 1}\n" for name, label in rows))
    (cause,) = squeezenet("--labels", str(labels))["diagnosis"]["causes"]
    assert (cause["kind"], cause["error"]) == ("labels", pytest.approx(0.29))
