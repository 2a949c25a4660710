"""What a net is fed when nobody says: numbers of the sort that the reading layer takes."""

from __future__ import annotations

import numpy as np
import pytest

from prototxt import parse_net
from verify.inputs import exact_inputs, seeded

NET = """\
layer { name: "in" type: "Input" top: "x" top: "marks"
  input_param { shape { dim: 6 dim: 5 } shape { dim: 6 dim: 1 dim: 1 dim: 1 } } }
layer { name: "a" type: "Reshape" bottom: "x" top: "steps" reshape_param { shape { dim: 3 dim: 2 dim: 5 } } }
layer { name: "b" type: "Reshape" bottom: "marks" top: "cont" reshape_param { shape { dim: 3 dim: 2 } } }
layer { name: "c" type: "LSTM" bottom: "steps" bottom: "cont" top: "h" recurrent_param { num_output: 4 } }
"""


def test_a_reshape_before_the_reader_is_looked_through() -> None:
    net = parse_net(NET)
    fed = seeded(net, {"x": (6, 5), "marks": (6, 1, 1, 1)})
    assert exact_inputs(net) == {"marks"}
    assert set(np.unique(fed["marks"])) == {0.0, 1.0}
    assert len(np.unique(fed["x"])) == 30


def test_boxes_that_come_reshaped_are_ordinary_numbers() -> None:
    net = parse_net(
        'layer { name: "in" type: "Input" top: "x" top: "boxes"\n'
        "  input_param { shape { dim: 1 dim: 3 dim: 8 dim: 9 } shape { dim: 20 } } }\n"
        'layer { name: "a" type: "Reshape" bottom: "boxes" top: "rows" reshape_param { shape { dim: 4 dim: 5 } } }\n'
        'layer { name: "b" type: "ROIPooling" bottom: "x" bottom: "rows" top: "y" '
        "roi_pooling_param { pooled_h: 2 pooled_w: 3 } }"
    )
    assert seeded(net, {"x": (1, 3, 8, 9), "boxes": (20,)})["boxes"].shape == (20,)


KEEP_SHAPES = ["ReLU", "ReLU6", "Swish", "HardSigmoid", "HardSwish", "SeLu", "SeLuDropout", "Mish"]


@pytest.mark.parametrize("between", KEEP_SHAPES)
def test_labels_of_one_class_are_0_behind_a_layer_that_keeps_the_shape(between: str) -> None:
    net = parse_net(
        'layer { name: "in" type: "Input" top: "x" top: "label"\n'
        "  input_param { shape { dim: 9 dim: 1 } shape { dim: 9 } } }\n"
        f'layer {{ name: "a" type: "{between}" bottom: "x" top: "s" }}\n'
        'layer { name: "b" type: "SoftmaxWithLoss" bottom: "s" bottom: "label" top: "loss" }\n'
    )
    assert set(seeded(net, {"x": (9, 1), "label": (9,)})["label"]) == {0.0}


def test_marks_behind_a_reshape_that_shuffles_pixels_are_ordinary_numbers() -> None:
    net = parse_net(
        'layer { name: "in" type: "Input" top: "x" top: "marks"\n'
        "  input_param { shape { dim: 3 dim: 2 dim: 5 } shape { dim: 1 dim: 4 dim: 3 dim: 2 } } }\n"
        'layer { name: "a" type: "Reshape" bottom: "marks" top: "m" reshape_param { pixelshuffler: 2 } }\n'
        'layer { name: "b" type: "Reshape" bottom: "m" top: "cont" reshape_param { shape { dim: 3 dim: 8 } } }\n'
        'layer { name: "c" type: "LSTM" bottom: "x" bottom: "cont" top: "h" recurrent_param { num_output: 4 } }\n'
    )
    assert exact_inputs(net) == set()
