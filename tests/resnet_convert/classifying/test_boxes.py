"""`resnet-convert classify` of detectors: a net whose boxes are worked out by hand, and Caffe's own answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import resnet_convert
from resnet_convert.classifying.drawing import color_of
from resnet_convert.cli.main import main
from tests.resnet_convert.classifying.colors import quarters, score_of, write_detector

Boxes = Callable[..., list[dict[str, Any]]]
WIDTH, HEIGHT = 60, 40


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_detector(tmp_path)


PAIR = ["colors.prototxt", "colors.caffemodel"]


def image(name: str, blue: str = "", red: str = "", height: int = HEIGHT, width: int = WIDTH) -> str:
    assert cv2.imwrite(name, quarters(height, width, blue, red))
    return name


@pytest.fixture
def boxes(capsys: pytest.CaptureFixture[str]) -> Boxes:
    """Of each image what `--json` prints."""

    def run(*words: str, status: int = 0) -> list[dict[str, Any]]:
        assert main(["classify", *PAIR, *words, "--json"]) == status
        made = json.loads(capsys.readouterr().out)
        assert made["finds"] == "boxes"
        found: list[dict[str, Any]] = made["images"]
        return found

    return run


def refusal(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["classify", *PAIR, *words]) == 2
    return capsys.readouterr().err


def sides(box: dict[str, Any]) -> list[float]:
    return [box[side] for side in ("left", "top", "right", "bottom")]


@pytest.mark.parametrize("engine", ["onnx", "interpreter", "opencv", "torch"])
def test_boxes_are_in_pixels_of_the_image_with_class_and_score(engine: str, boxes: Boxes) -> None:
    (seen,) = boxes(image("a.png", blue="ne", red="sw"), "--engine", engine)
    assert (seen["width"], seen["height"], seen["classes"]) == (WIDTH, HEIGHT, [])
    blue, red = sorted(seen["boxes"], key=lambda box: box["label"])
    assert (blue["label"], red["label"]) == (1, 2)
    np.testing.assert_allclose(sides(blue), [30, 0, 60, 20], atol=1e-4)
    np.testing.assert_allclose(sides(red), [0, 20, 30, 40], atol=1e-4)
    assert blue["score"] == pytest.approx(score_of(255, 40, of=1), abs=1e-5)


def test_a_model_gives_the_same_boxes(boxes: Boxes) -> None:
    picture = image("a.png", blue="nw", red="se ne")
    own = boxes(picture)
    assert main([*PAIR, "-o", "m.onnx", "--no-verify", "-q"]) == 0
    assert boxes(picture, "--model", "m.onnx") == own
    assert len(own[0]["boxes"]) == 3


@pytest.mark.parametrize("batch", [2, 5])
def test_a_net_of_more_images_at_once_finds_what_is_in_each(batch: int, boxes: Boxes, tmp_path: Path) -> None:
    pictures = [image("a.png", blue="nw"), image("b.png"), image("c.png", red="se")]
    alone = boxes(*pictures)
    write_detector(tmp_path, batch)
    assert boxes(*pictures) == alone
    assert [[box["label"] for box in seen["boxes"]] for seen in alone] == [[1], [], [2]]
    assert main([*PAIR, "-o", "fixed.onnx", "--input-shape", f"data={batch},3,8,8", "--no-verify", "-q"]) == 0
    assert boxes(*pictures, "--model", "fixed.onnx") == alone


def test_what_is_in_blank_images_beside_one_is_not_the_ones(boxes: Boxes, tmp_path: Path) -> None:
    """A net that sees what is not blue sees it everywhere in the blank images that fill its batch up."""
    write_detector(tmp_path, 3, sign=-1)
    assert main([*PAIR, "-o", "three.onnx", "--input-shape", "data=3,3,8,8", "--no-verify", "-q"]) == 0
    for words in ([], ["--engine", "interpreter"], ["--model", "three.onnx"]):
        (seen,) = boxes(image("a.png", blue="nw ne sw", red="nw ne sw"), *words, "--threshold", "0.4")
        assert [(box["label"], round(box["left"]), round(box["top"])) for box in seen["boxes"]] == [
            (1, 30, 20),
            (2, 30, 20),
        ]


def test_a_small_image_that_is_to_be_resized_is(boxes: Boxes) -> None:
    """8×8 becomes 16×16, of which the middle 8×8 is seen."""
    picture = np.full((8, 8, 3), 40, np.uint8)
    picture[2:4, 2:4, 0] = 255
    cv2.imwrite("a.png", picture)
    (seen,) = boxes("a.png", "--resize", "16", "--interpolation", "nearest")
    (box,) = seen["boxes"]
    np.testing.assert_allclose(sides(box), [2, 2, 4, 4], atol=1e-4)


def test_boxes_of_a_crop_are_put_back_to_where_it_was(boxes: Boxes) -> None:
    """40×60 becomes 16×24 of which the middle 8×8 is seen, from (4, 8): a pixel there is 2.5 of the image."""
    picture = np.full((40, 60, 3), 40, np.uint8)
    picture[10:20, 20:30, 0] = 255
    cv2.imwrite("a.png", picture)
    (seen,) = boxes("a.png", "--resize", "16", "--interpolation", "nearest")
    (box,) = seen["boxes"]
    np.testing.assert_allclose(sides(box), [20, 10, 30, 20], atol=1e-4)


def test_an_image_of_the_nets_size_is_seen_as_it_is(boxes: Boxes) -> None:
    (seen,) = boxes(image("a.png", blue="se", height=8, width=8), "--resize", "none")
    np.testing.assert_allclose(sides(seen["boxes"][0]), [4, 4, 8, 8], atol=1e-5)


def test_the_best_come_first_and_the_threshold_and_the_number_leave_the_others_out(boxes: Boxes) -> None:
    pixels = quarters(HEIGHT, WIDTH, "nw")
    pixels[:20, 30:, 0], pixels[20:, 30:, 0] = 180, 150
    cv2.imwrite("a.png", pixels)
    scores = [score_of(blue, 40, of=1) for blue in (255, 180, 150)]
    assert scores[2] > 0.5
    # A dark quarter scores 0.029 for both; the others' red stays below the net's own threshold of 0.01.
    for words, count in ((["--threshold", "0"], 5), ([], 3), (["--threshold", "0.8"], 2), (["--top", "1"], 1)):
        (seen,) = boxes("a.png", *words)
        found = [box["score"] for box in seen["boxes"]]
        assert len(found) == count
        assert found == sorted(found, reverse=True)
        np.testing.assert_allclose(found[:3], scores[:count], atol=1e-4)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("background\nblue\nred\n", ["blue", "red"]),
        ("blue\nred\n", ["blue", "red"]),
        (
            'item { name: "none" label: 0 }\nitem { name: "r" label: 2 display_name: "红" }\n'
            'item { name: "b" label: 1 }',
            ["b", "红"],
        ),
    ],
)
def test_names_count_with_the_background_or_without(text: str, names: list[str], boxes: Boxes) -> None:
    Path("names.txt").write_text(text, encoding="utf-8")
    (seen,) = boxes(image("a.png", blue="nw", red="se"), "--labels", "names.txt")
    assert [box["name"] for box in sorted(seen["boxes"], key=lambda box: box["label"])] == names


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a\nb\nc\nd\n", "names.txt: error: names 4 classes, but the detector has 2, or 3 with its background"),
        ('item { name: "b" label: 1 }', "names.txt: error: has no name for class 2 of the net's 2"),
    ],
)
def test_names_of_another_number_are_refused(text: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("names.txt").write_text(text)
    assert refusal(capsys, image("a.png"), "--labels", "names.txt") == said + "\n"


def test_what_is_printed_says_where_boxes_are(capsys: pytest.CaptureFixture[str]) -> None:
    Path("names.txt").write_text("blau\nrot\n")
    words = [image("a.png", blue="nw"), image("b.png"), "--labels", "names.txt", "-o", "out"]
    assert main(["classify", *PAIR, *words]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        "a.png (60×40): 1 box -> out/a.png",
        "  0.99  1  blau  0,0 to 30,20",
        "b.png (60×40): 0 boxes -> out/b.png",
    ]
    assert "  note: images are warped to 8×8 (--resize)" in lines
    assert "  note: the 2 names are those of classes 1 to 2, no background" in lines


def test_a_frame_is_drawn_in_its_classs_colour_and_the_rest_stays(boxes: Boxes) -> None:
    picture = image("a.png", red="ne", height=480, width=640)
    (seen,) = boxes(picture, "-o", "out.png")
    before, after = cv2.imread(picture), cv2.imread("out.png")
    assert seen["drawn"] == "out.png"
    changed = (before != after).any(axis=2)
    assert not changed[:, :310].any()
    assert not changed[250:].any()
    assert not changed[40:230, 330:630].any()
    assert tuple(after[200, 320].tolist()) == color_of(2)
    assert tuple(after[240, 500].tolist()) == color_of(2)
    assert changed[2:14, 324:400].any()  # the caption, moved into the image


def test_the_best_box_lies_on_top() -> None:
    from resnet_convert.classifying.drawing import drawn
    from resnet_convert.classifying.records import Box

    best, other = Box(1, "a", 0.9, 100, 100, 300, 300), Box(2, "b", 0.6, 100, 150, 300, 350)
    made = drawn(quarters(640, 640), [best, other])
    assert tuple(made[200, 100].tolist()) == color_of(1)  # both have a side there
    assert tuple(made[340, 100].tolist()) == color_of(2)


def test_classes_that_are_seen_together_have_colours_apart() -> None:
    """Those of VOC, in sums of differences of B, G and R."""
    colors = [np.array(color_of(label)) for label in range(1, 21)]
    nearest = [min(np.abs(a - b).sum() for b in colors if b is not a) for a in colors]
    assert min(nearest) >= 30
    car, person, bicycle, bus = (np.array(color_of(label)) for label in (7, 15, 2, 6))
    pairs = [(car, person), (car, bicycle), (car, bus), (person, bicycle), (person, bus), (bicycle, bus)]
    assert min(np.abs(a - b).sum() for a, b in pairs) > 60


def test_letters_can_be_read_on_every_colour() -> None:
    """The contrast of white on it by WCAG 2.1, with its own formula for sRGB."""
    for label in range(200):
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in np.array(color_of(label)) / 255]
        luminance = 0.0722 * linear[0] + 0.7152 * linear[1] + 0.2126 * linear[2]
        assert 1.05 / (luminance + 0.05) > 4.4, label


def test_wild_boxes_and_wide_names_are_drawn_all_the_same(tmp_path: Path, boxes: Boxes) -> None:
    """Corners far beyond the image, as an untrained net gives them, and names that the font does not have."""
    from resnet_convert.classifying.drawing import caption, drawn
    from resnet_convert.classifying.records import Box

    pixels = quarters(30, 50)
    wild = [
        Box(3, "汽车", 0.5, -1e30, 5.0, 1e30, 9.0),
        Box(7, "", 0.25, 60, 60, 50, 50),
        Box(1, "x" * 300, 1, 0, 0, 5, 5),
    ]
    made = drawn(pixels, wild)
    assert made.shape == pixels.shape
    assert (made != pixels).any()
    assert [caption(box)[:12] for box in wild] == ["class 3 0.50", "class 7 0.25", "xxxxxxxxxxxx"]
    Path("names.txt").write_text("蓝\n红\n", encoding="utf-8")
    made_by = resnet_convert.classify(*PAIR, image("a.png", blue="nw"), labels="names.txt", output="o.jpg")
    assert "names that are not ASCII are drawn as the number of their class" in made_by.notes


def test_a_folder_gets_an_image_for_each_under_names_that_differ(boxes: Boxes) -> None:
    for folder in ("x", "y"):
        Path(folder).mkdir()
        image(f"{folder}/cat.png", blue="nw")
    Path("bare").write_bytes(Path(image("z.bmp", red="se")).read_bytes())
    found = boxes("x/cat.png", "y/cat.png", "bare", "-o", "out")
    assert [seen["drawn"] for seen in found] == ["out/cat.png", "out/cat-2.png", "out/bare.png"]
    assert sorted(path.name for path in Path("out").iterdir()) == ["bare.png", "cat-2.png", "cat.png"]
    Path("out/other.txt").write_text("mine")
    assert boxes("x/cat.png", "-o", "out")[0]["drawn"] == "out/cat.png"
    assert Path("out/other.txt").read_text() == "mine"


@pytest.mark.parametrize("ending", [".jpg", ".PNG", ".webp", ".bmp", ".tif"])
def test_every_ending_that_is_named_can_be_written(ending: str, boxes: Boxes) -> None:
    boxes(image("a.png", blue="nw"), "-o", f"out{ending}")
    assert cv2.imread(f"out{ending}").shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["a.png", "-o", "a.png"], "a.png: error: is a file that is read; name another file to write"),
        (["a.png", "-o", "link.png"], "link.png: error: is the file a.png that is read; name another file to write"),
        (["a*.png", "-o", "a.png"], "a.png: error: is a file that is read; name another file to write"),
        (["a.png", "-o", "."], "a.png: error: is a file that is read; name another file to write"),
        (["a.png", "-o", "out.gif"], "out.gif: error: expected a file that ends in .png, .jpg"),
        (["a.png", "-o", "no/out.png"], "no/out.png: error: cannot be written: the folder no does not exist"),
        (["a.png", "b.jpg", "-o", "o.png"], "o.png: error: 2 images go into a folder, not into one file"),
        (["a.png", "--mirror"], "error: --mirror and --crops average scores; this net gives boxes"),
    ],
)
def test_outputs_that_make_no_sense_are_refused(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    image("a.png", blue="nw")
    image("b.jpg")
    if "link.png" in words:
        Path("link.png").symlink_to("a.png")
    before = {path.name: path.read_bytes() for path in Path().iterdir()}
    assert refusal(capsys, *words).startswith(said)
    assert {path.name: path.read_bytes() for path in Path().iterdir()} == before


def test_a_damaged_image_leaves_no_output_and_stops_none_of_the_others(boxes: Boxes) -> None:
    Path("bad.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    (alone,) = boxes("bad.png", "-o", "out.png", status=1)
    assert (alone["problem"], alone["drawn"]) == ("the PNG is damaged", "")
    assert not Path("out.png").exists()
    _, good = boxes("bad.png", image("a.png", blue="nw"), "-o", "out", status=1)
    assert good["drawn"] == "out/a.png"
    assert [path.name for path in Path("out").iterdir()] == ["a.png"]


def test_boxes_that_are_no_numbers_are_a_problem_of_their_image(boxes: Boxes) -> None:
    from weights import LayerWeights, blob_from_array, open_weights, write_caffemodel

    with open_weights("colors.caffemodel") as weights:
        layers = [
            LayerWeights(
                layer.name, layer.type, tuple(blob_from_array(_spoilt(layer.name, blob)) for blob in layer.blobs)
            )
            for layer in weights.layers
        ]
        write_caffemodel("spoilt.caffemodel", "", layers)
    Path("spoilt.caffemodel").replace("colors.caffemodel")
    (seen,) = boxes(image("a.png", blue="nw"), status=1)
    assert seen["problem"] == "boxes or their scores are no numbers (NaN or infinity)"


def _spoilt(layer: str, blob: Any) -> np.ndarray:
    values = np.array(blob.array())
    return values * np.float32(np.nan) if layer == "loc" else values


def test_hyperlprs_plates_are_caffes(shared: Path) -> None:
    """The original Caffe's rows for a random image; the net sees (pixel - 128) / 128."""
    folder = shared / "golden" / "models" / "hyperlpr-mininet-ssd"
    with np.load(folder / "golden.npz") as golden:
        pixels, rows = golden["in:data"][0] * 128 + 128, golden["full:detection_out"][0, 0]
    assert np.array_equal(pixels, pixels.round())
    found = resnet_convert.classify(
        folder / "net.prototxt",
        folder / "weights.caffemodel",
        np.ascontiguousarray(pixels.astype(np.uint8).transpose(1, 2, 0)),
        mean=[128, 128, 128],
        scale=1 / 128,
        threshold=0.0,
    )
    made = [(box.label, box.score, box.left, box.top, box.right, box.bottom) for box in found.images[0].boxes]
    rows = rows[np.argsort(-rows[:, 2], kind="stable")]
    np.testing.assert_allclose(np.array(made), np.c_[rows[:, 1:3], rows[:, 3:] * 512], atol=2e-3, rtol=1e-4)
