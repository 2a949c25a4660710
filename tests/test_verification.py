"""Converter and verifier together: what is right passes, what is wrong is found and named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from golden import LAYERS, GoldenCase, golden_cases

import resnet_convert
from prototxt import load_net
from resnet_convert import Options, Preprocessing

DIGITS = Path(__file__).resolve().parents[1] / "examples" / "digits"
NET, WEIGHTS = DIGITS / "deploy.prototxt", DIGITS / "digits_resnet.caffemodel"


@pytest.mark.parametrize("case", golden_cases(), ids=str)
@pytest.mark.parametrize("to", ["onnx", "torch"])
def test_every_golden_layer_verifies_after_its_conversion(case: GoldenCase, to: str, tmp_path: Path) -> None:
    net = load_net(case.net)
    read = {bottom for layer in net.layers for bottom in layer.bottoms if bottom not in layer.tops}
    outputs = [top for layer in net.layers for top in layer.tops if layer.bottoms and top not in read]
    outputs = list(dict.fromkeys(outputs)) or [net.layers[-1].tops[0]]
    model = tmp_path / "model"
    options = Options(outputs=outputs, input_shapes={name: feed.shape for name, feed in case.feeds().items()})
    resnet_convert.convert(case.net, case.weights, to=to, output=model, options=options)  # type: ignore[arg-type]
    report = resnet_convert.verify(case.net, case.weights, model, feeds=case.feeds())
    assert report.ok, report.first_bad


@pytest.mark.parametrize("fold", ["none", "bn", "conv"])
@pytest.mark.parametrize("to", ["onnx", "torch"])
def test_the_digits_net_verifies_however_it_is_folded(fold: str, to: str, tmp_path: Path) -> None:
    options = Options(fold=fold)  # type: ignore[arg-type]
    resnet_convert.convert(NET, WEIGHTS, to=to, output=tmp_path / "m", options=options)  # type: ignore[arg-type]
    report = resnet_convert.verify(NET, WEIGHTS, tmp_path / "m")
    assert report.ok
    assert len(report.rows) == {"none": 53, "bn": 41, "conv": 29}[fold]


@pytest.mark.parametrize("to", ["onnx", "torch"])
def test_baked_preprocessing_is_part_of_the_check(to: str, tmp_path: Path) -> None:
    mean = resnet_convert.load_mean(DIGITS / "mean.binaryproto")
    options = Options(preprocessing=Preprocessing(mean, 0.5))
    resnet_convert.convert(NET, WEIGHTS, to=to, output=tmp_path / "m", options=options)  # type: ignore[arg-type]
    assert resnet_convert.verify(NET, WEIGHTS, tmp_path / "m", mean=mean).ok


@pytest.mark.parametrize("to", ["onnx", "torch"])
def test_a_net_cut_at_an_inner_blob_verifies(to: str, tmp_path: Path) -> None:
    options = Options(outputs=["res3a", "pool1"])
    resnet_convert.convert(NET, WEIGHTS, to=to, output=tmp_path / "m", options=options)  # type: ignore[arg-type]
    report = resnet_convert.verify(NET, WEIGHTS, tmp_path / "m")
    assert report.ok
    assert {row.top for row in report.rows if row.output} >= {"res3a"}


def spoil(path: Path, name: str, change: object) -> None:
    """Change one initializer of an ONNX file."""
    model = onnx.load(path)
    (tensor,) = [t for t in model.graph.initializer if t.name == name]
    array = onnx.numpy_helper.to_array(tensor).copy()
    tensor.CopyFrom(onnx.numpy_helper.from_array(change(array), name))  # type: ignore[operator]
    onnx.save(model, path)


@pytest.mark.parametrize(
    ("name", "change", "layer"),
    [
        ("fc10.bias", lambda a: np.roll(a, 1), "fc10"),
        ("res3a_branch2b.weight", lambda a: a[::-1].copy(), "res3a_branch2b"),
        ("bn3a_branch1.mean", lambda a: a * 997.54, "scale3a_branch1"),
        ("conv1.weight", lambda a: a * np.float32(1.0002), "conv1"),
    ],
    ids=["bias rotated", "channels swapped", "scale factor forgotten", "weights off by 2e-4"],
)
def test_the_first_wrong_blob_is_named(name: str, change: object, layer: str, tmp_path: Path) -> None:
    resnet_convert.convert(NET, WEIGHTS, output=tmp_path / "m.onnx")
    spoil(tmp_path / "m.onnx", name, change)
    report = resnet_convert.verify(NET, WEIGHTS, tmp_path / "m.onnx")
    assert not report.ok
    assert report.first_bad is not None
    assert report.first_bad.layer == layer


def test_a_models_eps_is_noticed(tmp_path: Path) -> None:
    case = GoldenCase(LAYERS / "bn")
    resnet_convert.convert(case.net, case.weights, output=tmp_path / "m.onnx")
    model = onnx.load(tmp_path / "m.onnx")
    (node,) = [n for n in model.graph.node if n.op_type == "BatchNormalization"]
    next(a for a in node.attribute if a.name == "epsilon").f = 1e-3
    onnx.save(model, tmp_path / "m.onnx")
    assert not resnet_convert.verify(case.net, case.weights, tmp_path / "m.onnx").ok
