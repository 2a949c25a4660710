"""Blobs whose numbers are known as buffers, joined ones as one buffer: SSD's prior boxes.

In the ONNX file the same comes about as operators are recorded (`converter.constants`).
"""

from __future__ import annotations

from dataclasses import replace

from converter.graph import Array, Graph
from converter.layers.shared.fixed import Fixed
from converter.node import Node


def with_constants(graph: Graph) -> Graph:
    """The graph with a node that reads nothing where numbers are known, and without such nodes that nobody reads."""
    known: dict[int, Array] = {}
    nodes: list[Node] = []
    for node in graph.nodes:
        values = node.layer.known(node, [known.get(id(value)) for value in node.inputs])
        if values is not None:
            known[id(node.outputs[0])] = values
            node = Node(Fixed(values), [], node.outputs, {}, node.origins)
        nodes.append(node)
    if not known:
        return graph
    read = {id(value) for node in nodes for value in node.inputs} | {id(value) for value in graph.outputs}
    return replace(graph, nodes=[node for node in nodes if node.inputs or id(node.outputs[0]) in read])
