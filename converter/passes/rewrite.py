"""What the passes share: who reads a value, whether weights may be touched, and putting a node in another's place."""

from __future__ import annotations

from converter.graph import Graph
from converter.node import Node


class Rewriting:
    """A graph while a pass goes over it: nodes are put in others' places, and the list is made anew at the end.

    Taking each out of the list as it goes would cost a walk through all of them, as would asking anew for the readers.
    A value keeps its readers while nodes are merged, but for those that were merged themselves.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._readers = graph.users()
        self._outputs = {id(value) for value in graph.outputs}
        self._nodes: list[Node | None] = list(graph.nodes)
        self._places = {id(node): place for place, node in enumerate(graph.nodes)}

    def only_reader(self, node: Node) -> tuple[Node | None, str]:
        """The one node that reads a node's one output, or None and the reason why there is none."""
        if len(node.outputs) != 1:
            return None, f"it has {len(node.outputs)} tops"
        (top,) = node.outputs
        if id(top) in self._outputs:
            return None, f"top {top.name!r} is an output"
        users = self._readers.get(id(top), [])
        if len(users) != 1:
            return None, f"top {top.name!r} has {len(users)} users"
        return users[0], ""

    def merge(self, first: Node, second: Node, merged: Node) -> None:
        """Put `merged` where `first` stood and drop `second`; the merged node writes the second's tops."""
        merged.cautions = first.cautions + second.cautions
        for value in merged.outputs:
            value.producer = merged
        place = self._places[id(merged)] = self._places[id(first)]
        self._nodes[place] = merged
        self._nodes[self._places[id(second)]] = None

    def finish(self) -> None:
        """Give the graph its nodes."""
        self._graph.nodes[:] = [node for node in self._nodes if node is not None]


def shares_weights(*nodes: Node) -> str:
    """Why these nodes' weights may not be rewritten; empty if they may."""
    shared = [tensor.name for node in nodes for tensor in node.tensors.values() if tensor.shared]
    return f"{shared[0]!r} is shared with another layer" if shared else ""
