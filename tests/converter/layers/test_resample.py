"""FlowNet's resizing by hand on both sides, memory that is shared, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from converter.api import prepare
from converter.options import Options
from converter.targets.onnx_model import emit_onnx
from tests.converter.layers.test_rarer_agreement import (
    Feeds,
    answers,
    assert_both_refuse,
    layer,
    net_of,
    random,
)
from tests.golden import GoldenCase, assert_parity, golden_cases
from verify import run

ROW = np.float32([[0, 4, 8, 20]]).reshape(1, 1, 1, 4)
SQUARE = np.float32([[0, 8], [16, 24]]).reshape(1, 1, 2, 2)


def resampled(params: str, bottoms: str = "x") -> str:
    return layer("Resample", f"resample_param {{ {params} }}", bottoms)


def downsampled(params: str, bottoms: str = "x") -> str:
    return layer("Downsample", f"downsample_param {{ {params} }}", bottoms)


MADE = {
    # places -0.25, 0.25, 0.75 and 1.25: beyond the first pixel there is that alone
    resampled("height: 4 width: 4"): (SQUARE, [[0, 2, 6, 8], [4, 6, 10, 12], [12, 14, 18, 20], [16, 18, 22, 24]]),
    resampled("height: 1 width: 4"): (ROW, [[0, 4, 8, 20]]),
    # the means of two
    resampled("height: 2 width: 2 antialias: false"): (np.tile(ROW, (1, 1, 4, 1)), [[2, 14], [2, 14]]),
    # corners on corners, and half of the pixel between
    downsampled("top_height: 2 top_width: 2"): (np.tile(ROW[..., :3], (1, 1, 3, 1)), [[4 / 3, 20 / 3]] * 2),
    downsampled("top_height: 1 top_width: 4"): (ROW, [[0, 4, 8, 20]]),
}


@pytest.mark.parametrize("text", MADE)
def test_what_is_mixed(text: str, tmp_path: Path) -> None:
    x, expected = MADE[text]
    by_onnx, by_torch = answers(text, {"x": x}, tmp_path)
    for got in (by_onnx, by_torch, run(net_of(text, {"x": x}), None, {"x": x}).blobs):
        np.testing.assert_allclose(got["out"][0, 0], np.float32(expected), rtol=1e-6)


def test_the_offset_of_an_axis_is_that_of_the_other(tmp_path: Path) -> None:
    """Of 1×4 made 1×2, columns lie at 2 j + 1 / 2 - 0.5: on pixels 0 and 2; rows at 0.5, which 1 row alone is near."""
    text, feeds = resampled("height: 1 width: 2 antialias: false"), {"x": ROW}
    by_onnx, by_torch = answers(text, feeds, tmp_path)
    for got in (by_onnx, by_torch, run(net_of(text, feeds), None, feeds).blobs):
        assert got["out"].ravel().tolist() == [0, 8]


def test_where_nothing_is_near_there_is_0(tmp_path: Path) -> None:
    """Of 1×8 made 1×1 the row lies at 8 / 2 - 0.5, further than a triangle reaches."""
    text, feeds = resampled("height: 1 width: 1 antialias: false"), {"x": random(1, 1, 1, 1, 8)}
    by_onnx, by_torch = answers(text, feeds, tmp_path)
    for got in (by_onnx, by_torch, run(net_of(text, feeds), None, feeds).blobs):
        assert got["out"].ravel().tolist() == [0]


def test_an_enlarged_flow_is_picked_not_multiplied() -> None:
    feeds = {"x": random(1, 1, 2, 3, 5)}
    graph = prepare(net_of(resampled("height: 12 width: 20 type: NEAREST"), feeds), None, Options()).graph
    assert [node.op_type for node in emit_onnx(graph).proto.graph.node] == ["Gather", "Gather"]


def test_a_copy_of_its_bottom_is_its_bottom(tmp_path: Path) -> None:
    """Caffe shares the memory, so that a layer in place on the top changes the bottom."""
    text = downsampled("top_height: 2 top_width: 2")
    text += 'layer { name: "r" type: "ReLU" bottom: "out" top: "out" }'
    text += 'layer { name: "p" type: "Power" bottom: "x" top: "end" }'
    feeds: Feeds = {"x": SQUARE - 10}
    by_onnx, by_torch = answers(text, feeds, tmp_path)
    for got in (by_onnx, by_torch, run(net_of(text, feeds), None, feeds).blobs):
        assert got["end"].ravel().tolist() == [0, 0, 6, 14]


@pytest.mark.parametrize("case", golden_cases("resample", "downsample", "accum"), ids=str)
def test_every_opset_gives_the_same(case: GoldenCase, tmp_path: Path) -> None:
    assert_parity(case, tmp_path, 13, 18, 22)


def accumulated(params: str, bottoms: str) -> str:
    return layer("Accum", f"accum_param {{ {params} }}", bottoms)


SIZES = {
    accumulated("have_reference: true", "x y"): (1, 4, 3, 7),
    accumulated("", "x y"): (1, 6, 4, 9),
    accumulated("top_height: 5 top_width: 10", "x y"): (1, 6, 5, 10),
    # both sides must be larger
    accumulated("top_height: 4 top_width: 10", "x y"): (1, 6, 4, 9),
    accumulated("size_divisible_by: 5", "x y"): (1, 6, 5, 10),
    accumulated("size_divisible_by: 4", "x y"): (1, 6, 4, 9),
}


@pytest.mark.parametrize("text", SIZES)
def test_the_size_of_what_is_put_together(text: str) -> None:
    feeds = {"x": random(1, 1, 4, 4, 9), "y": random(2, 1, 2, 3, 7)}
    net = net_of(text, feeds)
    assert prepare(net, None, Options()).graph.outputs[0].shape == SIZES[text]
    assert run(net, None, feeds).blobs["out"].shape == SIZES[text]


def test_corners_fall_on_corners(tmp_path: Path) -> None:
    feeds = {"x": SQUARE, "y": np.zeros((1, 1, 3, 5), np.float32)}
    text = accumulated("have_reference: true", "x y")
    by_onnx, by_torch = answers(text, feeds, tmp_path)
    for got in (by_onnx, by_torch, run(net_of(text, feeds), None, feeds).blobs):
        assert got["out"][0, 0].tolist() == [[0, 2, 4, 6, 8], [8, 10, 12, 14, 16], [16, 18, 20, 22, 24]]


REFUSED = {
    accumulated("have_reference: true", "x"): ("have_reference with one bottom", "a reference and no other"),
    accumulated("size_divisible_by: 0", "x"): ("size_divisible_by is 0", "size_divisible_by of 0"),
    accumulated("", "x flat"): ("a bottom is 4×4; expected 4 axes", "bottoms of 4 axes"),
    resampled("height: 2"): ("width is 0; expected at least 1", "makes 2×0"),
    resampled("height: 2 width: 2 type: AREA"): ("type AREA, which the fork lacks", "type AREA"),
    resampled("height: 1 width: 9 type: NEAREST"): ("the nearest pixels lie outside", "nearest pixels outside"),
    resampled("", "x flat"): ("a bottom is 4×4; expected 4 axes", "bottoms of 4 axes"),
    downsampled("top_width: 2"): ("top_height is 0; expected at least 1", "makes 0×2"),
    downsampled("top_height: 1 top_width: 3"): ("of one row or column can't be resized, 4×9 to 1×3", "one row"),
    downsampled("top_height: 6 top_width: 6"): ("as many pixels in another shape, 4×9 to 6×6", "as many pixels"),
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_refused(text: str) -> None:
    feeds = {"x": random(1, 1, 1, 4, 9)} | ({"flat": random(2, 4, 4)} if "flat" in text else {})
    assert_both_refuse(text, feeds, REFUSED[text])
