"""What a net's training lowers: the tops of its losses, each with its weight (Caffe: layer_factory, net.cpp).

    a loss layer      1 for its first top, unless the layer says otherwise
    any other layer   what its `loss_weight` says, 0 without one

A top with a weight counts as the sum of its values.
"""

from __future__ import annotations

from converter.layers.base import registry
from prototxt import Net, NetLayer
from prototxt.errors import NetError


def loss_weights(net: Net) -> dict[str, float]:
    """The weight of each blob of the objective, in net order; none for a net without losses.

    Raises:
        NetError: a loss without a top, which has no name here.
    """
    weights: dict[str, float] = {}
    for layer in net.layers:
        if is_loss(layer) and not layer.tops:
            message = "its loss has no name; give the layer a top"
            raise NetError(message, position=layer.position, layer=layer.name, layer_type=layer.type)
        for top, weight in zip(layer.tops, _stated(layer), strict=False):
            if weight:
                weights[top] = weight
    return weights


def is_loss(layer: NetLayer) -> bool:
    """Whether a layer's first top counts with weight 1 when nothing is said."""
    return bool(layer.bottoms) and "Loss" in layer.type


def _stated(layer: NetLayer) -> list[float]:
    stated = list(layer.param.loss_weight)
    return stated or [1.0 if is_loss(layer) else 0.0]


def training_outputs(net: Net) -> list[str]:
    """The blobs that a training module gives: what no layer reads, and whatever has a loss weight."""
    read = {bottom for layer in net.layers for bottom in layer.bottoms if bottom not in layer.tops}
    weights = loss_weights(net)
    made = dict.fromkeys(top for layer in net.layers if layer.bottoms for top in layer.tops)
    return [top for top in made if top not in read or top in weights]


def scores_of(net: Net) -> str:
    """The blob that a loss on classes would read: what the net's last layer of its kind turns into probabilities.

    Empty where there is none, or where it is written over by them.
    """
    ends = training_outputs(net)
    for layer in reversed(net.layers):
        known = registry().get(layer.kind)
        gives = known is not None and known.gives_probabilities
        if gives and layer.tops[0] in ends and layer.bottoms[0] != layer.tops[0]:
            return layer.bottoms[0]
    return ""
