"""Layers of forks for reading text: dialects, sizes left free, the names of PyTorch's gates, what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from converter.api import prepare
from converter.options import Options
from prototxt import parse_net
from tests.converter.layers.test_rarer_agreement import net_of, refusal
from tests.drawn.base import Drawn, layer, net_text
from tests.golden import Array, run_onnx, run_torch
from tests.naive.base import random
from verify import run

SCORES = np.eye(3, dtype=np.float32)[[0, 1, 1, 2, 1]][:, None]
MARKS = np.ones((5, 1), np.float32)

REFUSED = [
    (layer("Lstm"), "num_output is 0; expected at least 1"),
    (layer("Lstm", "lstm_param { num_output: 2 batch_size: 2 }", "flat"), "3 rows for batch_size 2; expected a multi"),
    (layer("Lstm", "lstm_param { num_output: 2 batch_size: 0 }", "flat"), "batch_size is 0; expected at least 1"),
    (layer("Lstm", "lstm_param { num_output: 2 batch_size: 1 }"), "batch_size for a bottom of 3 axes, which forks"),
    (layer("Lstm", "lstm_param { num_output: 2 }", "x flat"), "is 3×4; expected 5 marks along its first axis"),
    (layer("Lstm", "lstm_param { num_output: 2 }", "x few"), "is 4; expected 5 marks along its first axis"),
    (layer("ContinuationIndicator", "continuation_indicator_param { batch_size: 2 }", ""), "time_step is 0; expected"),
    (
        layer("ContinuationIndicator", "continuation_indicator_param { time_step: 2 }", ""),
        "batch_size is 0; expected at least 1 where no bottom gives it",
    ),
    (
        layer("ContinuationIndicator", "continuation_indicator_param { time_step: 2 axis: 3 }", "flat"),
        "axis 3 is out of range for a blob of 2 axes",
    ),
    (layer("CTCGreedyDecoder", "", "x", "out score"), "1 bottoms and 2 tops, with labels to be measured against"),
    (layer("CTCGreedyDecoder", "", "x marks x"), "3 bottoms and 1 tops, with labels to be measured against"),
    (layer("CTCGreedyDecoder", "", "flat"), "the first bottom is 3×4; expected time × streams × classes"),
    (layer("CTCGreedyDecoder", "", "x flat"), "marks and scores differ in time × streams"),
    (layer("CTCGreedyDecoder", "ctc_decoder_param { blank_index: 3 }"), "blank_index is 3 of 3 classes"),
    (layer("DenseBlock", "denseblock_param { numTransition: 0 }"), "numTransition is 0; expected at least 1"),
    (layer("DenseBlock", "denseblock_param { filter_H: 5 }"), "filter_H is 5; the layer has always 3"),
    (layer("DenseBlock", "", "flat"), "the bottom is 3×4; expected 4 axes (N×C×H×W)"),
]


@pytest.mark.parametrize(("text", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_what_cannot_be_is_refused_with_its_values(text: str, message: str) -> None:
    known = {"x": SCORES, "marks": MARKS, "flat": random(1, 3, 4), "few": random(1, 4)}
    said = refusal(text, {name: feed for name, feed in known.items() if f'bottom: "{name}"' in text})
    assert message in said
    assert "layer 'it'" in said
    assert "net.prototxt:" in said


@pytest.mark.parametrize(
    ("dialect", "expected"),
    [
        ("intel", [[0, 1, 1, -1, -1]]),
        ("chwick", [[0], [1], [1], [-1], [-1]]),
    ],
)
def test_forks_differ_in_the_tops_order(dialect: str, expected: list[list[int]], tmp_path: Path) -> None:
    feeds = {"x": SCORES, "marks": MARKS}
    text = net_text(Drawn(layer("CTCGreedyDecoder", bottoms="x marks"), feeds))
    net = parse_net(text, "net.prototxt", dialects={"CTCGreedyDecoder": dialect})
    graph = prepare(net, None, Options()).graph
    results = (run_onnx(graph, feeds, tmp_path), run_torch(graph, feeds), run(net, None, feeds).blobs)
    for result in results:
        np.testing.assert_array_equal(result["out"], np.asarray(expected)[:, :, None, None])


def test_caffe_ocr_has_its_blank_first(tmp_path: Path) -> None:
    net = net_of(layer("CTCGreedyDecoder"), {"x": SCORES})
    graph = prepare(net, None, Options()).graph
    for result in (run_onnx(graph, {"x": SCORES}, tmp_path), run_torch(graph, {"x": SCORES})):
        np.testing.assert_array_equal(result["out"].ravel(), [1, 2, 1, -1, -1])


FREE = [
    (("T", "N", 3), layer("Lstm", "lstm_param { num_output: 2 bias_filler { type: 'gaussian' } }")),
    (("T", "N", 3), layer("ContinuationIndicator", "continuation_indicator_param { time_step: 3 axis: 1 }")),
    (("T", "N", 3), layer("CTCGreedyDecoder")),
    (("T", "N", 3), layer("CTCGreedyDecoder", "", "x marks", "out score")),
    (("N", 3, "H", "W"), layer("DenseBlock", "denseblock_param { numTransition: 2 growthRate: 2 }")),
]


@pytest.mark.parametrize(
    ("shape", "text"), FREE, ids=[text.split('"')[3] + f" {i}" for i, (_, text) in enumerate(FREE)]
)
def test_free_axes_take_any_size(shape: tuple[str | int, ...], text: str, tmp_path: Path) -> None:
    sizes = [{"T": 6, "N": 4, "H": 5, "W": 7}[size] if isinstance(size, str) else size for size in shape]
    small: dict[str, Array] = {"x": random(2, *(2 if isinstance(size, str) else size for size in shape))}
    feeds: dict[str, Array] = {"x": random(3, *sizes)}
    shapes: dict[str, tuple[str | int, ...]] = {"x": shape}
    if "marks" in text:
        small["marks"] = np.ones((2, 2), np.float32)
        feeds["marks"] = (random(4, 6, 4) > -1).astype(np.float32)
        shapes["marks"] = ("T", "N")
    net = net_of(text, small)
    ready = prepare(net, None, Options(random_weights=0, input_shapes=shapes))
    expected = run(net, ready.weights, feeds).blobs
    for got in (run_onnx(ready.graph, feeds, tmp_path), run_torch(ready.graph, feeds)):
        for top in net.layers[-1].tops:
            np.testing.assert_allclose(got[top], expected[top], rtol=1e-4, atol=1e-5)
