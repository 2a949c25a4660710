"""The network in SSA form: every value is written once, so nothing after the builder knows about in-place layers.

`print(graph)` is the debugging tool. Nothing here imports a framework, and no weight is read before it is written out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from converter.dims import FreeDim, Shape, count, format_shape, is_free
from converter.node import Node, Origin, Value, maker
from converter.tensor import Array, Tensor, as_float32, constant


@dataclass(eq=False, repr=False)
class Graph:
    """A net ready to be rewritten and emitted; nodes stand in the order in which they run.

    Attributes:
        name: the prototxt's `name`.
        inputs: values that the caller feeds, in the net's order.
        outputs: values that the caller gets, in the order asked for.
        output_names: the blob name of each output.
        source: the prototxt's file name, for messages and metadata.
        warnings: what the net states and no layer of ours reads.
        left: of a graph that will be trained, what the memory of a value (its `id`) holds in the end, where that is
            another: Caffe's backward pass reads it there.
        cut: of such a graph, `id` of the nodes that pass no gradient on to what made their first bottom.
    """

    name: str
    inputs: list[Value]
    outputs: list[Value]
    nodes: list[Node]
    output_names: list[str]
    source: str = ""
    warnings: list[str] = field(default_factory=list)
    left: dict[int, Value] = field(default_factory=dict)
    cut: set[int] = field(default_factory=set)

    def tensors(self) -> Iterator[Tensor]:
        """Every constant once, in the order of first use."""
        seen: set[int] = set()
        for node in self.nodes:
            for tensor in node.tensors.values():
                if id(tensor) not in seen:
                    seen.add(id(tensor))
                    yield tensor

    def __str__(self) -> str:
        lines = [f"graph {self.name!r}"]
        lines += [f"  in  {v.name}: {format_shape(v.shape)}" for v in self.inputs]
        lines += [f"  {node}" for node in self.nodes]
        lines += [f"  out {v.name}: {format_shape(v.shape)}" for v in self.outputs]
        return "\n".join(lines)


__all__ = [
    "Array",
    "FreeDim",
    "Graph",
    "Node",
    "Origin",
    "Shape",
    "Tensor",
    "Value",
    "as_float32",
    "constant",
    "count",
    "format_shape",
    "is_free",
    "maker",
]
