"""Several models of one net: it runs once for all that ask the same of it; data that nobody reads is not asked for."""

from __future__ import annotations

from pathlib import Path

import handmade
import numpy as np
import pytest

import verify.parity
from prototxt import parse_net
from verify import run, verify_model, verify_models
from verify.bounds import estimate, study
from verify.comparison import Alone, compare, substitutes
from verify.engines import Answers
from verify.inputs import exact_inputs, seeded
from weights import ArrayWeights


def count_runs(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    ran: list[object] = []
    real = verify.parity.run

    def counted(*given: object, **more: object) -> object:
        if "instead" not in more:  # those are each model's own
            ran.append(given)
        return real(*given, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(verify.parity, "run", counted)
    return ran


def test_models_that_hold_the_same_layers_share_one_run_of_the_net(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = count_runs(monkeypatch)
    right = handmade.write_onnx(tmp_path / "right.onnx")
    learned = handmade.parameters()
    learned["score"][1] = learned["score"][1] * np.float32(1.01)
    wrong = handmade.write_onnx(tmp_path / "wrong.onnx", learned=learned)
    said: list[str] = []
    reports = verify_models(handmade.net(), handmade.weights(), [right, wrong, right], progress=said.append)
    assert [report.ok for report in reports] == [True, False, True]
    assert reports[1].first_bad is not None
    assert reports[1].first_bad.layer == "score"
    assert len(ran) == 1
    assert sum("interpreter" in words for words in said) == 1
    assert sum(str(wrong) in words for words in said) == 2  # loaded and run


def test_a_model_that_is_fed_otherwise_gets_a_run_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = count_runs(monkeypatch)
    plain = handmade.write_onnx(tmp_path / "plain.onnx")
    baked = handmade.write_onnx(tmp_path / "cut.onnx", tops=handmade.TOPS[:3])
    reports = verify_models(handmade.net(), handmade.weights(), [plain, baked])
    assert [len(report.rows) for report in reports] == [4, 2]
    assert len(ran) == 2


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
    rounding = study(net, source, trace)
    instead = substitutes(trace, answers, rounding.bounds())
    alone = Alone(run(net, source, x, instead=instead), rounding.bounds(instead))
    whole = compare(trace, answers, rounding.bounds())[0]
    rows = compare(trace, answers, rounding.bounds(), alone)[0]
    assert all(row.ok for row in whole)
    assert [row.layer for row in rows if not row.ok] == ["b"]
    assert max(row.own_share for row in rows if row.layer != "b") < 0.5
