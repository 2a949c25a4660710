"""What the passes share: who reads a value, whether weights may be touched, and putting a node in another's place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from converter.graph import Graph, Node
from converter.layers.arithmetic import Bias, Scale


def only_reader(graph: Graph, readers: Mapping[int, Sequence[Node]], node: Node) -> tuple[Node | None, str]:
    """The one node that reads a node's one output, or None and the reason why there is none."""
    if len(node.outputs) != 1:
        return None, f"it has {len(node.outputs)} tops"
    (top,) = node.outputs
    if graph.is_output(top):
        return None, f"top {top.name!r} is an output"
    users = readers.get(id(top), [])
    if len(users) != 1:
        return None, f"top {top.name!r} has {len(users)} users"
    return users[0], ""


def covers_channels(node: Node) -> bool:
    """Whether a Scale or Bias has one value a channel, channels being axis 1."""
    layer = node.layer
    return (
        isinstance(layer, (Scale, Bias))
        and len(node.shape) >= 2
        and layer.beside([v.shape for v in node.inputs]) == (node.shape[1], *[1] * (len(node.shape) - 2))
    )


def shares_weights(*nodes: Node) -> str:
    """Why these nodes' weights may not be rewritten; empty if they may."""
    shared = [tensor.name for node in nodes for tensor in node.tensors.values() if tensor.shared]
    return f"{shared[0]!r} is shared with another layer" if shared else ""


def merge(graph: Graph, first: Node, second: Node, merged: Node) -> None:
    """Put `merged` where `first` stood and drop `second`; the merged node writes the second's tops."""
    for value in merged.outputs:
        value.producer = merged
    graph.nodes[graph.nodes.index(first)] = merged
    graph.nodes.remove(second)
