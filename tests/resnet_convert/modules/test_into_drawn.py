"""Drawn nets in drawn modules: the numbers are equal, and where one step is another, they leave there."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converter.building.build import build
from converter.building.parameters import RandomParameters
from prototxt import parse_net
from resnet_convert.modules.into import PortedInto, port_module
from resnet_convert.requests import PortIntoRequest
from tests.converter.matching.drawn import DrawnModule, Step, caffe_text, drawn, names, planted
from weights import Outputs

SEEDS = st.integers(0, 2**32 - 1)


def ported(steps: list[Step], called: list[str], module: DrawnModule, seed: int) -> PortedInto:
    net = parse_net(caffe_text(steps, called), "net.prototxt")
    make = RandomParameters(seed % 1000)
    build(net, None, make=make)
    with Outputs() as outputs:
        return port_module(net, make.with_file(None), module, PortIntoRequest("net.prototxt", None, module), outputs)


def assert_proven(seed: int) -> None:
    """The drawn net's numbers in its module, and in one in which a step is another."""
    random = Random(seed)
    steps = drawn(random)
    called = names(len(steps), random)
    done = ported(steps, called, DrawnModule(steps, names(len(steps), random), random), seed)
    assert done.report is not None
    assert done.report.ok, done.report.first_bad
    assert done.mismatches == []
    changed = planted(steps, random, ("dilation", "method", "rectifier", "bound"))
    if changed is not None:
        other = ported(steps, called, DrawnModule(changed[0], names(len(steps), random), random), seed)
        (mismatch,) = other.mismatches
        assert mismatch.caffe is not None
        assert mismatch.caffe.label == called[changed[1]]
        if other.cause is not None:  # a bound of 6 may touch no value
            assert other.cause.why is mismatch


@settings(max_examples=8)
@given(SEEDS)
def test_drawn_modules_give_the_nets_numbers(seed: int) -> None:
    assert_proven(seed)


@pytest.mark.slow
@settings(max_examples=200)
@given(SEEDS)
def test_two_hundred_drawn_modules_give_the_nets_numbers(seed: int) -> None:
    assert_proven(seed)
