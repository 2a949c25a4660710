"""Regions proposed and pooled at once (TensorRT's RPROI): what is refused, and the regions that fill up the rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from converter.api import prepare
from converter.options import Options
from prototxt import parse_net
from prototxt.errors import CaffeModelError
from tests.drawn.base import Drawn, fields, layer, net_text
from tests.golden import run_onnx, run_torch
from verify import run

FUSED = {
    "feature_stride": 16,
    "prenms_top": 20,
    "nms_max_out": 5,
    "anchor_ratio_count": 1,
    "anchor_scale_count": 2,
    "iou_threshold": 0.5,
    "min_box_size": 16,
    "anchor_ratio": [1],
    "anchor_scale": [1, 2],
}


def fused_refusal(shapes: list[tuple[int, ...]], **changed: object) -> str:
    """The error of converting RPROI with such bottoms and fields."""
    feeds = {f"x{i}": np.zeros(shape, np.float32) for i, shape in enumerate(shapes)}
    pool = "roi_pooling_param { pooled_h: 2 pooled_w: 3 spatial_scale: 0.0625 }"
    params = f"region_proposal_param {{ {fields(**{**FUSED, **changed})} }} {pool}"
    net = parse_net(net_text(Drawn(layer("RPROI", params, " ".join(feeds), "rois pooled"), feeds)), "net.prototxt")
    with pytest.raises(CaffeModelError) as caught:
        prepare(net, None, Options(outputs=["rois"]))
    return str(caught.value)


FITTING = [(2, 4, 3, 5), (2, 8, 3, 5), (2, 6, 3, 5), (2, 1, 1, 3)]


@pytest.mark.parametrize(
    ("place", "shape", "message"),
    [
        (0, (2, 6, 3, 5), "bottom 1 is 2×6×3×5; expected N×4×H×W for 2 anchors, all of them fixed"),
        (1, (2, 8, 3, 6), "bottom 2 is 2×8×3×6, the first 2×4×3×5; expected as many images, rows and columns"),
        (2, (1, 6, 3, 5), "bottom 3 is 1×6×3×5, the first 2×4×3×5; expected as many images, rows and columns"),
        (3, (1, 3), "the fourth bottom is 1×3; expected height, width and scale of 2 images"),
    ],
)
def test_bottoms_of_fused_regions_that_do_not_go_together(place: int, shape: tuple[int, ...], message: str) -> None:
    assert message in fused_refusal([shape if i == place else other for i, other in enumerate(FITTING)])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"nms_max_out": None}, "nms_max_out is 0; expected at least 1"),
        ({"anchor_scale": [4]}, "anchor_scale is 4; expected 2 numbers above 0"),
        ({"anchor_ratio": [-1]}, "anchor_ratio is -1; expected 1 numbers above 0"),
        ({"iou_threshold": 1.5}, "iou_threshold is 1.5; expected a share from 0 to 1"),
    ],
)
def test_fields_of_fused_regions_that_tensorrt_cannot_run(changed: dict[str, object], message: str) -> None:
    assert message in fused_refusal(FITTING, **changed)


def test_without_a_box_large_enough_the_small_ones_are_given(tmp_path: Path) -> None:
    """One place and two anchors of 16 and 32 pixels, in an image of 20; a scale of 9 makes both too small."""
    feeds = {name: np.zeros(shape, np.float32) for name, shape in zip("abcd", FITTING, strict=True)}
    feeds = {name: np.ascontiguousarray(x[:1, :, :1, :1]) for name, x in feeds.items()}
    feeds["c"][:] = 7
    feeds["d"] = np.asarray([[20, 20, 9]], np.float32)
    pool = "roi_pooling_param { pooled_h: 2 pooled_w: 3 spatial_scale: 0.0625 }"
    params = f"region_proposal_param {{ {fields(**{**FUSED, 'iou_threshold': 0.9})} }} {pool}"
    net = parse_net(net_text(Drawn(layer("RPROI", params, "a b c d", "rois pooled"), feeds)), "net.prototxt")
    ready = prepare(net, None, Options(outputs=["rois", "pooled"]))
    for blobs in (run(net, None, feeds).blobs, run_onnx(ready.graph, feeds, tmp_path), run_torch(ready.graph, feeds)):
        rows = blobs["rois"][0, 0]
        np.testing.assert_array_equal(rows[:2], [[0, 0, 15.5, 15.5], [0, 0, 19, 19]])
        assert not rows[2:].any()
        assert blobs["pooled"].shape == (5, 6, 2, 3)
        assert (blobs["pooled"][2:] == 7).all()  # rows of 0 are pooled, too: the feature at the corner
