"""Several models of one net: it runs once for all that ask the same of it; data that nobody reads is not asked for."""

from __future__ import annotations

from pathlib import Path

import handmade
import numpy as np
import pytest

import verify.parity
from prototxt import parse_net
from verify import verify_model, verify_models


def count_runs(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    ran: list[object] = []
    real = verify.parity.run

    def run(*given: object, **more: object) -> object:
        ran.append(given)
        return real(*given, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(verify.parity, "run", run)
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
