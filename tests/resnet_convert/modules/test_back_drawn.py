"""Drawn modules in the layers of drawn nets: the numbers are equal, and where one step is another, they leave there."""

from __future__ import annotations

from random import Random

import pytest
import torch
from hypothesis import given, settings

from converter.building.build import build
from converter.building.parameters import RandomParameters
from prototxt import parse_net
from resnet_convert.modules.back import PortedFrom, port_module_back
from resnet_convert.modules.into import port_module
from resnet_convert.requests import PortFromRequest, PortIntoRequest
from tests.converter.matching.drawn import DrawnModule, Step, caffe_text, drawn, names, planted
from tests.resnet_convert.modules.test_into_drawn import SEEDS
from weights import Outputs


def filled(module: DrawnModule, seed: int) -> DrawnModule:
    """The module with parameters that keep a deep net's numbers in range."""
    made = torch.Generator().manual_seed(seed % 2**31)
    for key, value in module.state_dict().items():
        if key.endswith("running_var"):
            value.copy_(torch.rand(value.shape, generator=made) + 0.5)
        elif value.is_floating_point():
            spread = (2 / value[0].numel()) ** 0.5 if value.dim() > 1 else 0.2
            centre = 1 if key.endswith("weight") and value.dim() == 1 else 0
            value.copy_(torch.randn(value.shape, generator=made) * spread + centre)
    return module


def ported_back(steps: list[Step], called: list[str], module: DrawnModule) -> PortedFrom:
    net = parse_net(caffe_text(steps, called), "net.prototxt")
    with Outputs() as outputs:
        return port_module_back(net, module, PortFromRequest("net.prototxt", None, module), outputs)


def assert_proven(seed: int) -> None:
    """The drawn module's numbers in its net, with a step's weights in its layer, and from a module that differs."""
    random = Random(seed)
    steps = drawn(random)
    called, own = names(len(steps), random), names(len(steps), random)
    done = ported_back(steps, called, filled(DrawnModule(steps, own, random), seed))
    assert done.report is not None
    assert done.report.ok, done.report.first_bad
    assert (done.mismatches, done.left) == ([], [])
    assert_rightly_paired(done, called, own)
    changed = planted(steps, random, ("dilation", "method", "rectifier", "bound"))
    if changed is not None:
        other = DrawnModule(changed[0], names(len(steps), random), random)
        differing = ported_back(steps, called, filled(other, seed))
        (mismatch,) = differing.mismatches
        assert mismatch.caffe is not None
        assert mismatch.caffe.label == called[changed[1]]
        if differing.cause is not None:  # a bound of 6 may touch no value
            assert differing.cause.why is mismatch


def assert_rightly_paired(done: PortedFrom, called: list[str], own: list[str]) -> None:
    """Each layer with weights is the module that was made for the same step."""
    for ours, theirs in done.pairing.pairs:
        if theirs.part.parameters:
            assert called.index(ours.part.label) == own.index(theirs.part.label)


def assert_comes_back(seed: int) -> None:
    """Into a module and back: the same arrays, bit for bit."""
    random = Random(seed)
    steps = drawn(random)
    called = names(len(steps), random)
    module = DrawnModule(steps, names(len(steps), random), random, same_form=True)
    net = parse_net(caffe_text(steps, called), "net.prototxt")
    make = RandomParameters(seed % 1000)
    build(net, None, make=make)
    with Outputs() as outputs:
        port_module(
            net, make.with_file(None), module, PortIntoRequest("net.prototxt", None, module, verify=False), outputs
        )
    back = ported_back(steps, called, module).blobs
    assert back.keys() == make.made.keys()
    for name, blobs in make.made.items():
        assert [blob.tobytes() for blob in blobs] == [blob.tobytes() for blob in back[name]], name


@settings(max_examples=8)
@given(SEEDS)
def test_drawn_nets_give_the_modules_numbers(seed: int) -> None:
    assert_proven(seed)


@settings(max_examples=8)
@given(SEEDS)
def test_what_goes_into_a_drawn_module_comes_back_bit_for_bit(seed: int) -> None:
    assert_comes_back(seed)


@pytest.mark.slow
@settings(max_examples=200)
@given(SEEDS)
def test_two_hundred_drawn_nets_give_the_modules_numbers(seed: int) -> None:
    assert_proven(seed)


@pytest.mark.slow
@settings(max_examples=200)
@given(SEEDS)
def test_what_goes_into_two_hundred_drawn_modules_comes_back_bit_for_bit(seed: int) -> None:
    assert_comes_back(seed)
