"""Forks' layers that bring data in, beside one that reads the same blob."""

from __future__ import annotations

from tests.naive.base import Naive, case, random
from tests.naive.data import brought_in


@case("dense_image_data")
def dense_image_data() -> Naive:
    params = "dense_image_data_param { source: 'list' batch_size: 2 new_height: 4 new_width: 5 }"
    return brought_in("DenseImageData", params, 2, 3, 4, 5)


@case("image_seg_data")
def image_seg_data() -> Naive:
    params = "image_data_param { source: 'list' batch_size: 2 new_height: 4 new_width: 5 }"
    return brought_in("ImageSegData", params, 2, 3, 4, 5)


@case("window_seg_data")
def window_seg_data() -> Naive:
    params = "image_data_param { source: 'list' batch_size: 2 label_type: PIXEL new_height: 4 new_width: 5 }"
    return brought_in("WindowSegData", params, 2, 3, 4, 5)


@case("select_seg_binary")
def select_seg_binary() -> Naive:
    params = "image_data_param { source: 'list' batch_size: 2 label_type: PIXEL new_height: 4 new_width: 5 } "
    return brought_in("SelectSegBinary", params + "window_cls_data_param { label_dim: 20 }", 2, 3, 4, 5)


@case("video_data")
def video_data() -> Naive:
    return brought_in("VideoData", "data_param { batch_size: 2 } video_data_param { video_file: 'film' }", 2, 3, 4, 5)


@case("lane_data")
def lane_data() -> Naive:
    return brought_in("LaneData", "data_param { source: 'images' batch_size: 2 }", 2, 3, 4, 5)


@case("bbox_data")
def bbox_data() -> Naive:
    return brought_in("BboxData", "", 2, 3, 4, 5)


@case("writers")
def writers() -> Naive:
    """FlowNet2's four writers make no top; what they write another layer reads as it was."""
    data = random(9, 1, 2, 3, 4)
    text = 'layer { name: "reader" type: "Power" bottom: "data" top: "out" power_param { scale: 2 shift: 1 } }'
    for kind in ("FLOWriter", "FloatWriter", "ImgWriter", "PFMWriter"):
        text += f'\nlayer {{ name: "{kind}" type: "{kind}" bottom: "data" writer_param {{ folder: "out" }} }}'
    return Naive(text, {"data": data}, {("reader", "out"): 2 * data + 1})


@case("eval_data")
def eval_data() -> Naive:
    params = "eval_data_param { source: 'list' batch_size: 2 resize_height: 33 resize_width: 50 }"
    return brought_in("EvalData", params, 2, 3, 32, 64)
