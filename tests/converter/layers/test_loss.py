"""Losses and measures, computed by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from converter.api import prepare
from converter.options import Options
from prototxt import parse_net
from tests.converter.layers.test_rarer_agreement import Array, Feeds, answers, assert_gives, layer, random, refusal


def array(*values: object) -> Array:
    return np.array(values, np.float32)


def softmax(x: Array, axis: int) -> Array:
    powers = np.exp(x - x.max(axis, keepdims=True))
    return powers / powers.sum(axis, keepdims=True)


SCORES = array([1.0, 2.0, 0.5], [0.0, -1.0, 3.0])
TIED = array([2.0, 2.0, 1.0, 0.0], [1.0, 3.0, 3.0, 3.0], [5.0, 0.0, 0.0, 0.0])


def test_a_tie_counts_against_the_label(tmp_path: Path) -> None:
    # Ranks of the labels 0, 1 and 0: second of two equals, third of three, first.
    feeds = {"x": TIED, "t": array(0, 1, 0)}
    for top_k, share in ((1, 1 / 3), (2, 2 / 3), (3, 1.0)):
        assert_gives(layer("Accuracy", f"accuracy_param {{ top_k: {top_k} }}", "x t"), feeds, array(share)[0], tmp_path)


def test_accuracy_a_class_is_0_where_no_label_names_it(tmp_path: Path) -> None:
    text = layer("Accuracy", "accuracy_param { top_k: 2 ignore_label: 2 }", "x t", "all each")
    feeds = {"x": np.concatenate([TIED, TIED]), "t": array(0, 1, 2, 1, 1, 2)}
    for got in answers(text, feeds, tmp_path):
        assert got["all"] == pytest.approx(2 / 4)
        assert got["each"].tolist() == pytest.approx([1.0, 1 / 3, 0.0, 0.0])


def test_accuracy_is_0_where_every_label_is_ignored(tmp_path: Path) -> None:
    text = layer("Accuracy", "accuracy_param { ignore_label: 1 }", "x t")
    assert_gives(text, {"x": SCORES, "t": array(1, 1)}, array(0)[0], tmp_path)


def test_the_last_of_equal_values_is_the_largest(tmp_path: Path) -> None:
    assert_gives(layer("ArgMax"), {"x": TIED}, array([[1]], [[3]], [[0]]), tmp_path)
    both = array([[[1, 0], [2, 2]], [[3, 2], [3, 3]], [[0, 3], [5, 0]]])[0]
    assert_gives(layer("ArgMax", "argmax_param { top_k: 2 out_max_val: true }"), {"x": TIED}, both, tmp_path)
    along = layer("ArgMax", "argmax_param { axis: 0 top_k: 2 }")
    assert_gives(along, {"x": TIED}, array([2, 1, 1, 1], [0, 0, 0, 2]), tmp_path)


@pytest.mark.parametrize(("mode", "divisor"), [("FULL", 30), ("VALID", 21), ("BATCH_SIZE", 2), ("NONE", 1), ("", 21)])
def test_each_normalization_has_its_divisor(mode: str, divisor: int, tmp_path: Path) -> None:
    x = random(1, 2, 4, 3, 5)
    labels = np.zeros((2, 3, 5), np.float32)
    labels.flat[:21] = np.arange(21) % 3 + 1
    p = softmax(x.astype(np.float64), 1)
    total = 0.0
    for n, h, w in np.ndindex(2, 3, 5):
        label = int(labels[n, h, w])
        total -= np.log(p[n, label, h, w]) if label else 0.0
    stated = f"normalization: {mode}" if mode else ""
    text = layer("SoftmaxWithLoss", f"loss_param {{ ignore_label: 0 {stated} }}", "x t")
    assert_gives(text, {"x": x, "t": labels}, np.float32(total / divisor), tmp_path)


def test_a_probability_below_the_smallest_float_counts_as_that(tmp_path: Path) -> None:
    feeds = {"x": array([0.0, 200.0]), "t": array(0)}
    assert_gives(layer("SoftmaxWithLoss", "", "x t"), feeds, np.float32(87.336544), tmp_path)
    given = {"x": array([0.0, 1.0]), "t": array(0)}
    assert_gives(layer("MultinomialLogisticLoss", "", "x t"), given, np.float32(20 * np.log(10)), tmp_path)


def test_a_divisor_is_at_least_1(tmp_path: Path) -> None:
    feeds = {"x": SCORES, "t": array(1, 1)}
    for kind in ("SoftmaxWithLoss", "SigmoidCrossEntropyLoss"):
        text = layer(kind, "loss_param { ignore_label: 1 normalization: VALID }", "x t")
        labels = array(1, 1) if kind == "SoftmaxWithLoss" else np.ones((2, 3), np.float32)
        assert_gives(text, {**feeds, "t": labels}, array(0)[0], tmp_path)


def test_infogain_weighs_every_class_by_the_row_of_the_label(tmp_path: Path) -> None:
    x, h = random(3, 2, 3, 5, 4), random(4, 9)
    labels = (np.arange(40).reshape(2, 5, 4) % 3).astype(np.float32)
    p = softmax(x.astype(np.float64), 1)
    total = 0.0
    for n, i, j in np.ndindex(2, 5, 4):
        row = h.reshape(3, 3)[int(labels[n, i, j])]
        total -= sum(row[k] * np.log(p[n, k, i, j]) for k in range(3))
    for source in ("", "infogain_loss_param { source: 'not opened where there is a third bottom' }"):
        text = layer("InfogainLoss", source, "x t h")
        assert_gives(text, {"x": x, "t": labels, "h": h}, np.float32(total / 40), tmp_path)


def test_the_margins_of_a_hinge_loss(tmp_path: Path) -> None:
    # Row 0, label 1: 1 + 1, max(0, 1 - 2), 1 + 0.5. Row 1, label 0: 1 - 0, 1 - 1, 1 + 3.
    feeds = {"x": SCORES, "t": array(1, 0)}
    assert_gives(layer("HingeLoss", "", "x t"), feeds, array((2 + 0 + 1.5 + 1 + 0 + 4) / 2)[0], tmp_path)
    squared = layer("HingeLoss", "hinge_loss_param { norm: L2 }", "x t")
    assert_gives(squared, feeds, array((4 + 2.25 + 1 + 16) / 2)[0], tmp_path)


def test_pairs_alike_and_apart(tmp_path: Path) -> None:
    # Distances 5 (alike), 1 and 5 (apart); the margin is 3. A label of 0.9 counts as 0.
    feeds = {"a": array([3, 4], [1, 0], [3, 4]), "b": np.zeros((3, 2), np.float32), "t": array(1, 0.9, 0)}
    text = layer("ContrastiveLoss", "contrastive_loss_param { margin: 3 }", "a b t")
    assert_gives(text, feeds, array((25 + 4 + 0) / 6)[0], tmp_path)
    legacy = layer("ContrastiveLoss", "contrastive_loss_param { margin: 3 legacy_version: true }", "a b t")
    assert_gives(legacy, feeds, array((25 + 2 + 0) / 6)[0], tmp_path)


def test_targets_are_ignored_after_truncation(tmp_path: Path) -> None:
    feeds = {"x": array([0.5, -2.0, 100.0]), "t": array([1.0, 0.25, -1.0])}
    losses = np.log1p(np.exp(-0.5)), np.log1p(np.exp(-2.0)) + 0.5, 200.0
    text = layer("SigmoidCrossEntropyLoss", "", "x t")
    assert_gives(text, feeds, np.float32(sum(losses)), tmp_path)
    ignoring = layer("SigmoidCrossEntropyLoss", "loss_param { ignore_label: 0 normalization: FULL }", "x t")
    assert_gives(ignoring, feeds, np.float32((losses[0] + losses[2]) / 3), tmp_path)


def test_half_the_mean_of_squared_distances(tmp_path: Path) -> None:
    feeds = {"x": random(1, 2, 3, 5), "t": random(2, 2, 15)}
    expected = ((feeds["x"].reshape(2, 15) - feeds["t"]) ** 2).sum() / 4
    assert_gives(layer("EuclideanLoss", "", "x t"), feeds, expected, tmp_path)


def test_losses_are_left_out_unless_asked_for() -> None:
    text = (
        'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }\n'
        'layer { name: "t" type: "Input" top: "t" input_param { shape { dim: 2 } } }\n'
        'layer { name: "y" type: "ReLU" bottom: "x" top: "y" }\n'
        'layer { name: "l" type: "HingeLoss" bottom: "y" bottom: "t" top: "l" }\n'
        'layer { name: "a" type: "Accuracy" bottom: "y" bottom: "t" top: "a" }\n'
        'layer { name: "f" type: "HDF5Output" bottom: "y" bottom: "t" hdf5_output_param { file_name: "out" } }\n'
    )
    graph = prepare(parse_net(text), None, Options()).graph
    assert graph.output_names == ["y"]
    assert [v.name for v in graph.inputs] == ["x"]
    assert prepare(parse_net(text), None, Options(outputs=["l", "a"])).graph.output_names == ["l", "a"]


FEEDS: Feeds = {"x": SCORES, "t": array(0, 1), "three": array(0, 1, 2), "pair": SCORES[:, :2].copy()}
REFUSED = {
    layer("SoftmaxWithLoss", "", "x three"): "bottoms differ in their number of items: x is 2×3, three is 3",
    layer("SoftmaxWithLoss", "", "x pair"): "2×2 labels for scores of 2×3; expected 2",
    layer("SoftmaxWithLoss", "softmax_param { axis: 2 }", "x t"): "axis 2 is out of range for a blob of 2 axes",
    layer("MultinomialLogisticLoss", "", "x pair"): "2×2 labels for 2 items",
    layer("Accuracy", "accuracy_param { top_k: 4 }", "x t"): "top_k is 4, but there are 3 classes",
    layer("Accuracy", "", "x three"): "3 labels for scores of 2×3; expected 2",
    layer("ArgMax", "argmax_param { top_k: 4 }"): "top_k is 4, but there are 3 values",
    layer("EuclideanLoss", "", "x pair"): "bottoms hold 3 and 2 values an item",
    layer("SigmoidCrossEntropyLoss", "", "x pair"): "bottoms differ in their number of values: x is 2×3, pair is 2×2",
    layer("ContrastiveLoss", "", "x pair t"): "the pair's bottoms differ in shape: x is 2×3, pair is 2×2, t is 2",
    layer("InfogainLoss", "", "x t three"): "the matrix holds 3 values; expected 3×3",
}


@pytest.mark.parametrize("text", REFUSED)
def test_bottoms_that_do_not_go_together_are_refused(text: str) -> None:
    feeds = {name: feed for name, feed in FEEDS.items() if f'bottom: "{name}"' in text}
    kind = text.split('type: "')[1].split('"')[0]
    line = len(feeds) + 1
    assert refusal(text, feeds) == f"net.prototxt:{line}:1: error: layer 'it' ({kind}): {REFUSED[text]}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            layer("InfogainLoss", "\ninfogain_loss_param { source: 'h.binaryproto' }", "x t"),
            "net.prototxt:4:23: error: layer 'it' (InfogainLoss): a matrix that lies in a file of its own; expected it "
            "as the third bottom",
        ),
        (
            layer("SoftmaxWithLoss", "\nloss_param { normalization: PRE_FIXED }", "x t"),
            "net.prototxt:4:14: error: layer 'it' (SoftmaxWithLoss): normalization PRE_FIXED; expected FULL, VALID, "
            "BATCH_SIZE, NONE",
        ),
        (
            layer("SoftmaxWithLoss", "\nloss_param { class_weighting: 2 }", "x t"),
            "net.prototxt:4:14: error: layer 'it' (SoftmaxWithLoss): class_weighting, SegNet's weights of the classes",
        ),
        (
            layer("ArgMax", "\nargmax_param { top_k: 0 }"),
            "net.prototxt:3:16: error: layer 'it' (ArgMax): top_k is 0; expected at least 1",
        ),
        (
            layer("ArgMax", "\nargmax_param { min_first: true }"),
            "net.prototxt:3:16: error: layer 'it' (ArgMax): min_first, of a fork; expected false",
        ),
    ],
)
def test_a_parameter_that_can_not_be_is_named_with_its_place(text: str, message: str) -> None:
    feeds = {name: feed for name, feed in FEEDS.items() if f'bottom: "{name}"' in text}
    assert refusal(text, feeds) == message
