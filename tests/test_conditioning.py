"""What drawn tests grant for rounding explains a close pair's difference, and not a wrong rule's."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from prototxt import parse_net
from tests.drawn.conditioning import assert_close_as_conditioned
from tests.golden import Array
from verify import run
from verify.interpreter.steps import Trace

NET = parse_net("""
layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 dim: 1 dim: 2 } } }
layer { name: "it" type: "MVN" bottom: "x" top: "out" }
""")
PAIRS = np.array([[[[2.04, -2.55]], [[0.723, 0.7231]], [[-0.45, -0.21]]]], np.float32)
"""The second: what is left beside their mean is a few hundred times its last bit."""


def again(feeds: Mapping[str, Array]) -> Trace:
    return run(NET, None, feeds)


def assert_within(got: Array) -> None:
    assert_close_as_conditioned(got, "out", NET, "out", 1e-5, {"x": PAIRS}, again)


def in_float32(*, divisor: int = 2) -> Array:
    """As Caffe computes it, the mean and what is left rounded to float32; `divisor` of the sum of squares."""
    centred = PAIRS - PAIRS.mean(axis=-1, keepdims=True, dtype=np.float32)
    spread = np.sqrt((centred**2).sum(axis=-1, keepdims=True) / np.float32(divisor)) + np.float32(1e-9)
    return (centred / spread).astype(np.float32)


def test_what_float32_makes_of_a_close_pair_is_granted() -> None:
    got = in_float32()
    assert np.abs(np.abs(got) - 1).max() > 1e-5  # else this shows nothing
    assert_within(got)


@pytest.mark.parametrize("got", [in_float32(divisor=1), -in_float32(), in_float32() * np.float32(1.002)])
def test_a_wrong_rule_is_not(got: Array) -> None:
    with pytest.raises(AssertionError):
        assert_within(got)
