"""Fold what follows a convolution (or an inner product) channel by channel into its weights.

    factor * (W x + b) + summand  =  (factor * W) x + (factor * b + summand)

BatchNorm gives factor = gamma / sqrt(variance + eps) and summand = beta - mean * factor; Scale and Bias give theirs.
Declines when the convolution's top has another reader or is an output, when what follows is not one value a channel,
and when weights are shared with another layer.
"""

from __future__ import annotations

from collections.abc import Callable

from converter.folding import PerChannel, WeightedSum
from converter.graph import Graph
from converter.node import Node
from converter.passes.rewrite import Rewriting, shares_weights
from converter.tensor import Array, Tensor, as_float32


def fold_into_convolution(graph: Graph, log: Callable[[str], None]) -> int:
    """Fold every BatchNorm, Scale and Bias that follows a convolution; how many were folded."""
    rewriting = Rewriting(graph, lambda node: isinstance(node.layer, (WeightedSum, PerChannel)))
    folded = 0
    for node in rewriting.nodes:
        while isinstance(layer := node.layer, WeightedSum):
            reader, _ = rewriting.only_reader(node)
            if reader is None:
                break
            after = graph.nodes[reader]
            if not isinstance(after.layer, PerChannel):
                break
            refusal = _refusal(node, layer, after, after.layer)
            if refusal:
                log(f"fold_into_convolution: {after.name} stays behind {node.name}: {refusal}")
                break
            node.layer, node.tensors = layer.folded(), _folded(node, layer, after, after.layer)
            rewriting.take_in(node, reader)
            folded += 1
    rewriting.finish()
    return folded


def _refusal(node: Node, layer: WeightedSum, after: Node, change: PerChannel) -> str:
    if layer.channel_axis != 1:
        return f"its channels are axis {layer.channel_axis}, not 1"
    if len(after.inputs) != 1:
        return f"{after.name} reads a second bottom"
    if why := change.unfoldable(after):
        return f"{after.name} {why}"
    return shares_weights(node, after)


def _folded(node: Node, layer: WeightedSum, after: Node, change: PerChannel) -> dict[str, Tensor]:
    """Weight and bias."""
    weight = layer.matrix(node)
    old_bias = node.tensors.get("bias")

    def new_weight(values: Array) -> Array:
        return layer.times_channels(values, change.factor_and_summand(after)[0])

    def new_bias() -> Array:
        factor, summand = change.factor_and_summand(after)
        return as_float32(summand if old_bias is None else old_bias.load().ravel() * factor + summand)

    name = f"{weight.name.rpartition('.')[0]}.bias"
    return {"weight": weight.map(new_weight), "bias": Tensor(name, (node.outputs[0].shape[1],), new_bias)}
