"""Unpooling and Interp with free sizes and by dialect, and what they refuse."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from converter.api import prepare
from converter.options import Options
from prototxt import parse_net
from prototxt.errors import CaffeModelError
from tests.converter.layers.test_rarer_agreement import inputs_of, layer, net_of, random, refusal
from tests.golden import assert_close, run_onnx, run_torch
from tests.naive.base import cases
from verify import run

X = random(11, 2, 6, 5, 7)
SIZE = "unpool_h: 10 unpool_w: 14"

REFUSED = {
    layer("UnPooling", f"\nunpooling_param {{ unpool: TILE {SIZE} }}"): (
        "2:1: error: layer 'it' (UnPooling): kernel is 0×0; expected at least 1"
    ),
    layer("Unpooling", f"\nunpooling_param {{ unpool: AVE kernel_size: 2 {SIZE} }}", "x x"): (
        "2:19: error: layer 'it' (Unpooling): a mask with unpool AVE; expected MAX"
    ),
    layer("UnPooling", f"\nunpooling_param {{ pad: 1 {SIZE} }}"): (
        "2:19: error: layer 'it' (UnPooling): padding; the fork allows none"
    ),
    layer("Unpooling", "\nunpooling_param { unpool_h: 4 }"): (
        "2:1: error: layer 'it' (Unpooling): the size is 4×0; expected unpool_h and unpool_w, or unpool_size, at least "
        "1"
    ),
    layer("Unpooling", "\nunpooling_param { scale: 2 }"): (
        "2:1: error: layer 'it' (Unpooling): no mask as a second bottom, which FuseNet's layer has"
    ),
    layer("Unpooling", "\nunpooling_param { output_h: 9 }", "x x"): (
        "2:1: error: layer 'it' (Unpooling): no size; expected output_h and output_w, or scale, at least 1"
    ),
    layer("Unpooling", "\nunpooling_param { stride: 2 }", "x x"): (
        "2:1: error: layer 'it' (Unpooling): no size; expected unpool_h and unpool_w, or unpool_size, or CEDN's "
        "kernel_size at least 1"
    ),
    layer("Unpooling", "\nunpooling_param { kernel_size: 2 pad: 2 }", "x x"): (
        "2:34: error: layer 'it' (Unpooling): pad 2×2 for a kernel of 2×2"
    ),
    layer("Unpooling", "\nunpooling_param { kernel_size: 3 kernel_h: 3 kernel_w: 3 }", "x x"): (
        "2:34: error: layer 'it' (Unpooling): kernel_size beside kernel_h; expected one or the other"
    ),
    layer("Unpooling", f"\nunpooling_param {{ stride: 0 {SIZE} }}"): (
        "2:19: error: layer 'it' (Unpooling): stride is 0×0; expected at least 1"
    ),
    layer("Unpooling", f"unpooling_param {{ stride: 3 {SIZE} }}"): (
        "1:1: error: layer 'it' (Unpooling): axis 2: the last value goes to 12, outside the top's 10"
    ),
    layer("Interp", "\ninterp_param { use_blob_size: true }"): (
        "2:16: error: layer 'it' (Interp): use_blob_size with one bottom; expected two"
    ),
    layer("Interp", "\ninterp_param { zoom_factor: 2 }", "x x"): (
        "2:1: error: layer 'it' (Interp): a size beside that of the second bottom; expected one of the two"
    ),
    layer(
        "Python", "\npython_param { module: 'spatial_dropout' layer: 'SpatialDropoutLayer' param_str: '{\"p\": 2}' }"
    ): ("2:71: error: layer 'it' (Python): p is 2; expected a number between 0 and 1"),
    layer("Python", "\npython_param { module: 'spatial_dropout' layer: 'SpatialDropoutLayer' param_str: '{}' }"): (
        "2:71: error: layer 'it' (Python): param_str gives no number p; expected one between 0 and 1"
    ),
    layer(
        "Python",
        "\npython_param { module: 'spatial_dropout' layer: 'SpatialDropoutLayer' "
        'param_str: \'{"p": 0.1, "phase": "TRAIN"}\' }',
    ): "2:71: error: layer 'it' (Python): phase TRAIN in param_str, which drops at random; expected TEST",
    layer("SeLuDropout", "\nselu_dropout_param { dropout_ratio: 1 }"): (
        "2:22: error: layer 'it' (SeLuDropout): dropout_ratio is 1; expected a number between 0 and 1"
    ),
    layer("Insanity", "\ninsanity_param { lb: 5 ub: 5 }"): (
        "2:18: error: layer 'it' (Insanity): lb is 5 and ub 5; expected numbers other than 0, the second above the "
        "first"
    ),
    layer("Insanity", "\ninsanity_param { ub: 0 lb: -1 }"): (
        "2:24: error: layer 'it' (Insanity): lb is -1 and ub 0; expected numbers other than 0, the second above the "
        "first"
    ),
    layer("BReLU", "\nbrelu_param { minval: 2 maxval: 1 }"): (
        "2:15: error: layer 'it' (BReLU): minval is 2, above maxval, 1"
    ),
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_can_not_be_is_refused(text: str) -> None:
    line, _, rest = REFUSED[text].partition(":")
    assert refusal(text, {"x": X}) == f"net.prototxt:{int(line) + 1}:{rest}"


def test_a_mask_of_too_few_planes_is_refused() -> None:
    text = layer("UnPooling", f"unpooling_param {{ {SIZE} }}", "x mask")
    with pytest.raises(CaffeModelError, match="fewer planes than the values: x is 2×6×5×7, mask is 2×5×5×7"):
        prepare(net_of(text, {"x": X, "mask": X[:, :5]}), None, Options())


def test_unpooling_of_any_size_to_the_one_that_is_stated(tmp_path: Path) -> None:
    made = cases()["unpooling_by_mask"]()
    net = net_of(made.text, dict(made.feeds))
    free = dict.fromkeys(made.feeds, ("N", 3, "H", "W"))
    graph = prepare(net, None, Options(input_shapes=free)).graph
    expected = np.asarray(made.answers["it", "out"], np.float32)
    assert_close(run_onnx(graph, made.feeds, tmp_path)["out"], expected, "onnx")
    assert_close(run_torch(graph, made.feeds)["out"], expected, "torch")


def test_interpolation_to_a_blob_of_any_size(tmp_path: Path) -> None:
    made = cases()["interp_like_a_blob"]()
    free = {"x": ("N", 3, 4, 5), "like": (1, 8, "H", "W")}
    graph = prepare(net_of(made.text, dict(made.feeds)), None, Options(input_shapes=free)).graph
    expected = np.asarray(made.answers["it", "out"], np.float32)
    assert_close(run_onnx(graph, made.feeds, tmp_path)["out"], expected, "onnx", 1e-5)
    assert_close(run_torch(graph, made.feeds)["out"], expected, "torch", 1e-5)


@pytest.mark.parametrize(
    ("sizes", "params", "asked", "expected"),
    [
        ((32, 64), "zoom_factor: 2", {}, (64, 128)),
        ((32, 64), "zoom_factor: 2", {"Interp": "deeplab"}, (63, 127)),
        ((33, 64), "zoom_factor: 2", {}, (65, 127)),
        ((33, 64), "zoom_factor: 2", {"Interp": "openvino"}, (66, 128)),
        ((32, 64), "zoom_factor: 2 shrink_factor: 1", {}, (63, 127)),
    ],
)
def test_whose_zoom_factor_it_is(
    sizes: tuple[int, int], params: str, asked: dict[str, str], expected: tuple[int, int]
) -> None:
    feeds = {"x": random(1, 1, 2, *sizes)}
    net = parse_net(inputs_of(feeds) + layer("Interp", f"interp_param {{ {params} }}"), "n", dialects=asked)
    graph = prepare(net, None, Options()).graph
    assert graph.outputs[0].shape == (1, 2, *expected)
    assert run(net, None, feeds).blobs["out"].shape == (1, 2, *expected)
