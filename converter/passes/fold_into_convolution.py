"""Fold what follows a convolution (or an inner product) channel by channel into its weights.

    factor * (W x + b) + summand  =  (factor * W) x + (factor * b + summand)

BatchNorm gives factor = gamma / sqrt(variance + eps) and summand = beta - mean * factor; Scale and Bias give theirs.
Declines when the convolution's top has another reader or is an output, when what follows is not one value a channel,
and when weights are shared with another layer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from converter.graph import Array, Graph, Node, Tensor, as_float32
from converter.layers.arithmetic import Bias, Scale
from converter.layers.convolution import Convolution, Deconvolution
from converter.layers.inner_product import InnerProduct
from converter.layers.normalization import BatchNorm, normalisation
from converter.passes.rewrite import covers_channels, merge, only_reader, shares_weights

Float64 = npt.NDArray[np.float64]
Affine = Callable[[], tuple[Float64, Float64]]


def fold_into_convolution(graph: Graph, log: Callable[[str], None]) -> int:
    """Fold every BatchNorm, Scale and Bias that follows a convolution; how many were folded."""
    folded = 0
    for node in [n for n in graph.nodes if isinstance(n.layer, (Convolution, Deconvolution, InnerProduct))]:
        current = node
        while True:
            after, refusal = only_reader(graph, graph.users(), current)
            if after is None or not isinstance(after.layer, (BatchNorm, Scale, Bias)):
                break
            refusal = _refusal(current, after)
            if refusal:
                log(f"fold_into_convolution: {after.name} stays behind {current.name}: {refusal}")
                break
            merged = _fold(current, after)
            merge(graph, current, after, merged)
            current = merged
            folded += 1
    return folded


def _refusal(node: Node, after: Node) -> str:
    layer = node.layer
    if isinstance(layer, (Convolution, Deconvolution, InnerProduct)) and layer.axis != 1:
        return f"its channels are axis {layer.axis}, not 1"
    if len(after.inputs) != 1:
        return f"{after.name} reads a second bottom"
    if isinstance(after.layer, BatchNorm) and not after.layer.global_statistics:
        return f"{after.name} uses the statistics of the batch"
    if isinstance(after.layer, (Scale, Bias)) and not covers_channels(after):
        return f"{after.name} covers other axes than the channels"
    return shares_weights(node, after)


def _fold(node: Node, after: Node) -> Node:
    layer = node.layer
    assert isinstance(layer, (Convolution, Deconvolution, InnerProduct))
    affine = _affine(after)
    weight = node.tensors["weight"]
    old_bias = node.tensors.get("bias")

    def new_weight(values: Array) -> Array:
        return _times_output_channel(layer, values, affine()[0])

    def new_bias() -> Array:
        factor, summand = affine()
        return as_float32(summand if old_bias is None else old_bias.load() * factor + summand)

    name = f"{weight.name.rpartition('.')[0]}.bias"
    tensors = {"weight": weight.map(new_weight), "bias": Tensor(name, (layer.num_output,), new_bias)}
    return Node(replace(layer, bias_term=True), node.inputs, after.outputs, tensors, node.origins + after.origins)


def _affine(after: Node) -> Affine:
    """Factor and summand a channel of what follows, in float64, computed when asked."""

    def values() -> tuple[Float64, Float64]:
        if isinstance(after.layer, BatchNorm):
            gamma, beta, mean, variance = (t.load().astype(np.float64) for t in normalisation(after).values())
            factor = gamma / np.sqrt(variance + after.layer.eps)
            return factor, beta - mean * factor
        loaded = {k: t.load().astype(np.float64).ravel() for k, t in after.tensors.items()}
        some = next(iter(loaded.values()))
        return loaded.get("weight", np.ones_like(some)), loaded.get("bias", np.zeros_like(some))

    return values


def _times_output_channel(layer: Convolution | Deconvolution | InnerProduct, weight: Array, factor: Float64) -> Array:
    if isinstance(layer, InnerProduct):
        return _product(weight, factor[None, :] if layer.transpose else factor[:, None])
    behind = [1] * (weight.ndim - 2)
    if isinstance(layer, Convolution):
        return _product(weight, factor.reshape(-1, 1, *behind))
    grouped = weight.reshape(layer.group, -1, *weight.shape[1:])
    return _product(grouped, factor.reshape(layer.group, 1, -1, *behind)).reshape(weight.shape)


def _product(weight: Array, factor: Float64) -> Array:
    """Multiplied in float64 and rounded once, piece by piece: no float64 copy of the whole weight is made."""
    return np.multiply(weight, factor, out=np.empty(weight.shape, np.float32), dtype=np.float64, casting="same_kind")
