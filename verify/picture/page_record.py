"""A picture as the script of a page reads it (`verify/report/picture.js`): numbers and texts, no markup."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from verify.picture.flows import flows_of
from verify.picture.layout import Frame, Layouts, Route
from verify.picture.records import DrawnLayer, DrawnNet
from verify.picture.tree import DrawnPart, title_of, tree_of
from verify.report.records import Json

WIDTH = 186
"""Of a closed box, in pixels."""


def picture_record(net: DrawnNet) -> dict[str, Json]:
    """Everything that is drawn.

    layers   per layer: name n, type t, family f, hint h, line l, reads r as [layer, top], tops o as [name, shape], and
             its facts
    items    per item: kind k, layers l (of a box) or items c within, name n, what is in it s, number of repeats `times`
    frames   per item that holds others: rows, places [item, row, x], edges (see `_edge`), flows that are not drawn
    """
    root = tree_of(net)
    items = list(root.walk())
    flows = flows_of(net, root)
    layouts = Layouts()
    widths = dict.fromkeys((item.number for item in items), WIDTH)
    frames: dict[str, Json] = {
        str(item.number): _frame(layouts.of(item, widths, flows[item.number])) for item in items if item.inside
    }
    return {
        "name": net.name,
        "layers": [_layer(layer) for layer in net.layers],
        "outputs": [list(top) for top in net.outputs],
        "items": [_item(item, net.layers) for item in items],
        "frames": frames,
        "width": WIDTH,
    }


def _frame(frame: Frame) -> Json:
    return {
        "rows": frame.rows,
        "places": [[item, place.row, place.x] for item, place in frame.places.items()],
        "edges": [_edge(route) for route in frame.routes],
        "left_out": frame.left_out,
    }


def _edge(route: Route) -> Json:
    """From item or border s (at x u), through lanes x, to items or border t (at x v), with the tops b."""
    made: dict[str, Json] = {
        "s": route.flow.source,
        "t": list(route.flow.targets),
        "b": [list(t) for t in route.flow.tops],
    }
    if route.lanes:
        made["x"] = list(route.lanes)
    if route.source is not None:
        made["u"] = route.source
    if route.target is not None:
        made["v"] = route.target
    return made


def _layer(layer: DrawnLayer) -> Json:
    return {
        "n": layer.name,
        "t": layer.type,
        "f": layer.family,
        "h": layer.hint,
        "l": layer.line,
        "r": [list(top) for top in layer.reads],
        "o": [list(top) for top in layer.tops],
        **layer.facts,
    }


def _item(item: DrawnPart, layers: Sequence[DrawnLayer]) -> Json:
    made: dict[str, Json] = {"k": item.kind, "n": title_of(item, layers)}
    if not item.inside:
        return made | {"l": list(item.layers)}
    made |= {"c": [inner.number for inner in item.inside], "s": _content(item, layers)}
    return made | ({"times": item.times} if item.times else {})


def _content(item: DrawnPart, layers: Sequence[DrawnLayer]) -> str:
    """What is in it: the types of its boxes, the most frequent first."""
    types: Mapping[str, int] = Counter(layers[box.layers[0]].type for box in item.walk() if not box.inside)
    return ", ".join(name if count == 1 else f"{count} {name}" for name, count in types.items())
