"""DetectionOutput: onnxruntime and torch against the independent interpreter, row for row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from converter.api import prepare
from converter.options import Options
from converter.targets.onnx_model import emit_onnx, newest_opset
from converter.targets.torch_model import emit_torch, live_module
from tests.converter.layers.test_rarer_agreement import Array, Feeds, answers, layer, net_of, random, refusal
from tests.golden import run_onnx, run_torch
from verify import run

BOXES, CLASSES = 60, 4
RUNNABLE = 26  # the newest opset of the default domain that the installed onnxruntime takes


def detection(fields: str, top: str = "out") -> str:
    return layer("DetectionOutput", f"detection_output_param {{ {fields} }}", "offsets scores priors", top)


def priors(seed: int, boxes: int = BOXES) -> Array:
    """Boxes that overlap often, with four different variances."""
    rng = np.random.default_rng(seed)
    low, size = rng.uniform(0, 0.5, (boxes, 2)), rng.uniform(0.2, 0.5, (boxes, 2))
    variances = np.tile([0.1, 0.15, 0.2, 0.25], boxes)
    return np.stack([np.concatenate([low, low + size], axis=1).ravel(), variances])[None].astype(np.float32)


def feeds_of(shared: bool = True, images: int = 2, classes: int = CLASSES) -> Feeds:
    sets = 1 if shared else classes
    scores = np.random.default_rng(7).random((images, BOXES * classes)).astype(np.float32)
    return {"offsets": random(5, images, BOXES * sets * 4), "scores": scores, "priors": priors(3)}


def assert_agrees(text: str, feeds: Feeds, folder: Path, opset: int = 13) -> Array:
    """Both targets give the interpreter's rows; returns them."""
    expected = run(net_of(text, feeds), None, feeds).blobs["out"]
    for name, got in zip(("onnx", "torch"), answers(text, feeds, folder, opset=opset), strict=True):
        assert got["out"].shape == expected.shape, name
        np.testing.assert_array_equal(got["out"][..., :3], expected[..., :3], name)
        np.testing.assert_allclose(got["out"][..., 3:], expected[..., 3:], rtol=1e-6, atol=1e-6, err_msg=name)
    return np.asarray(expected[0, 0])


NMS = "nms_param {{ nms_threshold: {} }}".format
CASES = {
    "defaults of every field": "",
    "corners": "code_type: CORNER confidence_threshold: 0.3",
    "centres": "code_type: CENTER_SIZE confidence_threshold: 0.3",
    "corner sizes": "code_type: CORNER_SIZE confidence_threshold: 0.3",
    "variances in the offsets": "code_type: CENTER_SIZE variance_encoded_in_target: true",
    "centres of each class": "share_location: false code_type: CENTER_SIZE",
    "corners of each class, encoded": "share_location: false variance_encoded_in_target: true",
    "top_k of each class": "nms_param { top_k: 7 nms_threshold: 0.6 }",
    "top_k above the boxes": "nms_param { top_k: 400 }",
    "keep_top_k": "keep_top_k: 9 " + NMS(0.8),
    "keep_top_k and top_k of each class": "share_location: false keep_top_k: 5 nms_param { top_k: 8 }",
    "keep_top_k above what is found": "keep_top_k: 200 confidence_threshold: 0.9",
    "keep_top_k above all boxes": "keep_top_k: 1000",
    "a background in the middle": "background_label_id: 2",
    "no background": "background_label_id: -1 share_location: false keep_top_k: 30",
    "any overlap suppresses": NMS(0),
    "no overlap suppresses": NMS(1.5),
    "an eta that never acts": "nms_param { nms_threshold: 0.5 eta: 0.9 }",
    "an eta that lowers the limit": "nms_param { nms_threshold: 0.9 eta: 0.93 }",
    "an eta and keep_top_k": "keep_top_k: 6 nms_param { nms_threshold: 0.9 eta: 0.93 }",
    "an eta for each class, of few boxes": "share_location: false nms_param { nms_threshold: 0.7 eta: 0.99 top_k: 20 }",
    "another fork's fields at their defaults": "normalized_bbox: true clip: false nms_param { soft_nms: false }",
}


@pytest.mark.parametrize("fields", CASES.values(), ids=CASES)
def test_both_targets_find_what_caffe_finds(fields: str, tmp_path: Path) -> None:
    rows = assert_agrees(
        detection(f"num_classes: 4 {fields}"), feeds_of("share_location: false" not in fields), tmp_path
    )
    assert {0, 1} == set(rows[:, 0])
    assert len(rows) >= 8


@pytest.mark.parametrize("opset", range(14, min(newest_opset(), RUNNABLE) + 1))
def test_every_opset_finds_the_same(opset: int, tmp_path: Path) -> None:
    text = detection("num_classes: 4 share_location: false keep_top_k: 20 nms_param { top_k: 30 }")
    assert_agrees(text, feeds_of(shared=False), tmp_path, opset)


@pytest.mark.parametrize("opset", [13, newest_opset()])
def test_the_model_passes_the_full_check_and_leaves_the_number_of_rows_free(opset: int) -> None:
    text = detection("num_classes: 4 keep_top_k: 20").replace('"it"', '"find/all"')
    graph = prepare(net_of(text, feeds_of()), None, Options(outputs=["out"])).graph
    model = emit_onnx(graph, opset=opset)
    for name, values in model.initializers:
        assert isinstance(values, np.ndarray)
        model.proto.graph.initializer.append(onnx.numpy_helper.from_array(values, name))
    onnx.checker.check_model(model.proto, full_check=True)
    dims = model.proto.graph.output[0].type.tensor_type.shape.dim
    assert [d.dim_param or d.dim_value for d in dims] == [1, 1, "detections_of_find_all", 7]
    assert {n.domain for n in model.proto.graph.node} == {""}


@pytest.mark.parametrize("keep", [1, 4, 9])
def test_of_equal_scores_the_first_are_kept(keep: int, tmp_path: Path) -> None:
    """A class gives no more than an image keeps, and what it leaves out for that is not in the image's share either."""
    feeds = feeds_of()
    feeds["scores"] = feeds["scores"].round(1)
    text = detection(f"num_classes: 4 keep_top_k: {keep} confidence_threshold: 0.3 nms_param {{ nms_threshold: 0.9 }}")
    assert len(assert_agrees(text, feeds, tmp_path)) == 2 * keep


def test_a_class_suppresses_until_it_has_what_an_image_keeps() -> None:
    text = detection("num_classes: 4 keep_top_k: 5 nms_param { top_k: 12 }")
    model = emit_onnx(prepare(net_of(text, feeds_of()), None, Options(outputs=["out"])).graph)
    (suppression,) = (node for node in model.proto.graph.node if node.op_type == "NonMaxSuppression")
    most = dict(model.initializers)[suppression.input[2]]
    assert isinstance(most, np.ndarray)
    assert most.tolist() == [5]


def test_nothing_found_gives_each_image_a_row_of_minus_ones(tmp_path: Path) -> None:
    for fields in ("", "share_location: false", "keep_top_k: 3 nms_param { top_k: 5 }"):
        text = detection(f"num_classes: 4 confidence_threshold: 2 {fields}")
        rows = assert_agrees(text, feeds_of("false" not in fields, images=3), tmp_path)
        assert rows.tolist() == [[image, *[-1] * 6] for image in range(3)]


@pytest.mark.parametrize("fields", ["confidence_threshold: 0.3", "", "nms_param { eta: 0.9 nms_threshold: 0.8 }"])
def test_nothing_is_gathered_by_the_names_of_what_stays(fields: str) -> None:
    # Where there are none, as in an image of nothing, OpenCV 5 dies of it.
    graph = prepare(net_of(detection(f"num_classes: 4 {fields}"), feeds_of()), None, Options(outputs=["out"])).graph
    nodes = emit_onnx(graph).proto.graph.node
    kept = {node.output[0] for node in nodes if node.op_type == "NonMaxSuppression"}
    assert len(kept) == 1
    assert {node.op_type for node in nodes if kept & set(node.input)} == {"Shape", "ScatterND"}


@pytest.mark.parametrize("fields", ["keep_top_k: 0", "nms_param { top_k: 0 }", ""])
def test_a_layer_that_can_find_nothing_gives_each_image_a_row_of_minus_ones(fields: str, tmp_path: Path) -> None:
    classes = 4 if fields else 1
    rows = assert_agrees(detection(f"num_classes: {classes} {fields}"), feeds_of(images=3, classes=classes), tmp_path)
    assert rows.tolist() == [[image, *[-1] * 6] for image in range(3)]


def test_the_picture_that_ssd_draws_into_takes_no_part(tmp_path: Path) -> None:
    feeds = feeds_of() | {"picture": random(9, 2, 3, 5, 7)}
    text = detection("num_classes: 4 visualize: true").replace('bottom: "priors"', 'bottom: "priors" bottom: "picture"')
    assert_agrees(text, feeds, tmp_path)


def test_regions_may_be_as_many_as_are_found(tmp_path: Path) -> None:
    """Intel's fork reads what a Proposal finds, a number known only when the net runs."""
    fields = "share_location: false variance_encoded_in_target: true normalized: false input_width: 9 input_height: 7"
    text = detection(f"num_classes: 3 {fields} keep_top_k: 20 nms_param {{ top_k: 25 }}")

    def given(count: int) -> Feeds:
        rng = np.random.default_rng(count)
        low, size = rng.uniform(0, 4, (count, 2)), rng.uniform(1, 4, (count, 2))
        regions = np.concatenate([np.zeros((count, 1)), low, low + size], axis=1).reshape(1, 1, -1)
        scores = rng.random((1, count * 3)).astype(np.float32)
        offsets = random(count, 1, count * 12) * np.float32(0.2)
        return {"offsets": offsets, "scores": scores, "priors": regions.astype(np.float32)}

    shapes = {"offsets": (1, "R*12"), "scores": (1, "R*3"), "priors": (1, 1, "R*5")}
    net = net_of(text, given(30))
    graph = prepare(net, None, Options(outputs=["out"], input_shapes=shapes)).graph
    model = emit_onnx(graph)
    for name, values in model.initializers:
        model.proto.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(values), name))
    session = onnxruntime.InferenceSession(model.proto.SerializeToString())
    for count in (2, 10, 30, 60):
        feeds = given(count)
        expected = run(net_of(text, feeds), None, feeds).blobs["out"]
        np.testing.assert_allclose(session.run(None, feeds)[0], expected, rtol=1e-6, atol=1e-6)


def test_an_image_without_detections_has_no_row_beside_one_that_has(tmp_path: Path) -> None:
    feeds = feeds_of(images=3)
    feeds["scores"][[0, 2]] = 0.1
    rows = assert_agrees(detection("num_classes: 4 confidence_threshold: 0.5 keep_top_k: 6"), feeds, tmp_path)
    assert rows[:, 0].tolist() == [1] * 6


def test_equal_scores_keep_the_order_of_the_boxes(tmp_path: Path) -> None:
    feeds = feeds_of()
    feeds["scores"] = np.round(feeds["scores"] * 3) / np.float32(3)
    for fields in ("", "nms_param { nms_threshold: 0.7 top_k: 25 } keep_top_k: 17"):
        rows = assert_agrees(detection(f"num_classes: 4 confidence_threshold: 0.2 {fields}"), feeds, tmp_path)
        assert len(np.unique(rows[:, 2])) <= 3


def test_a_score_at_the_threshold_is_not_above_it(tmp_path: Path) -> None:
    feeds = feeds_of(images=1, classes=2)
    feeds["scores"][:] = 0.1
    feeds["scores"][0, 9] = 0.6
    feeds["scores"][0, 5] = np.nextafter(np.float32(0.6), np.float32(1))
    rows = assert_agrees(detection("num_classes: 2 confidence_threshold: 0.6"), feeds, tmp_path)
    assert len(rows) == 1


def test_an_overlap_at_the_threshold_does_not_suppress(tmp_path: Path) -> None:
    """Two boxes that share one quarter of what they cover, exactly."""
    corners = [0, 0, 0.5, 1, 0.3125, 0, 0.8125, 1]
    shared = (0.5 - 0.3125) / (0.8125 - 0)
    feeds = {
        "offsets": np.zeros((1, 8), np.float32),
        "scores": np.array([[0.1, 0.9, 0.3, 0.7]], np.float32),
        "priors": np.array([[corners, [1] * 8]], np.float32),
    }
    at = float(np.float32(np.float32(0.1875) / np.float32(0.8125)))
    assert at == pytest.approx(shared)
    below = float(np.nextafter(np.float32(at), np.float32(0)))
    assert len(assert_agrees(detection(f"num_classes: 2 {NMS(at)}"), feeds, tmp_path)) == 2
    assert len(assert_agrees(detection(f"num_classes: 2 {NMS(below)}"), feeds, tmp_path)) == 1


def test_boxes_with_a_corner_on_the_wrong_side_overlap_nothing(tmp_path: Path) -> None:
    feeds = feeds_of()
    table = feeds["priors"][0, 0].reshape(BOXES, 4)
    table[::3] = table[::3][:, [2, 1, 0, 3]]
    table[1::3] = table[1::3][:, [0, 3, 2, 1]]
    table[2::6] = table[2::6][:, [2, 3, 0, 1]]
    feeds["offsets"] *= np.float32(0.01)
    rows = assert_agrees(detection(f"num_classes: 4 {NMS(0.1)}"), feeds, tmp_path)
    assert len(rows) >= 2 * 3 * 50


def test_images_may_be_left_free(tmp_path: Path) -> None:
    text = detection("num_classes: 4 keep_top_k: 20 confidence_threshold: 0.95", "out")
    net = net_of(text, feeds_of())
    shapes = {"offsets": ("N", BOXES * 4), "scores": ("N", BOXES * CLASSES)}
    graph = prepare(net, None, Options(outputs=["out"], input_shapes=shapes)).graph
    model = emit_onnx(graph)
    for name, values in model.initializers:
        model.proto.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(values), name))
    session = onnxruntime.InferenceSession(model.proto.SerializeToString())
    module = live_module(emit_torch(graph))
    for images in (1, 2, 5):
        feeds = feeds_of(images=images)
        for scale in (1, 0.5):
            feeds["scores"] *= np.float32(scale)
            expected = run(net_of(text, feeds), None, feeds).blobs["out"]
            np.testing.assert_allclose(session.run(None, feeds)[0], expected, rtol=1e-6, atol=1e-6)
            with torch.no_grad():
                got = module(*(torch.from_numpy(feeds[name]) for name in ("offsets", "scores", "priors")))
            np.testing.assert_allclose(got.numpy(), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("top", ["DetectionOutput", "from_centers", "box_overlaps", "detection_output"])
def test_a_top_may_have_the_name_of_what_the_source_calls(top: str, tmp_path: Path) -> None:
    text = detection("num_classes: 4 keep_top_k: 20 code_type: CENTER_SIZE", top)
    first, second = answers(text, feeds_of(), tmp_path)
    np.testing.assert_allclose(first[top], second[top], rtol=1e-6, atol=1e-6)


REFUSED = [
    ("num_classes: 4 no_permute: true", "5:1", "3 bottoms; expected 13 or 18 for 6 levels (nbottom)"),
    ("num_classes: 4 no_permute: true nbottom: 1", "5:41", "no_permute with prior boxes of each level"),
    (
        "num_classes: 4 use_polygon: true",
        "5:41",
        "a shape beside the box, which the fork decodes by CENTER_SIZE and with variances alone",
    ),
    (
        "num_classes: 4 use_polygon: true code_type: CENTER_SIZE normalized: false",
        "5:82",
        "use_polygon with normalized, of another fork",
    ),
    ("num_classes: 4 normalized: false", "5:41", "input_width 0, input_height 0; expected both above 0"),
    (
        "num_classes: 4 normalized: false input_width: 3 input_height: 4",
        "5:41",
        "normalized false without variance_encoded_in_target",
    ),
    (
        "num_classes: 4 use_polygon: true code_type: CENTER_SIZE",
        "4:1",
        "the first bottom is 2×240; expected N×720 for 60 prior boxes",
    ),
    ("", "5:1", "num_classes is 0; expected at least 1"),
    ("num_classes: 4 nms_param { nms_threshold: -1 }", "5:53", "nms_threshold is -1; expected at least 0"),
    ("num_classes: 4 nms_param { eta: 1.5 }", "5:53", "eta is 1.5; expected above 0, at most 1"),
    (
        "num_classes: 4 normalized_bbox: false",
        "5:41",
        "detection_output_param.normalized_bbox: of another fork than SSD's",
    ),
    ("num_classes: 4 clip: true", "5:41", "detection_output_param.clip: of another fork than SSD's"),
    (
        "num_classes: 4 nms_param { soft_nms: true }",
        "5:53",
        "detection_output_param.nms_param.soft_nms: of another fork than SSD's",
    ),
    ("num_classes: 5", "4:1", "the second bottom is 2×240; expected N×300 for 60 prior boxes"),
    (
        "num_classes: 4 share_location: false",
        "4:1",
        "the first bottom is 2×240; expected N×960 for 60 prior boxes",
    ),
]


@pytest.mark.parametrize(("fields", "place", "message"), REFUSED)
def test_what_can_not_be_is_refused(fields: str, place: str, message: str) -> None:
    text = detection(fields).replace(" detection_output_param", "\ndetection_output_param")
    assert refusal(text, feeds_of()) == f"net.prototxt:{place}: error: layer 'it' (DetectionOutput): {message}"


def test_bottoms_must_be_of_as_many_images_and_prior_boxes_of_two_rows() -> None:
    feeds = {**feeds_of(), "scores": feeds_of(images=3)["scores"]}
    message = "the second bottom is of 3 images, the first of 2"
    assert refusal(detection("num_classes: 4"), feeds).endswith(message)
    feeds = {**feeds_of(), "priors": priors(3).reshape(2, 1, -1)}
    message = "the third bottom is 2×1×240; expected 1×2×(4 · boxes)"
    assert refusal(detection("num_classes: 4"), feeds).endswith(message)


def test_bottoms_of_refinedet_and_of_levels_are_checked() -> None:
    feeds = feeds_of() | {"objects": random(1, 2, 119), "moves": random(2, 2, 240)}
    text = detection("num_classes: 4 objectness_score: 0.1").replace(
        "priors", 'priors" bottom: "objects" bottom: "moves'
    )
    assert refusal(text, feeds).endswith("the fourth bottom is 2×119; expected 2×120")
    unstated = refusal(text.replace("objectness_score: 0.1", ""), feeds)
    assert unstated.endswith("the fourth bottom is 2×119; expected 2×120")
    own = refusal(text.replace("num_classes: 4", "num_classes: 4 share_location: false"), feeds)
    assert own.endswith("share_location false; RefineDet moves the boxes of all classes alike")
    names = "scores0 scores1 offsets0 offsets1 priors"
    feeds = {"scores0": random(1, 1, 3, 2, 6), "scores1": random(2, 1, 3, 1, 5), "offsets0": random(3, 1, 8, 2, 3)}
    feeds |= {"offsets1": random(4, 1, 4, 5, 1), "priors": priors(5, 16)}
    text = layer("DetectionOutput", "detection_output_param { num_classes: 3 no_permute: true nbottom: 2 }", names)
    assert refusal(text, feeds).endswith("[16] prior boxes for [17] of the levels")
    feeds["offsets0"] = random(3, 1, 8, 2, 4)
    wrong = "level 0 has scores 1×3×2×6 and offsets 1×8×2×4; expected N×3×ratios×(H · W) and N×(4 · ratios)×H×W"
    assert refusal(text, feeds).endswith(wrong)
    feeds = {name: np.repeat(feed, 1 if name == "priors" else 2, axis=0) for name, feed in feeds.items()}
    feeds |= {"offsets0": random(3, 2, 8, 2, 3), "priors": priors(5, 17)}
    assert refusal(text, feeds).endswith("2 images; the fork reads the first alone, expected 1")


def extended(params: str) -> str:
    return layer("DetectionOutputExtended", f"detection_output_param {{ {params} }}", "offsets scores priors")


def feeds_of_places(images: int = 2) -> Feeds:
    """Of 2×5 places with two anchors each."""
    scores = np.random.default_rng(7).random((images, 2, 5, 4)).astype(np.float32)
    return {"offsets": random(5, images, 2, 5, 8), "scores": scores, "priors": priors(3, 20)}


def test_places_stand_behind_the_corners_of_what_detection_output_finds(tmp_path: Path) -> None:
    """Anchor, column and row tell which box it was; with the first class as SSD's background all else is the same."""
    params = "num_classes: 2 code_type: CENTER_SIZE confidence_threshold: 0.2 keep_top_k: 6 nms_param { top_k: 9 }"
    feeds = feeds_of_places()
    plain = run(net_of(detection(params), feeds), None, feeds).blobs["out"]
    for got in answers(extended(params + " background_label_id: -1"), feeds, tmp_path):
        rows = got["out"]
        assert rows.shape == (1, 1, 11, 10)
        np.testing.assert_allclose(rows[..., :7], plain, rtol=1e-6, atol=1e-6)
        for image, score, anchor, column, row in rows[0, 0][:, [0, 2, 7, 8, 9]]:
            assert feeds["scores"][int(image), int(row), int(column), 2 * int(anchor) + 1] == score


def test_places_of_as_many_images_as_there_are(tmp_path: Path) -> None:
    text = extended("num_classes: 2 confidence_threshold: 0.5")
    shapes = {"offsets": ("N", 2, 5, 8), "scores": ("N", 2, 5, 4)}
    graph = prepare(net_of(text, feeds_of_places()), None, Options(outputs=["out"], input_shapes=shapes)).graph
    for images in (1, 3):
        feeds = feeds_of_places(images)
        expected = run(net_of(text, feeds), None, feeds).blobs["out"]
        for got in (run_onnx(graph, feeds, tmp_path), run_torch(graph, feeds)):
            np.testing.assert_allclose(got["out"], expected, rtol=1e-6, atol=1e-6)


def test_what_places_can_not_be_of_is_refused() -> None:
    feeds = feeds_of_places()
    assert refusal(extended("num_classes: 3"), feeds).endswith("num_classes is 3; expected 2")
    own = refusal(extended("num_classes: 2 share_location: false"), feeds)
    assert own.endswith("share_location is false, for which the fork finds no scores")
    flat = {**feeds, "offsets": feeds["offsets"].reshape(2, -1)}
    seen = "the first bottom is 2×80; expected N×H×W×(4 · anchors)"
    assert refusal(extended("num_classes: 2"), flat).endswith(seen)
    free = refusal(extended("num_classes: 2"), feeds, input_shapes={"offsets": (2, "H", 5, 8)})
    assert free.endswith("the sizes of the features can't be left free: a row names places")
