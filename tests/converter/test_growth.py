"""Work that grows with the net and no faster: counted, since time would say it only of large nets.

Walks in C count where they compare names, nodes or values; through numbers and bytes they do not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from benchmarks import growth
from converter.building.build import build
from converter.graph import Graph
from converter.node import Node, Value
from converter.passes import Fold, run_passes
from converter.targets.onnx_model import emit_onnx
from converter.targets.torch_model import emit_torch
from prototxt import Net, parse_net
from tests.counting import compare_in_python, lines_of, with_names_to_count
from weights import ArrayWeights

SMALL, LARGE = 80, 320


@pytest.fixture(autouse=True)
def _walks_to_count(monkeypatch: pytest.MonkeyPatch) -> None:
    compare_in_python(monkeypatch, Node, Value)


def net_of(shape: str, size: int) -> Net:
    return with_names_to_count(parse_net(growth.SHAPES[shape](size)))


def graph_of(shape: str, size: int) -> Graph:
    weights = ArrayWeights(growth.chain_blobs(size)) if shape == "chain" else None
    return build(net_of(shape, size), weights)


WORK: dict[str, Callable[[Graph], Any]] = {
    "folding none": lambda graph: folded(graph, "none"),
    "folding bn": lambda graph: folded(graph, "bn"),
    "folding conv": lambda graph: folded(graph, "conv"),
    "onnx": emit_onnx,
    "torch": emit_torch,
}


def folded(graph: Graph, fold: Fold) -> dict[str, int]:
    return run_passes(graph, fold, lambda _: None)


@pytest.mark.parametrize("shape", growth.SHAPES)
@pytest.mark.parametrize("stage", WORK)
def test_a_stage_grows_with_its_net(stage: str, shape: str) -> None:
    small, large = (graph_of(shape, size) for size in (SMALL, LARGE))
    counts = [lines_of(lambda graph=graph: WORK[stage](graph)) for graph in (small, large)]  # type: ignore[misc]
    assert counts[1] < 1.15 * LARGE / SMALL * counts[0] + 1000, counts


@pytest.mark.parametrize("shape", growth.SHAPES)
def test_the_builder_grows_with_its_net(shape: str) -> None:
    counts = []
    for size in (SMALL, LARGE):
        net = net_of(shape, size)
        weights = ArrayWeights(growth.chain_blobs(size)) if shape == "chain" else None
        counts.append(lines_of(lambda net=net, weights=weights: build(net, weights)))  # type: ignore[misc]
    assert counts[1] < 1.15 * LARGE / SMALL * counts[0] + 1000, counts


def test_a_folded_chain_has_its_nodes_in_order() -> None:
    graph = graph_of("chain", SMALL)
    assert folded(graph, "conv") == {"fold_batch_norm": 20, "fold_into_convolution": 20}
    assert [node.name for node in graph.nodes] == [f"{kind}{n}" for n in range(20) for kind in ("conv", "relu")]
    assert all(value.producer is node for node in graph.nodes for value in node.outputs)
    assert np.isfinite(graph.nodes[0].tensors["weight"].load()).all()
