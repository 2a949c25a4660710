"""A net as it was built, as a picture needs it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from converter.dims import format_shape
from converter.node import Node, Value
from prototxt import Net, NetLayer
from prototxt.families import FAMILY_OF
from prototxt.names import is_utf8, utf8
from prototxt.parse import read_text
from prototxt.write import format_net
from resnet_convert.inspection import Inspection, LayerRow
from verify.picture.hints import hint_of
from verify.picture.records import DrawnLayer, DrawnNet, DrawnTop, colour_of
from verify.report.records import Json
from weights import is_caffemodel

MOST_TEXT = 4_000_000
"""Characters of layers' texts in one picture; the layers after that show their sizes alone."""


def drawn_net(found: Inspection, facts: Mapping[str, Mapping[str, Json]]) -> DrawnNet:
    """The picture of a net.

    Args:
        found: the net, as built.
        facts: of layers, by name, what else the page says of them.
    """
    graph, rows = found.graph, found.rows
    sources = _sources(found.net)
    texts = _Texts(found.net)
    tops: dict[int, DrawnTop] = {}
    layers: list[DrawnLayer] = []
    for value in graph.inputs:
        tops[id(value)] = (len(layers), 0)
        source = sources.get(value.tops[0][0])
        layers.append(_layer(rows[len(layers)], (), (value,), source, texts, {}))
    for node in graph.nodes:
        if not node.origins:  # memory read again
            tops.update((id(value), tops[id(node.inputs[0])]) for value in node.outputs)
            continue
        place, source = len(layers), node.origins[0].source or sources.get(node.origins[0].name)
        reads = tuple(tops[id(value)] for value in node.inputs)
        own = facts.get(node.origins[0].name, {})
        layers.append(_layer(rows[place], reads, node.outputs, source, texts, own, rides=_rides(node)))
        tops.update((id(value), (place, index)) for index, value in enumerate(node.outputs))
    return DrawnNet(utf8(found.net.name), layers, [tops[id(value)] for value in graph.outputs])


def _rides(node: Node) -> bool:
    """Whether it only touches up what it reads."""
    same = len(node.inputs) == len(node.outputs) == 1 and node.inputs[0].shape == node.outputs[0].shape
    if not same or node.layer.gives_probabilities:
        return False
    return node.inputs[0].blob == node.outputs[0].blob or node.layer.acts_on in ("values", "channels")


def _layer(
    row: LayerRow,
    reads: tuple[DrawnTop, ...],
    tops: Iterable[Value],
    source: NetLayer | None,
    texts: _Texts,
    facts: Mapping[str, Json],
    *,
    rides: bool = False,
) -> DrawnLayer:
    kind = source.kind if source else row.type
    stated: dict[str, Json] = {"p": row.parameters, "m": row.multiply_adds, "b": row.bytes}
    if source is not None and (text := texts.of(source)):
        stated["src"] = text
    return DrawnLayer(
        row.layer,
        row.type,
        reads,
        tuple((utf8(value.blob), format_shape(value.shape)) for value in tops),
        colour_of(FAMILY_OF.get(kind, ""), len(reads)),
        hint_of(source.param) if source else "",
        row.line or (source.position.line if source else 0),
        rides,
        {**stated, **facts},
    )


def _sources(net: Net) -> dict[str, NetLayer]:
    return {layer.name: layer for layer in reversed(net.layers)}


class _Texts:
    """What the prototxt states of each layer, as it is written there; of a binary file in today's form."""

    def __init__(self, net: Net) -> None:
        self._text = "" if is_caffemodel(net.path) else read_text(net.path)
        self._left = MOST_TEXT

    def of(self, layer: NetLayer) -> str:
        """The text of a layer; empty once there is too much."""
        span = layer.span
        made = self._text[slice(*span)] if span and self._text else f"layer {{\n{_indented(layer)}}}"
        self._left -= len(made)
        return "" if self._left < 0 else "\n".join(_plain(made.expandtabs(2).split("\n")))


def _indented(layer: NetLayer) -> str:
    return "".join(f"  {line}\n" for line in format_net(layer.param).splitlines())


def _plain(lines: list[str]) -> Iterator[str]:
    """Lines without the margin that all but the first have, and with bytes that are no UTF-8 as escapes."""
    margin = min((len(line) - len(line.lstrip()) for line in lines[1:] if line.strip()), default=0)
    for number, line in enumerate(lines):
        kept = line if number == 0 else line[margin:]
        yield kept if is_utf8(kept) else utf8(kept)
