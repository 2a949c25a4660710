"""A convolution with weights of each place's own by hand on both sides, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.converter.layers.test_rarer_agreement import (
    answers,
    assert_both_refuse,
    layer,
    net_of,
    random,
    weights_of,
)
from tests.golden import GoldenCase, assert_parity, golden_cases
from verify import run

X = np.float32([[1, 2, 3], [4, 5, 6]]).reshape(1, 1, 2, 3)


def local(params: str, bottoms: str = "x") -> str:
    return layer("Local", f"local_param {{ {params} }}", bottoms)


def test_each_place_has_weights_of_its_own(tmp_path: Path) -> None:
    """Two places: the left one takes its upper left pixel and ten times the lower right one, the right one all four."""
    weight = np.float32([[1, 1], [0, 1], [0, 1], [10, 1]]).reshape(1, 1, 4, 2)
    weights, text = (
        weights_of(weight, np.float32([0.5, -0.5]).reshape(1, 1, 1, 2)),
        local("num_output: 1 kernel_size: 2"),
    )
    by_onnx, by_torch = answers(text, {"x": X}, tmp_path, weights)
    for got in (by_onnx, by_torch, run(net_of(text, {"x": X}), weights, {"x": X}).blobs):
        assert got["out"].tolist() == [[[[51.5, 15.5]]]]


@pytest.mark.parametrize("case", golden_cases("local"), ids=str)
def test_every_opset_gives_the_same(case: GoldenCase, tmp_path: Path) -> None:
    assert_parity(case, tmp_path, 13, 18, 22)


REFUSED = {
    local("kernel_size: 2"): ("num_output is 0; expected at least 1", "num_output, kernel_size or stride of 0"),
    local("num_output: 1"): ("kernel_size is 0; expected at least 1", "num_output, kernel_size or stride of 0"),
    local("num_output: 1 kernel_size: 3 pad: 1"): ("the kernel 3×3 does not fit the bottom 1×1×2×3", "a kernel of 3"),
    local("num_output: 1 kernel_size: 1", "flat"): ("the bottom is 2×3; expected 4 axes", "a bottom of 4 axes"),
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_refused(text: str) -> None:
    feeds = {"flat": random(1, 2, 3)} if "flat" in text else {"x": X}
    assert_both_refuse(text, feeds, REFUSED[text])
