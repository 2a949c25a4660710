"""`resnet-convert inspect`: layers, shapes, parameters, multiply-adds and memory of a net."""

from __future__ import annotations

import json
from argparse import Namespace
from dataclasses import asdict

from converter.dims import format_formulas, format_shape
from prototxt.columns import aligned
from prototxt.errors import RequestError, raise_all
from prototxt.names import readable, shown, utf8
from prototxt.words import plural
from resnet_convert.checking import faults_of
from resnet_convert.cli.arguments import request_of, shown_of
from resnet_convert.cli.terminal import say, say_json, table
from resnet_convert.inspection import Inspection, LayerRow, inspected, rows_of
from resnet_convert.requests import NetRequest
from verify.report.provenance import provenance_of


def run(parsed: Namespace) -> int:
    """Print the table; the exit status. With --check only faults are printed."""
    more = list(getattr(parsed, "more", ()))
    if hasattr(parsed, "check"):
        weights = getattr(parsed, "weights", None)
        return _check(parsed, [parsed.net, *([] if weights is None else [weights]), *more])
    if more:
        raise RequestError(f"unrecognized arguments: {' '.join(more)}; several nets go with --check alone")
    request, asked = request_of(NetRequest, parsed), shown_of(parsed)
    found = inspected(request)
    if asked.json:
        say_json(_facts(found), request)
    elif asked.talks:
        _print(found)
    return 0


def _check(parsed: Namespace, nets: list[str]) -> int:
    """Raise all that is wrong with some nets."""
    requests = [request_of(NetRequest, parsed, net=net, weights=None) for net in nets]
    raise_all([error for request in requests for error in faults_of(request)])
    if shown_of(parsed).json:
        print(json.dumps({"checked": list(map(readable, nets)), "provenance": provenance_of(nets)}))
    return 0


def _facts(found: Inspection) -> dict[str, object]:
    return {
        "name": utf8(found.net.name),
        "notes": list(map(readable, found.net.notes)),
        "warnings": list(map(readable, found.warnings)),
        "layers": [asdict(row) for row in rows_of(found.graph, format_formulas)],
    }


RIGHT = (0, 5, 6, 7)  # the columns of numbers


def _print(found: Inspection) -> None:
    net, graph, rows = found.net, found.graph, found.rows
    head = ("line", "layer", "type", "top", "shape", "parameters", "multiply-adds", "memory")
    cells = [head, *((*_left(r), _number(r.parameters), _number(r.multiply_adds), _bytes(r.bytes)) for r in rows)]
    say(f"{net.name} ({net.path})")
    parameters, operations = sum(r.parameters for r in rows), sum(r.multiply_adds for r in rows)
    outputs = ", ".join(f"{n} {format_shape(v.shape)}" for n, v in zip(graph.output_names, graph.outputs, strict=True))
    table(aligned(cells, RIGHT))
    say(
        f"{plural(len(rows), 'layer')}, {plural(parameters, 'parameter')} ({_bytes(4 * parameters)}), "
        f"{_operations(operations)}, {_bytes(sum(r.bytes for r in rows))} of blobs",
        f"outputs: {outputs}",
        *(f"note: {note}" for note in net.notes),
        *(f"warning: {warning}" for warning in found.warnings),
    )


def _left(row: LayerRow) -> tuple[str, str, str, str, str]:
    return str(row.line or ""), shown(row.layer), shown(row.type), shown(", ".join(row.tops)), ", ".join(row.shapes)


def _operations(count: int) -> str:
    if count >= 1e8:
        return f"{count / 1e9:.3f} G multiply-adds"
    return f"{count / 1e6:.1f} M multiply-adds" if count >= 1e5 else f"{count:,} multiply-adds"


def _number(value: int) -> str:
    return f"{value:,}" if value else ""


def _bytes(size: int) -> str:
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} B"
