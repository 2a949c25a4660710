"""`port --into`: what makes net and module give other numbers is named, and patched where that can be."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

import resnet_convert
from prototxt.errors import NetError
from tests.resnet_convert.modules.nets import BARE, C3, UNEVEN, Function, assert_same_numbers, conv, convolved, layer

DIFFER: dict[str, tuple[list[str], Callable[[], nn.Module], str, str, dict[str, Any]]] = {
    "stride": (
        [conv("c", "data"), conv("d", "c", "num_output: 5 kernel_size: 1 stride: 2")],
        lambda: nn.Sequential(nn.Conv2d(3, 4, **C3, stride=2), nn.Conv2d(4, 5, 1)),
        "c",
        "stride 1, there 2",
        {"0.stride": (1, 1), "1.stride": (2, 2)},
    ),
    "padding of a pooling": (
        [layer("p", "Pooling", "data", phrase="pool: MAX kernel_size: 3 stride: 2"), conv("c", "p")],
        lambda: nn.Sequential(nn.MaxPool2d(3, 2, padding=1), nn.Conv2d(3, 4, **C3)),
        "p",
        "padding 0, there 1",
        {"0.padding": (0, 0), "0.ceil_mode": False},
    ),
    "rounding of a pooling": (
        [layer("p", "Pooling", "data", phrase="pool: AVE kernel_size: 2 stride: 2"), conv("c", "p")],
        lambda: nn.Sequential(nn.AvgPool2d(2, 2), nn.Conv2d(3, 4, **C3)),
        "p",
        "windows 4×5, there 3×4",
        {"0.ceil_mode": True},
    ),
    "bound of a rectifier": (
        [conv("c", "data"), layer("r", "ReLU", "c")],
        lambda: convolved(nn.ReLU6()),
        "r",
        "upper bound none, there 6.0",
        {"1.max_val": float("inf")},
    ),
    "normalisation by neighbours": (
        [conv("c", "data"), layer("l", "LRN", "c", of="lrn_param", phrase="local_size: 3 alpha: 0.5")],
        lambda: convolved(nn.LocalResponseNorm(5, 0.5)),
        "l",
        "size 3, there 5",
        {"1.size": 3},
    ),
    "dilation": (
        [conv("c", "data", f"num_output: 4 kernel_size: 3 pad: 2 dilation: 2 {UNEVEN}")],
        convolved,
        "c",
        "padding 2, there 1, dilation 2, there 1",
        {"0.padding": (2, 2), "0.dilation": (2, 2)},
    ),
}


@pytest.mark.parametrize("what", DIFFER)
def test_a_difference_of_settings_is_named_and_patched(what: str, made: Callable[..., tuple[str, str]]) -> None:
    layers, module, where, said, attributes = DIFFER[what]
    files = made(*layers)
    done = resnet_convert.port_into(*files, module())
    assert done.report is not None
    assert not done.report.ok
    assert done.cause is not None
    assert done.cause.caffe.label == where
    assert said in str(done.cause.why)
    assert re.search(r"\(\w+, net\.prototxt:\d+\) is ", str(done.cause.why))
    patched = resnet_convert.port_into(*files, module(), patch=True)
    assert patched.report is not None
    assert patched.report.ok, patched.report.first_bad
    assert_same_numbers(files, patched)
    for path, value in attributes.items():
        place, _, name = path.rpartition(".")
        assert getattr(patched.module.get_submodule(place), name) == value


def test_a_difference_in_the_users_own_code_is_named_and_not_patched(made: Callable[..., tuple[str, str]]) -> None:
    files = made(conv("c", "data"), layer("l", "LRN", "c"), layer("p", "Pooling", "l", phrase="kernel_size: 2"))
    module = Function(lambda m, x: functional.avg_pool2d(m.c(x), 2, 1), c=nn.Conv2d(3, 4, **C3))
    done = resnet_convert.port_into(*files, module, patch=True)
    assert done.patched == []
    assert [(each.caffe and each.caffe.label, each.advice) for each in done.mismatches] == [("l", ""), ("p", "")]
    assert "method maximum, there average" in str(done.mismatches[1])
    assert str(done.mismatches[0]).endswith("the module has nothing like it there")
    assert done.cause is not None


@pytest.mark.parametrize("place", [0, 1])
def test_outputs_are_compared_whatever_only_one_side_has_before_them(
    place: int, made: Callable[..., tuple[str, str]]
) -> None:
    files = made(conv("c", "data"), *[layer("r", "ReLU", "c")][:place])
    module = convolved(*[nn.ReLU()][place:], nn.Identity())
    done = resnet_convert.port_into(*files, module)
    assert done.report is not None
    assert not done.report.ok
    assert done.cause is not None
    assert [done.cause.why] == done.mismatches


def test_a_module_that_is_called_twice_is_patched_for_both_or_not_at_all(made: Callable[..., tuple[str, str]]) -> None:
    pools = [layer(n, "Pooling", b, phrase=f"kernel_size: {k} stride: 2") for n, b, k in (("p", "c", 3), ("q", "d", 2))]
    files = made(conv("c", "data"), pools[0], conv("d", "p", "num_output: 5 kernel_size: 1"), pools[1])
    parts = {"c": nn.Conv2d(3, 4, **C3), "d": nn.Conv2d(4, 5, 1), "pool": nn.MaxPool2d(4, 2, 1)}
    done = resnet_convert.port_into(*files, Function(lambda m, x: m.pool(m.d(m.pool(m.c(x)))), **parts), patch=True)
    assert done.patched == []
    assert [each.caffe.label for each in done.mismatches if each.caffe] == ["p", "q"]


def test_nothing_is_patched_where_something_cannot_be_ported(made: Callable[..., tuple[str, str]]) -> None:
    files = made(conv("c", "data"), conv("d", "c", "num_output: 5 kernel_size: 3"))
    module = nn.Sequential(nn.Conv2d(3, 4, **C3, stride=2), nn.Conv2d(4, 5, 1))
    with pytest.raises(NetError):
        resnet_convert.port_into(*files, module, patch=True)
    assert module[0].stride == (2, 2)


def test_advice_for_a_module_without_parts(made: Callable[..., tuple[str, str]]) -> None:
    done = resnet_convert.port_into(*made(*BARE), nn.Conv2d(3, 4, **C3, stride=2), patch=True)
    assert [each.advice for each in done.patched] == ["model.stride = (1, 1)"]
    assert done.report is not None
    assert done.report.ok


def test_joining_along_another_axis_is_named(made: Callable[..., tuple[str, str]]) -> None:
    files = made(conv("c", "data"), conv("d", "data"), layer("k", "Concat", "c", "d"))
    parts = {name: nn.Conv2d(3, 4, **C3) for name in ("one", "two")}
    done = resnet_convert.port_into(*files, Function(lambda m, x: torch.cat([m.one(x), m.two(x)], 2), **parts))
    assert [str(each) for each in done.mismatches] == [
        "k (Concat, net.prototxt:4) is cat in Function with other settings: axis 1, there 2"
    ]
