"""What CropCenter, Division and Combination refuse, and sizes that are left free."""

from __future__ import annotations

from pathlib import Path

import pytest

from converter.api import prepare
from converter.options import Options
from tests.converter.layers.test_rarer_agreement import layer, net_of, random, refusal
from tests.golden import assert_close, run_onnx, run_torch

X = random(11, 2, 6, 5, 7)

REFUSED = {
    layer("CropCenter", "\ncrop_center_param { crop_size: 0 crop_size: -1 }"): (
        "2:21: error: layer 'it' (CropCenter): crop_size is -1; expected 0 or more"
    ),
    layer("CropCenter", "crop_center_param { crop_size: 0 crop_size: 1 }"): (
        "1:1: error: layer 'it' (CropCenter): 2 crop_size for 4 axes; expected one for each"
    ),
    layer("CropCenter", "crop_center_param { crop_size: 1 crop_size: 0 crop_size: 0 crop_size: 0 }"): (
        "1:1: error: layer 'it' (CropCenter): crop_size 1 leaves nothing of axis 0, which holds 2"
    ),
    layer("Division", "\ndivision_param { width: 2 xcoord: 0 ycoord: 0 }"): (
        "2:1: error: layer 'it' (Division): a piece is 0×2; expected at least 1×1"
    ),
    layer("Division", "\ndivision_param { height: 1 width: 2 xcoord: 0 ycoord: 0 }", tops="a b"): (
        "2:37: error: layer 'it' (Division): 1 xcoord for 2 pieces; expected one for each"
    ),
    layer("Division", "\ndivision_param { height: 1 width: 2 xcoord: 0 ycoord: -1 }"): (
        "2:47: error: layer 'it' (Division): ycoord is -1; expected 0 or more"
    ),
    layer("Division", "division_param { height: 1 width: 2 xcoord: 6 ycoord: 0 }"): (
        "1:1: error: layer 'it' (Division): a piece ends at 8, outside axis 3, which holds 7"
    ),
    layer("Combination", "\ncombination_param { xcoord: 7 xcoord: 0 ycoord: 0 ycoord: 0 }", "x x"): (
        "2:41: error: layer 'it' (Combination): pieces that do not follow row by row"
    ),
    layer("Combination", "combination_param { xcoord: 0 xcoord: 6 ycoord: 0 ycoord: 0 }", "x x"): (
        "1:1: error: layer 'it' (Combination): piece 1 starts at (0, 6); expected (0, 7), without gap or overlap"
    ),
    layer(
        "Combination", "combination_param { xcoord: 0 xcoord: 7 xcoord: 0 ycoord: 0 ycoord: 0 ycoord: 5 }", "x x x"
    ): ("1:1: error: layer 'it' (Combination): a row of pieces is 14 wide; expected 7"),
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_can_not_be_is_refused(text: str) -> None:
    line, _, rest = REFUSED[text].partition(":")
    assert refusal(text, {"x": X}) == f"net.prototxt:{int(line) + 1}:{rest}"


def test_the_centre_of_an_image_of_any_size(tmp_path: Path) -> None:
    text = layer("CropCenter", "crop_center_param { crop_size: 0 crop_size: 0 crop_size: 1 crop_size: 2 }")
    free = {"x": ("N", 6, "H", "W")}
    graph = prepare(net_of(text, {"x": random(0, 1, 6, 6, 8)}), None, Options(input_shapes=free)).graph
    assert_close(run_onnx(graph, {"x": X}, tmp_path)["out"], X[:, :, 1:4, 2:5], "onnx")
    assert_close(run_torch(graph, {"x": X})["out"], X[:, :, 1:4, 2:5], "torch")
