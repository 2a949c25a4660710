"""Drawn nets and their modules: every layer is paired rightly, whatever anything is called."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converter.building.build import build
from converter.building.parameters import RandomParameters
from converter.matching.caffe_side import caffe_skeleton
from converter.matching.differences import mismatches
from converter.matching.module_side import trace
from converter.matching.pairing import Pairing, pair
from converter.matching.plain import plain
from prototxt import parse_net
from tests.converter.matching.drawn import DrawnModule, Step, caffe_text, drawn, names, planted

SEEDS = st.integers(0, 2**32 - 1)


def paired(steps: list[Step], caffe: list[str], module: DrawnModule) -> Pairing:
    graph = build(parse_net(caffe_text(steps, caffe), "net.prototxt"), None, make=RandomParameters(0))
    shape = (1, *steps[0].shape)
    return pair(plain(caffe_skeleton(graph)), plain(trace(module, [shape]).skeleton))


def assert_paired_rightly(seed: int) -> None:
    """Each layer with weights goes to the module that was made for the same step."""
    random = Random(seed)
    steps = drawn(random)
    caffe, torch_names = names(len(steps), random), names(len(steps), random)
    module = DrawnModule(steps, torch_names, random)
    found = paired(steps, caffe, module)
    places = {name: place for place, name in enumerate(torch_names)}
    for ours, theirs in found.pairs:
        if theirs.part.parameters:
            assert caffe.index(ours.part.label) == places[theirs.part.label]
    assert [str(knot.part) for knot in (*found.caffe_left, *found.module_left)] == []
    assert found.misfits == []
    assert list(map(str, mismatches(found))) == []


@settings(max_examples=15)
@given(SEEDS)
def test_drawn_modules_are_paired_rightly(seed: int) -> None:
    assert_paired_rightly(seed)


@pytest.mark.slow
@settings(max_examples=200)
@given(SEEDS)
def test_two_hundred_drawn_modules_are_paired_rightly(seed: int) -> None:
    assert_paired_rightly(seed)


def assert_difference_is_named(seed: int) -> None:
    """One step is another in the module: that is what is said, of that layer, and of no other."""
    random = Random(seed)
    steps = drawn(random)
    change = planted(steps, random)
    if change is None:
        return
    changed, place, what = change
    caffe, torch_names = names(len(steps), random), names(len(steps), random)
    found = paired(steps, caffe, DrawnModule(changed, torch_names, random))
    said = [each.caffe for each in mismatches(found)]
    if what in ("kernel", "width"):
        (last,) = [later for later, step in enumerate(steps) if place in step.reads] if what == "width" else (place,)
        misfits = {ours.part.label for ours, _ in found.misfits}
        behind = {caffe[last]} if steps[last].kind == "conv" else set()
        # Of branches that stand in one place, another may be taken for the one that differs.
        if what == "kernel" and found.by_order:
            assert {_size(steps, caffe, name) for name in misfits} == {_size(steps, caffe, caffe[place])}
        else:
            assert caffe[place] in misfits, what
            assert misfits <= {caffe[place], *_linear_behind(steps, place, caffe), *behind}
    else:
        assert [part.label if part is not None else None for part in said] == [caffe[place]], what
        assert found.misfits == []
    assert [knot for knot in (*found.caffe_left, *found.module_left) if knot.part.parameters] == []


def _size(steps: list[Step], called: list[str], name: str) -> tuple[object, ...]:
    """What a layer's weights look like."""
    step = steps[called.index(name)]
    return (step.kind, step.shape[0], step.settings.get("kernel"), step.settings.get("groups"))


def _linear_behind(steps: list[Step], place: int, called: list[str]) -> set[str]:
    """The layers that read a fully connected one of another width."""
    reached = {place}
    for later, step in enumerate(steps):
        if step.kind in ("relu",) and reached & set(step.reads):
            reached.add(later)
    return {called[i] for i, step in enumerate(steps) if step.kind == "linear" and reached & set(step.reads)}


@settings(max_examples=15)
@given(SEEDS)
def test_one_planted_difference_is_named(seed: int) -> None:
    assert_difference_is_named(seed)


@pytest.mark.slow
@settings(max_examples=200)
@given(SEEDS)
def test_two_hundred_planted_differences_are_named(seed: int) -> None:
    assert_difference_is_named(seed)
