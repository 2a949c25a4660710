"""Sophgo's detection layers: what they refuse, a batch left free, and suppressions whose order shows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from converter.api import prepare
from converter.options import Options
from prototxt import parse_net
from prototxt.errors import CaffeModelError
from tests.drawn.base import Array, Drawn, layer, net_text
from tests.golden import run_onnx, run_torch
from verify import run

YOLO = "net_input_w: 100 net_input_h: 100 nms_threshold: 0.2 obj_threshold: 0.5 keep_topk: 4 class_num: 2"
FACE = "nms_threshold: 0.3 confidence_threshold: 0.5 keep_topk: 4"
FACES = [f"{name}{stride}" for stride in (8, 16, 32) for name in ("score", "box", "mark")]


def yolo(params: str) -> str:
    return layer("YoloDetection", f"yolo_detection_param {{ {params} }}")


def face(params: str, bottoms: list[str] = FACES) -> str:
    return layer("RetinaFaceDetection", f"retinaface_detection_param {{ {params} }}", " ".join(bottoms))


def face_feeds(images: int = 1) -> dict[str, Array]:
    """Planes of one place, on which no face counts."""
    return {
        name: np.zeros((images, channels, 1, 1), np.float32)
        for name, channels in zip(FACES, [4, 8, 20] * 3, strict=True)
    }


def three_ways(text: str, feeds: dict[str, Array], folder: Path, **sizes: list[int | str]) -> list[Array]:
    """The top from the interpreter, onnxruntime and torch."""
    net = parse_net(net_text(Drawn(text, feeds)), "net.prototxt")
    ready = prepare(net, None, Options(outputs=["out"], input_shapes=sizes))
    tops = [run(net, None, feeds).blobs, run_onnx(ready.graph, feeds, folder), run_torch(ready.graph, feeds)]
    return [blobs["out"] for blobs in tops]


X = np.zeros((1, 21, 1, 1), np.float32)
REFUSED = {
    "no rows": (yolo(YOLO.replace("topk: 4", "topk: 0")), {"x": X}, "keep_topk is 0; expected at least 1"),
    "no input size": (yolo(YOLO.replace("w: 100", "w: 0")), {"x": X}, "net_input_w is 0; expected at least 1"),
    "no classes": (yolo(YOLO.replace("num: 2", "num: 0")), {"x": X}, "class_num is 0; expected at least 1"),
    "few anchors": (yolo(f"{YOLO} anchors: '1,2,3,4'"), {"x": X}, "4 anchors; expected 6: a width and a height for 3"),
    "words for anchors": (yolo(f"{YOLO} anchors: '1,2,a,4,5,6'"), {"x": X}, "expected numbers separated by commas"),
    "channels": (yolo(YOLO), {"x": X[:, :20]}, "bottom 1 has 20 channels; expected 21 for 3 boxes of 2 classes"),
    "two axes": (yolo(YOLO), {"x": X[..., 0, 0]}, "bottom 1 is 1×21; expected 4 axes"),
    "no faces": (face(FACE.replace("topk: 4", "topk: 0")), face_feeds(), "keep_topk is 0; expected at least 1"),
    "two images": (face(FACE), face_feeds(2), "bottom 1 is 2×4×1×1; expected 1×4×H×W"),
    "one level": (face(FACE, FACES[:3]), face_feeds(), "3 bottoms; expected 9"),
}


@pytest.mark.parametrize(("text", "feeds", "message"), REFUSED.values(), ids=REFUSED)
def test_what_the_fork_cannot_run_is_refused(text: str, feeds: dict[str, Array], message: str) -> None:
    used = {name: feed for name, feed in feeds.items() if f'bottom: "{name}"' in text}
    net = parse_net(net_text(Drawn(text, used)), "net.prototxt")
    with pytest.raises(CaffeModelError) as caught:
        prepare(net, None, Options(outputs=["out"]))
    assert message in str(caught.value)


def logit(p: float) -> float:
    return float(np.log(p / (1 - p)))


def row_of_boxes(*boxes: tuple[int, int, float, float], places: int = 4) -> Array:
    """1×21×1×places with boxes as large as their anchors: place, anchor, offset from the left of the cell, score."""
    x = np.full((1, 3, 7, 1, places), -9, np.float32)
    for place, anchor, offset, score in boxes:
        x[0, anchor, :, 0, place] = [logit(offset), 0, 0, 0, logit(score), 99, 0]
    return x.reshape(1, 21, 1, places)


def test_a_box_that_is_struck_out_has_struck_others_before(tmp_path: Path) -> None:
    """The first strikes the second, which the third alone would not; then the third strikes the first."""
    text = yolo(f"{YOLO} anchors: '60,50,60,50,1,1'")
    x = row_of_boxes((0, 0, 0.9, 0.7), (0, 1, 0.05, 0.6), (2, 0, 0.2, 0.9))
    for top in three_ways(text, {"x": x}, tmp_path):
        np.testing.assert_allclose(top[0, 0, 0], [(2 + 0.2) / 4, 0.5, 0.6, 0.5, 0, 0.9], rtol=1e-6)
        assert not top[0, 0, 1:].any()
    x = row_of_boxes((0, 1, 0.05, 0.6), (2, 0, 0.2, 0.9))
    for top in three_ways(text, {"x": x}, tmp_path):
        np.testing.assert_allclose(top[0, 0, :, 5], [0.6, 0.9, 0, 0], rtol=1e-6)


def test_rows_keep_the_order_of_places_not_of_scores(tmp_path: Path) -> None:
    text = yolo(f"{YOLO} anchors: '4,50,1,1,1,1'")
    x = row_of_boxes((0, 0, 0.5, 0.6), (1, 0, 0.5, 0.9), (3, 0, 0.5, 0.7))
    for top in three_ways(text, {"x": x}, tmp_path):
        np.testing.assert_allclose(top[0, 0, :, 5], [0.6, 0.9, 0.7, 0], rtol=1e-6)


def test_a_batch_left_free_gives_each_image_its_own_rows(tmp_path: Path) -> None:
    text = yolo(f"{YOLO} anchors: '4,50,1,1,1,1'")
    images = [(0, 0, 0.5, 0.4)], [(0, 0, 0.5, 0.6), (1, 0, 0.5, 0.9)]
    x = np.concatenate([row_of_boxes(*boxes, places=2) for boxes in images])
    for top in three_ways(text, {"x": x}, tmp_path, x=["N", 21, 1, 2]):
        np.testing.assert_allclose(top[:, 0, :2, 5], [[0, 0], [0.6, 0.9]], rtol=1e-6)


def test_a_face_is_dropped_for_what_it_shares_with_the_next_one(tmp_path: Path) -> None:
    """By score: a small face apart, then two large ones over each other; the first drops none, though plainly apart.

    Intersections are taken with the face next in order: 0 areas in common with the first one play no part.
    """
    feeds = {name: np.zeros((1, feed.shape[1], 1, 3), np.float32) for name, feed in face_feeds().items()}
    feeds["score8"][0, 2, 0] = [0.9, 0.8, 0.7]
    feeds["box8"][0, 2:4, 0] = [np.log([36 / 35, 100 / 35, 100 / 35])] * 2  # anchors of scale 2 are 35 wide
    feeds["box8"][0, 0, 0, 0] = 20.0  # far to the right
    for top in three_ways(face(FACE), feeds, tmp_path):
        # beside: 100 · 100 of the second with the third moved by 8: 92 · 100 over 36² + 100² − 9200 = 4.4 and itself
        # 10000 over 1296: both are dropped by a face that touches neither
        np.testing.assert_allclose(top[0, 0, :, 4], [0.9, 0, 0, 0], rtol=1e-6)
        middle = 8.5 + 20 * 35
        np.testing.assert_allclose(top[0, 0, 0, :4], [middle - 17.5, 8.5 - 17.5, middle + 17.5, 8.5 + 17.5], rtol=1e-6)


def test_no_face_gives_rows_of_nothing(tmp_path: Path) -> None:
    for top in three_ways(face(FACE), face_feeds(), tmp_path):
        assert top.shape == (1, 1, 4, 15)
        assert not top.any()


def test_the_user_hears_what_the_forks_layer_leaves_unset() -> None:
    net = parse_net(net_text(Drawn(face(FACE), face_feeds())), "net.prototxt")
    (node,) = prepare(net, None, Options(outputs=["out"])).graph.nodes
    assert "leaves four of the five landmarks and the rows behind the last face unset" in node.layer.caution
