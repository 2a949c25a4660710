"""Drawn nets of every layer kind: the interpreter, onnxruntime and torch agree."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tests.drawn  # noqa: F401 (registers the strategies)
from converter.api import prepare
from converter.layers.base import registry
from converter.options import Options
from prototxt import parse_net
from tests.drawn.base import Drawn, net_text, strategies
from tests.drawn.conditioning import assert_close_as_conditioned
from tests.golden import Array, run_onnx, run_torch
from verify import known_types, run
from verify.interpreter.steps import Trace
from weights import ArrayWeights

KINDS = sorted(strategies())
DRAWS = settings(suppress_health_check=list(HealthCheck))


def assert_agree(case: Drawn, folder: Path) -> None:
    """All tops of a drawn layer are the same three ways; NaN and infinities stand in the same places."""
    text = net_text(case)
    net = parse_net(text, "net.prototxt", dialects=case.dialects)
    outputs = list(case.outputs or net.layers[-1].tops)
    weights = ArrayWeights(case.blobs) if case.blobs else None
    sizes = {name: case.feeds[name].shape for name in case.sized}
    ready = prepare(net, weights, Options(random_weights=5, outputs=outputs, input_shapes=sizes))
    expected = run(net, ready.weights, case.feeds).blobs
    results = {"onnx": run_onnx(ready.graph, case.feeds, folder), "torch": run_torch(ready.graph, case.feeds)}

    def again(feeds: Mapping[str, Array]) -> Trace:
        return run(net, ready.weights, feeds)

    for target, got in results.items():
        for top in outputs:
            where = f"{top} in {target} of\n{text}"
            assert_close_as_conditioned(got[top], top, net, where, case.tolerance, case.feeds, again, case.scale)
            unbounded = ~np.isfinite(expected[top])
            assert (unbounded == ~np.isfinite(got[top])).all(), where
            assert np.array_equal(got[top][unbounded], expected[top][unbounded], equal_nan=True), where


def test_every_kind_that_is_converted_and_checked_is_drawn() -> None:
    assert sorted((set(registry()) & set(known_types())) - set(strategies())) == []


@pytest.mark.parametrize("kind", KINDS)
@settings(DRAWS, max_examples=10)
@given(data=st.data())
def test_three_ways_agree_on_ten_nets(kind: str, data: st.DataObject, tmp_path: Path) -> None:
    assert_agree(data.draw(strategies()[kind]()), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@settings(DRAWS, max_examples=100)
@given(data=st.data())
def test_three_ways_agree_on_a_hundred_nets(kind: str, data: st.DataObject, tmp_path: Path) -> None:
    assert_agree(data.draw(strategies()[kind]()), tmp_path)
