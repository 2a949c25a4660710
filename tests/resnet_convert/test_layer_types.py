"""`resnet-convert layers`: what it says of a type is what conversions, trainings and checks do with it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import resnet_convert
from converter.layers.base import registry
from prototxt import load_net
from prototxt.errors import RequestError
from prototxt.families import NOT_CHECKED
from resnet_convert.cli.main import main
from resnet_convert.layer_types import ReadField
from tests.golden import golden_cases
from verify import known_types

ROOT = Path(__file__).resolve().parents[2]
BY_NAME = {each.name: each for each in resnet_convert.layers()}
CONVERTED = {layer.kind for case in golden_cases() for layer in load_net(case.net).layers if layer.bottoms}
"""The types of the golden cases, all of which the tests convert to ONNX and PyTorch and run in the interpreter."""


def test_every_registered_type_is_listed_by_its_name() -> None:
    assert [each.name for each in resnet_convert.layers()] == sorted(registry())


def test_what_golden_cases_show_to_work_is_said_to_work() -> None:
    assert len(CONVERTED) > 100
    known = [BY_NAME[kind] for kind in CONVERTED if BY_NAME[kind].tops[1] != 0]
    assert [each.name for each in known if not (each.onnx and each.torch and each.checked)] == []


def test_what_is_not_checked_is_what_no_rule_is_for() -> None:
    unchecked = {name for name, each in BY_NAME.items() if not each.checked}
    assert unchecked == {*BY_NAME} - {*known_types()}
    assert {BY_NAME[name].family for name in unchecked} == {name.replace(".", "/") for name in NOT_CHECKED}


def test_a_layer_that_a_training_refuses_is_not_said_to_train() -> None:
    """The golden cases have settings of either sort; what is refused whatever they are is a `no`."""
    refused: dict[str, set[bool]] = {}
    for case in golden_cases():
        for layer in load_net(case.net).layers:
            if layer.bottoms:
                refused.setdefault(layer.kind, set()).add(bool(registry()[layer.kind].read(layer).untrainable))
    assert [kind for kind, found in refused.items() if True in found and BY_NAME[kind].training == "yes"] == []
    assert [kind for kind, found in refused.items() if False in found and BY_NAME[kind].training == "no"] == []
    said = {name: each.training for name, each in BY_NAME.items() if each.training != "yes" and each.torch}
    assert BY_NAME["HDF5Output"].training == "yes"
    assert said == {
        **dict.fromkeys(("BN", "BilinearInterpolate", "DecodeBBox", "DenseBlock", "Insanity", "Quant"), "no"),
        **dict.fromkeys(("ConvolutionRistretto", "DeconvolutionRistretto", "FcRistretto", "LRNRistretto"), "no"),
        **dict.fromkeys(("DataAugmentation", "Downsample", "FlowWarp", "Mean", "Resample", "Warp"), "no"),
        **dict.fromkeys(("BatchNorm", "ELU", "GRN", "LabelSpecificAdd", "Normalize", "Pooling", "SPP"), "in part"),
        **dict.fromkeys(("BinaryConvolution", "BinaryInnerProduct", "InnerProduct"), "in part"),
        **dict.fromkeys(("ChannelScale", "MergeCrop", "SpatialTransformer", "UnPooling", "Unpooling"), "in part"),
    }
    assert BY_NAME["BilinearInterpolate"].why_untrained == "its fork has no backward pass for it"


def test_one_type_in_full() -> None:
    (pooling,) = resnet_convert.layers("Pooling")
    assert (pooling.family, pooling.bottoms, pooling.role) == ("pooling", (1, 1), "layer")
    assert pooling.does == "Max or average over a window (Caffe: pooling_layer.cpp)."
    assert ReadField("pooling_param", "kernel_size") in (pooling.fields or ())
    (interp,) = resnet_convert.layers("interp")
    assert "openvino" in [fork.name for fork in interp.forks]
    (upsample,) = resnet_convert.layers("Upsample")
    assert [("segnet" in each.forks) for each in upsample.stored if each.number == 137] == [True]
    (eltwise,) = resnet_convert.layers("Eltwise")
    assert eltwise.bottoms == (1, None)
    assert ReadField("eltwise_param", "axis", held=True) in (eltwise.fields or ())
    assert resnet_convert.layers("ImageData")[0].fields is None


@pytest.mark.parametrize(
    ("wish", "found"),
    [
        ("INNER_PRODUCT", "InnerProduct"),
        ("prelu", "PReLU"),
        ("relu6", "ReLU6"),
        ("softmax-with-loss", "SoftmaxWithLoss"),
        ("Python pad.PadTensor", "Python pad.PadTensor"),
    ],
)
def test_a_type_is_found_as_people_write_it(wish: str, found: str) -> None:
    assert resnet_convert.layers(wish)[0].name == found


@pytest.mark.parametrize(
    ("wish", "near"),
    [
        ("Convolutoin", "did you mean Convolution"),
        ("conv", "did you mean Convolution, Convolution3D, Deconvolution"),
        ("ProposalLayer", "did you mean Python rpn.proposal_layer.ProposalLayer"),
        ("depthwise", "did you mean ConvolutionDepthwise or DepthwiseConvolution"),
        ("池化层", "'resnet-convert layers' lists all"),
        ("", "'resnet-convert layers' lists all"),
        ("\x1b[31m", r"'\x1b[31m'"),
    ],
)
def test_an_unknown_type_is_named_with_those_that_come_near(
    wish: str, near: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RequestError):
        resnet_convert.layers(wish)
    assert main(["layers", wish]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: no layer type goes by the name ")
    assert near in said


def test_all_types_stand_in_the_table_and_each_can_be_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["layers"]) == 0
    head, *rows, last = capsys.readouterr().out.splitlines()
    assert head.split() == ["ONNX", "PyTorch", "trained", "checked", "layer"]
    assert [row[34:].split(": ")[0] for row in rows] == sorted(BY_NAME)
    assert last == f"{len(BY_NAME)} types; 'resnet-convert layers TYPE' says more of one"
    for name in BY_NAME:
        assert main(["layers", name]) == 0
        assert capsys.readouterr().out.startswith(f"{name}\n  {BY_NAME[name].description[:40]}")


def test_what_is_printed_of_one_says_all_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["layers", "BatchNorm"]) == 0
    text = capsys.readouterr().out
    assert "  ONNX: yes; PyTorch: yes; checked by the interpreter: yes\n  trained: in part\n" in text
    assert "    batch_norm_param: " in text
    assert "    nvidia: eps is 1e-5 at least" in text
    assert main(["layers", "ReLU", "-q"]) == 0
    assert capsys.readouterr().out == ""


def test_layers_of_a_plugin_are_listed_too() -> None:
    plugin = ROOT / "examples" / "plugin" / "vignette.py"
    words = [sys.executable, "-m", "resnet_convert", "layers", "vignette", "--plugin", str(plugin), "--json"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT)
    (found,) = json.loads(done.stdout)["types"]
    assert (found["name"], found["family"], found["fields"], found["onnx"]) == ("Vignette", "plugin", None, True)
