"""YOLO heads whose choice rounding may turn: there nothing is asked of a conversion, and elsewhere everything is."""

from __future__ import annotations

import math

import numpy as np
import pytest

from prototxt import parse_net
from tests.drawn.base import Drawn, layer, net_text
from verify import run

V3 = (
    "num_classes: 1 num_box: 1 mask_group_num: 1 mask: 0 anchors_scale: 100 biases: 100 biases: 100 "
    "confidence_threshold: 0.1"
)
V2 = "num_classes: 1 num_box: 1 biases: 1 biases: 1 confidence_threshold: 0.1"
SOPHGO = "net_input_w: 200 net_input_h: 200 obj_threshold: 0.1 keep_topk: 4 class_num: 1 anchors: '100,100,1,1,1,1'"


def own_error(kind: str, section: str, params: str, boxes: int) -> float:
    """The layer's own error for two squares of 0.75, half an image apart: they share 0.25 of 1.25, a fifth."""
    x = np.full((1, boxes, 6, 2, 2), -20, np.float32)
    x[0, 0, :2], x[0, 0, 2:4] = 0, math.log(1.5)
    x[0, 0, 4, 0], x[0, 0, 5] = [2, 1], 20
    feeds = {"x": x.reshape(1, -1, 2, 2)}
    net = parse_net(net_text(Drawn(layer(kind, f"{section} {{ {params} }}"), feeds)))
    (step,) = (step for step in run(net, None, feeds).steps if step.top == "out")
    return step.own


@pytest.mark.parametrize(
    ("kind", "section", "params", "boxes"),
    [
        ("Yolov3DetectionOutput", "yolov3_detection_output_param", V3, 1),
        ("YoloDetectionOutput", "yolo_detection_output_param", V2, 1),
        ("YoloDetection", "yolo_detection_param", SOPHGO, 3),
    ],
)
def test_an_overlap_at_the_limit_is_an_open_choice(kind: str, section: str, params: str, boxes: int) -> None:
    assert math.isinf(own_error(kind, section, f"{params} nms_threshold: 0.2", boxes))
    for limit in (0.1999, 0.2001):
        assert own_error(kind, section, f"{params} nms_threshold: {limit}", boxes) == 0
