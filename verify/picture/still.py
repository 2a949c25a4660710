"""A picture that nobody opens or closes: what is open is decided at first, and each frame is laid out around it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from verify.picture.flows import BORDER, Flow, flows_of
from verify.picture.layout import Frame, Layouts, Route
from verify.picture.records import DrawnNet, DrawnTop
from verify.picture.tree import DrawnPart, tree_of

WIDTH, HEAD, MARGIN, GAP, LABEL = 200, 26, 14, 14, 20
MOST_BOXES = 110
"""Boxes in a still picture, as far as opening whole levels goes; what would be more stays folded."""


@dataclass
class Still:
    """Where everything is, in pixels.

    Attributes:
        boxes: each part with left, top, width and height, outer ones first.
        opened: numbers of the parts that show what they hold.
        wires: for each flow its line and its arrow heads, as SVG has paths.
        labels: middle and top of what stands below a box, and the tops that leave the box.
        width, height: of all.
    """

    opened: set[int]
    boxes: list[tuple[DrawnPart, float, float, float, float]] = field(default_factory=list)
    wires: list[tuple[str, str]] = field(default_factory=list)
    labels: list[tuple[float, float, list[DrawnTop]]] = field(default_factory=list)
    width: float = 0
    height: float = 0


@dataclass(frozen=True)
class _Size:
    """Of a part: half its width, its height without what stands below it, and, if it is open, its frame and rows."""

    half: float
    height: float
    frame: Frame | None = None
    middle: float = 0
    tops: Sequence[float] = ()
    bottoms: Sequence[float] = ()


def still(net: DrawnNet) -> tuple[DrawnPart, Still]:
    """The picture of a net with everything open that there is room for."""
    root = tree_of(net)
    made = Still(opened_of(root))
    drawing = _Drawing(flows_of(net, root), net.outputs, made)
    size = drawing.measure(root)
    drawing.place(root, size.half, 0)
    made.width, made.height = 2 * size.half, size.height
    return root, made


def opened_of(root: DrawnPart) -> set[int]:
    """The parts that are open: level by level, those for whose boxes there is room."""
    opened = {root.number}
    count, level = len(root.inside), [root]
    while level:
        level = [inner for part in level for inner in part.inside if inner.inside]
        level = [part for part in level if count + len(part.inside) <= MOST_BOXES]
        for part in level:
            if count + len(part.inside) <= MOST_BOXES:
                opened.add(part.number)
                count += len(part.inside)
        level = [part for part in level if part.number in opened]
    return opened


class _Drawing:
    """Sizes from the inside out, then places from the outside in."""

    def __init__(self, flows: Mapping[int, list[Flow]], outputs: Sequence[DrawnTop], made: Still) -> None:
        self._flows, self._outputs, self._made = flows, outputs, made
        self._layouts = Layouts()
        self._sizes: dict[int, _Size] = {}

    def measure(self, part: DrawnPart) -> _Size:
        """The size of a part and of all that is in it."""
        closed = _Size(WIDTH / 2, 44 if len(part.layers) < 2 else 58)
        size = self._open(part) if part.number in self._made.opened else closed
        self._sizes[part.number] = size
        return size

    def _open(self, part: DrawnPart) -> _Size:
        sizes = {inner.number: self.measure(inner) for inner in part.inside}
        widths = {number: round(2 * size.half) for number, size in sizes.items()}
        frame = self._layouts.of(part, widths, self._flows[part.number])
        heights = [0.0] * frame.rows
        for number, spot in frame.places.items():
            heights[spot.row] = max(heights[spot.row], sizes[number].height + LABEL)
        gaps = self._gaps(frame)
        tops, y = [], HEAD + gaps[0]
        for height, gap in zip(heights, gaps[1:], strict=True):
            tops.append(y)
            y += height + gap
        lanes = [x for route in frame.routes for x in route.lanes]
        left = min([*lanes, *(spot.x - sizes[number].half for number, spot in frame.places.items())])
        right = max([*lanes, *(spot.x + sizes[number].half for number, spot in frame.places.items())])
        entries = [route.source for route in frame.routes if route.source is not None]
        middle = entries[0] if len(entries) == 1 else (left + right) / 2
        half = max(middle - left, right - middle, WIDTH / 2) + MARGIN
        bottoms = [top + height for top, height in zip(tops, heights, strict=True)]
        return _Size(half, y, frame, middle, tops, bottoms)

    def _gaps(self, frame: Frame) -> list[float]:
        """Above each row and below the last: the more, the further an edge goes sideways there."""
        gaps: list[float] = [GAP] * (frame.rows + 1)
        for route in frame.routes:
            for row, start, end in _bends(route, frame, {n: spot.x for n, spot in frame.places.items()}):
                gaps[row] = max(gaps[row], 20 + min(46, 0.11 * abs(start - end)))
        return gaps

    def place(self, part: DrawnPart, x: float, y: float) -> None:
        """Put a part with its middle at x and its top at y."""
        size = self._sizes[part.number]
        self._made.boxes.append((part, x - size.half, y, 2 * size.half, size.height))
        if size.frame is None:
            return
        for inner in part.inside:
            spot = size.frame.places[inner.number]
            at, top = x + spot.x - size.middle, y + size.tops[spot.row]
            self.place(inner, at, top)
            self._made.labels.append((at, top + self._sizes[inner.number].height, self._given(part, inner)))
        for route in size.frame.routes:
            self._made.wires.append(self._wire(route, size, x - size.middle, y))

    def _given(self, part: DrawnPart, inner: DrawnPart) -> list[DrawnTop]:
        """The tops that leave what a part holds: to be read, or as outputs of the net."""
        read = [top for flow in self._flows[part.number] if flow.source == inner.number for top in flow.tops]
        layers = set(inner.layers)
        return list(dict.fromkeys([*read, *(top for top in self._outputs if top[0] in layers)]))

    def _wire(self, route: Route, size: _Size, dx: float, dy: float) -> tuple[str, str]:
        """The line of a route and its arrow heads, in a frame whose places are off by dx and dy."""
        frame = size.frame
        assert frame is not None
        xs = {number: spot.x for number, spot in frame.places.items()}
        lows, tops = [HEAD, *size.bottoms], [*size.tops, size.height]
        start = frame.places[route.flow.source].row + 1 if route.flow.source != BORDER else 0
        begin = size.tops[start - 1] + self._sizes[route.flow.source].height + LABEL - 2 if start else HEAD
        path = []
        for row, from_x, to_x in _bends(route, frame, xs):
            above, below = dy + lows[row], dy + tops[row]
            pull = (below - above) * 0.55
            curve = f"C{from_x + dx:g},{above + pull:g} {to_x + dx:g},{below - pull:g} {to_x + dx:g},{below:g}"
            path.append(f"M{from_x + dx:g},{dy + (begin if row == start else tops[row - 1]):g}V{above:g}{curve}")
        ends = [
            (xs[target] + dx, dy + size.tops[frame.places[target].row]) for target in route.flow.targets if target >= 0
        ]
        return "".join(path), "".join(f"M{x - 4:g},{y - 6.5:g}h8l-4,6.5Z" for x, y in ends)


def _bends(route: Route, frame: Frame, xs: Mapping[int, float]) -> Iterator[tuple[int, float, float]]:
    """The rows above which a route goes sideways, from where and to where."""
    flow = route.flow
    start = -1 if flow.source == BORDER else frame.places[flow.source].row
    way = [xs[flow.source] if route.source is None else route.source, *route.lanes]
    yield from ((start + 1 + i, one, other) for i, (one, other) in enumerate(pairwise(way)))
    for target in flow.targets:
        row = frame.rows if target == BORDER else frame.places[target].row
        yield row, way[row - start - 1], (route.target or 0) if target == BORDER else xs[target]
