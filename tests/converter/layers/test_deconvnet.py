"""What HyeonwooNoh's fork (DeconvNet, DecoupledNet) and DeepLab's first have in the form of 2014."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from converter.api import prepare
from converter.options import Options
from prototxt import parse_net
from prototxt.errors import CaffeModelError
from tests.converter.layers.test_rarer_agreement import refusal
from tests.drawn.base import layer
from tests.golden import assert_close, run_onnx, run_torch
from tests.naive.base import Array, random
from verify import run
from weights import ArrayWeights

X = random(5, 2, 3, 4, 6)


def old(kind: str, params: str = "", bottoms: str = "x", tops: str = "y", name: str = "it") -> str:
    """The text of a layer of the form of 2014."""
    wires = [*(f'bottom: "{b}"' for b in bottoms.split()), *(f'top: "{t}"' for t in tops.split())]
    return f'layers {{ name: "{name}" type: {kind} {" ".join(wires)} {params} }}\n'


def assert_gives(
    text: str,
    expected: Mapping[str, Array],
    folder: Path,
    feeds: Mapping[str, Array] | None = None,
    blobs: Sequence[Array] = (),
) -> None:
    """ONNX, torch and the interpreter give these tops."""
    feeds = {"x": X} if feeds is None else feeds
    inputs = "".join(
        f'input: "{name}" ' + "".join(f"input_dim: {dim} " for dim in feed.shape) for name, feed in feeds.items()
    )
    net = parse_net(inputs + text, "net.prototxt")
    weights = ArrayWeights({"it": list(blobs)}) if blobs else None
    graph = prepare(net, weights, Options(outputs=list(expected))).graph
    made = {
        "onnx": run_onnx(graph, feeds, folder),
        "torch": run_torch(graph, feeds),
        "interpreter": run(net, weights, feeds).blobs,
    }
    for where, got in made.items():
        for top, values in expected.items():
            assert_close(got[top], np.asarray(values, np.float32), f"{top} in {where}", 1e-5)


def blown_up(values: Array, times: int) -> Array:
    return np.repeat(np.repeat(values, times, axis=2), times, axis=3)


def test_pooling_undone_in_the_old_form(tmp_path: Path) -> None:
    text = old("POOLING", "pooling_param { kernel_size: 2 stride: 2 }", tops="p m", name="pool")
    text += old("UNPOOLING", "unpooling_param { kernel_size: 2 stride: 2 unpool_h: 4 unpool_w: 6 }", "p m")
    best = X.reshape(2, 3, 2, 2, 3, 2).max(axis=(3, 5))
    assert_gives(text, {"y": np.where(blown_up(best, 2) == X, X, 0)}, tmp_path)


def test_an_average_is_spread_over_a_window_that_ends_with_the_top(tmp_path: Path) -> None:
    """A window of 4×4 from a single value, as in DecoupledNet; and one of which the top has 2 columns of 3."""
    one = random(1, 2, 5, 1, 1)
    text = old("UNPOOLING", "unpooling_param { unpool: AVE kernel_size: 4 stride: 1 unpool_size: 4 }")
    assert_gives(text, {"y": np.tile(one / 16, (1, 1, 4, 4))}, tmp_path, {"x": one})
    two = random(2, 2, 5, 1, 2)
    text = old("UNPOOLING", "unpooling_param { unpool: AVE kernel_size: 3 stride: 3 unpool_h: 3 unpool_w: 5 }")
    expected = np.concatenate([np.tile(two[..., :1] / 9, (3, 3)), np.tile(two[..., 1:] / 6, (3, 2))], axis=3)
    assert_gives(text, {"y": expected}, tmp_path, {"x": two})


def test_tiles_that_touch_are_the_image_enlarged(tmp_path: Path) -> None:
    text = old("UNPOOLING", "unpooling_param { unpool: TILE kernel_size: 3 stride: 3 unpool_h: 12 unpool_w: 18 }")
    assert_gives(text, {"y": blown_up(X, 3)}, tmp_path)


def test_a_folded_normalisation_is_a_factor_and_a_summand(tmp_path: Path) -> None:
    scale, shift = random(3, 1, 3, 1, 1), random(4, 1, 3, 1, 1)
    params = "bn_param { scale_filler { value: 1 } shift_filler { value: 0.001 } bn_mode: INFERENCE }"
    assert_gives(old("BN", params), {"y": scale * X + shift}, tmp_path, blobs=[scale, shift])


def test_more_tops_show_whose_normalisation_it_is(tmp_path: Path) -> None:
    scale, shift = random(3, 1, 3, 1, 1), random(4, 1, 3, 1, 1)
    mean, variance = X.mean((0, 2, 3), keepdims=True), X.var((0, 2, 3), keepdims=True)
    expected = {"y": (X - mean) / np.sqrt(variance + 1e-9) * scale + shift, "m": mean, "v": variance}
    assert_gives(old("BN", tops="y m v"), expected, tmp_path, blobs=[scale, shift])
    net = parse_net('input: "x" input_dim: [2, 3, 4, 6] ' + old("BN", tops="y m"), "net.prototxt")
    assert (net.layers[-1].dialect, net.layers[-1].dialect_evidence) == ("segnet", "it has tops for mean and variance")


def test_the_mask_of_a_rectifier_in_place_is_of_what_was_there(tmp_path: Path) -> None:
    x = np.round(X)
    text = old("RELU", "relu_param { negative_slope: 0.5 }", tops="x m", name="relu")
    text += old("ELTWISE", "eltwise_param { operation: PROD }", "x m")
    assert_gives(text, {"m": x > 0, "y": np.maximum(x, 0)}, tmp_path, {"x": x})


def test_zoom_counts_the_steps_between_pixels(tmp_path: Path) -> None:
    """Rows 0 and 1, columns 0 and 1 of each plane, in eighths of a step."""
    x = random(6, 1, 3, 2, 2)
    share = np.arange(9) / 8
    rows = np.stack([1 - share, share], axis=1)
    assert_gives(
        old("INTERP", "interp_param { zoom_factor: 8 }"),
        {"y": np.einsum("ir,ncrs,js->ncij", rows, x, rows)},
        tmp_path,
        {"x": x},
    )


def test_an_accuracy_is_given_where_it_is_asked_for(tmp_path: Path) -> None:
    """Classes 2, 0 and 1 win; the last pixel is left aside, so one of two is right."""
    scores = np.array([[[[1, 5, 0]], [[2, 5, 9]], [[3, 4, 1]]]], np.float32)
    feeds = {"x": scores, "l": np.array([[[[2, 0, 255]]]], np.float32)}
    text = old("SIGMOID", tops="s", name="s") + old(
        "ELTWISE_ACCURACY", "eltwise_accuracy_param { ignore_label: 255 }", "x l"
    )
    assert_gives(text, {"y": np.full((1, 1, 1, 1), 0.5)}, tmp_path, feeds)
    net = parse_net('input: "x" input_dim: [1, 3, 1, 3] input: "l" input_dim: [1, 1, 1, 3] ' + text, "net.prototxt")
    assert [value.blob for value in prepare(net, None, Options()).graph.outputs] == ["s"]


def test_where_no_label_counts_the_share_is_no_number(tmp_path: Path) -> None:
    feeds = {"x": random(1, 2, 3, 4, 5), "l": np.full((2, 1, 4, 5), 255, np.float32)}
    text = old("ELTWISE_ACCURACY", "eltwise_accuracy_param { ignore_label: 255 }", "x l")
    net = parse_net('input: "x" input_dim: [2, 3, 4, 5] input: "l" input_dim: [2, 1, 4, 5] ' + text, "net.prototxt")
    graph = prepare(net, None, Options(outputs=["y"])).graph
    assert np.isnan(run_onnx(graph, feeds, tmp_path)["y"]).all()
    assert np.isnan(run_torch(graph, feeds)["y"]).all()
    assert np.isnan(run(net, None, feeds).blobs["y"]).all()


def test_a_random_field_is_refused_with_the_blob_before_it() -> None:
    text = 'input: "x" input_dim: [2, 3, 4, 6]\n' + old("SIGMOID", tops="s", name="s")
    text += old("DENSE_CRF", "dense_crf_param { max_iter: 10 pos_w: 3 bi_rgb_std: 10 }", "s x")
    net = parse_net(text, "net.prototxt")
    with pytest.raises(CaffeModelError, match=r"which no model holds; --outputs s gives the blob before it$"):
        prepare(net, None, Options())
    assert [value.blob for value in prepare(net, None, Options(outputs=["s"])).graph.outputs] == ["s"]


@pytest.mark.parametrize("text", ["strict_dim: false", "strict_dim: true"])
def test_how_strictly_weights_were_to_fit_says_nothing_of_the_net(text: str, tmp_path: Path) -> None:
    kernel = random(7, 2, 3, 1, 1)
    expected = np.einsum("oc,nchw->nohw", kernel[..., 0, 0], X)
    params = f"{text} convolution_param {{ num_output: 2 kernel_size: 1 bias_term: false }}"
    assert_gives(old("CONVOLUTION", params), {"y": expected}, tmp_path, blobs=[kernel])


REFUSED = {
    layer("ReLU", "relu_param { negative_slope: -0.5 }", tops="out mask"): (
        "a second top with a negative_slope below 0; expected 0 or more"
    ),
    layer("BN", "bn_param { bn_mode: INFERENCE }", tops="out mean"): "2 tops; expected 1",
    layer("BN", "bn_param { slope_filler {} }", tops="out mean"): "2 tops; expected 1",
    layer("EltwiseAccuracy", "eltwise_accuracy_param { top_k: 0 }", "x x"): "top_k is 0; expected at least 1",
    layer("EltwiseAccuracy", "", "x x"): "the labels are 2×3×4×6; expected 2×1×4×6",
    layer("Unpooling", "unpooling_param { unpool: AVE unpool_size: 4 }"): "kernel is 0×0; expected at least 1",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_the_fork_has_no_answer_for_is_refused(text: str) -> None:
    assert refusal(text, {"x": X}).endswith(REFUSED[text])
