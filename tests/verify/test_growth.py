"""A check that grows with its net and no faster: counted, as in `tests.converter.test_growth`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pytest

from benchmarks import growth
from prototxt import Net, parse_net
from tests.counting import Name, lines_of, with_names_to_count
from verify import format_report
from verify.engines.engine import Array, Blobs, ModelInput, OneByOne
from verify.interpreter import run
from verify.keys import Key
from verify.parity import Verifier
from verify.report.page import format_html
from weights import ArrayWeights

SMALL, LARGE = 100, 800  # a walk through names counts little beside what a layer costs


class Echo(OneByOne):
    """A model that has every blob as the reference has it."""

    name = "echo"
    metadata: Mapping[str, str] = {}

    def __init__(self, net: Net, weights: ArrayWeights | None, feeds: Mapping[str, Array]) -> None:
        trace = run(net, weights, feeds)
        self._tops = [(step.key, step.value) for step in trace.steps]
        self._outputs = {name: trace.blobs[name] for name in trace.outputs}
        self.inputs = tuple(ModelInput(name, values.shape) for name, values in feeds.items())
        self.blobs: tuple[Key, ...] = tuple(key for key, _ in self._tops)
        self.outputs = tuple(map(Name, self._outputs))

    def stream(self, feeds: Mapping[str, Array]) -> Blobs:
        def tops() -> Iterator[tuple[Sequence[Key], Array]]:
            for key, value in self._tops:
                yield (key,), value

        return Blobs(tops(), dict(self._outputs))


def checking(shape: str, size: int, patch: pytest.MonkeyPatch) -> int:
    """Lines of a whole check: interpreter, bounds, comparison, and the report as text, JSON and page."""
    net = with_names_to_count(parse_net(growth.SHAPES[shape](size)))
    weights = ArrayWeights(growth.chain_blobs(size)) if shape == "chain" else None
    rng = np.random.default_rng(8)
    inputs = [top for layer in net.layers if not layer.bottoms for top in layer.tops]
    feeds = {name: rng.standard_normal((1, 2, 2, 2)).astype(np.float32) for name in inputs}
    model = Echo(net, weights, feeds)
    patch.setattr("verify.parity.open_model", lambda path: model)

    def check() -> None:
        report = Verifier(net, weights, feeds=feeds, apart=False).check("echo")
        assert report.ok
        json.dumps(report.to_json())
        format_html(report)
        format_report(report, verbose=True)

    return lines_of(check)


@pytest.mark.parametrize("shape", growth.SHAPES)
def test_a_check_grows_with_its_net(shape: str, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = [checking(shape, size, monkeypatch) for size in (SMALL, LARGE)]
    assert counts[1] < 1.05 * LARGE / SMALL * counts[0], counts
