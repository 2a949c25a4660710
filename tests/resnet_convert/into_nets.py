"""Small Caffe nets with random weights, modules beside them, and the two compared."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import resnet_convert
from prototxt import load_net
from resnet_convert.modules.into import PortedInto
from verify import run
from weights import open_weights

HEAD = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 7 dim: 9 } } }'
SIZED = "num_output: 4 kernel_size: 3 pad: 1"
UNEVEN = 'bias_filler { type: "uniform" min: -1 max: 1 }'


def layer(name: str, kind: str, *bottoms: str, of: str = "", phrase: str = "") -> str:
    """One layer with a top of its name."""
    read = " ".join(f'bottom: "{bottom}"' for bottom in bottoms)
    section = {"Convolution": "convolution_param", "InnerProduct": "inner_product_param", "Pooling": "pooling_param"}
    inner = f"{section.get(kind, of)} {{ {phrase} }}" if phrase else ""
    return f'layer {{ name: "{name}" type: "{kind}" {read} top: "{name}" {inner} }}'


def conv(name: str, bottom: str, phrase: str = f"{SIZED} {UNEVEN}") -> str:
    return layer(name, "Convolution", bottom, phrase=phrase)


def norm(name: str, bottom: str, phrase: str = "") -> str:
    scale = 'bias_term: true filler { type: "uniform" min: 0.5 max: 2 } bias_filler { type: "uniform" min: -1 max: 1 }'
    first = layer(name, "BatchNorm", bottom, of="batch_norm_param", phrase=phrase)
    return first + layer(f"{name}s", "Scale", name, of="scale_param", phrase=scale)


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[str, str]]:
    """The files of a net with random weights, in the working folder."""
    monkeypatch.chdir(tmp_path)

    def make(*layers: str) -> tuple[str, str]:
        Path("net.prototxt").write_text("\n".join([HEAD, *layers]))
        resnet_convert.convert("net.prototxt", to="caffe", output="made", fold="none", random_weights=3, verify=False)
        return "net.prototxt", "made/model.caffemodel"

    return make


class Function(nn.Module):
    """Modules by name, and a function of them and the input."""

    def __init__(self, function: Callable[..., Any], **modules: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x: torch.Tensor) -> Any:
        return self.function(self, x)


class Matrix(nn.Module):
    """A fully connected layer whose matrix is inputs × outputs."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.w, self.b = nn.Parameter(torch.zeros(inputs, outputs)), nn.Parameter(torch.zeros(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.w + self.b


def fed(shape: tuple[int, ...] = (1, 3, 7, 9)) -> np.ndarray:
    return np.random.default_rng(8).standard_normal(shape).astype(np.float32)


def assert_same_numbers(files: tuple[str, str], done: PortedInto) -> None:
    """The module as it is now gives what the interpreter gives, without a report in between."""
    with open_weights(files[1]) as weights:
        expected = list(run(load_net(files[0]), weights, {"data": fed()}).blobs.values())[-1]
    with torch.no_grad():
        got = done.module(torch.from_numpy(fed())).numpy()
    np.testing.assert_allclose(got.ravel(), expected.ravel(), atol=2e-5 * abs(expected).max())


C3 = {"kernel_size": 3, "padding": 1}
