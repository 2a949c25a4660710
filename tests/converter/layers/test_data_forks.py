"""What forks' data layers state of the shapes that they bring in."""

from __future__ import annotations

import pytest

from converter.layers.base import registry
from converter.layers.data import DataLayer
from prototxt import parse_net
from verify.layers import find

CASES = {
    "DenseImageData": {
        "dense_image_data_param { batch_size: 4 }": [None, None],
        "dense_image_data_param { batch_size: 4 new_height: 60 new_width: 80 }": [(4, 3, 60, 80), (4, 1, 60, 80)],
        "dense_image_data_param { batch_size: 4 new_height: 60 new_width: 80 crop_height: 48 crop_width: 64 "
        "is_color: false label_divide_factor: 8 }": [(4, 1, 48, 64), (4, 1, 6, 8)],
    },
    "ImageSegData": {
        "image_data_param { batch_size: 2 }": [None, None, (2, 1, 1, 2)],
        "image_data_param { batch_size: 2 } transform_param { crop_width: 480 crop_height: 360 }": [
            (2, 3, 360, 480),
            (2, 1, 360, 480),
            (2, 1, 1, 2),
        ],
        "image_data_param { batch_size: 2 } transform_param { crop_size: 513 }": [
            (2, 3, 513, 513),
            (2, 1, 513, 513),
            (2, 1, 1, 2),
        ],
    },
    "WindowSegData": {
        "image_data_param { batch_size: 2 new_height: 250 new_width: 240 }": [
            (2, 3, 250, 240),
            (2, 1, 250, 240),
            (2, 1, 1, 2),
        ],
    },
    "SelectSegBinary": {
        "image_data_param { batch_size: 2 } window_cls_data_param { label_dim: 20 }": [None, None, (2, 20, 1, 1)],
        "image_data_param { batch_size: 2 is_color: false } transform_param { crop_size: 320 }": [
            (2, 1, 320, 320),
            (2, 1, 320, 320),
            (2, 1, 1, 1),
        ],
    },
    "VideoData": {
        "data_param { batch_size: 2 } transform_param { resize_param { height: 30 width: 40 } }": [(2, 3, 30, 40)],
        "data_param { batch_size: 2 } transform_param { resize_param { prob: 0.5 height: 30 width: 40 } }": [None],
        "video_data_param { source: 'a' batch_size: 2 new_length: 5 num_segments: 3 modality: FLOW } "
        "transform_param { crop_size: 224 }": [(2, 30, 224, 224), (2,)],
        "video_data_param { source: 'a' batch_size: 2 new_length: 1 num_segments: 3 } "
        "transform_param { crop_size: 224 }": [(2, 9, 224, 224), (2,)],
        "image_data_param { source: 'a' batch_size: 2 new_length: 16 new_height: 128 new_width: 171 crop_size: 112 }": [
            (2, 3, 16, 112, 112),
            (2, 1, 1, 1, 1),
        ],
        "video_data_param { source: 'a' batch_size: 2 new_length: 8 new_height: 128 new_width: 171 show_data: true }": [
            (2, 3, 8, 128, 171),
            None,
        ],
        "video_data_param { source: 'a' batch_size: 2 new_length: 8 is_color: false } "
        "transform_param { crop_size: 112 }": [(2, 1, 8, 112, 112), None],
    },
    "LaneData": {
        "data_param { batch_size: 2 } transform_param { mean_value: 1 mean_value: 2 mean_value: 3 "
        "resize_param { height: 30 width: 40 } }": [(2, 3, 30, 40), None, None],
    },
    "AnnotatedData": {
        "data_param { batch_size: 2 } transform_param { force_color: true resize_param { height: 30 width: 40 } }": [
            (2, 3, 30, 40),
            None,
        ],
        "data_param { batch_size: 2 } transform_param { force_color: true "
        "resize_param { height: 30 width: 40 resize_mode: FIT_SMALL_SIZE } }": [None, None],
    },
    "EvalData": {
        "eval_data_param { batch_size: 1 short_size: 600 long_size: 1000 }": [None, None, (1, 2, 1, 1)],
        "eval_data_param { batch_size: 2 resize_height: 48 resize_width: 79 }": [(2, 3, 64, 64), None, (2, 2, 1, 1)],
    },
    "BboxData": {"bbox_data_param { batch_size: 2 }": [None, None]},
}


@pytest.mark.parametrize(("kind", "params"), [(kind, params) for kind, cases in CASES.items() for params in cases])
def test_shapes_of_the_tops(kind: str, params: str) -> None:
    expected = CASES[kind][params]
    tops = " ".join(f'top: "t{i}"' for i in range(len(expected)))
    (source,) = parse_net(f'layer {{ name: "it" type: "{kind}" {tops} {params} }}').layers
    layer = registry()[kind].read(source)
    assert isinstance(layer, DataLayer)
    assert list(layer.shapes) == expected


CROPS = {
    "crop_size: 24": (24, 24),
    "crop_h: 24 crop_w: 36": (24, 36),
    "crop_size: 24 crop_w: 36": (24, 36),
    "crop_height: 24 crop_width: 36": (24, 36),
    "crop_size: 36 crop_height: 24": (24, 36),
    "crop_size: 36 crop_height: 0": (36, 36),
}
"""Those of BVLC's Caffe, of SSD's and happynear's forks, and of Cysu's and DeepLab's, in which 0 is no crop."""


@pytest.mark.parametrize("kind", ["Data", "AnnotatedData", "ImageData"])
@pytest.mark.parametrize("crop", CROPS)
def test_both_sides_crop_by_whichever_names_the_crop_has(kind: str, crop: str) -> None:
    transform = f"transform_param {{ {crop} mean_value: 1 mean_value: 2 mean_value: 3 }}"
    text = f"data_param {{ batch_size: 4 }} image_data_param {{ batch_size: 4 }} {transform}"
    (source,) = parse_net(f'layer {{ name: "it" type: "{kind}" top: "x" {text} }}').layers
    layer, rule = registry()[kind].read(source), find(kind)
    assert isinstance(layer, DataLayer)
    assert rule is not None
    assert rule.shape is not None
    assert layer.shapes[0] == rule.shape(source, 0) == (4, 3, *CROPS[crop])


def test_a_crop_of_0_by_the_name_that_outweighs_the_square_is_none() -> None:
    text = "image_data_param { batch_size: 4 new_height: 30 new_width: 40 } transform_param { crop_size: 24 crop_h: 0 }"
    (source,) = parse_net(f'layer {{ name: "it" type: "ImageData" top: "x" {text} }}').layers
    layer = registry()["ImageData"].read(source)
    assert isinstance(layer, DataLayer)
    assert layer.shapes[0] == (4, 3, 30, 24)
