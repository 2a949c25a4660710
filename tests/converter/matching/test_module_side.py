"""What PyTorch's operators are read as, in the forms in which its versions write them."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional

from converter.matching.differences import mismatches
from converter.matching.module_side import _Reader, trace
from converter.matching.pairing import pair
from converter.matching.plain import plain
from converter.matching.skeleton import Skeleton


class Net(nn.Module):
    """Some of everything."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU6(), nn.MaxPool2d(2, 1))
        self.gate = nn.Conv2d(6, 6, 1)
        self.up = nn.ConvTranspose2d(6, 4, 2, 2)
        self.norm = nn.BatchNorm2d(4)
        self.last = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        x = x * torch.sigmoid(self.gate(functional.adaptive_avg_pool2d(x, 1)))
        x = functional.leaky_relu(self.norm(self.up(x)), 0.1)
        x = torch.cat([x, functional.avg_pool2d(x, 3, 1, 1)], 1)
        return torch.softmax(self.last(functional.dropout(x.mean((2, 3)), 0.5, self.training)), 1)


def test_an_operator_and_what_it_is_made_of_are_read_as_the_same() -> None:
    module = Net().eval()
    whole = trace(module, [(1, 3, 9, 11)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # PyTorch's own, of its own copying
        taken_apart = torch.export.export(module, (torch.zeros(1, 3, 9, 11),)).run_decompositions()
    names = {str(node.target) for node in taken_apart.graph.nodes}
    assert {"aten.convolution.default", "aten.addmm.default", "aten.max_pool2d_with_indices.default"} <= names
    found = pair(plain(whole.skeleton), plain(_Reader(module, taken_apart).read()[0]))
    assert (found.caffe_left, found.module_left, found.misfits) == ([], [], [])
    labels = [(ours.part.label, theirs.part.label) for ours, theirs in found.pairs if ours.part.parameters]
    assert labels == [(name, name) for name in ("first.0", "gate", "up", "last")]
    assert list(map(str, mismatches(found))) == []


def kinds(module: nn.Module, *shape: int) -> list[tuple[str, dict[str, object]]]:
    skeleton: Skeleton = plain(trace(module, [shape or (1, 4, 6, 8)]).skeleton)
    return [(part.kind, part.settings) for part in skeleton.parts if part.kind != "input"]


class Of(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


WHOLE = ("pooling", {"method": "average", "kernel": "the whole map"})
SAME: dict[str, tuple[list[Callable[[torch.Tensor], torch.Tensor]], list[tuple[str, dict[str, object]]]]] = {
    "the mean of a map": (
        [
            lambda x: x.mean((2, 3)),
            lambda x: x.mean([-1, -2], keepdim=True).squeeze(),
            lambda x: functional.adaptive_avg_pool2d(x, 1).flatten(1),
            lambda x: functional.adaptive_avg_pool2d(x, (1, 1)),
        ],
        [WHOLE],
    ),
    "a bounded rectifier": (
        [
            functional.relu6,
            lambda x: functional.hardtanh(x, 0.0, 6.0),
            lambda x: torch.clamp(x, 0, 6),
            lambda x: x.clone().clamp_(0, 6),
        ],
        [("rectifier", {"slope": 0.0, "lower bound": None, "upper bound": 6.0})],
    ),
    "nothing": (
        [
            lambda x: functional.adaptive_avg_pool2d(x, (6, 8)),
            lambda x: functional.dropout(x.contiguous(), 0.3, training=False),
            lambda x: torch.cat([x * 1 + 0], 1),
            lambda x: functional.max_pool2d(x.reshape(1, 4, 48).view(1, 4, 6, 8), 1),
            lambda x: x[:, 0:4],
        ],
        [],
    ),
    "a cut": (
        [
            lambda x: x[:, 2:],
            lambda x: x.chunk(2, 1)[1],
            lambda x: torch.split(x, [2, 2], 1)[1],
            lambda x: x.narrow(1, 2, 2),
        ],
        [("slice", {"axis": 1, "start": 2, "stop": 4})],
    ),
}


@pytest.mark.parametrize("what", SAME)
def test_ways_to_write_the_same_are_the_same(what: str) -> None:
    ways, expected = SAME[what]
    for way in ways:
        found = kinds(Of(way))
        plainly = [
            (kind, {name: value for name, value in settings.items() if name != "rounds up"}) for kind, settings in found
        ]
        assert plainly == expected
