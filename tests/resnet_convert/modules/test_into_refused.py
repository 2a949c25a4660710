"""`port --into`: what cannot be ported is refused, with both sides and the place in the prototxt."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

import resnet_convert
from prototxt.errors import ErrorGroup, NetError, RequestError, UnsupportedError
from tests.resnet_convert.modules.nets import BARE, C3, Function, conv, convolved, layer


def test_other_shapes_are_refused_with_both_sides_and_nothing_is_filled(made: Callable[..., tuple[str, str]]) -> None:
    files = made(conv("c", "data"), conv("d", "c", "num_output: 5 kernel_size: 3"), conv("e", "d"))
    module = convolved(nn.Conv2d(4, 5, 1), nn.Conv2d(5, 4, **C3))
    before = {key: value.clone() for key, value in module.state_dict().items()}
    with pytest.raises(NetError) as caught:
        resnet_convert.port_into(*files, module, output="out.pth")
    assert str(caught.value) == (
        "net.prototxt:3: error: layer 'd' (Convolution): 4 -> 5, 3×3; "
        "1 (Conv2d) of Sequential in its place: 4 -> 5, 1×1"
    )
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
    assert not Path("out.pth").exists()
    done = resnet_convert.port_into(*files, module, output="out.pth", force=True)
    assert done.arrays == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert done.left == [str(caught.value)]
    assert done.report is not None
    assert not done.report.ok
    assert torch.equal(torch.load("out.pth", weights_only=True)["1.weight"], before["1.weight"])


def test_a_net_without_a_text_has_no_lines(made: Callable[..., tuple[str, str]]) -> None:
    _, weights = made(conv("c", "data"), layer("p", "PReLU", "c"))
    with pytest.raises(NetError) as caught:
        resnet_convert.port_into(weights, into=nn.Conv2d(3, 4, **C3))
    where = caught.value.position
    assert (where and where.path, where and where.line, caught.value.layer) == (weights, 0, "p")
    assert str(caught.value).startswith(f"{weights}: error: layer 'p' (PReLU): Conv2d has nothing in its place")
    done = resnet_convert.port_into(weights, into=convolved(nn.PReLU(4)))
    assert done.report is not None
    assert done.report.ok
    assert [ours.place for ours, _, _ in done.layers] == ["model.caffemodel"] * 2


def test_a_bias_that_the_module_has_no_place_for_is_refused(made: Callable[..., tuple[str, str]]) -> None:
    files = made(*BARE)
    with pytest.raises(NetError, match="the module's layer has no bias, Caffe's has one"):
        resnet_convert.port_into(*files, convolved(bias=False))


def test_one_weight_of_the_module_for_two_of_the_net_is_refused(made: Callable[..., tuple[str, str]]) -> None:
    same = "num_output: 3 kernel_size: 1"
    files = made(conv("c", "data", same), layer("r", "ReLU", "c"), conv("d", "r", same))
    module = Function(lambda m, x: m.c(functional.relu(m.c(x))), c=nn.Conv2d(3, 3, 1))
    with pytest.raises(NetError, match=r"one c\.\w+ for this layer and for c .*; Caffe has two"):
        resnet_convert.port_into(*files, module)


def test_layers_without_a_counterpart_on_either_side_are_refused(made: Callable[..., tuple[str, str]]) -> None:
    files = made(conv("c", "data"), layer("p", "PReLU", "c"))
    module = convolved(nn.LayerNorm(9))
    with pytest.raises(ErrorGroup) as caught:
        resnet_convert.port_into(*files, module)
    said = str(caught.value)
    assert "layer 'p' (PReLU): Sequential has nothing in its place" in said
    assert "the Caffe net has nothing in its place (1.weight, 1.bias)" in said


def test_a_module_without_shapes_is_refused(made: Callable[..., tuple[str, str]]) -> None:
    with pytest.raises(RequestError, match=r"0\.weight has no shape yet; run the module once before"):
        resnet_convert.port_into(*made(*BARE), nn.Sequential(nn.LazyConv2d(4, 3)))


def test_a_module_that_decides_by_its_numbers_is_refused(made: Callable[..., tuple[str, str]]) -> None:
    files = made(*BARE)
    module = Function(lambda m, x: m.c(x) if x.sum() > 0 else x, c=nn.Conv2d(3, 4, **C3))
    with pytest.raises(UnsupportedError, match="what Function does hangs on the numbers that it is fed"):
        resnet_convert.port_into(*files, module)
