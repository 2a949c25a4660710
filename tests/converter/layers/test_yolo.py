"""YOLO heads and reorg: what they refuse, batches left free, and boxes beyond the reach of drawn nets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from converter.api import prepare
from converter.layers.detection.boxes import above
from converter.options import Options
from converter.targets.onnx_model import emit_onnx
from prototxt import parse_net
from prototxt.errors import CaffeModelError
from tests.drawn.base import Array, Drawn, layer, net_text
from tests.golden import run_onnx, run_torch
from verify import run

V3 = "num_classes: 2 num_box: 1 mask_group_num: 1 mask: 0 anchors_scale: 32 biases: 30 biases: 40"
V2 = "num_classes: 2 num_box: 1 biases: 1.5 biases: 2.5"


def v3(params: str, bottoms: str = "x") -> str:
    return layer("Yolov3DetectionOutput", f"yolov3_detection_output_param {{ {params} }}", bottoms)


def v2(params: str, bottoms: str = "x") -> str:
    return layer("YoloDetectionOutput", f"yolo_detection_output_param {{ {params} }}", bottoms)


def reorg(params: str, top: str = "out") -> str:
    return layer("Reorg", f"reorg_param {{ {params} }}", "x", top)


def refusal(text: str, *shape: int, **sizes: list[int | str]) -> str:
    """The error of converting it with bottoms of this shape."""
    feeds = {"x": np.zeros(shape, np.float32), "y": np.zeros((2, 7, 6, 6), np.float32)}
    used = {name: feed for name, feed in feeds.items() if f'bottom: "{name}"' in text}
    net = parse_net(net_text(Drawn(text, used)), "net.prototxt")
    with pytest.raises(CaffeModelError) as caught:
        prepare(net, None, Options(random_weights=0, outputs=["out"], input_shapes=sizes))
    return str(caught.value)


REFUSED = {
    "no num_classes": (v3("mask_group_num: 1 mask: 0"), "no num_classes, which the fork insists on"),
    "no classes": (v3(V3.replace("num_classes: 2", "num_classes: 0")), "num_classes is 0; expected at least 1"),
    "no boxes": (v2(V2.replace("num_box: 1", "num_box: 0")), "num_box is 0; expected at least 1"),
    "a height without": (v3(f"{V3} biases: 9"), "3 biases; expected a width and a height for each anchor"),
    "too few biases": (v2(V2.replace("num_box: 1", "num_box: 2")), "2 biases; expected 4, a width and a height"),
    "other groups": (v3(V3.replace("num: 1", "num: 3")), "mask_group_num is 3; expected 1, the number of bottoms"),
    "no mask": (v3(V3.replace("mask: 0", "")), "0 mask; expected 1 for each of 1 bottoms"),
    "too few masks": (v3(V3.replace("num_box: 1", "num_box: 2")), "1 mask; expected 2 for each of 1 bottoms"),
    "a mask of no anchor": (v3(V3.replace("mask: 0", "mask: 4")), "mask 4 is none of 1 anchors"),
    "no scale": (v3(V3.replace("anchors_scale: 32", "")), "anchors_scale is []; expected a size above 0 for each of 1"),
    "a limit of 0": (v3(f"{V3} nms_threshold: 0"), "nms_threshold is 0; expected above 0, below 1"),
    "a limit of 1": (v2(f"{V2} nms_threshold: 1"), "nms_threshold is 1; expected above 0, below 1"),
    "channels": (v3(V3.replace("num_classes: 2", "num_classes: 3")), "bottom 1 has 7 channels; expected 8 for 1 boxes"),
    "a stride of 0": (reorg("stride: 0"), "stride is 0; expected at least 1"),
    "in place": (reorg("stride: 2", "x"), "Reorg can't work in place"),
    "channels of a reorg": (reorg("stride: 2"), "7 channels are no multiple of stride 2 squared"),
}


@pytest.mark.parametrize(("text", "says"), REFUSED.values(), ids=REFUSED)
def test_a_refusal_names_the_layer_and_what_was_expected(text: str, says: str) -> None:
    message = refusal(text, 2, 7, 6, 6)
    assert says in message
    assert "net.prototxt:" in message
    assert "'it'" in message


def test_shapes_that_the_forks_misread_are_refused() -> None:
    assert "the fork reads squares only" in refusal(v3(V3), 2, 7, 6, 5)
    assert "expected 4 axes (N×C×S×S)" in refusal(v2(V2), 2, 7, 6)
    assert "only the batch can be left free" in refusal(v3(V3), 2, 7, 6, 6, x=[2, 7, "S", "S"])
    assert "bottom 2 is of 2 images, the first of 3" in refusal(v2(V2, "x y"), 3, 7, 6, 6)
    assert "5 isn't divided by 2" in refusal(reorg("stride: 2"), 2, 8, 6, 5)
    assert "channels can't be left free" in refusal(reorg("stride: 2"), 2, 8, 6, 6, x=[2, "C", 6, 6])


@pytest.mark.parametrize("text", [v3(V3), v2(V2)], ids=["v3", "v2"])
@pytest.mark.parametrize("opset", [13, 18])
def test_a_batch_left_free_takes_any(text: str, opset: int, tmp_path: Path) -> None:
    net = parse_net(net_text(Drawn(text, {"x": np.zeros((2, 7, 3, 3), np.float32)})), "net.prototxt")
    graph = prepare(net, None, Options(random_weights=0, input_shapes={"x": ["N", 7, 3, 3]})).graph
    for images in (1, 4):
        feeds = {"x": np.random.default_rng(images).standard_normal((images, 7, 3, 3)).astype(np.float32)}
        assert_rows(text, feeds, {"onnx": run_onnx(graph, feeds, tmp_path, opset), "torch": run_torch(graph, feeds)})


def assert_rows(text: str, feeds: dict[str, Array], results: dict[str, dict[str, Array]]) -> None:
    """The interpreter's rows, and more than one."""
    expected = run(parse_net(net_text(Drawn(text, feeds)), "net.prototxt"), None, feeds).blobs["out"]
    assert expected.shape[2] > 1
    for name, got in results.items():
        np.testing.assert_allclose(got["out"], expected, rtol=1e-5, atol=1e-6, err_msg=name)


def test_all_classes_of_a_box_stay_that_is_too_small_to_overlap_itself(tmp_path: Path) -> None:
    """As in the fork, which has the classes of one box suppress each other by its overlap with itself."""
    x = np.random.default_rng(3).standard_normal((1, 7, 3, 3)).astype(np.float32)
    x[0, 2:4, 0] = -40
    x[0, 4:] += 3
    net = parse_net(net_text(Drawn(v3(V3), {"x": x})), "net.prototxt")
    graph = prepare(net, None, Options(random_weights=0)).graph
    results = {"onnx": run_onnx(graph, {"x": x}, tmp_path), "torch": run_torch(graph, {"x": x})}
    assert_rows(v3(V3), {"x": x}, results)
    rows = results["onnx"]["out"][0, 0]
    assert sorted(rows[rows[:, 4] == rows[:, 6], 1]) == [1, 1, 1, 2, 2, 2]  # three such boxes, two classes


@pytest.mark.parametrize("text", [v3(V3), v2(V2)], ids=["v3", "v2"])
def test_a_head_holds_only_what_opencv_5_has(text: str) -> None:
    net = parse_net(net_text(Drawn(text, {"x": np.zeros((1, 7, 6, 6), np.float32)})), "net.prototxt")
    nodes = emit_onnx(prepare(net, None, Options(outputs=["out"])).graph).proto.graph.node
    assert {node.op_type for node in nodes}.isdisjoint({"Compress", "Loop", "Softmax"})  # of doubles it has no Softmax


def test_from_a_threshold_on_is_above_the_number_before_it() -> None:
    assert np.float32(above(0.45)) < np.float32(0.45)
    assert np.nextafter(np.float32(above(0.45)), np.float32(1)) == np.float32(0.45)


TRAINED = """
layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 dim: 5 dim: 5 } } }
layer { name: "act" type: "ReLU" bottom: "x" top: "y" }
layer { name: "measure" type: "%s" bottom: "y" bottom: "x" top: "measured" }
"""


@pytest.mark.parametrize("kind", ["EvalDetection", "RegionLoss", "YoloSeg", "YoloV2Loss", "YoloV3Loss", "Yolov3"])
def test_what_only_training_computes_is_left_out_unless_asked_for(kind: str) -> None:
    net = parse_net(TRAINED % kind, "net.prototxt")
    assert prepare(net, None, Options(random_weights=0)).graph.output_names == ["y"]
    with pytest.raises(CaffeModelError, match=r"'measure'.*a loss or measure that only training computes"):
        prepare(net, None, Options(random_weights=0, outputs=["measured"]))
