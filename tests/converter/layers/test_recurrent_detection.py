"""LSTM and RNN against a loop over single values, and prior boxes against SSD's own loop."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from converter.api import prepare
from converter.options import Options
from converter.targets.onnx_model import emit_onnx
from prototxt import parse_net
from tests.converter.layers.test_rarer_agreement import (
    Array,
    Feeds,
    answers,
    assert_gives,
    layer,
    random,
    refusal,
    weights_of,
)
from tests.golden import run_onnx

STEPS, STREAMS, INPUTS, HIDDEN, STATIC = 5, 2, 3, 4, 6
CONT = np.array([[0, 1], [1, 1], [0, 1], [1, 0], [1, 1]], np.float32)
FEEDS: Feeds = {
    "x": random(1, STEPS, STREAMS, INPUTS),
    "cont": CONT,
    "static": random(2, STREAMS, STATIC),
    "h": random(3, 1, STREAMS, HIDDEN),
    "c": random(4, 1, STREAMS, HIDDEN),
}


def sigmoid(v: float) -> float:
    return 1 / (1 + math.exp(-v))


def lstm_loop(w: list[Array], static: bool, exposed: bool) -> tuple[Array, Array, Array]:
    """One stream, step and unit after the other, as lstm_unit_layer.cpp has it."""
    wx, b, *ws, wh = w
    out = np.zeros((STEPS, STREAMS, HIDDEN))
    last_h, last_c = np.zeros((1, STREAMS, HIDDEN)), np.zeros((1, STREAMS, HIDDEN))
    for n in range(STREAMS):
        h = list(FEEDS["h"][0, n]) if exposed else [0.0] * HIDDEN
        c = list(FEEDS["c"][0, n]) if exposed else [0.0] * HIDDEN
        for t in range(STEPS):
            keep = float(CONT[t, n])
            gate = [
                b[g]
                + sum(wx[g, k] * FEEDS["x"][t, n, k] for k in range(INPUTS))
                + (sum(ws[0][g, k] * FEEDS["static"][n, k] for k in range(STATIC)) if static else 0)
                + sum(wh[g, k] * keep * h[k] for k in range(HIDDEN))
                for g in range(4 * HIDDEN)
            ]
            for d in range(HIDDEN):
                i, f, o = (sigmoid(gate[g * HIDDEN + d]) for g in range(3))
                c[d] = (keep * f if keep else 0.0) * c[d] + i * math.tanh(gate[3 * HIDDEN + d])
                h[d] = o * math.tanh(c[d])
            out[t, n] = h
        last_h[0, n], last_c[0, n] = h, c
    return out, last_h, last_c


def lstm_weights(static: bool) -> list[Array]:
    middle = [random(7, 4 * HIDDEN, STATIC)] if static else []
    return [random(5, 4 * HIDDEN, INPUTS), random(6, 4 * HIDDEN), *middle, random(8, 4 * HIDDEN, HIDDEN)]


@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("exposed", [False, True])
def test_a_sequence_begins_anew_where_cont_is_0(static: bool, exposed: bool, tmp_path: Path) -> None:
    bottoms = ["x", "cont", *["static"] * static, *["h", "c"] * exposed]
    tops = ["out", *["last_h", "last_c"] * exposed]
    flag = "expose_hidden: true" if exposed else ""
    text = layer("LSTM", f"recurrent_param {{ num_output: 4 {flag} }}", " ".join(bottoms), " ".join(tops))
    weights = lstm_weights(static)
    expected = dict(zip(("out", "last_h", "last_c"), lstm_loop(weights, static, exposed), strict=True))
    for got in answers(text, {name: FEEDS[name] for name in bottoms}, tmp_path, weights_of(*weights)):
        for top in tops:
            np.testing.assert_allclose(got[top], expected[top], rtol=1e-5, atol=1e-6)


def test_an_rnn_squashes_its_state_and_its_output(tmp_path: Path) -> None:
    wx, b, wh, wo, bo = random(1, 4, 3), random(2, 4), random(3, 4, 4), random(4, 4, 4), random(5, 4)
    out = np.zeros((STEPS, STREAMS, HIDDEN))
    for n in range(STREAMS):
        h = FEEDS["h"][0, n].astype(np.float64)
        for t in range(STEPS):
            h = np.tanh(wx @ FEEDS["x"][t, n] + b + wh @ (CONT[t, n] * h))
            out[t, n] = np.tanh(wo @ h + bo)
    text = layer("RNN", "recurrent_param { num_output: 4 expose_hidden: true }", "x cont h", "last out")
    text = text.replace('top: "last" top: "out"', 'top: "out" top: "last"')
    feeds = {name: FEEDS[name] for name in ("x", "cont", "h")}
    for got in answers(text, feeds, tmp_path, weights_of(wx, b, wh, wo, bo)):
        np.testing.assert_allclose(got["out"], out, rtol=1e-5, atol=1e-6)


def test_one_step_needs_no_cutting(tmp_path: Path) -> None:
    feeds = {"x": FEEDS["x"][:1], "cont": CONT[1:2]}
    wx, b, wh = lstm_weights(False)
    gates = feeds["x"][0] @ wx.T + b
    i, _, o, g = np.split(gates.astype(np.float64), 4, axis=1)
    c = np.tanh(g) / (1 + np.exp(-i))
    expected = (np.tanh(c) / (1 + np.exp(-o)))[None]
    assert_gives(layer("LSTM", "recurrent_param { num_output: 4 }", "x cont"), feeds, expected, tmp_path,
                 weights_of(wx, b, wh))  # fmt: skip


def prior_loop(rows: int, columns: int, height: int, width: int) -> list[float]:
    """SSD's loop with min_size 4.7 and 9, max_size 7.9 and 12, ratios 2 and 1/2, steps from the image."""
    found = []
    for h in range(rows):
        for w in range(columns):
            x, y = (w + 0.5) * (width / columns), (h + 0.5) * (height / rows)
            for least, most in ((4, 7), (9, 12)):
                side = math.sqrt(least * most)
                boxes = [(least, least), (side, side)]
                boxes += [(least * math.sqrt(r), least / math.sqrt(r)) for r in (2, 0.5)]
                for bw, bh in boxes:
                    found += [(x - bw / 2) / width, (y - bh / 2) / height, (x + bw / 2) / width, (y + bh / 2) / height]
    return found


def test_prior_boxes_in_ssds_order(tmp_path: Path) -> None:
    text = layer(
        "PriorBox",
        "prior_box_param { min_size: 4.7 min_size: 9 max_size: 7.9 max_size: 12 aspect_ratio: 1 aspect_ratio: 2 "
        "aspect_ratio: 0.5 variance: 0.1 variance: 0.2 variance: 0.3 variance: 0.4 }",
        "x image",
    )
    feeds = {"x": random(1, 2, 5, 3, 4), "image": random(2, 2, 3, 31, 45)}
    boxes = prior_loop(3, 4, 31, 45)
    expected = np.array([boxes, [0.1, 0.2, 0.3, 0.4] * (len(boxes) // 4)])[None]
    assert_gives(text, feeds, expected, tmp_path)


def test_prior_boxes_of_textboxes_stand_twice_at_each_place(tmp_path: Path) -> None:
    text = layer(
        "PriorBox",
        "prior_box_param { denser_prior_boxes: true min_size: 4.7 min_size: 9 max_size: 7.9 max_size: 12 "
        "aspect_ratio: 2 }",
        "x image",
    )
    once = np.array(prior_loop(3, 4, 31, 45)).reshape(3, 4, 8, 4)
    lower = once.copy()
    lower[..., 1::2] += 0.5 / 3  # half a place further down: 31 / 3 pixels of 31
    boxes = np.stack([once, lower], axis=3).ravel()
    feeds = {"x": random(1, 2, 5, 3, 4), "image": random(2, 2, 3, 31, 45)}
    assert_gives(text, feeds, np.array([boxes, np.full(boxes.size, 0.1)])[None], tmp_path)


def test_prior_boxes_in_synopsys_order(tmp_path: Path) -> None:
    text = layer(
        "PriorBox",
        "prior_box_param { tf: true yx_order: true min_size: 60 max_size: 70 aspect_ratio: 4 step: 10 }",
        "x image",
    )
    feeds = {"x": random(1, 2, 5, 1, 1), "image": random(2, 2, 3, 100, 200)}
    side = math.sqrt(60 * 70)
    sizes = ((60, 60), (120, 30), (30, 120), (side, side))
    boxes = [[(5 - h / 2) / 100, (5 - w / 2) / 200, (5 + h / 2) / 100, (5 + w / 2) / 200] for w, h in sizes]
    boxes[0] = [boxes[0][0] + 0.05, boxes[0][1] + 0.05, boxes[0][2] - 0.05, boxes[0][3] - 0.05]
    expected = np.array([np.ravel(boxes), np.full(16, 0.1)])[None]
    assert_gives(text, feeds, expected, tmp_path)


PRIOR: Feeds = {"x": random(1, 2, 5, 3, 4), "image": random(2, 2, 3, 31, 45)}
RECURRENT = {name: FEEDS[name] for name in ("x", "cont")}
REFUSED = [
    (layer("LSTM", "\nrecurrent_param { }", "x cont"), "4:1", "LSTM", "num_output is 0; expected at least 1"),
    (
        layer("LSTM", "\nrecurrent_param { num_output: 4 forget_bias: 1 }", "x cont"),
        "4:33",
        "LSTM",
        "forget_bias, of a fork",
    ),
    (
        layer("LSTM", "recurrent_param { num_output: 4 expose_hidden: true }", "x cont", "a b d"),
        "3:1",
        "LSTM",
        "2 bottoms; expected 4 or 5",
    ),
    (layer("RNN", "recurrent_param { num_output: 4 }", "x cont", "a b"), "3:1", "RNN", "2 tops; expected 1"),
    (
        layer("RNN", "recurrent_param { num_output: 4 }", "x x"),
        "3:1",
        "RNN",
        "the second bottom is 5×2×3; expected 5×2 marks",
    ),
    (
        layer("LSTM", "recurrent_param { num_output: 4 }", "x cont x"),
        "3:1",
        "LSTM",
        "the static bottom is 5×2×3; expected 2 streams × values",
    ),
    (
        layer("PriorBox", "\nprior_box_param { }", "x image"),
        "4:1",
        "PriorBox",
        "min_size must be given, and be above 0",
    ),
    (
        layer("PriorBox", "\nprior_box_param { min_size: 9 max_size: 4 }", "x image"),
        "4:31",
        "PriorBox",
        "max_size 4 is not above min_size 9",
    ),
    (
        layer("PriorBox", "\nprior_box_param { min_size: 9 step: 2 step_h: 2 step_w: 2 }", "x image"),
        "4:39",
        "PriorBox",
        "both step and step_h are given; expected one of them",
    ),
    (
        layer("PriorBox", "\nprior_box_param { min_size: 9 img_w: 2 }", "x image"),
        "4:31",
        "PriorBox",
        "img_w without img_h; expected both",
    ),
]


@pytest.mark.parametrize(("text", "place", "kind", "message"), REFUSED)
def test_what_can_not_be_is_refused(text: str, place: str, kind: str, message: str) -> None:
    feeds = PRIOR if kind == "PriorBox" else RECURRENT
    assert refusal(text, feeds) == f"net.prototxt:{place}: error: layer 'it' ({kind}): {message}"


def test_the_number_of_steps_can_not_be_free() -> None:
    message = refusal(
        layer("LSTM", "recurrent_param { num_output: 4 }", "x cont"),
        RECURRENT,
        input_shapes={"x": ("T", 2, 3), "cont": ("T", 2)},
    )
    assert message.endswith("the number of time steps can't be left free: the net is unrolled over them")


@pytest.mark.parametrize("kind", ["LSTM", "RNN"])
def test_marks_that_are_known_to_be_1_take_no_operator(kind: str, tmp_path: Path) -> None:
    """The same numbers come of marks that are fed."""
    recurrent = layer(kind, "recurrent_param { num_output: 4 weight_filler { type: 'xavier' } }", "x cont")
    data = 'layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 5 dim: 2 dim: 3 } } }\n'
    fed = 'layer { name: "marks" type: "Input" top: "cont" input_param { shape { dim: 5 dim: 2 } } }\n'
    made = """layer { name: "marks" type: "ContinuationIndicator" bottom: "x" top: "cont"
        continuation_indicator_param { time_step: 5 axis: 1 } }\n"""
    marks = np.ones((5, 2), np.float32)
    marks[0] = 0
    feeds = {"x": random(1, 5, 2, 3), "cont": marks}
    kinds, results = {}, {}
    for name, text in (("fed", fed), ("made", made)):
        graph = prepare(parse_net(data + text + recurrent, "net.prototxt"), None, Options(random_weights=0)).graph
        results[name] = run_onnx(graph, {n: feeds[n] for n in ("x", "cont")[: 1 + (name == "fed")]}, tmp_path)["out"]
        kinds[name] = [op.op_type for op in emit_onnx(graph).proto.graph.node]
    assert np.array_equal(results["fed"], results["made"])
    steps = 4  # the first begins anew, and reads no state
    assert kinds["fed"].count("Mul") - kinds["made"].count("Mul") == steps * (2 if kind == "LSTM" else 1)
