"""The generated PyTorch source: names, readability, sharing, export."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from safetensors import safe_open

from converter.api import convert, load, prepare
from converter.options import Options
from converter.targets.identifiers import Names, identifier
from converter.targets.torch_model import MODULE_ATTRIBUTES, emit_torch, live_module
from prototxt import parse_net
from tests.golden import LAYERS, GoldenCase, assert_close

INPUT = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 7 dim: 5 } } }'


def module_of(text: str, seed: int = 3, **options: object) -> tuple[torch.nn.Module, str]:
    net = parse_net('name: "n" ' + INPUT + text)
    model = emit_torch(prepare(net, None, Options(random_weights=seed, **options)).graph)  # type: ignore[arg-type]
    return live_module(model), model.source


def imported(folder: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("model", folder / "model.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_source_reads_like_code_written_by_hand() -> None:
    _, source = module_of(
        """layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
             convolution_param { num_output: 4 kernel_size: 3 pad: 1 bias_term: false } }
           layer { name: "bn_conv1" type: "BatchNorm" bottom: "conv1" top: "conv1" }
           layer { name: "scale_conv1" type: "Scale" bottom: "conv1" top: "conv1" scale_param { bias_term: true } }
           layer { name: "conv1_relu" type: "ReLU" bottom: "conv1" top: "conv1" }
           layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1"
             pooling_param { kernel_size: 3 stride: 2 pool: MAX } }
           layer { name: "fc" type: "InnerProduct" bottom: "pool1" top: "fc" inner_product_param { num_output: 6 } }
           layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }"""
    )
    assert (
        source
        == '''"""n, converted from <string>."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.bn_conv1 = nn.BatchNorm2d(4, eps=1e-05)
        self.conv1_relu = nn.ReLU()
        self.pool1 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.fc = nn.Linear(24, 6)

    def forward(self, data):
        # data: 2×3×7×5
        conv1 = self.conv1(data)
        conv1 = self.bn_conv1(conv1)  # bn_conv1 + scale_conv1
        conv1 = self.conv1_relu(conv1)
        pool1 = self.pool1(conv1)
        fc = self.fc(torch.flatten(pool1, 1))
        prob = torch.softmax(fc, dim=1)  # prob
        return prob


def load(weights=Path(__file__).with_name("model.safetensors")):
    """The model with its weights, in eval mode."""
    model = Model()
    model.load_state_dict(load_file(weights), assign=True)
    return model.eval()
'''
    )


HOSTILE = [
    "class",
    "forward",
    "self",
    "__init__",
    "__x",
    'a"b\nc',
    "'; import os; os._exit(7) #",
    "a/b",
    "a_b",
    "a.b",
    "日本語",
    "ﬁ",
    "",
    "1st",
    "torch",
    "nn",
    "F",
    "load",
    "Model",
    "None",
    "{0}",
    '"""',
    "\\",
    "x\u2028y",
]


def test_hostile_names_stay_names(tmp_path: Path) -> None:
    layers, previous = [], "data"
    for i, name in enumerate(HOSTILE):
        escaped = "".join(f"\\x{b:02x}" if b < 32 or b > 126 or chr(b) in "\"\\'" else chr(b) for b in name.encode())
        top = f"t{i} {escaped}"
        kernel = "convolution_param { num_output: 3 kernel_size: 1 }"
        layers.append(f'layer {{ name: "{escaped}" type: "Convolution" bottom: "{previous}" top: "{top}" {kernel} }}')
        previous = top
    net = tmp_path / "net.prototxt"
    net.write_text(f'name: "{HOSTILE[20]}" ' + INPUT + "\n".join(layers), encoding="utf-8")
    convert(net, to="torch", output=tmp_path / "out", options=Options(random_weights=1))
    model = imported(tmp_path / "out").load()
    x = torch.randn(2, 3, 7, 5, generator=torch.Generator().manual_seed(0))
    live = load(net, options=Options(random_weights=1))
    assert torch.equal(model(x), live(x))
    assert len(model.state_dict()) == 2 * len(HOSTILE)
    assert all(key.isidentifier() for path in model.state_dict() for key in path.split("."))


def test_no_module_attribute_can_be_taken() -> None:
    assert {name for name in dir(torch.nn.Module) if not name.startswith("_")} <= MODULE_ATTRIBUTES


def test_identifiers_are_unique_and_legal() -> None:
    names = Names({"taken"})
    wishes = ["a/b", "a.b", "a_b", "taken", "class", "1", "", "__x", "__"]
    made = [names.fresh(wish) for wish in wishes]
    assert made == ["a_b", "a_b_2", "a_b_3", "taken_2", "class_", "_1", "unnamed", "_x", "unnamed_2"]
    assert identifier("res2a-branch 1") == "res2a_branch_1"


def test_shared_weights_are_one_parameter() -> None:
    case = GoldenCase(LAYERS / "net_shared_params")
    module = load(case.net, case.weights)
    parameters = dict(module.named_parameters(remove_duplicate=False))
    assert parameters["f1.weight"] is parameters["f2.weight"]
    assert set(module.state_dict()) == {"f1.weight", "f1.bias", "f2.weight", "f2.bias"}


def test_a_written_model_shares_too(tmp_path: Path) -> None:
    case = GoldenCase(LAYERS / "net_shared_params")
    convert(case.net, case.weights, to="torch", output=tmp_path / "m")
    module = imported(tmp_path / "m").load()
    assert module.f1.weight is module.f2.weight
    feeds = [torch.from_numpy(case.feeds()[name]) for name in ("x", "z")]
    assert_close(module(*feeds).detach().numpy(), case.expected()["y"], "y")


def test_a_blob_named_like_a_helper_does_not_hide_it() -> None:
    module, source = module_of(
        """layer { name: "t" type: "Input" top: "t" input_param { shape { dim: 2 dim: 7 dim: 5 } } }
           layer { name: "accuracy" type: "Accuracy" bottom: "data" bottom: "t" top: "accuracy" }""",
        outputs=["accuracy"],
    )
    assert "\ndef accuracy(" in source
    assert " accuracy = " not in source
    assert module(torch.randn(2, 3, 7, 5), torch.zeros(2, 7, 5)).shape == ()


def test_several_outputs_come_as_a_dict() -> None:
    module, _ = module_of(
        """layer { name: "a" type: "ReLU" bottom: "data" top: "a/1" }
           layer { name: "b" type: "TanH" bottom: "data" top: "b" }"""
    )
    out = module(torch.randn(2, 3, 7, 5))
    assert list(out) == ["a/1", "b"]


def test_an_in_place_layer_on_the_input_leaves_the_callers_tensor_alone() -> None:
    module, _ = module_of('layer { name: "r" type: "ReLU" bottom: "data" top: "data" }')
    x = torch.randn(2, 3, 7, 5)
    before = x.clone()
    assert torch.equal(module(x), before.relu())
    assert torch.equal(x, before)


def test_modules_export() -> None:
    module, _ = module_of(
        """layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
             convolution_param { num_output: 4 kernel_size: 3 } }
           layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool" pooling_param { kernel_size: 2 stride: 2 } }
           layer { name: "flat" type: "Reshape" bottom: "pool" top: "flat"
             reshape_param { shape { dim: 0 dim: -1 } } }"""
    )
    batch = torch.export.Dim("batch")
    exported = torch.export.export(module, (torch.randn(2, 3, 7, 5),), dynamic_shapes={"data": {0: batch}})
    x = torch.randn(5, 3, 7, 5)
    assert torch.equal(exported.module()(x), module(x))


def test_the_weight_file_names_the_blobs(tmp_path: Path) -> None:
    case = GoldenCase(LAYERS / "net_inplace_chain")
    convert(case.net, case.weights, to="torch", output=tmp_path / "m")
    with safe_open(tmp_path / "m" / "model.safetensors", "np") as file:
        tops = json.loads(file.metadata()["resnet_convert.tops"])
    assert tops == [["y", "h"], ["r", "h"], ["d", "h"], ["pw", "h"], ["y", "y"]]


def test_state_matches_the_module_exactly() -> None:
    module, source = module_of(
        """layer { name: "n" type: "BatchNorm" bottom: "data" top: "n" }
           layer { name: "p" type: "PReLU" bottom: "n" top: "p" }
           layer { name: "b" type: "Bias" bottom: "p" top: "b" }""",
        fold="none",
    )
    assert set(module.state_dict()) == {
        "n.running_mean",
        "n.running_var",
        "n.num_batches_tracked",
        "p.weight",
        "b.bias",
    }
    assert "affine=False" in source
    assert not module.training


@pytest.mark.parametrize(
    ("kernel", "stride", "pad", "size"),
    [(3, 2, 0, (7, 5)), (2, 2, 1, (7, 5)), (3, 2, 2, (8, 9)), (2, 3, 0, (9, 8)), (2, 4, 0, (7, 11)), (1, 3, 0, (6, 5))],
)
@pytest.mark.parametrize("method", ["MAX", "AVE"])
def test_odd_pooling_agrees_with_a_naive_loop(
    kernel: int, stride: int, pad: int, size: tuple[int, int], method: str, tmp_path: Path
) -> None:
    from tests.golden import run_onnx, run_torch

    height, width = size
    shape = f"shape {{ dim: 2 dim: 3 dim: {height} dim: {width} }}"
    net = parse_net(
        f"""layer {{ name: "data" type: "Input" top: "data" input_param {{ {shape} }} }}
            layer {{ name: "p" type: "Pooling" bottom: "data" top: "p"
              pooling_param {{ pool: {method} kernel_size: {kernel} stride: {stride} pad: {pad} }} }}"""
    )
    graph = prepare(net, None, Options()).graph
    x = np.random.default_rng(5).standard_normal((2, 3, height, width)).astype(np.float32)
    expected = naive_pool(x, kernel, stride, pad, method)
    assert_close(run_onnx(graph, {"data": x}, tmp_path)["p"], expected, "onnx")
    assert_close(run_torch(graph, {"data": x})["p"], expected, "torch")


def naive_pool(x: np.ndarray, kernel: int, stride: int, pad: int, method: str) -> np.ndarray:
    """Caffe's loop, from its description: ceil, clip, divisor of the padded window."""
    sizes = []
    for size in x.shape[2:]:
        windows = int(np.ceil((size + 2 * pad - kernel) / stride)) + 1
        if pad and (windows - 1) * stride >= size + pad:
            windows -= 1
        sizes.append(windows)
    out = np.zeros((*x.shape[:2], *sizes))
    for i, j in np.ndindex(*sizes):
        top, left = i * stride - pad, j * stride - pad
        bottom, right = min(top + kernel, x.shape[2] + pad), min(left + kernel, x.shape[3] + pad)
        window = x[:, :, max(top, 0) : min(bottom, x.shape[2]), max(left, 0) : min(right, x.shape[3])]
        if method == "MAX":
            out[:, :, i, j] = window.max((2, 3), initial=-np.finfo(np.float32).max)
        else:
            with np.errstate(divide="ignore", invalid="ignore"):
                out[:, :, i, j] = window.sum((2, 3)) / np.float64((bottom - top) * (right - left))
    return out.astype(np.float32)
