"""Converter and verifier together: what is right passes, what is wrong is found and named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

import resnet_convert
from converter.api import prepare, write
from converter.options import Target
from prototxt import Net, load_net, parse_net
from resnet_convert import Options, Preprocessing
from tests.golden import LAYERS, GoldenCase, golden_cases
from verify.parity import verify_model
from weights import ArrayWeights

DIGITS = Path(__file__).resolve().parents[1] / "examples" / "digits"
NET, WEIGHTS = DIGITS / "deploy.prototxt", DIGITS / "digits_resnet.caffemodel"


@pytest.mark.parametrize("case", golden_cases(), ids=str)
@pytest.mark.parametrize("to", ["onnx", pytest.param("torch", marks=pytest.mark.slow)])
def test_every_golden_layer_verifies_after_its_conversion(case: GoldenCase, to: str, tmp_path: Path) -> None:
    net = load_net(case.net)
    read = {bottom for layer in net.layers for bottom in layer.bottoms if bottom not in layer.tops}
    outputs = [top for layer in net.layers for top in layer.tops if layer.bottoms and top not in read]
    outputs = list(dict.fromkeys(outputs)) or [net.layers[-1].tops[0]]
    model = tmp_path / "model"
    options = Options(outputs=outputs, input_shapes={name: feed.shape for name, feed in case.feeds().items()})
    asked = resnet_convert.convert(
        case.net,
        case.weights,
        to=to,
        output=model,
        options=options,
        verify=True,
        feeds=case.feeds(),  # type: ignore[arg-type]
    )
    assert asked.report is not None
    assert asked.report.ok, asked.report.first_bad


@pytest.mark.parametrize("fold", ["none", "bn", "conv"])
@pytest.mark.parametrize("to", ["onnx", "torch"])
def test_the_digits_net_verifies_however_it_is_folded(fold: str, to: str, tmp_path: Path) -> None:
    asked = {"to": to, "fold": fold}
    report = resnet_convert.convert(NET, WEIGHTS, output=tmp_path / "m", verify=True, **asked).report  # type: ignore[arg-type]
    assert report is not None
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


@pytest.mark.parametrize("outputs", [[], ["c", "a", "b"], ["b"], ["a", "c"]], ids=str)
@pytest.mark.parametrize("order", ["abc", "bca", "cba", "acb"])
@pytest.mark.parametrize("to", ["onnx", "torch"])
def test_inputs_that_are_written_over_in_any_order_are_told_apart(
    to: str, order: str, outputs: list[str], tmp_path: Path
) -> None:
    inputs = (
        f'layer {{ name: "{blob}" type: "Input" top: "{blob}" input_param {{ shape {{ dim: 2 dim: {size} }} }} }}\n'
        for blob, size in zip("abc", (3, 5, 3), strict=True)
    )
    layers = (f'layer {{ name: "r{blob}" type: "TanH" bottom: "{blob}" top: "{blob}" }}\n' for blob in order)
    net = tmp_path / "net.prototxt"
    net.write_text("".join((*inputs, *layers)))
    done = resnet_convert.convert(net, to=to, output=tmp_path / "m", outputs=outputs, verify=True)  # type: ignore[arg-type]
    report = done.report
    assert report is not None
    assert report.ok, report.first_bad
    assert not report.notes
    assert sorted(row.top for row in report.shipped) == sorted(outputs or "abc")


def test_an_input_that_is_written_over_with_the_wrong_numbers_is_found(tmp_path: Path) -> None:
    texts = [
        "".join(
            f'layer {{ name: "{blob}" type: "Input" top: "{blob}" input_param {{ shape {{ dim: 4 dim: 3 }} }} }}\n'
            f'layer {{ name: "r{blob}" type: "Power" bottom: "{blob}" top: "{blob}" '
            f"power_param {{ scale: {scale} }} }}\n"
            for blob, scale in zip("ab", scales, strict=True)
        )
        for scales in ((2, 3), (2, 2.97))
    ]
    nets = [tmp_path / f"{number}.prototxt" for number in range(2)]
    for net, text in zip(nets, texts, strict=True):
        net.write_text(text)
    resnet_convert.convert(nets[1], output=tmp_path / "m.onnx")
    report = resnet_convert.verify(nets[0], None, tmp_path / "m.onnx")
    assert report.first_bad is not None
    assert report.first_bad.top == "b"


NAMESAKES = {
    "ReLU": 'layer { name: "c" type: "ReLU" bottom: "c" top: "c" relu_param { negative_slope: 0.5 } }',
    "folded Power": 'layer { name: "c" type: "Power" bottom: "c" top: "c" power_param { scale: 3 shift: 1 } }',
    "three": 'layer { name: "c" type: "Power" bottom: "c" top: "c" power_param { scale: 3 shift: 1 } }'
    'layer { name: "between" type: "TanH" bottom: "c" top: "c" }'
    'layer { name: "c" type: "ReLU" bottom: "c" top: "c" relu_param { negative_slope: 0.5 } }'
    'layer { name: "end" type: "Sigmoid" bottom: "c" top: "end" }',
}


def namesakes(layers: str) -> Net:
    """A convolution, and layers in place that bear its name, as Caffe lets those do that have no blobs."""
    return parse_net(
        'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 dim: 6 dim: 5 } } }'
        'layer { name: "c" type: "Convolution" bottom: "x" top: "c" '
        "convolution_param { num_output: 4 kernel_size: 3 } }" + layers
    )


@pytest.mark.parametrize("layers", NAMESAKES.values(), ids=NAMESAKES)
@pytest.mark.parametrize("to", ["onnx", "torch"])
def test_a_layer_in_place_that_bears_the_name_of_the_one_before_it_is_checked_as_what_it_is(
    layers: str, to: Target, tmp_path: Path
) -> None:
    """Of a name's blobs the last is compared; a mistake before it is found in the first that is."""
    rng = np.random.default_rng(4)
    weight, bias = (rng.standard_normal(shape).astype(np.float32) / 1000 for shape in ((4, 3, 3, 3), (4,)))
    net, right = namesakes(layers), ArrayWeights({"c": [weight, bias]})
    model = tmp_path / "model"
    write(prepare(net, right, Options()), to, model, None)
    report = verify_model(net, right, model)
    assert report.ok, report.first_bad
    places = [row.place for row in report.rows]
    assert places == sorted(places)
    for wrong in (
        (net, ArrayWeights({"c": [weight * np.float32(1.001), bias]})),
        (namesakes(layers.replace("0.5", "0.501").replace("scale: 3", "scale: 3.003")), right),
    ):
        bad = verify_model(*wrong, model).first_bad
        assert bad is not None
        assert bad.place == places[0]
