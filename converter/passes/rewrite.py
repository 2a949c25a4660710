"""What the passes share: who reads a value, whether weights may be touched, and taking one node into another."""

from __future__ import annotations

from collections.abc import Callable
from itertools import compress

from converter.graph import Graph
from converter.node import Node


class Rewriting:
    """A graph while a pass goes over it: nodes take in others, and the list is made anew at the end.

    Taking each out of the list as it goes would cost a walk through all of them, as would asking anew for the readers.
    A value keeps its readers while nodes are merged, but for those that were merged themselves. In a net of many
    layers a pass waits for memory, so it walks once, looks closer only at the nodes it is about, and makes no new ones.
    """

    def __init__(self, graph: Graph, merges: Callable[[Node], bool]) -> None:
        """`merges`: whether the pass may merge a node with what reads it."""
        self._graph = graph
        self._outputs = {id(value) for value in graph.outputs}
        self._kept = bytearray(b"\1") * len(graph.nodes)
        self._readers: dict[int, list[int]] = {}  # places in the graph, by the `id` of the value
        self.nodes: list[Node] = []
        readers = self._readers
        for place, node in enumerate(graph.nodes):
            for value in node.inputs:
                if (found := readers.get(id(value))) is not None:
                    found.append(place)
            if merges(node):
                self.nodes.append(node)
                for value in node.outputs:
                    readers[id(value)] = []

    def only_reader(self, node: Node) -> tuple[int | None, str]:
        """The place of the one node that reads the one output of a node; or None and the reason why there is none."""
        if len(node.outputs) != 1:
            return None, f"it has {len(node.outputs)} tops"
        (top,) = node.outputs
        if id(top) in self._outputs:
            return None, f"top {top.name!r} is an output"
        users = self._readers[id(top)]
        if len(users) != 1:
            return None, f"top {top.name!r} has {len(users)} users"
        return users[0], ""

    def take_in(self, node: Node, reader: int) -> None:
        """Let a node that does the work of the reader in that place write its tops, and drop the reader."""
        second = self._graph.nodes[reader]
        node.outputs = second.outputs
        node.origins += second.origins
        node.cautions += second.cautions
        for value in node.outputs:
            value.producer = node
        self._kept[reader] = False

    def finish(self) -> None:
        """Take what was merged out of the graph's nodes."""
        self._graph.nodes[:] = compress(self._graph.nodes, self._kept)


def shares_weights(*nodes: Node) -> str:
    """Why these nodes' weights may not be rewritten; empty if they may."""
    for node in nodes:
        for tensor in node.tensors.values():
            if tensor.shared:
                return f"{tensor.name!r} is shared with another layer"
    return ""
