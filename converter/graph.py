"""The network in SSA form: every value is written once, so nothing after the builder knows about in-place layers.

`print(graph)` is the debugging tool. Nothing here imports a framework, and no weight is read before it is written out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from converter.dims import FreeDim, Shape, count, format_shape, is_free
from prototxt import NetLayer, Position

if TYPE_CHECKING:
    from converter.layers.base import Layer

Array = npt.NDArray[np.float32]


@dataclass(eq=False)
class Tensor:
    """A constant that is read, or computed, when it is written out.

    Attributes:
        name: `layer.parameter`, e.g. `conv1.weight`.
        shape: its dimensions.
        load: gives the float32 values; may be a view into the mapped file.
        shared: several layers use it (`param { name }`), so no pass may rewrite it.
        base: the tensor of a layer's blob whose values this one has in the same order, in another shape.
    """

    name: str
    shape: Shape
    load: Callable[[], Array]
    shared: bool = False
    base: Tensor | None = field(default=None, repr=False)

    def map(self, function: Callable[[Array], npt.NDArray[np.floating]], shape: Shape | None = None) -> Tensor:
        """The same constant after `function`, computed when it is written; float32 again at the end."""
        out = self.shape if shape is None else shape
        return Tensor(self.name, out, lambda: as_float32(function(self.load())).reshape(out))

    def reshaped(self, shape: Shape) -> Tensor:
        """The same values in the same order, in another shape."""
        return Tensor(self.name, shape, lambda: self.load().reshape(shape), self.shared, self.root)

    @property
    def root(self) -> Tensor:
        """The blob that the values are, whatever their shape here."""
        return self.base or self

    @property
    def nbytes(self) -> int:
        """Bytes of the float32 values."""
        return 4 * count(self.shape)


def as_float32(array: npt.NDArray[np.floating]) -> Array:
    """The one cast at the end of float64 arithmetic."""
    return np.ascontiguousarray(array, dtype=np.float32)


def constant(name: str, array: npt.NDArray[np.floating]) -> Tensor:
    """A `Tensor` of values that are already here."""
    values = as_float32(array)
    return Tensor(name, values.shape, lambda: values)


@dataclass(frozen=True)
class Origin:
    """The Caffe layer that a node came from."""

    name: str
    type: str
    position: Position
    source: NetLayer | None = field(default=None, repr=False, compare=False)

    def __str__(self) -> str:
        return f"{self.name} ({self.type})"


@dataclass(eq=False)
class Value:
    """One blob at one moment.

    Attributes:
        name: unique in the graph; the last writer of a blob gives its value the blob's own name.
        shape: dimensions, some perhaps free.
        blob: the Caffe blob.
        tops: `(layer, top)` pairs that this value is the numbers of; empty for a value that Caffe does not have.
        producer: None for an input of the graph.
    """

    name: str
    shape: Shape
    blob: str
    tops: list[tuple[str, str]] = field(default_factory=list)
    producer: Node | None = field(default=None, repr=False)


@dataclass(eq=False)
class Node:
    """One layer at work: what it reads, what it writes, its constants by parameter name, and where it came from."""

    layer: Layer
    inputs: list[Value]
    outputs: list[Value]
    tensors: dict[str, Tensor] = field(default_factory=dict)
    origins: tuple[Origin, ...] = ()

    @property
    def name(self) -> str:
        """The name of the first Caffe layer that the node came from."""
        return self.origins[0].name if self.origins else self.outputs[0].name

    @property
    def shape(self) -> Shape:
        """Dimensions of the first input."""
        return self.inputs[0].shape

    def __str__(self) -> str:
        outs = ", ".join(f"{v.name}: {format_shape(v.shape)}" for v in self.outputs)
        ins = ", ".join(v.name for v in self.inputs)
        return f"{outs or '()'} = {self.layer}({ins})  # {' + '.join(map(str, self.origins))}"


@dataclass
class Graph:
    """A net ready to be rewritten and emitted; nodes stand in the order in which they run.

    Attributes:
        name: the prototxt's `name`.
        inputs: values that the caller feeds, in the net's order.
        outputs: values that the caller gets, in the order asked for.
        output_names: the blob name of each output.
        source: the prototxt's file name, for messages and metadata.
    """

    name: str
    inputs: list[Value]
    outputs: list[Value]
    nodes: list[Node]
    output_names: list[str]
    source: str = ""

    def users(self) -> dict[int, list[Node]]:
        """The nodes that read each value, by `id(value)`."""
        readers: dict[int, list[Node]] = {}
        for node in self.nodes:
            for value in node.inputs:
                readers.setdefault(id(value), []).append(node)
        return readers

    def is_output(self, value: Value) -> bool:
        """Whether the caller asked for this value."""
        return any(value is out for out in self.outputs)

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
]
