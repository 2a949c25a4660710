"""Merge BatchNorm and the Scale after it into one batch normalisation.

    y = gamma * (x - mean / f) / sqrt(variance / f + eps) + beta      f: the stored scale factor, 0 counts as 1 / f = 0

Declines when the BatchNorm's top has another reader or is an output, when the Scale takes its factor from a bottom or
covers other axes than the channels, and when one of their weights is shared with another layer.
"""

from __future__ import annotations

from collections.abc import Callable

from converter.graph import Graph, Node
from converter.layers.arithmetic import Scale
from converter.layers.normalization import BatchNorm
from converter.passes.rewrite import covers_channels, merge, only_reader, shares_weights


def fold_batch_norm(graph: Graph, log: Callable[[str], None]) -> int:
    """Merge every BatchNorm with the Scale behind it; how many were merged."""
    readers = graph.users()
    merged = 0
    for norm in [n for n in graph.nodes if isinstance(n.layer, BatchNorm)]:
        scale, refusal = only_reader(graph, readers, norm)
        if scale is not None and not isinstance(scale.layer, Scale):
            continue
        if scale is not None:
            refusal = _refusal(norm, scale)
        if scale is None or refusal:
            log(f"fold_batch_norm: {norm.name} left alone: {refusal}")
            continue
        tensors = {**norm.tensors, "gamma": scale.tensors["weight"]}
        if "bias" in scale.tensors:
            tensors["beta"] = scale.tensors["bias"]
        merge(graph, norm, scale, Node(norm.layer, norm.inputs, scale.outputs, tensors, norm.origins + scale.origins))
        merged += 1
    return merged


def _refusal(norm: Node, scale: Node) -> str:
    if "gamma" in norm.tensors:
        return "it has gamma and beta already"
    if len(scale.inputs) != 1:
        return f"{scale.name} takes its factor from a bottom"
    if len(norm.shape) < 2 or not covers_channels(scale):
        return f"{scale.name} covers other axes than the channels"
    return shares_weights(norm, scale)
