r"""A picture as text for Graphviz: a node for each box, a cluster around what repeats, shapes at the edges.

Names stand in double quotes, where `"` and `\` are escaped; characters that do not print are written as their escapes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prototxt.names import shown
from verify.picture.records import DrawnLayer, DrawnNet
from verify.picture.tree import DrawnPart, title_of, tree_of

FILL = {
    "input": "#e6e9ee",
    "convolution": "#dbe7fd",
    "dense": "#e9dffc",
    "recurrent": "#f4dcf8",
    "normalization": "#d7efed",
    "activation": "#fbe6d2",
    "pooling": "#d9f0e2",
    "join": "#fadce9",
    "shape": "#efe5d4",
    "detection": "#d5edf3",
    "loss": "#f3dcdc",
    "other": "#e8e9ec",
}


def format_dot(net: DrawnNet) -> str:
    """The text of the whole net, nothing folded."""
    root = tree_of(net)
    box = {layer: item.number for item in root.walk() if not item.inside for layer in item.layers}
    head = f"digraph {_quoted(net.name)} {{"
    style = 'node [shape=box, style="rounded,filled", fontname="Helvetica", fontsize=11]'
    edges = 'edge [fontname="Helvetica", fontsize=9]'
    lines = [head, f"  {style}", f"  {edges}", *_lines(root, net, "  "), *_edges(net, box), "}"]
    return "\n".join(lines) + "\n"


def _lines(item: DrawnPart, net: DrawnNet, indent: str) -> Iterator[str]:
    for inner in item.inside:
        if not inner.inside:
            fill = FILL[net.layers[inner.layers[0]].family]
            yield f'{indent}b{inner.number} [label={_label(inner, net.layers)}, fillcolor="{fill}"]'
            continue
        times = f" ×{inner.times}" if inner.times else ""
        yield f"{indent}subgraph cluster_{inner.number} {{"
        yield f"{indent}  label={_quoted(title_of(inner, net.layers) + times)}"
        yield from _lines(inner, net, indent + "  ")
        yield f"{indent}}}"


def _label(item: DrawnPart, layers: Sequence[DrawnLayer]) -> str:
    first, *others = (layers[i] for i in item.layers)
    parts = [f"{first.type} {first.hint}".rstrip(), first.name, *(f"+ {layer.type}" for layer in others)]
    return _quoted(*parts)


def _edges(net: DrawnNet, box: dict[int, int]) -> Iterator[str]:
    for reader, layer in enumerate(net.layers):
        for source, top in dict.fromkeys(layer.reads):
            if box[source] != box[reader]:
                shape = net.layers[source].tops[top][1]
                yield f"  b{box[source]} -> b{box[reader]} [label={_quoted(shape)}]"


def _quoted(*lines: str) -> str:
    escaped = (shown(line).replace("\\", "\\\\").replace('"', '\\"') for line in lines)
    return '"' + "\\n".join(escaped) + '"'
