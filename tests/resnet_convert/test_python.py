"""Python's functions take what the verbs take, and arrays where those take files."""

from __future__ import annotations

import inspect
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import cv2
import numpy as np
import pytest

import resnet_convert
from prototxt.errors import RequestError
from resnet_convert import requests
from resnet_convert.option import Request
from weights import open_weights

DIGITS = Path(__file__).resolve().parents[2] / "examples" / "digits"
NET, WEIGHTS = DIGITS / "deploy.prototxt", DIGITS / "digits_resnet.caffemodel"
VERBS = {
    "convert": requests.ConversionRequest,
    "verify": requests.VerificationRequest,
    "evaluate": requests.EvaluationRequest,
    "classify": requests.ClassificationRequest,
    "recalibrate": requests.RecalibrationRequest,
    "port": requests.PortRequest,
    "batch": requests.BatchRequest,
    "check": requests.NetRequest,
    "diff": requests.DiffRequest,
    "inspect": requests.NetRequest,
    "layers": requests.LayersRequest,
    "models": requests.ModelsRequest,
    "upgrade": requests.UpgradeRequest,
}


def labelled_digits() -> tuple[np.ndarray, list[int]]:
    """The validation images as N×H×W×1, and their classes."""
    lines = [line.split() for line in (DIGITS / "val.txt").read_text().splitlines()]
    pixels = [cv2.imread(str(DIGITS / "val" / name), cv2.IMREAD_GRAYSCALE) for name, _ in lines]
    return np.stack(pixels)[..., None], [int(label) for _, label in lines]


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.mark.parametrize(("verb", "record"), VERBS.items())
def test_a_function_takes_each_field_of_its_request(verb: str, record: type[Request]) -> None:
    taken = inspect.signature(getattr(resnet_convert, verb)).parameters
    assert taken.keys() == {entry.name for entry in fields(record)}
    with pytest.raises(TypeError, match="nonsense"):
        getattr(resnet_convert, verb)(nonsense=1)


def test_a_value_that_is_no_choice_is_refused_before_anything_is_read() -> None:
    with pytest.raises(RequestError, match="to 'tflite'; expected onnx, torch"):
        resnet_convert.convert("nowhere.prototxt", to="tflite")  # type: ignore[arg-type]
    with pytest.raises(RequestError, match="crops 7; expected 1, 10"):
        resnet_convert.evaluate("nowhere.prototxt", None, "val", crops=7)  # type: ignore[arg-type]


def test_a_conversion_is_compared_where_that_is_asked_for() -> None:
    assert resnet_convert.convert(NET, WEIGHTS, output="plain.onnx").report is None
    done = resnet_convert.convert(NET, WEIGHTS, output="checked.onnx", report="parity.html", verify=True, seed=3)
    assert done.report is not None
    assert done.report.ok
    assert done.report.model == "checked.onnx"
    assert Path("parity.html").exists()


def test_a_statement_comes_before_the_options_of_an_older_call() -> None:
    options = resnet_convert.Options(fold="none", outputs=["fc10"])
    done = resnet_convert.convert(NET, WEIGHTS, output="m.onnx", options=options, fold="conv")
    assert done.graph.output_names == ["fc10"]
    assert done.fired["fold_into_convolution"] > 0


def test_images_labels_mean_and_scores_may_be_arrays() -> None:
    pixels, labels = labelled_digits()
    mean = resnet_convert.load_mean(DIGITS / "mean.binaryproto")
    files = resnet_convert.evaluate(
        NET, WEIGHTS, DIGITS / "val", labels=DIGITS / "val.txt", mean=DIGITS / "mean.binaryproto", scores="s.npy"
    )
    arrays = resnet_convert.evaluate(
        NET, WEIGHTS, pixels, labels=labels, mean=mean, scale=1.0, caffe_scores=np.load("s.npy")
    )
    assert files.top1 is not None
    assert (arrays.top1, arrays.top5) == (files.top1, files.top5)
    assert arrays.agreement is not None
    assert arrays.agreement.ok


@pytest.mark.parametrize(
    ("pixels", "labels", "message"),
    [
        (np.zeros((2, 16, 16), np.uint8), [0, 1], "images are 2×16×16 of uint8; expected N×H×W×3"),
        (np.zeros((2, 16, 16, 1), np.float32), [0, 1], "of float32; expected"),
        (np.zeros((2, 16, 16, 1), np.uint8), [0], "1 labels for 2 images"),
        (np.zeros((2, 16, 16, 1), np.uint8), "val.txt", "images in an array go with labels in an array"),
        ("val", [0, 1], "labels in an array go with images in an array"),
    ],
)
def test_arrays_that_are_no_labelled_images_are_refused(pixels: object, labels: object, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        resnet_convert.evaluate(NET, WEIGHTS, pixels, labels=labels)  # type: ignore[arg-type]


def test_statistics_come_from_arrays_as_from_files() -> None:
    pixels, _ = labelled_digits()
    mean = resnet_convert.load_mean(DIGITS / "mean.binaryproto")
    resnet_convert.recalibrate(
        NET, WEIGHTS, DIGITS / "val", mean=DIGITS / "mean.binaryproto", output="files.caffemodel"
    )
    done = resnet_convert.recalibrate(NET, WEIGHTS, pixels, mean=mean, output="arrays.caffemodel")
    assert done.found.images == len(pixels)
    with open_weights("files.caffemodel") as files, open_weights("arrays.caffemodel") as arrays:
        pairs = zip(files.layers, arrays.layers, strict=True)
        for one, other in ((a, b) for x, y in pairs for a, b in zip(x.blobs, y.blobs, strict=True)):
            np.testing.assert_allclose(one.array(), other.array(), rtol=1e-6)


def test_a_net_is_listed_upgraded_and_compared_with_itself() -> None:
    found = resnet_convert.inspect(NET, WEIGHTS)
    assert sum(row.parameters for row in found.rows) == 83494
    assert b"input_param" in resnet_convert.upgrade(NET).data
    resnet_convert.upgrade(NET, "new.prototxt")
    assert resnet_convert.diff(WEIGHTS, WEIGHTS).same
    assert resnet_convert.inspect("new.prototxt").graph.output_names == found.graph.output_names


def test_a_zoo_is_converted_from_python() -> None:
    Path("zoo.csv").write_text(f"net,weights\n{NET},{WEIGHTS}\nnone.prototxt,\n")
    summary = resnet_convert.batch("zoo.csv", "out", jobs=1)
    assert summary.counts == {"ok": 1, "missing": 1}
    assert summary.rows[0].worst_share is not None


@pytest.mark.parametrize("name", ["prototxt", "weights", "converter", "verify"])
def test_a_file_that_hides_a_package_of_ours_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / f"{name}.py").write_text("")
    done = subprocess.run([sys.executable, "-c", "import resnet_convert"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert f"{tmp_path / name}.py hides resnet-convert's own package '{name}'" in done.stderr
    assert "rename it, or start Python from another folder" in done.stderr


def test_the_command_line_is_a_module_and_importing_loads_little() -> None:
    done = subprocess.run([sys.executable, "-m", "resnet_convert", "--version"], capture_output=True, text=True)
    assert done.stdout == f"resnet-convert {resnet_convert.__version__}\n"
    code = "import sys, resnet_convert; print('numpy' in sys.modules, 'converter' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False False\n"
