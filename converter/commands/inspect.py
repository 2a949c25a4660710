"""`resnet-convert inspect`: layers, shapes, parameters, multiply-adds and memory of a net."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import asdict, dataclass

import numpy as np

from converter.api import load_parsed, weight_warnings, weights_of
from converter.build import build
from converter.cli_options import Arguments
from converter.commands.options import options_of
from converter.graph import Array, Graph, Node, Origin, count, format_shape
from converter.layers.base import Parameter
from prototxt import Net
from weights import open_weights


@dataclass(frozen=True)
class Row:
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


def rows_of(graph: Graph) -> list[Row]:
    """A row a layer of the net, inputs first."""
    rows = [
        Row(v.tops[0][0], "Input", 0, (v.blob,), (format_shape(v.shape),), 0, 0, 4 * int(count(v.shape)))
        for v in graph.inputs
    ]
    seen: set[int] = set()
    for node in graph.nodes:
        new = [t for t in node.tensors.values() if id(t) not in seen]
        seen.update(id(t) for t in new)
        rows.append(_row(node, sum(int(count(t.shape)) for t in new)))
    return rows


def _row(node: Node, parameters: int) -> Row:
    (origin,) = node.origins
    shapes = [v.shape for v in node.outputs]
    operations = node.layer.multiply_adds([v.shape for v in node.inputs], shapes)
    return Row(
        origin.name,
        origin.type,
        origin.position.line,
        tuple(v.blob for v in node.outputs),
        tuple(map(format_shape, shapes)),
        parameters,
        int(operations),
        4 * sum(int(count(v.shape)) for v in node.outputs if v.blob not in {i.blob for i in node.inputs}),
    )


def run(arguments: Arguments) -> int:
    """Print the table; the exit status."""
    options = options_of(arguments)
    net = load_parsed(arguments.net, options, arguments.weights)
    with ExitStack() as stack:
        path = weights_of(arguments.net, arguments.weights)
        weights = stack.enter_context(open_weights(path)) if path else None
        make = None if weights else _shape_alone
        graph = build(net, weights, input_shapes=options.input_shapes, outputs=options.outputs, make=make)
        warnings = weight_warnings(weights, graph)
    rows = rows_of(graph)
    if arguments.json:
        layers = [asdict(row) for row in rows]
        print(json.dumps({"name": net.name, "notes": net.notes, "warnings": warnings, "layers": layers}))
    elif not arguments.quiet:
        print(table(rows, net, graph, warnings))
    return 0


def _shape_alone(origin: Origin, parameter: Parameter) -> Array:
    """Stands for values that nobody reads: without weights the shapes are all that is wanted."""
    return np.broadcast_to(np.float32(0), tuple(map(int, parameter.shape)))


RIGHT = (0, 5, 6, 7)  # the columns of numbers


def table(rows: list[Row], net: Net, graph: Graph, warnings: list[str]) -> str:
    """The rows as text, with a total."""
    head = ("line", "layer", "type", "top", "shape", "parameters", "multiply-adds", "memory")
    cells = [head, *((*_left(r), _number(r.parameters), _number(r.multiply_adds), _bytes(r.bytes)) for r in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    lines = [f"{net.name} ({net.path})"]
    for row in cells:
        aligned = [
            cell.rjust(width) if column in RIGHT else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(aligned).rstrip())
    parameters, operations = sum(r.parameters for r in rows), sum(r.multiply_adds for r in rows)
    outputs = ", ".join(f"{n} {format_shape(v.shape)}" for n, v in zip(graph.output_names, graph.outputs, strict=True))
    lines += [
        f"{len(rows)} layers, {parameters:,} parameters ({_bytes(4 * parameters)}), "
        f"{operations / 1e9:.3f} G multiply-adds, {_bytes(sum(r.bytes for r in rows))} of blobs",
        f"outputs: {outputs}",
        *(f"note: {note}" for note in net.notes),
        *(f"warning: {warning}" for warning in warnings),
    ]
    return "\n".join(lines)


def _left(row: Row) -> tuple[str, str, str, str, str]:
    return str(row.line or ""), row.layer, row.type, ", ".join(row.tops), ", ".join(row.shapes)


def _number(value: int) -> str:
    return f"{value:,}" if value else ""


def _bytes(size: int) -> str:
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} B"
