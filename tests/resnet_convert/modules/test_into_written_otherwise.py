"""Grouped convolutions, normalisation by neighbours and learned slopes, written otherwise on the two sides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import resnet_convert
from prototxt.errors import ErrorGroup, NetError
from tests.resnet_convert.modules.nets import C3, UNEVEN, Function, assert_same_numbers, conv, layer, norm
from weights import open_weights

GROUPED = f"num_output: 9 kernel_size: 3 pad: 1 group: 3 {UNEVEN}"


def sliced(name: str, source: str, channels: int, pieces: int) -> str:
    tops = " ".join(f'top: "{name}{place}"' for place in range(pieces))
    return f'layer {{ name: "{name}" type: "Slice" bottom: "{source}" {tops} slice_param {{ axis: 1 }} }}'


def separate(tail: Callable[[str], tuple[list[str], str]] = lambda at: ([], at)) -> list[str]:
    """Three convolutions of two channels each, joined again."""
    ends, layers = [], [sliced("s", "c", 6, 3)]
    for place in range(3):
        layers.append(conv(f"g{place}", f"s{place}", f"num_output: 3 kernel_size: 3 pad: 1 {UNEVEN}"))
        behind, end = tail(f"g{place}")
        layers += behind
        ends.append(end)
    return [*layers, layer("g", "Concat", *ends)]


FIRST = conv("c", "data", f"num_output: 6 kernel_size: 3 {UNEVEN}")
LAST = conv("e", "g", f"num_output: 4 kernel_size: 1 {UNEVEN}")


class Towers(nn.Module):
    """Three convolutions of slices of one map, with something behind each of them."""

    def __init__(
        self, behind: Callable[[], nn.Module] = nn.Identity, last: Callable[[], nn.Module] = nn.Identity
    ) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 6, 3), nn.Conv2d(9, 4, 1)
        self.towers = nn.ModuleList(nn.Sequential(nn.Conv2d(2, 3, **C3), behind()) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pieces = self.first(x).chunk(3, 1)
        joined = torch.cat([tower(piece) for tower, piece in zip(self.towers, pieces, strict=True)], 1)
        return self.last(joined)


def grouped(behind: Callable[[], nn.Module] = nn.Identity) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.Conv2d(6, 9, **C3, groups=3), behind(), nn.Conv2d(9, 4, 1))


def relu_of_all(at: str) -> tuple[list[str], str]:
    return [layer(f"{at}r", "ReLU", at)], f"{at}r"


def pooled(at: str) -> tuple[list[str], str]:
    made = [
        layer(f"{at}r", "ReLU", at),
        layer(f"{at}p", "Pooling", f"{at}r", phrase="pool: MAX kernel_size: 3 stride: 2"),
    ]
    return made, f"{at}p"


def normed(at: str) -> tuple[list[str], str]:
    return [norm(f"{at}n", at)], f"{at}ns"


MAX = lambda: nn.Sequential(nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True))  # noqa: E731
ONE = [FIRST, conv("g", "c", GROUPED), LAST]
GROUPS: dict[str, tuple[list[str], Callable[[], nn.Module], str]] = {
    "one as three": (ONE, Towers, "one convolution in 3 groups as 3 convolutions of slices"),
    "three as one": ([FIRST, *separate(), LAST], grouped, "3 convolutions of slices as one convolution in 3 groups"),
    "three as three": ([FIRST, *separate(), LAST], Towers, ""),
    "one and its rectifier as three": (
        [FIRST, conv("h", "c", GROUPED), layer("g", "ReLU", "h"), LAST],
        lambda: Towers(nn.ReLU),
        "as 3 convolutions of slices",
    ),
    "three and their rectifiers as one": (
        [FIRST, *separate(relu_of_all), LAST],
        lambda: grouped(nn.ReLU),
        "3 convolutions of slices as",
    ),
    "pooling before the join": (
        [FIRST, *separate(pooled), LAST],
        lambda: grouped(MAX),
        "3 convolutions of slices as",
    ),
    "three normalisations as one": (
        [FIRST, *separate(normed), LAST],
        lambda: grouped(lambda: nn.BatchNorm2d(9, eps=0.01)),
        "3 convolutions of slices as",
    ),
    "one normalisation as three": (
        [FIRST, conv("h", "c", GROUPED), norm("g", "h"), LAST.replace('bottom: "g"', 'bottom: "gs"')],
        lambda: Towers(lambda: nn.BatchNorm2d(3, eps=0.01)),
        "as 3 convolutions of slices",
    ),
    "three normalisations folded": ([FIRST, *separate(normed), LAST], grouped, "folded into the weights"),
}


def ported(files: tuple[str, str], module: nn.Module, what: str) -> Any:
    done = resnet_convert.port_into(*files, module.eval())
    assert done.report is not None
    assert done.report.ok, done.report.first_bad
    assert done.mismatches == []
    assert done.kept == []
    assert bool(what) == any(what and what in bridge.what for bridge in done.bridges), done.bridges
    assert_same_numbers(files, done)
    return done


@pytest.mark.parametrize("form", GROUPS)
def test_a_convolution_in_groups_is_several(form: str, made: Callable[..., tuple[str, str]]) -> None:
    layers, module, what = GROUPS[form]
    files = made(*layers)
    done = ported(files, module(), what)
    if form == "one as three":
        with open_weights(files[1]) as weights:
            (stored,) = [found for found in weights.layers if found.name == "g"]
            for place in range(3):
                rows = stored.blobs[0].array()[3 * place : 3 * place + 3]
                assert np.array_equal(done.state_dict[f"towers.{place}.0.weight"].numpy(), rows)


@pytest.mark.parametrize("what", ["order", "part", "kernel"])
def test_slices_that_are_no_groups_stay_apart(what: str, made: Callable[..., tuple[str, str]]) -> None:
    """Joined in another order, of half the map, or of unlike convolutions."""
    layers = separate()
    if what == "order":
        layers[-1] = layer("g", "Concat", "g1", "g0", "g2")
    elif what == "part":
        layers[1] = layers[1].replace('bottom: "s0"', 'bottom: "s1"')
    else:
        layers[2] = layers[2].replace("kernel_size: 3 pad: 1", "kernel_size: 1")
    with pytest.raises((NetError, ErrorGroup), match=r"'g0' .*: Sequential has nothing in its place"):
        resnet_convert.port_into(*made(FIRST, *layers, LAST), grouped())


class Neighbours(nn.Module):
    """As timm and older versions of torchvision write it."""

    def __init__(self, size: int, alpha: float, beta: float, across: bool = True) -> None:
        super().__init__()
        if across:
            self.average: nn.Module = nn.AvgPool3d((size, 1, 1), stride=1, padding=((size - 1) // 2, 0, 0))
        else:
            self.average = nn.AvgPool2d(size, stride=1, padding=(size - 1) // 2)
        self.alpha, self.beta, self.across = alpha, beta, across

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        squares = x.pow(2)
        average = self.average(squares.unsqueeze(1)).squeeze(1) if self.across else self.average(squares)
        return x.div(average.mul(self.alpha).add(1.0).pow(self.beta))


def of_padded(x: torch.Tensor) -> torch.Tensor:
    squares = functional.pad((x * x).unsqueeze(1), (0, 0, 0, 0, 1, 1))
    return x * (2 + 0.5 * functional.avg_pool3d(squares, (3, 1, 1), stride=1).squeeze(1)) ** -0.75


def of_a_root(x: torch.Tensor) -> torch.Tensor:
    squares = functional.avg_pool3d(torch.square(x)[:, None], (5, 1, 1), 1, (2, 0, 0))[:, 0]
    return x * torch.rsqrt(squares * 0.25 / 2 - 0.5 + 1.5)


LRN = "local_size: 3 alpha: 0.5 beta: 0.75"
RESPONSES: dict[str, tuple[str, Callable[[], nn.Module]]] = {
    "timm's": (LRN, lambda: Neighbours(3, 0.5, 0.75)),
    "within channels": (f"{LRN} norm_region: WITHIN_CHANNEL", lambda: Neighbours(3, 0.5, 0.75, across=False)),
    "a function": (f"{LRN} k: 2", lambda: Function(lambda m, x: functional.local_response_norm(x, 3, 0.5, 0.75, 2.0))),
    "padded before": (f"{LRN} k: 2", lambda: Function(lambda m, x: of_padded(x))),
    "a root": ("local_size: 5 alpha: 0.125 beta: 0.5", lambda: Function(lambda m, x: of_a_root(x))),
    "PyTorch's": (LRN, lambda: nn.LocalResponseNorm(3, 0.5, 0.75, 1.0)),
}


@pytest.mark.parametrize("form", RESPONSES)
def test_normalisation_by_neighbours_in_other_steps(form: str, made: Callable[..., tuple[str, str]]) -> None:
    phrase, module = RESPONSES[form]
    first = conv("c", "data", f"num_output: 6 kernel_size: 3 {UNEVEN}")
    files = made(first, layer("l", "LRN", "c", of="lrn_param", phrase=phrase), conv("d", "l"))
    done = ported(files, nn.Sequential(nn.Conv2d(3, 6, 3), module(), nn.Conv2d(6, 4, **C3)), "")
    assert "l" in [row.layer for row in done.report.rows]


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (Neighbours(5, 0.5, 0.75), "size 3, there 5"),
        (Neighbours(3, 0.25, 0.75), "alpha 0.5, there 0.25"),
        (Neighbours(3, 0.5, 0.5), "beta 0.75, there 0.5"),
        (Neighbours(3, 0.5, 0.75, across=False), "region across channels, there within channels"),
    ],
)
def test_other_numbers_in_its_steps_are_named(
    module: nn.Module, said: str, made: Callable[..., tuple[str, str]]
) -> None:
    files = made(FIRST, layer("l", "LRN", "c", of="lrn_param", phrase=LRN))
    done = resnet_convert.port_into(*files, nn.Sequential(nn.Conv2d(3, 6, 3), module))
    assert done.report is not None
    assert not done.report.ok
    assert said in str(done.mismatches[0])
    assert done.cause is not None
    assert said in str(done.cause)


SLOPES = 'filler { type: "uniform" min: 0.1 max: 0.9 }'


@pytest.mark.parametrize(
    ("shared", "slopes", "what"),
    [("false", 4, ""), ("true", 1, ""), ("true", 4, "one slope for all channels, in each")],
)
def test_learned_slopes_for_all_channels_or_for_each(
    shared: str, slopes: int, what: str, made: Callable[..., tuple[str, str]]
) -> None:
    phrase = f"channel_shared: {shared} {SLOPES}"
    files = made(conv("c", "data"), layer("p", "PReLU", "c", of="prelu_param", phrase=phrase), conv("d", "p"))
    ported(files, nn.Sequential(nn.Conv2d(3, 4, **C3), nn.PReLU(slopes), nn.Conv2d(4, 4, **C3)), what)


def test_slopes_that_differ_do_not_go_into_one(made: Callable[..., tuple[str, str]]) -> None:
    files = made(conv("c", "data"), layer("p", "PReLU", "c", of="prelu_param", phrase=SLOPES))
    with pytest.raises(NetError, match="the module has one slope for all channels, Caffe's layer one for each"):
        resnet_convert.port_into(*files, nn.Sequential(nn.Conv2d(3, 4, **C3), nn.PReLU()))


BACK = {
    "three as one in groups": (ONE, Towers),
    "three as three": ([FIRST, *separate(), LAST], Towers),
    "one as one": (ONE, grouped),
    "a slope a channel": (
        [FIRST, layer("g", "PReLU", "c"), conv("e", "g", f"num_output: 4 kernel_size: 1 {UNEVEN}")],
        lambda: nn.Sequential(nn.Conv2d(3, 6, 3), nn.PReLU(6), nn.Conv2d(6, 4, 1)),
    ),
    "one slope in each channel": (
        [FIRST, layer("g", "PReLU", "c"), conv("e", "g", f"num_output: 4 kernel_size: 1 {UNEVEN}")],
        lambda: nn.Sequential(nn.Conv2d(3, 6, 3), nn.PReLU(init=0.3), nn.Conv2d(6, 4, 1)),
    ),
    "normalisation by neighbours": (
        [FIRST, layer("g", "LRN", "c", of="lrn_param", phrase=LRN), LAST.replace("9", "6")],
        lambda: nn.Sequential(nn.Conv2d(3, 6, 3), Neighbours(3, 0.5, 0.75), nn.Conv2d(6, 4, 1)),
    ),
}


@pytest.mark.parametrize("form", BACK)
def test_what_is_written_otherwise_goes_back(form: str, made: Callable[..., tuple[str, str]]) -> None:
    layers, module = BACK[form]
    net, _ = made(*layers)
    done = resnet_convert.port_from(net, None, module().eval(), output="back.caffemodel")
    assert done.report is not None
    assert done.report.ok, done.report.first_bad
    assert done.mismatches == []
    assert_same_numbers((net, "back.caffemodel"), done)


def test_slopes_that_differ_do_not_go_back_into_one(made: Callable[..., tuple[str, str]]) -> None:
    net, _ = made(conv("c", "data"), layer("p", "PReLU", "c", of="prelu_param", phrase="channel_shared: true"))
    slopes = nn.PReLU(4)
    with torch.no_grad():
        slopes.weight.copy_(torch.tensor([0.1, 0.2, 0.3, 0.4]))
    with pytest.raises(NetError, match="Caffe has one slope for all channels, the module's layer one for each"):
        resnet_convert.port_from(net, None, nn.Sequential(nn.Conv2d(3, 4, **C3), slopes))
