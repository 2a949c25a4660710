"""Rewrites of the graph, in one order, each with the reason for its place."""

from __future__ import annotations

from collections.abc import Callable

from converter.graph import Graph
from converter.options import Fold
from converter.passes.fold_batch_norm import fold_batch_norm
from converter.passes.fold_into_convolution import fold_into_convolution

Explain = Callable[[str], None]
Pass = Callable[[Graph, Explain], int]

PASSES: dict[Fold, tuple[Pass, ...]] = {
    "none": (),
    "bn": (fold_batch_norm,),
    # BatchNorm and Scale become one first, so that a convolution's weights are rounded once and not twice.
    "conv": (fold_batch_norm, fold_into_convolution),
}


def run_passes(graph: Graph, fold: Fold, log: Explain) -> dict[str, int]:
    """Rewrite the graph in place; how often each pass fired, by name. `log` gets each refusal with its reason."""
    return {step.__name__: step(graph, log) for step in PASSES[fold]}
