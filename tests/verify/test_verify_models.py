"""Several models of one net, what a check reads and holds on its way; data that nobody reads is not asked for."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from prototxt import parse_net
from tests.verify import handmade
from verify import run, verify_model, verify_models
from verify.bounds import estimate
from verify.comparison import compare
from verify.engines.engine import Answers, Array, Blobs
from verify.inputs import exact_inputs, seeded
from verify.keys import Key
from verify.walk import walk
from weights import ArrayWeights, Blob


def test_each_model_is_compared_on_what_it_holds(tmp_path: Path) -> None:
    right = handmade.write_onnx(tmp_path / "right.onnx")
    cut = handmade.write_onnx(tmp_path / "cut.onnx", tops=handmade.TOPS[:3])
    learned = handmade.parameters()
    learned["score"][1] = learned["score"][1] * np.float32(1.01)
    wrong = handmade.write_onnx(tmp_path / "wrong.onnx", learned=learned)
    said: list[str] = []
    reports = verify_models(
        handmade.net(),
        handmade.weights(),
        [right, wrong, cut],
        progress=lambda doing, done, total: None if total else said.append(doing),
    )
    assert [report.ok for report in reports[:2]] == [True, False]
    assert [len(report.rows) for report in reports] == [4, 4, 2]
    assert reports[1].first_bad is not None
    assert reports[1].first_bad.layer == "score"
    assert sum("interpreter" in words for words in said) == 3
    assert sum(str(wrong) in words for words in said) == 2  # loaded and run


def test_each_learned_blob_is_read_once_for_the_reference_its_probe_and_the_layers_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Blob] = []
    real = Blob.array
    monkeypatch.setattr(Blob, "array", lambda blob: (read.append(blob), real(blob))[1])
    assert verify_model(handmade.net(), handmade.weights(), handmade.write_onnx(tmp_path / "m.onnx")).ok
    assert len(read) == sum(map(len, handmade.parameters().values()))


def test_a_net_that_jumps_on_the_way_is_gone_through_again_with_both_signs_of_the_probe() -> None:
    """A quotient's gain is infinite where the divisor is 0, which only running the layer can tell."""
    net = parse_net(
        'layer { name: "in" type: "Input" top: "x" top: "y" '
        "input_param { shape { dim: 2 dim: 3 } shape { dim: 2 dim: 3 } } } "
        'layer { name: "q" type: "Eltwise" bottom: "x" bottom: "y" top: "q" eltwise_param { operation: DIV } }'
    )
    fed = {"x": np.float32([[1, 2, 3], [4, 5, 6]]), "y": np.float32([[1, 2, 0], [4, 5, 6]])}
    trace = run(net, None, fed)
    asked: list[Blobs] = []

    def model() -> Blobs:
        asked.append(Blobs.of(Answers(trace.tops, {})))
        return asked[-1]

    found = walk(net, None, fed, model)
    assert len(asked) == 2
    rows, _ = found.rows.finished(found.outputs, {})
    assert [(row.layer, row.bound) for row in rows] == [("q", estimate(net, None, trace)["q", "q"])]


def test_no_blob_is_held_that_no_layer_reads_any_more() -> None:
    """Of a chain, the model's blobs are asked for one at a time, and each is gone before the second one after it."""
    text = 'layer { name: "l0" type: "Input" top: "l0" input_param { shape { dim: 1 dim: 5 } } } '
    text += " ".join(
        f'layer {{ name: "l{i}" type: "Power" bottom: "l{i - 1}" top: "l{i}" power_param {{ scale: 1.5 }} }}'
        for i in range(1, 20)
    )
    net, fed = parse_net(text), {"l0": np.float32([[1, 2, 3, 4, 5]])}
    trace = run(net, None, fed)
    alive: list[weakref.ref[object]] = []
    most = 0

    def blobs() -> Iterator[tuple[Sequence[Key], Array]]:
        nonlocal most
        for step in trace.steps[1:]:
            value = step.value.copy()
            alive.append(weakref.ref(value))
            yield (step.key,), value
            del value
            most = max(most, sum(ref() is not None for ref in alive))

    keys = [step.key for step in trace.steps[1:]]
    found = walk(net, None, fed, lambda: Blobs(blobs()), keys=keys)
    assert len(found.rows.finished(found.outputs, {})[0]) == 19
    assert most <= 2


def test_labels_that_a_model_without_its_loss_does_not_read_need_no_shape(tmp_path: Path) -> None:
    data = handmade.NET.replace(
        'type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 9 dim: 8 } }',
        'type: "Data" top: "data" top: "label" data_param { batch_size: 2 source: "somewhere" }',
    )
    loss = 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "score" bottom: "label" top: "loss" }'
    net = parse_net(data + loss, "train_val.prototxt")
    assert net.layers[0].tops == ("data", "label")
    report = verify_model(net, handmade.weights(), handmade.write_onnx(tmp_path / "m.onnx"))
    assert report.ok
    assert list(report.inputs) == ["data"]
    assert len(report.rows) == 4


def test_a_learned_blob_that_no_layer_computes_is_compared_too() -> None:
    net = parse_net(
        'layer { name: "p" type: "Parameter" top: "p" parameter_param { shape { dim: 2 dim: 3 } } } '
        'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } } '
        'layer { name: "y" type: "Eltwise" bottom: "p" bottom: "x" top: "y" }'
    )
    learned = np.float32([[1, 2, 3], [4, 5, 6]])
    source = ArrayWeights({"p": [learned]})
    trace = run(net, source, {"x": learned})
    right, wrong = {("p", "p"): learned}, {("p", "p"): learned + np.float32(1e-4)}
    bounds = estimate(net, source, trace)
    assert [row.ok for row in compare(trace, Answers(right, {}), bounds)[0]] == [True]
    assert [row.ok for row in compare(trace, Answers(wrong, {}), bounds)[0]] == [False]


def test_indices_into_a_batch_stay_within_it_and_are_not_all_alike() -> None:
    net = parse_net(
        'layer { name: "x" type: "Input" top: "x" top: "i" input_param { shape { dim: 5 dim: 2 } shape { dim: 9 } } } '
        'layer { name: "y" type: "BatchReindex" bottom: "x" bottom: "i" top: "y" }'
    )
    feeds = seeded(net, {"x": (5, 2), "i": (9,)})
    assert 1 < len(set(feeds["i"])) <= 5
    assert set(feeds["i"]) <= set(range(5))
    assert exact_inputs(net) == {"i"}
    assert run(net, None, feeds).blobs["y"].tolist() == feeds["x"][feeds["i"].astype(int)].tolist()


def test_a_small_mistake_deep_in_a_net_is_found_at_its_layer_though_the_rounding_before_it_is_larger() -> None:
    """A bias off by a thousandth behind 40 layers: a share of the whole bound, many times the layer's own."""
    rng = np.random.default_rng(8)
    text = 'layer { name: "l0" type: "Input" top: "l0" input_param { shape { dim: 1 dim: 300 } } } '
    learned = {}
    for i in range(1, 41):
        text += f'layer {{ name: "l{i}" type: "InnerProduct" bottom: "l{i - 1}" top: "l{i}" '
        text += "inner_product_param { num_output: 300 bias_term: false } } "
        learned[f"l{i}"] = [(rng.standard_normal((300, 300)) / np.sqrt(300)).astype(np.float32)]
    text += 'layer { name: "b" type: "Bias" bottom: "l40" top: "b" } '
    text += 'layer { name: "end" type: "TanH" bottom: "b" top: "end" }'
    net = parse_net(text)
    learned["b"] = [rng.standard_normal(300).astype(np.float32) / np.float32(32)]
    x = {"l0": rng.standard_normal((1, 300)).astype(np.float32)}
    source = ArrayWeights(learned)
    trace = run(net, source, x)
    other = run(net, ArrayWeights({**learned, "b": [learned["b"][0] * np.float32(1.001)]}), x)
    answers = Answers(other.tops, {})
    whole = compare(trace, answers, estimate(net, source, trace))[0]
    found = walk(net, source, x, lambda: Blobs.of(answers))
    rows, _ = found.rows.finished(found.outputs, {})
    assert all(row.ok for row in whole)
    assert [row.layer for row in rows if not row.ok] == ["b"]
    assert max(row.own_share for row in rows if row.layer != "b") < 0.5
