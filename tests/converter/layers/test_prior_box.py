"""Prior boxes of the forks: OpenCV as a second opinion, what tells FaceBoxes, and what is refused."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from converter.api import prepare
from converter.options import Options
from prototxt import parse_net
from tests.converter.layers.test_rarer_agreement import Feeds, answers, inputs_of, layer, net_of, random, refusal
from tests.golden import run_onnx, run_torch
from verify import run

FEEDS: Feeds = {"x": random(1, 2, 5, 3, 4), "image": random(2, 2, 3, 31, 45)}


def priors(fields: str, kind: str = "PriorBox") -> str:
    return layer(kind, f"\nprior_box_param {{ {fields} }}", "x image")


LISTED = "width: 9.5 width: 20 height: 7 height: 12.25 "
OFFSETS = "offset_h: 0.5 offset_w: 0.25 offset_h: 1.0 offset_w: 0.75 "


@pytest.mark.parametrize(
    "fields",
    [
        f"{LISTED} clip: true step: 9 variance: 0.1 variance: 0.2 variance: 0.3 variance: 0.4",
        f"{LISTED} variance: 0.2",
        f"min_size: 10.5 max_size: 14.25 aspect_ratio: 2 flip: false {OFFSETS} clip: false variance: 0.2",
        f"min_size: 10 aspect_ratio: 3 {OFFSETS} step_h: 8 step_w: 7 variance: 0.2",
        "min_size: 10 max_size: 14 aspect_ratio: 3 clip: false step_h: 8 step_w: 7 variance: 0.2 offset: 0.25",
    ],
)
def test_opencv_has_the_same_boxes(fields: str, tmp_path: Path) -> None:
    text = priors(fields)
    path = tmp_path / "net.prototxt"
    path.write_text(inputs_of(FEEDS) + text, encoding="utf-8")
    net = cv2.dnn.readNetFromCaffe(str(path))
    for name, feed in FEEDS.items():
        net.setInput(feed, name)
    expected = net.forward("it")
    for got in (
        *(a["out"] for a in answers(text, FEEDS, tmp_path)),
        run(net_of(text, FEEDS), None, FEEDS).blobs["out"],
    ):
        np.testing.assert_allclose(got.ravel(), expected.ravel(), rtol=1e-6, atol=1e-6)


def test_opencv_has_the_boxes_of_intels_fork(tmp_path: Path) -> None:
    """Sizes keep their fractions in both; read as SSD's they count without, which is said."""
    fields = "min_size: 38.4 min_size: 5 max_size: 76.8 max_size: 9.75 aspect_ratio: 2 clip: false variance: 0.1"
    text = inputs_of(FEEDS) + priors(fields)
    path = tmp_path / "net.prototxt"
    path.write_text(text, encoding="utf-8")
    judge = cv2.dnn.readNetFromCaffe(str(path))
    for name, feed in FEEDS.items():
        judge.setInput(feed, name)
    expected = judge.forward("it").ravel()
    net = parse_net(text, "net.prototxt", dialects={"PriorBox": "intel"})
    graph = prepare(net, None, Options()).graph
    for got in (run_onnx(graph, FEEDS, tmp_path), run_torch(graph, FEEDS), run(net, None, FEEDS).blobs):
        np.testing.assert_allclose(got["out"].ravel(), expected, rtol=1e-6, atol=1e-6)
    plain = parse_net(text, "net.prototxt")
    assert np.abs(run(plain, None, FEEDS).blobs["out"].ravel() - expected).max() > 5e-3
    (said,) = plain.readings
    assert said.startswith("net.prototxt:3:1: PriorBox is read as ssd's: nothing shows another fork's")
    assert "PriorBox=intel" in said
    assert not parse_net(text.replace("38.4", "38").replace("76.8", "76").replace("9.75", "9")).readings


def test_one_layer_tells_that_the_whole_net_is_of_faceboxes() -> None:
    first = priors("min_size: 32 min_size: 64 min_size: 128")
    second = priors("min_size: 256").replace('"it"', '"larger"').replace('"out"', '"other"')
    text = inputs_of(FEEDS) + first + second
    net = parse_net(text, "net.prototxt")
    assert [x.dialect for x in net.layers[2:]] == ["faceboxes", "faceboxes"]
    assert net.layers[3].dialect_evidence == "a PriorBox of the net has min_size 32, 64 and 128"
    shapes = [v.shape for v in prepare(net, None, Options(outputs=["out", "other"])).graph.outputs]
    assert shapes == [(1, 2, 12 * 21 * 4), (1, 2, 12 * 4)]
    assert parse_net(inputs_of(FEEDS) + second).layers[2].dialect == "ssd"
    asked = parse_net(text, dialects={"PriorBox": "ssd"})
    assert prepare(asked, None, Options(outputs=["out"])).graph.outputs[0].shape == (1, 2, 12 * 3 * 4)


REFUSED = [
    ("faceboxes: true min_size: 32", "4:35", "16 boxes at each place, where FaceBoxes makes room for 1"),
    ("faceboxes: true min_size: 256 yx_order: true", "4:49", "yx_order, which FaceBoxes' squares do not follow"),
    ("box_width: 3", "4:1", "box_height must be given, and be above 0"),
    ("box_width: 3 box_width: 0 box_height: 2", "4:19", "box_width must be given, and be above 0"),
    ("width: 3 height: 2 height: 4", "4:28", "1 width, 2 height; expected as many of both"),
    ("width: 3 height: 2 min_size: 4", "4:38", "min_size beside width and height; expected one or the other"),
    ("min_size: 4 offset_h: 1", "4:31", "1 offset_h, 0 offset_w; expected as many of both, 1 or 2"),
    (
        "min_size: 4 offset: 1 offset_h: 1 offset_w: 1",
        "4:31",
        "offset beside offset_h and offset_w; expected one or the others",
    ),
    (
        "min_size: 4 denser_prior_boxes: true offset_h: 1 offset_w: 1",
        "4:31",
        "denser_prior_boxes beside offset_h, of another fork",
    ),
    ("min_size: 4 variance: 1 variance: 2", "4:31", "variance must be 1 or 4 numbers above 0"),
    ("min_size: 4 aspect_ratio: 0", "4:31", "aspect_ratio must be above 0"),
    ("min_size: 4 min_size: 5 max_size: 9", "4:43", "1 max_size for 2 min_size; expected one for each"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "place", "message"), REFUSED)
def test_what_can_not_be_is_refused(fields: str, place: str, message: str) -> None:
    assert refusal(priors(fields), FEEDS) == f"net.prototxt:{place}: error: layer 'it' (PriorBox): {message}"


CLUSTERED = [
    ("min_size: 4", "4:1", "width must be given, and be above 0"),
    ("width: 4", "4:1", "height must be given, and be above 0"),
    ("width: 4 height: 3 height: 5", "4:28", "1 width, 2 height; expected as many of both"),
    ("width: 4 height: 3 step_h: 5", "4:38", "step_h without step_w; expected both"),
    ("width: 4 height: 3 img_size: 0", "4:38", "img_size is 0; expected a number above 0"),
]


@pytest.mark.parametrize(("fields", "place", "message"), CLUSTERED)
def test_clustered_boxes_that_can_not_be_are_refused(fields: str, place: str, message: str) -> None:
    text = priors(fields, "PriorBoxClustered")
    assert refusal(text, FEEDS) == f"net.prototxt:{place}: error: layer 'it' (PriorBoxClustered): {message}"


def test_the_size_of_the_features_can_not_be_free() -> None:
    message = refusal(priors("min_size: 4"), FEEDS, input_shapes={"x": (2, 5, "H", 4)})
    assert message.endswith("the sizes of the image and of the features can't be left free: the boxes follow them")
