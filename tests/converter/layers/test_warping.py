"""Bent images by hand on both sides: places at the edges, what forks read otherwise, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from converter.api import prepare
from converter.options import Options
from prototxt import parse_net
from prototxt.errors import NetError
from tests.converter.layers.test_rarer_agreement import (
    Feeds,
    answers,
    assert_both_refuse,
    inputs_of,
    layer,
    net_of,
    refusal,
)
from tests.golden import Array, GoldenCase, assert_parity, golden_cases, run_onnx, run_torch
from verify import run

X = np.float32([[1, 2, 4], [8, 16, 32]]).reshape(1, 1, 2, 3)
ROW = np.float32([10, 20, 40]).reshape(1, 1, 1, 3)


def all_three(text: str, feeds: Feeds, folder: Path) -> list[Array]:
    by_onnx, by_torch = answers(text, feeds, folder)
    return [by_onnx["out"], by_torch["out"], run(net_of(text, feeds), None, feeds).blobs["out"]]


def along_the_row(*columns: float) -> Array:
    """A flow, or places, that stays in the row."""
    return np.stack([np.float32(columns), np.zeros(3, np.float32)]).reshape(1, 2, 1, 3)


ENDS = {
    # places 2.5, 3 and -0.25
    "FlowWarp": ((2.5, 2.0, -2.25), (40.0, 0.0, 0.0)),
    # places 2, 2.25 and 0
    "Warp": ((2.0, 1.25, -2.0), (40.0, 0.0, 10.0)),
}


@pytest.mark.parametrize("kind", ENDS)
def test_what_a_flow_reads_at_the_ends_of_a_row(kind: str, tmp_path: Path) -> None:
    flow, expected = ENDS[kind]
    for got in all_three(layer(kind, "", "x y"), {"x": ROW, "y": along_the_row(*flow)}, tmp_path):
        assert got.ravel().tolist() == list(expected)


def test_a_flow_says_columns_before_rows(tmp_path: Path) -> None:
    flow = np.zeros((1, 2, 2, 3), np.float32)
    flow[0, 0, 0, 0], flow[0, 1, 0, 0] = 2, 1
    flow[0, 0, 1, 2], flow[0, 1, 1, 2] = -0.5, -0.5
    for kind in ENDS:
        for got in all_three(layer(kind, "", "x y"), {"x": X, "y": flow}, tmp_path):
            assert got[0, 0].tolist() == [[32, 2, 4], [8, 16, 13.5]]


def test_what_lies_outside_may_be_no_number(tmp_path: Path) -> None:
    text = layer("FlowWarp", "flow_warp_param { fill_value: NOT_A_NUMBER }", "x y")
    for got in all_three(text, {"x": ROW, "y": along_the_row(2.5, 2.0, -2.25)}, tmp_path):
        np.testing.assert_array_equal(got.ravel(), np.float32([40, np.nan, np.nan]))


def test_liteflownets_second_bottom_has_the_places(tmp_path: Path) -> None:
    """Fading out over a pixel on each side."""
    feeds = {"x": ROW, "y": along_the_row(-0.25, 2.5, 0.5)}
    text = layer("Warp", "", "x y")
    assert net_of(text, feeds).layers[-1].dialect == "pwc_net"
    net = parse_net(inputs_of(feeds) + text, "net.prototxt", dialects={"Warp": "liteflownet"})
    graph = prepare(net, None, Options(outputs=["out"], dialects={"Warp": "liteflownet"})).graph
    for got in (run_onnx(graph, feeds, tmp_path), run_torch(graph, feeds), run(net, None, feeds).blobs):
        assert got["out"].ravel().tolist() == [7.5, 20.0, 15.0]


def test_a_grid_shows_liteflownets_warp() -> None:
    """The places are those of the pixels and a flow's; nothing else tells the two forks' nets apart."""
    feeds = {"x": ROW, "y": along_the_row(0, 0, 0)}
    net = net_of(layer("Grid", "", "y", "places").replace('"it"', '"g"') + layer("Warp", "", "x places"), feeds)
    assert net.layers[-1].dialect == "liteflownet"
    assert run(net, None, feeds).blobs["out"].tolist() == ROW.tolist()


def test_the_largest_channel_of_several_items_is_refused() -> None:
    feeds = {"x": np.ones((2, 1, 2, 3), np.float32)}
    assert "2 items, of which the fork looks at the first alone" in refusal(layer("ExpMax"), feeds)
    with pytest.raises(NetError, match="one item"):
        run(net_of(layer("ExpMax"), feeds), None, feeds)


def test_a_factor_beyond_float32_is_refused() -> None:
    feeds = {"x": np.ones((1, 1, 2, 3), np.float32)}
    for params in (
        "expmax_param { shift: 89 }",
        "expmax_param { shift: 800 }",
        "expmax_param { base: 40 shift: 24.5 }",
    ):
        text = layer("ExpMax", params)
        assert "more than a float32 holds" in refusal(text, feeds)
        with pytest.raises(NetError, match="float32 has not"):
            run(net_of(text, feeds), None, feeds)


TURNED = {
    "": ([1, 0, 0, 0, 1, 0], [[1, 2, 4], [8, 16, 32]]),
    # the first row of the top is the image's middle: its second row
    "theta_1_1: 0 theta_1_2: 0 theta_1_3: 0": ([0, 1, 0], [[8, 16, 32], [8, 16, 32]]),
    # a pixel to the left is 2 / 3 of a place
    "theta_1_1: 1 theta_1_2: 0 theta_1_3: 0 theta_2_1: 0 theta_2_2: 1": ([1 / 3], [[1.5, 3, 2], [12, 24, 16]]),
    "output_H: 1 output_W: 2": ([1, 0, 0, 0, 1, 0], [[1, 3]]),
    # rows of the top run along the columns of the image
    "output_H: 3 output_W: 2": ([0, 1, 0, 1, 0, 0], [[1, 8], [2, 16], [4, 32]]),
}


@pytest.mark.parametrize("params", TURNED)
def test_spatial_transformer(params: str, tmp_path: Path) -> None:
    theta, expected = TURNED[params]
    text = layer("SpatialTransformer", params and f"st_param {{ {params} }}", "x y")
    for got in all_three(text, {"x": X, "y": np.float32([theta])}, tmp_path):
        np.testing.assert_allclose(got[0, 0], expected, rtol=1e-5)


@pytest.mark.parametrize("case", golden_cases("flow_warp", "warp_", "grid", "exp_max", "spatial_transformer"), ids=str)
def test_every_opset_gives_the_same(case: GoldenCase, tmp_path: Path) -> None:
    assert_parity(case, tmp_path, 13, 18, 22)


REFUSED = {
    layer("FlowWarp", "", "x z"): ("the second bottom is 1×1×2×3; expected 1×2×2×3", "has a second bottom of"),
    layer("Warp", "", "x deep"): ("its bottoms need 4 axes each", "has a second bottom of"),
    layer("SpatialTransformer", "", "x five"): ("the second bottom is 1×5; expected 6 for each", "has 5 numbers"),
    layer("SpatialTransformer", "st_param { de_transform: true }", "x six"): ("de_transform, the inverse", "affine"),
    layer("SpatialTransformer", "st_param { sampler_type: 'nearest' }", "x six"): ("sampler_type is", "bilinear"),
    layer("SpatialTransformer", "st_param { output_H: -1 }", "x six"): ("output_H is -1; expected at least 1", "makes"),
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_refused(text: str) -> None:
    sizes = {"z": (1, 1, 2, 3), "deep": (1, 2, 1, 2, 3), "five": (1, 5), "six": (1, 6)}
    known = {"x": X} | {name: np.ones(size, np.float32) for name, size in sizes.items()}
    feeds = {name: feed for name, feed in known.items() if f'bottom: "{name}"' in text}
    assert_both_refuse(text, feeds, REFUSED[text])
