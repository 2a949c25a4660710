"""A Caffe graph, built without folding, as a skeleton."""

from __future__ import annotations

from pathlib import Path

from converter.graph import Graph
from converter.layers.batch_norm import normalisation
from converter.matching.operation import Operation
from converter.matching.skeleton import NetPart, Skeleton
from converter.node import Node, maker
from prototxt import Position
from prototxt.names import utf8


def caffe_skeleton(graph: Graph) -> Skeleton:
    """The parts of a graph; a part's values are the `(layer, top)` pairs of its top, its parameters tensors."""
    parts: list[NetPart] = []
    made: dict[int, NetPart] = {}
    for value in graph.inputs:
        shape = tuple(map(int, value.shape))
        fed = NetPart(
            "input", {}, [], shape, label=utf8(value.blob), type="input", values=[(top, shape) for top in value.tops]
        )
        parts.append(fed)
        made[id(value)] = fed
    fed_parts = list(parts)
    for node in graph.nodes:
        operation = node.layer.computes(node) if node.origins else Operation("identity")
        sources = [made[id(value)] for value in node.inputs]
        for place, value in enumerate(node.outputs):
            part = _part(node, operation, sources, place)
            parts.append(part)
            made[id(value)] = part
    return Skeleton(fed_parts, parts, [made[id(value)] for value in graph.outputs])


def _part(node: Node, operation: Operation, sources: list[NetPart], place: int) -> NetPart:
    """One of a layer's tops; a layer with weights may have a top for each bottom."""
    settings = dict(operation.settings)
    several = len(node.outputs) > 1
    if several and operation.kind == "slice":
        axis, bounds = settings["axis"], settings["bounds"]
        settings = {"axis": axis, "start": bounds[place], "stop": bounds[place + 1]}
    elif operation.kind == "slice":
        operation = Operation("identity")
    elif several and len(node.inputs) == len(node.outputs):
        sources = sources[place : place + 1]
    elif several and place:
        settings["top"] = place
    origin = maker(node)
    value = node.outputs[place]
    tensors = normalisation(node) if operation.kind == "normalisation" else node.tensors
    shape = tuple(map(int, value.shape))
    return NetPart(
        operation.kind,
        settings,
        sources,
        shape,
        dict(tensors),
        utf8(origin.name),
        utf8(origin.type),
        str(Position(Path(origin.position.path).name, origin.position.line)),
        [(top, shape) for top in value.tops],
    )
