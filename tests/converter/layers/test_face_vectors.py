"""Flip, ChannelScale, L-Softmax' product and marked sequences, by hand on both sides, and what they refuse."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from converter.api import prepare
from converter.options import Options
from tests.converter.layers.test_rarer_agreement import (
    assert_both_refuse,
    assert_gives,
    layer,
    net_of,
    random,
    weights_of,
)
from tests.golden import Array, run_onnx, run_torch
from verify import run

X = np.arange(12, dtype=np.float32).reshape(1, 2, 2, 3)
FLIPPED = {
    "": [2, 1, 0, 5, 4, 3],
    "flip_width: false": [0, 1, 2, 3, 4, 5],
    "flip_height: true": [5, 4, 3, 2, 1, 0],
    "flip_width: false flip_height: true": [3, 4, 5, 0, 1, 2],
}


@pytest.mark.parametrize("params", FLIPPED)
def test_flip(params: str, tmp_path: Path) -> None:
    text = layer("Flip", f"flip_param {{ {params} }}")
    first = np.reshape(FLIPPED[params], (2, 3))
    expected = np.stack([first, first + 6])[None].astype(np.float32)
    assert_gives(text, {"x": X}, expected, tmp_path)
    assert (run(net_of(text, {"x": X}), None, {"x": X}).blobs["out"] == expected).all()


@pytest.mark.parametrize("params", FLIPPED)
@pytest.mark.parametrize("shape", [(12,), (3, 4), (2, 2, 3)])
def test_flip_of_fewer_axes(shape: tuple[int, ...], params: str, tmp_path: Path) -> None:
    x = X.reshape(shape)
    turned = "flip_height: true" in params and len(shape) == 3
    expected = x[:, :, ::-1] if turned else x
    text = layer("Flip", f"flip_param {{ {params} }}")
    assert_gives(text, {"x": x}, expected, tmp_path)
    assert (run(net_of(text, {"x": x}), None, {"x": x}).blobs["out"] == expected).all()


@pytest.mark.parametrize("shape", [(1, 6), (1, 1, 2, 3), (1, 2, 3), (1, 1, 6), (1, 6, 1, 1)])
@pytest.mark.parametrize("forward", [True, False])
def test_channel_scale(shape: tuple[int, ...], forward: bool, tmp_path: Path) -> None:
    text = layer("ChannelScale", f"channel_scale_param {{ do_forward: {str(forward).lower()} }}", "x y")
    feeds = {"x": X, "y": np.float32([1, 2, 3, -1, 0, 0.5]).reshape(shape)}
    scaled = np.float32([0, 2, 6, -3, 0, 2.5, 6, 14, 24, -9, 0, 5.5]).reshape(X.shape)
    expected = scaled if forward else X
    assert_gives(text, feeds, expected, tmp_path)
    assert (run(net_of(text, feeds), None, feeds).blobs["out"] == expected).all()


LAMBDAS = {
    "": 1.0,
    "base: 0": 0.0,
    "base: 0 lambda_min: 5": 5.0,
    "base: 1000 gamma: 1 iteration: 8": 100.0,
    "base: 1000 gamma: 1 power: 2 iteration: 8": 10.0,
    "base: 1000 gamma: 1 power: 0": 1000.0,
    "base: 1000 gamma: 1 power: 3 iteration: 8 lambda_min: 2.5": 2.5,
}


@pytest.mark.parametrize("params", LAMBDAS)
def test_lambda_is_that_of_the_first_call(params: str, tmp_path: Path) -> None:
    section = f"largemargin_inner_product_param {{ num_output: 2 {params} }}"
    text = layer("LargeMarginInnerProduct", section, "x y", "out lambda")
    feeds = {"x": np.float32([[1, 2, 3], [0, -1, 1]]), "y": np.float32([0, 1])}
    net, weights = net_of(text, feeds), weights_of(np.float32([[1, 0, 2], [0.5, 1, 0]]))
    graph = prepare(net, weights, Options(outputs=["out", "lambda"])).graph
    for got in (run_onnx(graph, feeds, tmp_path), run_torch(graph, feeds), run(net, weights, feeds).blobs):
        assert got["out"].tolist() == [[7, 2.5], [2, -1]]
        np.testing.assert_allclose(got["lambda"], [LAMBDAS[params]], rtol=1e-6)


@pytest.mark.parametrize("starts", [(), (0,), (3,), (0, 4), (1, 2, 3), tuple(range(6))])
@pytest.mark.parametrize("mark", [1.0, -0.5])
def test_a_marked_sequence_is_its_pieces(starts: tuple[int, ...], mark: float, tmp_path: Path) -> None:
    """Each piece alone, by the layer without marks."""
    x, marks = random(1, 6, 3), np.full((6, 1), mark, np.float32)
    marks[list(starts)] = 0
    weights = weights_of(random(2, 8, 3), random(3, 8, 2), random(4, 8))
    text = "lstm_param { num_output: 2 }"

    def alone(piece: Array) -> Array:
        return run(net_of(layer("Lstm", text), {"x": piece}), weights, {"x": piece}).blobs["out"]

    expected = np.concatenate([alone(piece) for piece in np.split(x, [s for s in starts if s])])
    feeds = {"x": x, "y": marks}
    assert_gives(layer("Lstm", text, "x y"), feeds, expected, tmp_path, weights)
    np.testing.assert_allclose(run(net_of(layer("Lstm", text, "x y"), feeds), weights, feeds).blobs["out"], expected)


REFUSED = {
    layer("Flip", "", "deep"): ("the bottom is 1×1×1×1×1; expected at most 4 axes", "at most 4 axes"),
    layer("ChannelScale", "channel_scale_param { global_scale: true }", "x y"): ("global_scale, which", "one scale"),
    layer("ChannelScale", "", "x x"): ("1×2×2×3 factors for 1 items of 6 places", "12 factors for 6 places"),
    layer("LargeMarginInnerProduct", "", "x y", "out lambda"): ("num_output is 0", "needs a num_output"),
    layer(
        "LargeMarginInnerProduct", "largemargin_inner_product_param { num_output: 2 type: DOUBLE }", "x y", "out lambda"
    ): ("type DOUBLE, a margin for training; expected SINGLE", "type SINGLE"),
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_refused(text: str) -> None:
    known = {"x": X, "y": np.ones((1, 6), np.float32), "deep": np.ones((1,) * 5, np.float32)}
    feeds = {name: feed for name, feed in known.items() if f'bottom: "{name}"' in text}
    assert_both_refuse(text, feeds, REFUSED[text], weights_of(random(1, 2, 12)))
