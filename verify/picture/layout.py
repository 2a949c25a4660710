"""Where the items of one frame stand: rows from top to bottom, and in each row places from left to right.

The library graphlay decides (a layered layout, the same for the same frame on any machine). It is asked twice: which
row each item is in, and then, with a small item put into each row that a long edge passes, the order and the places.
So an edge has a lane of its own in every row, and need only go sideways between two rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from prototxt.optional import need
from verify.picture.flows import BORDER, Flow
from verify.picture.tree import DrawnPart

GAP, LANE = 22, 10
"""Pixels between two boxes of a row, and the width of a lane."""
MOST_LANES, IN_SECTION = 600, 400
"""Lanes in one frame, and in one of many; the longest edges beyond are not drawn."""
MOST_PAIRS = 6
"""Edges for each item, above which a library's search for rows would take long."""
_OPTIONS = {
    "direction": "topbottom",
    "spacing": {"node_gap": GAP, "dummy_gap": LANE, "layer_gap": 30},
    "effort": "balanced",
}


@dataclass(frozen=True)
class Spot:
    """Row, and middle from the left in pixels."""

    row: int
    x: int


@dataclass(frozen=True)
class Route:
    """One flow as it is drawn.

    Attributes:
        flow: which, without targets that are too far away.
        source: where it begins in the frame's upper border, for one from there.
        lanes: its place in each row between the one that it comes from and the last that it goes to.
        target: where it ends in the frame's lower border, for one that goes there.
    """

    flow: Flow
    source: int | None
    lanes: tuple[int, ...]
    target: int | None


@dataclass(frozen=True)
class Frame:
    """A frame laid out: the items' places, the edges, how many rows, and how many ends of edges are not drawn."""

    places: Mapping[int, Spot]
    routes: Sequence[Route]
    rows: int
    left_out: int = 0


def lay_out(items: Mapping[int, int], flows: Sequence[Flow], most: int = MOST_LANES) -> Frame:
    """Lay out one frame.

    Args:
        items: the width of each, by number.
        flows: between them and the frame's borders.
        most: lanes.

    Raises:
        MissingDependencyError: graphlay is not installed.
    """
    layout = need("graphlay", "'resnet-convert[view]'", "a picture of a net").layout
    rows = _rows(layout, items, flows)
    drawn, left_out = _affordable(flows, rows, most)
    graph = _Lanes(items, rows, drawn)
    placed = layout({"nodes": graph.nodes, "edges": graph.edges}, options=_OPTIONS).nodes
    at = [round(node["center"]["x"]) for node in placed]
    places = {item: Spot(rows[item], at[index]) for index, item in enumerate(items)}
    routes = [
        Route(
            flow,
            at[graph.upper[i]] if i in graph.upper else None,
            tuple(at[lane] for lane in graph.lanes[i]),
            at[graph.lower[i]] if i in graph.lower else None,
        )
        for i, flow in enumerate(drawn)
    ]
    return Frame(places, routes, max(rows.values(), default=-1) + 1, left_out)


class Layouts:
    """Lays out frames; those that hold the same, wired alike, once."""

    def __init__(self) -> None:
        self._known: dict[object, Frame] = {}

    def of(self, part: DrawnPart, widths: Mapping[int, int], flows: Sequence[Flow]) -> Frame:
        """The frame of a part; arguments and errors as of `lay_out`."""
        index = {inner.number: i for i, inner in enumerate(part.inside)} | {BORDER: BORDER}
        numbers = {i: number for number, i in index.items()}
        same = [
            replace(f, tops=((i, 0),), source=index[f.source], targets=tuple(index[target] for target in f.targets))
            for i, f in enumerate(flows)
        ]
        own = [widths[inner.number] for inner in part.inside]
        key = tuple(own), tuple(same)
        if key not in self._known:
            self._known[key] = lay_out(dict(enumerate(own)), same, IN_SECTION if part.kind == "section" else MOST_LANES)
        frame = self._known[key]

        def own_flow(drawn: Flow) -> Flow:
            flow = flows[drawn.tops[0][0]]
            return Flow(flow.tops, flow.source, tuple(numbers[target] for target in drawn.targets))

        places = {numbers[i]: spot for i, spot in frame.places.items()}
        return replace(frame, places=places, routes=[replace(r, flow=own_flow(r.flow)) for r in frame.routes])


def _rows(layout: Any, items: Mapping[int, int], flows: Sequence[Flow]) -> dict[int, int]:
    """The row of each item, from 0."""
    index = {item: i for i, item in enumerate(items)}
    pairs = dict.fromkeys((f.source, target) for f in flows for target in f.targets if BORDER not in (f.source, target))
    nodes = [{"size": {"width": width, "height": 40}} for width in items.values()]
    edges = [{"source": index[one], "target": index[other]} for one, other in pairs]
    if len(pairs) > MOST_PAIRS * len(items):
        return _by_longest_way(items, pairs)
    if not edges:
        return dict.fromkeys(items, 0)
    placed = layout({"nodes": nodes, "edges": edges}, options={**_OPTIONS, "effort": "fast"}).nodes
    return {item: placed[i]["rank"] or 0 for item, i in index.items()}


def _by_longest_way(items: Iterable[int], pairs: Iterable[tuple[int, int]]) -> dict[int, int]:
    """Each item in the row below the lowest that it reads; what it reads stands before it."""
    rows = dict.fromkeys(items, 0)
    readers: dict[int, list[int]] = {}
    for one, other in pairs:
        readers.setdefault(one, []).append(other)
    for item in rows:
        for reader in readers.get(item, ()):
            rows[reader] = max(rows[reader], rows[item] + 1)
    return rows


def _span(flow: Flow, rows: Mapping[int, int]) -> tuple[int, int]:
    """The rows that a flow comes from and goes to; the borders are above the first and below the last row."""
    start = -1 if flow.source == BORDER else rows[flow.source]
    return start, max(_target_rows(flow, rows))


def _affordable(flows: Sequence[Flow], rows: Mapping[int, int], most: int) -> tuple[list[Flow], int]:
    """The flows without targets so far away that there are not lanes enough; and how many targets that leaves out.

    As far as lanes go for all, every flow reaches as far.
    """
    starts = [_span(flow, rows)[0] for flow in flows]
    spans = [[row - start for row in _target_rows(flow, rows)] for flow, start in zip(flows, starts, strict=True)]
    reach = max((max(span) for span in spans), default=0)
    while reach > 1 and sum(min(max(span), reach) for span in spans) > most:
        reach = max(1, reach * 3 // 4)
    kept = []
    for flow, span in zip(flows, spans, strict=True):
        near = tuple(target for target, far in zip(flow.targets, span, strict=True) if far <= reach)
        kept += [replace(flow, targets=near)] if near else []
    return kept, sum(len(flow.targets) for flow in flows) - sum(len(flow.targets) for flow in kept)


def _target_rows(flow: Flow, rows: Mapping[int, int]) -> list[int]:
    """The row of each target; that of the lower border is below the last."""
    bottom = max(rows.values()) + 1
    return [bottom if target == BORDER else rows[target] for target in flow.targets]


class _Lanes:
    """The graph of a frame with a node for each lane, and for each place in a border."""

    def __init__(self, items: Mapping[int, int], rows: Mapping[int, int], flows: Sequence[Flow]) -> None:
        self.nodes: list[dict[str, Any]] = []
        self.edges: list[dict[str, Any]] = []
        self.lanes: list[list[int]] = []
        self.upper: dict[int, int] = {}
        self.lower: dict[int, int] = {}
        index = {item: self._node(rows[item] + 1, width, 40) for item, width in items.items()}
        bottom = max(rows.values()) + 1
        for i, flow in enumerate(flows):
            start, end = _span(flow, rows)
            if flow.source == BORDER:
                self.upper[i] = self._node(0, LANE, 1)
            if BORDER in flow.targets:
                self.lower[i] = self._node(bottom + 1, LANE, 1)
            way = [self.upper[i] if flow.source == BORDER else index[flow.source]]
            self.lanes.append([self._node(row + 1, LANE, 1) for row in range(start + 1, end)])
            way += self.lanes[-1]
            for one, other in pairwise(way):
                self._edge(one, other, 2)
            for target in flow.targets:
                row = bottom if target == BORDER else rows[target]
                self._edge(
                    way[row - start - 1],
                    self.lower[i] if target == BORDER else index[target],
                    3 if row == start + 1 else 2,
                )

    def _node(self, row: int, width: int, height: int) -> int:
        self.nodes.append({"size": {"width": width, "height": height}, "rank": {"fixed": row}})
        return len(self.nodes) - 1

    def _edge(self, source: int, target: int, weight: float) -> None:
        self.edges.append({"source": source, "target": target, "weight": weight})
