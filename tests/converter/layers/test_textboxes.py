"""TextBoxes: what in a net shows that its boxes stand twice, where they stand, and what its detections look like."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from converter.api import prepare
from converter.options import Options
from prototxt import Net, parse_net
from tests.converter.layers.test_rarer_agreement import Array, Feeds, random
from tests.golden import run_onnx, run_torch
from verify import run

INPUTS = """
input: "x" input_shape { dim: 1 dim: 3 dim: 2 dim: 3 }
input: "image" input_shape { dim: 1 dim: 3 dim: 30 dim: 60 }
"""
PRIORS = (
    'layer {{ name: "priors" type: "PriorBox" bottom: "x" bottom: "image" top: "priors" prior_box_param {{ {} }} }} '
)
HEAD = (
    'layer {{ name: "{0}" type: "Convolution" bottom: "x" top: "{0}" '
    "convolution_param {{ num_output: {1} kernel_size: 1 weight_filler {{ type: 'xavier' }} }} }} "
)
FOUND = (
    'layer {{ name: "found" type: "DetectionOutput" bottom: "loc" bottom: "conf" bottom: "boxes" top: "found" '
    "detection_output_param {{ num_classes: {} code_type: CENTER_SIZE nms_param {{ nms_threshold: 0.45 }} "
    "confidence_threshold: {} }} }} "
)
BOXES = "min_size: 4.5 max_size: 8 aspect_ratio: 4 flip: false variance: 0.1 variance: 0.1 variance: 0.2 variance: 0.2"


def heads(fields: str, offsets: int, scores: int, classes: int = 2, **asked: str) -> Net:
    text = INPUTS + PRIORS.format(fields) + HEAD.format("offsets", offsets) + HEAD.format("scores", scores)
    return parse_net(text + FOUND.format(classes, 0.1), dialects=asked)


def dialects(net: Net) -> list[str]:
    return [layer.dialect for layer in net.layers if layer.kind in ("PriorBox", "DetectionOutput")]


@pytest.mark.parametrize(
    ("fields", "offsets", "scores", "classes", "wanted"),
    [
        (BOXES, 24, 12, 2, "textboxes1"),
        (BOXES, 12, 6, 2, "ssd"),
        (BOXES, 12, 24, 8, "ssd"),
        (BOXES, 24, 48, 8, "textboxes1"),
        (BOXES.replace("flip: false", ""), 32, 16, 2, "textboxes1"),
        (f"{BOXES} denser_prior_boxes: true", 24, 12, 2, "ssd"),
        ("min_size: 4 offset_h: 0.5 offset_h: 1 offset_w: 0.5 offset_w: 0.5", 8, 4, 2, "ssd"),
    ],
)
def test_heads_for_twice_the_boxes_tell(fields: str, offsets: int, scores: int, classes: int, wanted: str) -> None:
    assert dialects(heads(fields, offsets, scores, classes)) == [wanted, wanted]


def test_the_user_overrides_and_the_evidence_is_said() -> None:
    net = heads(BOXES, 24, 12)
    assert [said.partition(": ")[2] for said in net.readings] == [
        "PriorBox is read as textboxes1's: offsets has offsets for twice SSD's boxes "
        "(--dialect PriorBox=ssd, PriorBox=intel, PriorBox=faceboxes for another)",
        "DetectionOutput is read as textboxes1's: the net's PriorBox is TextBoxes': offsets has offsets for twice "
        "SSD's boxes (--dialect DetectionOutput=ssd for another)",
    ]
    assert dialects(heads(BOXES, 24, 12, PriorBox="ssd")) == ["ssd", "textboxes1"]


@pytest.mark.parametrize("clip", ["", "clip: false"])
def test_each_box_stands_at_the_middle_and_at_the_lower_edge_of_its_place(clip: str, tmp_path: Path) -> None:
    """Places are 20 wide and 15 high; the boxes 4.5 × 4.5, 6 × 6 and 9 × 2.25."""
    feeds: Feeds = {"x": random(1, 1, 3, 2, 3), "image": random(2, 1, 3, 30, 60)}
    wanted = []
    for row, column in np.ndindex(2, 3):
        for width, height in ((4.5, 4.5), (6, 6), (9, 2.25)):
            for down in (0.5, 1.0):
                x, y = (column + 0.5) * 20, (row + down) * 15
                wanted.append(
                    [(x - width / 2) / 60, (y - height / 2) / 30, (x + width / 2) / 60, (y + height / 2) / 30]
                )
    expected = np.asarray(wanted) if clip else np.clip(wanted, 0, 1)
    asked = {"PriorBox": "textboxes1"}
    net = parse_net(INPUTS + PRIORS.format(f"{BOXES} {clip}"), dialects=asked)
    graph = prepare(net, None, Options(dialects=asked)).graph
    for got in (run_onnx(graph, feeds, tmp_path), run_torch(graph, feeds), run(net, None, feeds).blobs):
        np.testing.assert_allclose(got["priors"][0, 0].reshape(-1, 4), expected, rtol=1e-6, atol=1e-7)


def detections(images: int, floor: float, folder: Path) -> list[Array]:
    """What is found with two boxes, the second half outside of the image."""
    shapes = {"loc": (images, 8), "conf": (images, 4), "boxes": (1, 2, 8)}
    inputs = "".join(
        f'input: "{name}" input_shape {{ {" ".join(f"dim: {d}" for d in dims)} }} ' for name, dims in shapes.items()
    )
    boxes = [[0.1, 0.2, 0.4, 0.5], [0.75, -0.25, 1.25, 0.25]]
    feeds: Feeds = {
        "loc": np.zeros((images, 8), np.float32),
        "conf": np.asarray([[0.3, 0.7, 0.2, 0.8]] * images, np.float32),
        "boxes": np.asarray([np.ravel(boxes), [0.1] * 8], np.float32)[None],
    }
    asked = {"DetectionOutput": "textboxes1"}
    net = parse_net(inputs + FOUND.format(2, floor), dialects=asked)
    graph = prepare(net, None, Options(dialects=asked)).graph
    answers = run_onnx(graph, feeds, folder), run_torch(graph, feeds), run(net, None, feeds).blobs
    return [got["found"] for got in answers]


def test_detections_are_clipped_to_the_image(tmp_path: Path) -> None:
    rows = [[0, 1, 0.8, 0.75, 0, 1, 0.25], [0, 1, 0.7, 0.1, 0.2, 0.4, 0.5]]
    for got in detections(1, 0.1, tmp_path):
        np.testing.assert_allclose(got, np.asarray(rows)[None, None], atol=1e-6)


def test_one_row_stands_for_nothing_found_in_all_images(tmp_path: Path) -> None:
    for got in detections(3, 0.9, tmp_path):
        np.testing.assert_array_equal(got, np.full((1, 1, 1, 7), -1))
