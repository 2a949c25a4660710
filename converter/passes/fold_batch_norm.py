"""Merge BatchNorm and the Scale after it into one batch normalisation.

    y = gamma * (x - mean / f) / sqrt(variance / f + eps) + beta      f: the stored scale factor, 0 counts as 1 / f = 0

Declines when the BatchNorm's top has another reader or is an output, when the Scale takes its factor from a bottom or
covers other axes than the channels, and when one of their weights is shared with another layer.
"""

from __future__ import annotations

from collections.abc import Callable

from converter.folding import PerChannel
from converter.graph import Graph
from converter.node import Node
from converter.passes.rewrite import Rewriting, shares_weights


def fold_batch_norm(graph: Graph, log: Callable[[str], None]) -> int:
    """Merge every BatchNorm with the Scale behind it; how many were merged."""
    rewriting = Rewriting(graph, lambda node: node.layer.normalises)
    merged = 0
    for norm in rewriting.nodes:
        reader, refusal = rewriting.only_reader(norm)
        if reader is not None:
            scale = graph.nodes[reader]
            if not isinstance(scale.layer, PerChannel) or not scale.layer.scales:
                continue
            refusal = _refusal(norm, scale, scale.layer)
        if reader is None or refusal:
            log(f"fold_batch_norm: {norm.name} left alone: {refusal}")
            continue
        norm.tensors["gamma"] = scale.tensors["weight"]
        if "bias" in scale.tensors:
            norm.tensors["beta"] = scale.tensors["bias"]
        rewriting.take_in(norm, reader)
        merged += 1
    rewriting.finish()
    return merged


def _refusal(norm: Node, scale: Node, layer: PerChannel) -> str:
    if "gamma" in norm.tensors:
        return "it has gamma and beta already"
    if len(scale.inputs) != 1:
        return f"{scale.name} takes its factor from a bottom"
    if why := layer.unfoldable(scale):
        return f"{scale.name} {why}"
    return shares_weights(norm, scale)
