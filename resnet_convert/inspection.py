"""A net's layers with shapes, parameters, multiply-adds and memory, as one request."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np

from converter.api import weight_warnings
from converter.building.build import build
from converter.dims import Shape, count, format_shape
from converter.graph import Graph
from converter.layers.data import Input
from converter.node import Node, Origin, Parameter
from converter.reading import load_parsed, weights_of
from converter.tensor import Array
from prototxt import Net
from prototxt.names import utf8
from resnet_convert.option import takes
from resnet_convert.plugins import load_plugins
from resnet_convert.requests import NetRequest
from weights import open_weights


@dataclass(frozen=True)
class LayerRow:
    """One layer: its place, what it makes, and what that costs for one pass.

    Attributes:
        parameters: learnable values; shared ones count once.
        multiply_adds: for the whole batch.
        bytes: of its tops, float32; an in-place top takes none.
    """

    layer: str
    type: str
    line: int
    tops: tuple[str, ...]
    shapes: tuple[str, ...]
    parameters: int
    multiply_adds: int
    bytes: int


def rows_of(graph: Graph, form: Callable[[Shape], str] = format_shape) -> list[LayerRow]:
    """A row a layer of the net, inputs first; `form` writes shapes."""
    rows = [
        LayerRow(
            utf8(v.tops[0][0]), Input.types[0], 0, (utf8(v.blob),), (form(v.shape),), 0, 0, 4 * int(count(v.shape))
        )
        for v in graph.inputs
    ]
    seen: set[int] = set()
    for node in graph.nodes:
        if not node.origins:  # memory read again, no layer
            continue
        new = [t for t in node.tensors.values() if id(t) not in seen]
        seen.update(id(t) for t in new)
        rows.append(_row(node, sum(int(count(t.shape)) for t in new), form))
    return rows


def _row(node: Node, parameters: int, form: Callable[[Shape], str]) -> LayerRow:
    (origin,) = node.origins
    shapes = [v.shape for v in node.outputs]
    operations = node.layer.multiply_adds([v.shape for v in node.inputs], shapes)
    return LayerRow(
        utf8(origin.name),
        utf8(origin.type),
        origin.position.line,
        tuple(utf8(v.blob) for v in node.outputs),
        tuple(map(form, shapes)),
        parameters,
        int(operations),
        4 * sum(int(count(v.shape)) for v in node.outputs if v.blob not in {i.blob for i in node.inputs}),
    )


@dataclass(frozen=True)
class Inspection:
    """What a net is made of.

    Attributes:
        net: as parsed.
        graph: as built; nothing is folded.
        warnings: of the stored weights, where there are any.
    """

    net: Net
    graph: Graph
    warnings: list[str]

    @property
    def rows(self) -> list[LayerRow]:
        """A row a layer, inputs first."""
        return rows_of(self.graph)


@takes(NetRequest)
def inspect(request: NetRequest) -> Inspection:
    """List a net's layers; with weights, the stored blobs are checked as well.

    Arguments are the fields of `NetRequest`.

    Returns:
        a row a layer: shapes as `N×C×H×W`, learnable values, multiply-adds of a pass, bytes of its blobs in float32.

    Raises:
        CaffeModelError: see `prototxt.errors` for the tree.

    Example:
        >>> found = resnet_convert.inspect("examples/digits/deploy.prototxt")
        >>> sum(row.parameters for row in found.rows), found.rows[-1].shapes
        (83494, ('1×10',))
    """
    return inspected(request)


def inspected(request: NetRequest) -> Inspection:
    """What `inspect` does."""
    with inspecting(request) as found:
        return found


@contextmanager
def inspecting(request: NetRequest) -> Iterator[Inspection]:
    """The same while the weights are open, so that the graph's tensors can be read in the block."""
    load_plugins(request.plugins)
    options = request.to_options()
    net = load_parsed(request.net, options, request.weights)
    with ExitStack() as stack:
        path = weights_of(request.net, request.weights)
        weights = stack.enter_context(open_weights(path)) if path else None
        make = None if weights else _shape_alone
        graph = build(net, weights, input_shapes=options.input_shapes, outputs=options.outputs, make=make)
        yield Inspection(net, graph, weight_warnings(weights, net, graph))


def _shape_alone(origin: Origin, parameter: Parameter) -> Array:
    """Stands for values that nobody reads: without weights the shapes are all that is wanted."""
    return np.broadcast_to(np.float32(0), tuple(map(int, parameter.shape)))
