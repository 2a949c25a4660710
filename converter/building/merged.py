"""Layers that a fork has as one: a ReLU taken into the layer before it, a Scale into the BatchNorm (both Intel's), and
the rounding of a bottom before a layer reads it (Ristretto's).
"""

from __future__ import annotations

from collections.abc import Sequence

from converter.graph import Shape
from converter.layers.base import registry
from converter.node import Layer, Node, Origin, Value
from prototxt import NetLayer
from prototxt.caffe_pb2 import LayerParameter
from weights import Weights


def follower_of(source: NetLayer, follower: LayerParameter, node: Node, top: str, shape: Shape) -> Node:
    """The node of a layer inside another, behind that one's node; the value between the two is not Caffe's."""
    between = Value(f"{top}/{source.name}/inside", shape, top, [], node)
    node.outputs.append(between)
    param = LayerParameter(name=f"{source.name}/{follower.type}", bottom=[top], top=[top])
    param.MergeFrom(follower)
    behind = source.replaced(param=param)
    origin = Origin(param.name, param.type, source.position, behind)
    return Node(registry()[param.type].read(behind), [between], [], {}, (origin,))


def led_by(source: NetLayer, leader: Layer, bottom: Value) -> Value:
    """What a layer writes over a bottom before it reads it; that is a moment of the blob, as if in place."""
    origin = Origin(f"{source.name}/{bottom.blob}", source.type, source.position, source)
    made = Value(f"{bottom.blob}/{source.name}", bottom.shape, bottom.blob, [(source.name, bottom.blob)])
    made.producer = Node(leader, [bottom], [made], {}, (origin,))
    return made


def is_inside(source: NetLayer, bottoms: Sequence[Value], weights: Weights | None) -> bool:
    """Whether a Scale that the file lacks is inside of the BatchNorm before it.

    Intel's Caffe drops such a layer, gives the BatchNorm's top its top's name, and saves the BatchNorm with four or
    five blobs (CompilationRuleRemoveScale in its net.cpp).
    """
    maker = bottoms[0].producer
    if weights is None or len(bottoms) != 1 or maker is None or not maker.layer.takes_scale_in:
        return False
    own, norm = weights.get(source.name), weights.get(maker.name)
    if (own is not None and own.blobs) or norm is None or not norm.blobs:
        return False
    return not any(spec.name for spec in source.param.param)
