"""Losses of forks: left out unless asked for, and what is refused."""

from __future__ import annotations

import pytest

from converter.api import prepare
from converter.options import Options
from prototxt.errors import CaffeModelError
from tests.converter.layers.test_rarer_agreement import net_of, refusal
from tests.drawn.base import layer
from tests.naive.base import random

X, OTHER = random(1, 2, 3, 4), random(2, 2, 3, 5)

REFUSED = [
    (layer("SmoothL1Loss", "smooth_l1_loss_param { sigma: 0 }", "x x"), "sigma is 0; expected a number above 0"),
    (layer("SmoothL1Loss", "smooth_l1_loss_param { abssum: false }", "x x"), "abssum: false, of another fork"),
    (layer("SmoothL1Loss", "", "x other"), "bottoms differ in shape"),
    (layer("SmoothL1Loss", "", "x x x x x"), "5 bottoms"),
    (layer("SmoothL1LossOHEM", "", "x other"), "bottoms differ in shape"),
    (layer("SmoothL1LossOHEM", "", "x x x x"), "4 bottoms"),
    (layer("SoftmaxWithLossOHEM", "", "x other"), "labels for scores of 2×3×4; expected 8"),
]


@pytest.mark.parametrize(("text", "message"), REFUSED, ids=[f"{i} {m}" for i, (_, m) in enumerate(REFUSED)])
def test_what_cannot_be_is_refused_with_its_values(text: str, message: str) -> None:
    feeds = {"x": X, "other": OTHER} if "other" in text else {"x": X}
    said = refusal(text, feeds)
    assert message in said
    assert "layer 'it'" in said
    assert "net.prototxt:" in said


@pytest.mark.parametrize("kind", ["SmoothL1Loss", "SmoothL1LossOHEM"])
def test_a_loss_is_left_out_unless_it_is_asked_for(kind: str) -> None:
    text = f"{layer('ReLU', tops='y')} {layer(kind, bottoms='x y')}".replace('name: "it"', 'name: "before"', 1)
    net = net_of(text, {"x": X})
    assert [v.blob for v in prepare(net, None, Options()).graph.outputs] == ["y"]
    assert [v.blob for v in prepare(net, None, Options(outputs=["out"])).graph.outputs] == ["out"]


def test_a_net_of_nothing_but_a_loss_says_so() -> None:
    with pytest.raises(CaffeModelError, match="--outputs out"):
        prepare(net_of(layer("SmoothL1Loss", bottoms="x x"), {"x": X}), None, Options())
