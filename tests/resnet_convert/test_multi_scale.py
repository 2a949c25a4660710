"""`resnet-convert evaluate --multi-scale`, held against a loop that runs the net as it is on one crop after another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

import resnet_convert
from converter.api import prepare
from converter.options import Options
from prototxt import load_net
from resnet_convert.cli.main import main
from verify import run
from weights import load_mean, open_weights, write_caffemodel

DIGITS = Path(__file__).resolve().parents[2] / "examples" / "digits"
HEIGHT, WIDTH, STRIDE = 13, 11, 2
SIZES = {"a.png": (31, 40), "b.png": (45, 29), "c.png": (26, 26), "d.png": (19, 58), "e.png": (9, 12)}
"""Images, height × width; the last is smaller than the net's input."""
MEAN, FACTOR = (90.0, 110.0, 130.0), 0.02
PREPROCESSING = ["--mean", "90,110,130", "--scale", "0.02"]

UNPADDED = """
layer { name: "c" type: "Convolution" bottom: "data" top: "c"
        convolution_param { num_output: 6 kernel_size: 3 stride: 2 } }
layer { name: "r" type: "ReLU" bottom: "c" top: "c" }
layer { name: "p" type: "Pooling" bottom: "c" top: "p" pooling_param { pool: AVE kernel_size: 2 stride: 1 } }
layer { name: "f" type: "InnerProduct" bottom: "p" top: "f" inner_product_param { num_output: 9 } }
layer { name: "o" type: "Dropout" bottom: "f" top: "f" }
layer { name: "s" type: "InnerProduct" bottom: "f" top: "s" inner_product_param { num_output: 7 } }
layer { name: "prob" type: "Softmax" bottom: "s" top: "prob" }
"""
GLOBAL = """
layer { name: "c" type: "Convolution" bottom: "data" top: "c"
        convolution_param { num_output: 7 kernel_size: 3 pad: 1 } }
layer { name: "g" type: "Pooling" bottom: "c" top: "g" pooling_param { pool: AVE global_pooling: true } }
layer { name: "prob" type: "Softmax" bottom: "g" top: "prob" }
"""
EVEN_SIZES_ONLY = """
layer { name: "c" type: "Convolution" bottom: "data" top: "c"
        convolution_param { num_output: 7 kernel_size: 3 stride: 2 pad: 1 } }
layer { name: "p" type: "Pooling" bottom: "data" top: "p" pooling_param { kernel_size: 3 stride: 2 } }
layer { name: "j" type: "Concat" bottom: "c" bottom: "p" top: "j" }
layer { name: "g" type: "Pooling" bottom: "j" top: "g" pooling_param { pool: AVE global_pooling: true } }
"""


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Smooth random images: of a noise, OpenCV's resizing would leave only grey."""
    folder = tmp_path / "val"
    folder.mkdir()
    for seed, (name, size) in enumerate(SIZES.items()):
        coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), np.uint8)
        cv2.imwrite(str(folder / name), cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC))
    return folder


def files(folder: Path, text: str, height: int = HEIGHT, width: int = WIDTH) -> tuple[str, str]:
    """A net with random weights, as prototxt and caffemodel."""
    net, weights = folder / "deploy.prototxt", folder / "net.caffemodel"
    net.write_text(f'input: "data" input_dim: 4 input_dim: 3 input_dim: {height} input_dim: {width}\n{text}')
    made = prepare(load_net(net), None, Options(random_weights=2)).weights
    assert made is not None
    write_caffemodel(weights, "net", made.layers)
    return str(net), str(weights)


def scores(words: list[str], folder: Path, preprocessing: list[str] = PREPROCESSING) -> npt.NDArray[np.float32]:
    target = folder / "scores.npy"
    assert main(["evaluate", *words, *preprocessing, "--quiet", "--scores", str(target)]) == 0
    made: npt.NDArray[np.float32] = np.load(target)
    return made


def refusal(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The error's text, without what onnxruntime itself may print before it."""
    assert main(["evaluate", *words]) == 2
    return capsys.readouterr().err.strip().splitlines()[-1]


def by_hand(net: str, weights: str, image: Path, sides: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """The mean over sides, mirror images and places of what the net gives for the crop at the place."""
    pixels = cv2.imread(str(image))
    assert pixels is not None
    height, width = pixels.shape[:2]
    of_views = []
    for side in sides:
        longer = int(max(height, width) * side / min(height, width) + 0.5)
        size = (longer, side) if width > height else (side, longer)
        planes = cv2.resize(pixels, size).astype(np.float64).transpose(2, 0, 1)
        planes = (planes - np.reshape(MEAN, (3, 1, 1))) * FACTOR
        for view in (planes, planes[:, :, ::-1]):
            tops = range(0, view.shape[1] - HEIGHT + 1, STRIDE)
            lefts = range(0, view.shape[2] - WIDTH + 1, STRIDE)
            crops = [view[:, top : top + HEIGHT, left : left + WIDTH] for top in tops for left in lefts]
            with open_weights(weights) as source:
                given = run(load_net(net), source, {"data": np.stack(crops)}).blobs["prob"]
            of_views.append(given.mean(axis=0, dtype=np.float64))
    assert len(of_views) == 2 * len(sides)
    mean: npt.NDArray[np.float64] = np.mean(of_views, axis=0)
    return mean


@pytest.mark.parametrize("engine", ["onnx", "torch", "interpreter"])
def test_scores_are_the_mean_over_places_mirror_images_and_sides(engine: str, data: Path, tmp_path: Path) -> None:
    net, weights = files(tmp_path, UNPADDED)
    words = [net, weights, "--data", str(data), "--multi-scale", "13,18,27", "--mirror", "--engine", engine]
    made = scores(words, tmp_path)
    expected = np.stack([by_hand(net, weights, data / name, (13, 18, 27)) for name in SIZES])
    assert made.shape == expected.shape == (5, 7)
    assert np.ptp(expected, axis=0).max() > 0.01
    assert np.abs(made - expected).max() < 2e-6


def test_the_size_of_batches_changes_nothing(data: Path, tmp_path: Path) -> None:
    words = [*files(tmp_path, UNPADDED), "--data", str(data), "--multi-scale", "17,14"]
    made = [scores([*words, "--batch-size", size], tmp_path) for size in ("1", "2", "5")]
    assert (made[0] == made[1]).all()
    assert (made[0] == made[2]).all()


def test_at_the_nets_own_size_the_scores_are_those_of_the_usual_run(tmp_path: Path) -> None:
    net, weights = str(DIGITS / "deploy.prototxt"), str(DIGITS / "digits_resnet.caffemodel")
    words = [net, weights, "--data", str(DIGITS / "val"), "--limit", "40"]
    mean = ["--mean", "60"]
    made = scores([*words, "--multi-scale", "16"], tmp_path, mean)
    assert np.abs(made - scores(words, tmp_path, mean)).max() < 1e-6


def test_the_report_says_what_was_done_to_the_images(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*files(tmp_path, GLOBAL), "--data", str(data), *PREPROCESSING, "--json"]
    assert main(["evaluate", *words, "--multi-scale", "12,16", "--mirror"]) == 0
    made: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert "shorter side 12, whole, and its mirror, minus 90,110,130, times 0.02" in made["preprocessing"]
    assert "shorter side 16" in made["preprocessing"]
    assert not [note for note in made["notes"] if "--resize" in note]


def test_a_published_protocol_brings_its_sides(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*files(tmp_path, GLOBAL), "--data", str(data), "--expect", "vgg-16-multiscale", "--json"]
    main(["evaluate", *words])
    made = json.loads(capsys.readouterr().out)
    whole = "BGR, shorter side 256, whole, and its mirror, minus 103.939,116.779,123.68"
    assert made["preprocessing"] == f"{whole}; and the same at shorter side 384, shorter side 512, averaged"


def test_other_sides_than_the_published_ones_are_said(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*files(tmp_path, GLOBAL), "--data", str(data), "--expect", "vgg-16", "--multi-scale", "20,30", "--json"]
    main(["evaluate", *words])
    (other,) = [each for each in json.loads(capsys.readouterr().out)["expected"]["other"] if "sides" in each]
    assert other.startswith("whole images at shorter sides 20, 30 instead of ")


@pytest.mark.parametrize("engine", ["onnx", "torch", "interpreter"])
def test_a_side_below_the_nets_is_an_error_before_any_image_is_read(
    engine: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net, weights = files(tmp_path, UNPADDED)
    words = [net, weights, "--data", str(data), "--multi-scale", "14,12", "--engine", engine]
    for image in data.iterdir():
        image.write_bytes(b"never read")
    assert refusal(words, capsys) == (
        f"{net}:7:1: error: layer 'f' (Convolution): the net takes no image of 12×12: the kernel 5×4 does not fit the "
        "bottom 1×6×4×4"
    )


@pytest.mark.parametrize("engine", ["onnx", "torch", "interpreter"])
def test_an_image_that_the_net_cannot_take_is_named_with_its_size_and_the_layer(
    engine: str, data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """31×40 becomes 14×18, 45×29 becomes 22×14, 26×26 14×14, 19×58 14×43: odd, where Caffe's rounding rules differ."""
    net, weights = files(tmp_path, EVEN_SIZES_ONLY, 12, 16)
    words = [net, weights, "--data", str(data), "--multi-scale", "14", "--engine", engine]
    assert refusal(words, capfd).startswith(
        f"{net}:6:1: error: layer 'j' (Concat): d.png: the net takes no image of 14×43: bottoms differ"
    )


def test_a_model_of_ones_own_may_be_given(data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    net, weights = files(tmp_path, GLOBAL)
    words = [net, weights, "--data", str(data), "--multi-scale", "13,20"]
    shapes: dict[str, dict[str, tuple[int | str, ...]]] = {
        "any.onnx": {"data": ("N", 3, "H", "W")},
        "fixed.onnx": {"data": ("N", 3, HEIGHT, WIDTH)},
    }
    for name, shape in shapes.items():
        resnet_convert.convert(net, weights, output=tmp_path / name, options=Options(input_shapes=shape))
    given = scores([*words, "--model", str(tmp_path / "any.onnx")], tmp_path)
    assert np.abs(given - scores(words, tmp_path)).max() < 1e-6
    capfd.readouterr()
    error = refusal([*words, "--model", str(tmp_path / "fixed.onnx")], capfd)
    assert f"{tmp_path / 'fixed.onnx'}: error: a.png at 13×17: takes images of 3×13×11, not of 3×13×17" in error


@pytest.mark.parametrize(
    "words", [["--resize", "256"], ["--crop", "12"], ["--crops", "10"], ["--crops", "1"], ["--agree"]]
)
def test_what_makes_no_sense_beside_whole_images_is_refused(
    words: list[str], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both = [*files(tmp_path, UNPADDED), "--data", str(data), *words]
    error = refusal([*both, "--multi-scale", "14,17"], capsys)
    assert error == f"error: {words[0]} does not go with --multi-scale: there the net sees whole images"
    error = refusal([*both, "--expect", "resnet-50-multiscale"], capsys)
    assert error.startswith(f"error: {words[0]} does not go with resnet-50-multiscale")


@pytest.mark.parametrize("engine", ["opencv", "caffe"])
def test_other_engines_do_not_run_it(
    engine: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*files(tmp_path, UNPADDED), "--data", str(data), "--multi-scale", "14", "--engine", engine]
    assert refusal(words, capsys).startswith("error: --multi-scale runs in onnx, torch and the interpreter")


def test_a_mean_image_is_refused_with_the_values_that_do(capsys: pytest.CaptureFixture[str]) -> None:
    mean = DIGITS / "mean.binaryproto"
    words = [str(DIGITS / "deploy.prototxt"), str(DIGITS / "digits_resnet.caffemodel"), "--data", str(DIGITS / "val")]
    error = refusal([*words, "--multi-scale", "16,20", "--mean", str(mean)], capsys)
    value = float(np.mean(load_mean(mean)))
    assert error.startswith("error: a mean image (16×16) does not go with --multi-scale; its mean values do: --mean ")
    assert float(error.rpartition(" ")[2]) == pytest.approx(value, abs=1e-3)
