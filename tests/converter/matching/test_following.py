"""Modules that one way of following cannot follow, and that all ways see the same where they can."""

from __future__ import annotations

import logging
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from torch import nn

from converter.matching.differences import mismatches
from converter.matching.module_side import _Reader, trace
from converter.matching.pairing import pair
from converter.matching.plain import plain
from converter.matching.watching import by_fx, by_hooks
from prototxt.errors import UnsupportedError
from tests.converter.matching.drawn import DrawnModule, drawn, names


@pytest.mark.parametrize("way", [by_fx, by_hooks])
@pytest.mark.parametrize("seed", range(12))
def test_a_watched_module_is_the_exported_one(seed: int, way: object) -> None:
    """Every layer is its own counterpart, by its name."""
    random = Random(seed)
    steps = drawn(random)
    module = DrawnModule(steps, names(len(steps), random), random).eval()
    shape = (1, *steps[0].shape)
    assert callable(way)
    watched = _Reader(module, way(module, [torch.randn(shape)])).read()[0]
    found = pair(plain(trace(module, [shape]).skeleton), plain(watched))
    assert (found.caffe_left, found.module_left, found.misfits) == ([], [], [])
    assert list(map(str, mismatches(found))) == []
    labels = [(ours.part.label, theirs.part.label) for ours, theirs in found.pairs if ours.part.parameters]
    assert labels
    assert all(ours == theirs for ours, theirs in labels)


class Base(nn.Module):
    """A convolution, and something odd."""

    def __init__(self) -> None:
        super().__init__()
        self.c = nn.Conv2d(3, 4, 3)


@torch.library.custom_op("resnet_convert_tests::square", mutates_args=())
def square(x: torch.Tensor) -> torch.Tensor:
    return x * x


class OfOwnOperator(Base):
    """An operator that nothing is known of until it runs."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return square(torch.relu(self.c(x)))


class Checked(Base):
    """A check of the numbers, which decides nothing."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.c(x)
        if torch.isnan(y).any():
            raise ValueError("not a number")
        return torch.relu(y)


class ByNumpy(Base):
    """A factor that another library computes, of a parameter."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.c(x) * float(np.abs(self.c.weight.detach().numpy()).max())


class Decides(Base):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.c(x) if x.sum() > 0 else x


class Leaves(Base):
    """The way through numpy leaves no trace."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(torch.from_numpy(np.sin(self.c(x).detach().numpy())))


class Repeats(Base):
    """As often as the numbers say."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.c(x)
        for _ in range(int(x.abs().max())):
            y = torch.relu(y)
        return y


class Fails(Base):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.c(x.reshape(1, 1, -1))


class Remembers(Base):
    """Keeps what it made, and counts."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: object = "nothing"
        self.calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        self.seen = self.c(x)
        return torch.relu(self.seen)


@pytest.mark.parametrize(
    ("module", "way", "kinds"),
    [
        (OfOwnOperator(), "torch.fx", ["weighted sum", "rectifier", "PyTorch's resnet_convert_tests::square"]),
        (Checked(), "hooks", ["weighted sum", "rectifier"]),
        (ByNumpy(), "hooks", ["weighted sum", "mul"]),
        (Remembers(), "torch.export", ["weighted sum", "rectifier"]),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_what_one_way_cannot_follow_the_next_does(
    module: nn.Module, way: str, kinds: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    module.train()
    before = {key: value for key, value in vars(module).items() if not key.startswith("_")}
    traced = trace(module, [(1, 3, 6, 5)])
    assert traced.followed.way == way
    assert bool(traced.followed.failed) == (way != "torch.export")
    assert [part.kind for part in plain(traced.skeleton).parts] == ["input", *kinds]
    assert [part.label for part in traced.skeleton.parts if part.parameters] == ["c"]
    assert {key: value for key, value in vars(module).items() if not key.startswith("_")} == before
    assert capfd.readouterr() == ("", "")
    assert not logging.getLogger("torch._subclasses.fake_tensor").disabled


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (Decides(), "what Decides does hangs on the numbers that it is fed, at "),
        (Leaves(), "what Leaves does hangs on the numbers that it is fed, at a constant that is made on the way"),
        (Repeats(), "what Repeats does hangs on the numbers that it is fed, at "),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_a_module_that_hangs_on_numbers_is_refused(
    module: nn.Module, said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UnsupportedError) as caught:
        trace(module, [(1, 3, 6, 5)])
    assert said in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_module_that_fails_is_told_with_its_line(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UnsupportedError, match=r"Fails fails on an input of 1×3×6×5: RuntimeError: ") as caught:
        trace(Fails(), [(1, 3, 6, 5)])
    where = caught.value.position
    assert where is not None
    line = Path(__file__).read_text(encoding="utf-8").splitlines()[where.line - 1]
    assert (Path(where.path).resolve(), line.strip()) == (Path(__file__), "return self.c(x.reshape(1, 1, -1))")
    assert capfd.readouterr() == ("", "")
