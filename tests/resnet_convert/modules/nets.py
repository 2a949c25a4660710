"""Small Caffe nets, modules beside them, and the two compared: for what is ported into modules and out of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from prototxt import load_net
from resnet_convert.modules.back import PortedFrom
from resnet_convert.modules.into import PortedInto
from resnet_convert.modules.side_by_side import Laid
from verify import run
from weights import open_weights

HEAD = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 7 dim: 9 } } }'
SIZED = "num_output: 4 kernel_size: 3 pad: 1"
UNEVEN = 'bias_filler { type: "uniform" min: -1 max: 1 }'
C3 = {"kernel_size": 3, "padding": 1}


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


BARE = [conv("c", "data")]
NORMED = [*BARE, norm("n", "c")]
SCALED = [*BARE, layer("s", "Scale", "c", of="scale_param", phrase=f"bias_term: true {UNEVEN}")]
NO_BIAS = conv("c", "data", f"{SIZED} bias_term: false")


def net(*layers: str) -> str:
    """A prototxt in the working folder."""
    Path("net.prototxt").write_text("\n".join([HEAD, *layers]))
    return "net.prototxt"


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


def convolved(*parts: nn.Module, bias: bool = True) -> nn.Sequential:
    """The module of `BARE`, and what stands behind it."""
    return nn.Sequential(nn.Conv2d(3, 4, **C3, bias=bias), *parts)


def drawn(module: nn.Module, seed: int = 5) -> nn.Module:
    """The module with random parameters; variances are positive, factors of either sign."""
    made = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for key, value in module.state_dict().items():
            if key.endswith("running_var"):
                value.copy_(torch.rand(value.shape, generator=made) + 0.5)
            elif value.is_floating_point():
                value.copy_(torch.randn(value.shape, generator=made) * 0.5)
    return module.eval()


def fed(shape: tuple[int, ...] = (1, 3, 7, 9)) -> np.ndarray:
    return np.random.default_rng(8).standard_normal(shape).astype(np.float32)


def numbers(net: str, weights: str, done: Laid) -> tuple[np.ndarray, np.ndarray]:
    """What the interpreter gives, and what the module gives as it is now; no report in between."""
    with open_weights(weights) as opened:
        caffe = list(run(load_net(net), opened, {"data": fed()}).blobs.values())[-1]
    with torch.no_grad():
        module = done.module(torch.from_numpy(fed())).numpy()
    return caffe.ravel(), module.ravel()


def assert_same_numbers(files: tuple[str, str], done: PortedInto) -> None:
    """The module gives what the interpreter gives."""
    expected, got = numbers(*files, done)
    np.testing.assert_allclose(got, expected, atol=2e-5 * abs(expected).max())


def assert_same_numbers_back(file: str, done: PortedFrom) -> None:
    """The interpreter gives with the file what the module gives."""
    got, expected = numbers("net.prototxt", file, done)
    np.testing.assert_allclose(got, expected, atol=2e-5 * abs(expected).max())


SMALL = [
    *BARE,
    layer("r", "ReLU", "c"),
    layer("p", "Pooling", "r", phrase="kernel_size: 2"),
    layer("s", "Softmax", "p"),
]


def models(padding: int = 1) -> str:
    """Python source whose `net` is `SMALL` but for its softmax; with another padding it gives other numbers."""
    return f"""
from torch import nn

def net():
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding={padding}), nn.ReLU(), nn.MaxPool2d(2, 1))
"""
