"""Names of a graph's values: those of Caffe's blobs, each once, in UTF-8."""

from __future__ import annotations

from collections.abc import Sequence

from converter.node import Node, Value
from prototxt.names import utf8


def rename_superseded(value: Value) -> None:
    """An earlier moment of a blob: the blob's name belongs to the last one. The caller's inputs keep theirs."""
    if value.producer is not None:
        value.name = f"{value.blob}/{value.tops[0][0]}"


def give_unique_names(inputs: Sequence[Value], nodes: Sequence[Node], outputs: Sequence[Value]) -> None:
    """Inputs and outputs keep their blobs' names; where two values want one name, the later of the others gives way.

    Names that are no UTF-8 are escaped, an empty one, by which ONNX leaves a value out, is an underscore; both give way
    to those that look so from the start.
    """
    values = {id(v): v for v in (*inputs, *outputs, *(v for node in nodes for v in node.outputs))}
    taken: set[str] = set()
    numbers: dict[str, int] = {}  # wish -> the last number behind it; those below are taken
    for value in sorted(values.values(), key=lambda v: _whole(v.name) != v.name):
        name = _whole(value.name)
        wish = name if name not in taken or not value.tops else utf8(f"{name}/{value.tops[0][0]}")
        value.name = wish
        while value.name in taken:
            numbers[wish] = numbers.get(wish, 1) + 1
            value.name = f"{wish}_{numbers[wish]}"
        taken.add(value.name)


def _whole(name: str) -> str:
    return utf8(name) or "_"
