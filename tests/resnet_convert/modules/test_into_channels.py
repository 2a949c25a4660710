"""What works on each channel alone, in whichever form module and net have it, `port --into`."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

import resnet_convert
from prototxt import format_net, load_net, resnet
from prototxt.errors import NetError
from resnet_convert.modules.into import PortedInto, port_module
from resnet_convert.modules.naming import built
from resnet_convert.requests import PortIntoRequest
from tests.resnet_convert.modules.nets import (
    BARE,
    NO_BIAS,
    NORMED,
    SCALED,
    SIZED,
    UNEVEN,
    assert_same_numbers,
    conv,
    convolved,
    layer,
    norm,
)
from weights import ArrayWeights, Outputs, open_weights


class PerChannel(nn.Module):
    """A factor, a summand, or both in an order, a channel each."""

    def __init__(self, channels: int, order: str) -> None:
        super().__init__()
        self.names = [f"{name}{place}" for place, name in enumerate(order)]
        for name in self.names:
            self.register_parameter(name, nn.Parameter(torch.full((channels, 1, 1), 9.0)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for name in self.names:
            x = x * getattr(self, name) if name[0] == "f" else x + getattr(self, name)
        return x


class OfOne(nn.Module):
    """A normalisation with a factor, and no summand."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.weight = nn.BatchNorm2d(4, affine=False), nn.Parameter(torch.zeros(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.batch_norm(x, self.norm.running_mean, self.norm.running_var, self.weight, None)


NO_SCALE = [NO_BIAS, layer("n", "BatchNorm", "c")]
MODULES: dict[str, Callable[[], nn.Module]] = {
    "factor and summand behind": lambda: convolved(nn.BatchNorm2d(4, affine=False), PerChannel(4, "fs"), bias=False),
    "summand, then factor": lambda: convolved(nn.BatchNorm2d(4, affine=False), PerChannel(4, "sf"), bias=False),
    "a factor alone": lambda: convolved(nn.BatchNorm2d(4, affine=False), PerChannel(4, "f"), bias=False),
    "a summand alone": lambda: convolved(nn.BatchNorm2d(4, affine=False), PerChannel(4, "s"), bias=False),
    "statistics alone": lambda: convolved(nn.BatchNorm2d(4, affine=False), bias=False),
    "statistics alone, and a bias": lambda: convolved(nn.BatchNorm2d(4, affine=False)),
    "all of it twice": lambda: convolved(nn.BatchNorm2d(4), PerChannel(4, "fsfs")),
    "two normalisations": lambda: convolved(nn.BatchNorm2d(4, eps=0.25), nn.BatchNorm2d(4, eps=0.01)),
    "factor and summand before": lambda: convolved(PerChannel(4, "fs"), nn.BatchNorm2d(4), bias=False),
    "factors and summands alone": lambda: convolved(PerChannel(4, "sfs"), bias=False),
    "no summand in the normalisation": lambda: convolved(OfOne(), bias=False),
    "a large eps": lambda: convolved(nn.BatchNorm2d(4, eps=7.0), bias=False),
    "a large eps in the second": lambda: convolved(nn.BatchNorm2d(4), nn.BatchNorm2d(4, eps=7.0), bias=False),
    "a normalisation": lambda: convolved(nn.BatchNorm2d(4, eps=0.02), bias=False),
    "a bias": convolved,
}


def last_top(layers: list[str]) -> str:
    return re.findall(r'top: "(\w+)"', layers[-1])[-1]


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("layers", [NORMED, NO_SCALE, BARE, SCALED], ids=["plain", "no scale", "bare", "scale alone"])
def test_any_form_holds_any_other(layers: list[str], module: str, made: Callable[..., tuple[str, str]]) -> None:
    files = made(*layers, layer("r", "ReLU", last_top(layers)))
    done = resnet_convert.port_into(*files, nn.Sequential(MODULES[module]().eval(), nn.ReLU()))
    assert done.report is not None
    assert done.report.ok, done.report.first_bad
    assert done.mismatches == []
    assert_same_numbers(files, done)


def test_one_parameter_for_two_uses_is_refused(made: Callable[..., tuple[str, str]]) -> None:
    part = PerChannel(4, "sfs")
    part.names[2] = part.names[0]
    with pytest.raises(NetError, match=r"one 1\.s0 for two uses"):
        resnet_convert.port_into(*made(*NORMED), convolved(part, bias=False))
    assert torch.all(part.s0 == 9)


def with_a_factor_of_0(files: tuple[str, str], module: nn.Module) -> PortedInto:
    """Port with Scale's factor 0 and its summand 2."""
    with open_weights(files[1]) as stored, Outputs() as outputs:
        blobs = {found.name: [blob.array() for blob in found.blobs] for found in stored.layers}
        blobs["s"] = [np.full_like(array, value) for array, value in zip(blobs["s"], (0, 2), strict=True)]
        request = PortIntoRequest(*files, module)
        return port_module(load_net(files[0]), ArrayWeights(blobs), module, request, outputs)


WITH_SUMMAND = f"bias_term: true {UNEVEN}"


@pytest.mark.parametrize(
    "parts", [[PerChannel(4, "sf")], [nn.BatchNorm2d(4, affine=False), PerChannel(4, "sf")]], ids=["bias", "mean"]
)
def test_a_factor_of_0_goes_into_the_weights_where_a_summand_stands_before_it(
    parts: list[nn.Module], made: Callable[..., tuple[str, str]]
) -> None:
    files = made(conv("c", "data"), layer("s", "Scale", "c", of="scale_param", phrase=WITH_SUMMAND))
    done = with_a_factor_of_0(files, convolved(*parts, bias=False).eval())
    assert "the factor in the weights: what the module has behind them can't hold it" in [b.what for b in done.bridges]
    with torch.no_grad():
        assert torch.all((done.module(torch.ones(1, 3, 7, 9)) - 2).abs() < 1e-6)


def test_a_factor_of_0_behind_a_normalisation_of_its_own_is_refused(made: Callable[..., tuple[str, str]]) -> None:
    files = made(layer("n", "BatchNorm", "data"), layer("s", "Scale", "n", of="scale_param", phrase=WITH_SUMMAND))
    with pytest.raises(NetError, match="adds nothing behind a factor of 0"):
        with_a_factor_of_0(files, nn.Sequential(nn.BatchNorm2d(3, affine=False), PerChannel(3, "sf")))


def test_a_layer_of_its_own_stays_one(made: Callable[..., tuple[str, str]]) -> None:
    """A normalisation behind no sum has no weights to take a factor in."""
    files = made(norm("n", "data"), layer("r", "ReLU", "ns"))
    done = resnet_convert.port_into(
        *files, nn.Sequential(nn.BatchNorm2d(3, affine=False), PerChannel(3, "fs"), nn.ReLU()).eval()
    )
    assert done.report is not None
    assert done.report.ok
    assert_same_numbers(files, done)
    with pytest.raises(NetError, match="the module's 0 has no factor"):
        resnet_convert.port_into(*files, nn.Sequential(nn.BatchNorm2d(3, affine=False), nn.ReLU()))


@pytest.mark.parametrize("fold", ["none", "bn", "conv"])
@pytest.mark.parametrize("net_fold", ["none", "conv"])
def test_our_own_modules_take_what_they_were_made_of(net_fold: str, fold: str, tmp_path: Path) -> None:
    """A ResNet of each folding into the module that a conversion with each folding writes."""
    text = tmp_path / "resnet.prototxt"
    text.write_text(format_net(resnet(18)))
    how: dict[str, Any] = {"random_weights": 5, "verify": False}
    resnet_convert.convert(text, to="torch", output=tmp_path / "module", fold=fold, **how)
    resnet_convert.convert(text, to="caffe", output=tmp_path / "net", fold=net_fold, **how)
    files = str(tmp_path / "net" / "deploy.prototxt"), str(tmp_path / "net" / "model.caffemodel")
    module = built(f"{tmp_path / 'module' / 'model.py'}:Model")
    done = resnet_convert.port_into(*files, module)
    assert done.report is not None
    assert done.report.ok, done.report.first_bad
    assert done.mismatches == []
    assert done.kept == []
    if net_fold == fold:  # only names change: bit for bit
        stored = load_file(next((tmp_path / "module").glob("*.safetensors")))
        assert all(torch.equal(value, done.state_dict[key]) for key, value in stored.items())


def residual_net(form: str, eps: float) -> list[str]:
    """Two convolutions beside a third, each with what the form has behind it; blocks as MSRA's."""

    def unit(name: str, bottom: str, size: str) -> tuple[list[str], str]:
        if form == "folded":
            return [conv(name, bottom, f"{size} {UNEVEN}")], name
        made = [conv(name, bottom, f"{size} bias_term: false")]
        if form == "normalised":
            return [
                *made,
                layer(f"{name}n", "BatchNorm", name, of="batch_norm_param", phrase=f"eps: {eps}"),
            ], f"{name}n"
        return [*made, norm(f"{name}n", name, f"eps: {eps}")], f"{name}ns"

    layers, at = unit("a", "data", f"{SIZED} stride: 2")
    layers.append(layer("r", "ReLU", at))
    side, around = unit("d", "r", "num_output: 6 kernel_size: 1")
    first, inner = unit("b", "r", "num_output: 5 kernel_size: 1")
    second, last = unit("e", "s", "num_output: 6 kernel_size: 3 pad: 1")
    end = [
        layer("x", "Eltwise", around, last),
        layer("y", "ReLU", "x"),
        layer("f", "InnerProduct", "y", phrase="num_output: 3"),
    ]
    return [*layers, *side, *first, layer("s", "ReLU", inner), *second, *end]


class Residual(nn.Module):
    """The same, with what `behind` makes behind each convolution."""

    def __init__(self, behind: Callable[[int], list[nn.Module]], bias: bool) -> None:
        super().__init__()

        def unit(inputs: int, outputs: int, size: int, stride: int = 1) -> nn.Module:
            return nn.Sequential(nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=bias), *behind(outputs))

        self.unit0, self.unit1, self.unit2, self.unit3 = unit(3, 4, 3, 2), unit(4, 5, 1), unit(5, 6, 3), unit(4, 6, 1)
        self.scores = nn.Linear(6 * 4 * 5, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.unit0(x))
        return self.scores(torch.relu(self.unit2(torch.relu(self.unit1(x))) + self.unit3(x)).flatten(1))


RESIDUALS: dict[str, Callable[[], nn.Module]] = {
    "normalised": lambda: Residual(lambda n: [nn.BatchNorm2d(n, eps=1e-5)], bias=False),
    "of another eps": lambda: Residual(lambda n: [nn.BatchNorm2d(n, eps=0.03)], bias=False),
    "with a bias as well": lambda: Residual(lambda n: [nn.BatchNorm2d(n, eps=1e-3)], bias=True),
    "apart": lambda: Residual(lambda n: [nn.BatchNorm2d(n, affine=False), PerChannel(n, "fs")], bias=False),
    "statistics alone": lambda: Residual(lambda n: [nn.BatchNorm2d(n, affine=False)], bias=False),
    "folded": lambda: Residual(lambda n: [], bias=True),
}


@pytest.mark.parametrize("module", RESIDUALS)
@pytest.mark.parametrize("eps", [1e-5, 0.002])
@pytest.mark.parametrize("form", ["normalised and scaled", "normalised", "folded"])
def test_residual_nets_folded_or_not_go_into_modules_folded_or_not(
    form: str, eps: float, module: str, made: Callable[..., tuple[str, str]]
) -> None:
    files = made(*residual_net(form, eps))
    done = resnet_convert.port_into(*files, RESIDUALS[module]().eval())
    assert done.report is not None
    assert done.report.ok, done.report.first_bad
    assert (done.mismatches, done.kept) == ([], [])
    assert_same_numbers(files, done)
    for key, value in done.state_dict.items():
        assert not key.endswith("running_var") or (value >= 0).all()
