"""The net as boxes within boxes: what is shown closed at first, and what each holds when it is opened.

box       one layer, or several that share a box (`boxes`)
block     a block of the net (`blocks`)
run       blocks or boxes that repeat one behind the other (`runs`), and each repeat of several items
section   a stretch of what would be too long to lay out at once
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field

from verify.picture.blocks import find_blocks, shape_of
from verify.picture.boxes import Boxes, box_up
from verify.picture.names import common_name
from verify.picture.records import DrawnLayer, DrawnNet
from verify.picture.runs import LONGEST, Entry, Run, find_runs

MOST_ITEMS, STRETCH = 240, 60
"""Items in one frame, and of a longer sequence those that are put into a section."""


LONG = 20
"""Characters of two names, above which the second is given without what it has in common with the first."""


@dataclass
class DrawnPart:
    """A box or what holds boxes.

    Attributes:
        kind: see the module's text; `repeat` is one repeat of a run.
        layers: all its layers, in order.
        inside: what it holds; nothing for a box.
        look: what items that repeat each other have in common.
        times: how many repeats a run has.
        number: its place among all items once the tree is whole.
    """

    kind: str
    layers: list[int]
    inside: list[DrawnPart] = field(default_factory=list)
    look: Hashable = None
    times: int = 0
    number: int = -1

    def walk(self) -> Iterable[DrawnPart]:
        """This item and all within, outer ones first."""
        waiting = [self]
        while waiting:
            item = waiting.pop()
            yield item
            waiting.extend(reversed(item.inside))

    @property
    def boxes(self) -> int:
        """How many boxes there are in it."""
        return sum(not item.inside for item in self.walk())


def tree_of(net: DrawnNet) -> DrawnPart:
    """The whole net as one item."""
    boxes = box_up(net.layers)
    items = [DrawnPart("box", layers, look=look) for layers, look in zip(boxes.layers, boxes.looks, strict=True)]
    top = _with_blocks(items, find_blocks(boxes), boxes)
    root = DrawnPart("net", list(range(len(net.layers))), _folded(top, net.layers))
    for number, item in enumerate(root.walk()):
        item.number = number
    return root


def _with_blocks(items: list[DrawnPart], blocks: list[list[int]], boxes: Boxes) -> list[DrawnPart]:
    """The items of the whole net, where boxes of a block are within it; blocks come larger ones first."""
    holder: dict[int, DrawnPart] = {}
    made: list[tuple[list[int], DrawnPart]] = []
    for block in blocks:
        item = DrawnPart("block", sorted(i for box in block for i in boxes.layers[box]))
        item.look = (shape_of(block, boxes), *(boxes.looks[box] for box in block))
        made.append((block, item))
    top: list[DrawnPart] = []
    inner: dict[int, list[DrawnPart]] = {}
    for block, item in made:
        outer = holder.get(block[0])
        (inner.setdefault(id(outer), []) if outer else top).append(item)
        holder.update(dict.fromkeys(block, item))
    for box, item in enumerate(items):
        outer = holder.get(box)
        (inner.setdefault(id(outer), []) if outer else top).append(item)
    for _, item in made:
        item.inside = sorted(inner.get(id(item), []), key=_first)
    return sorted(top, key=_first)


def _first(item: DrawnPart) -> int:
    return item.layers[0]


def _folded(items: list[DrawnPart], layers: Sequence[DrawnLayer]) -> list[DrawnPart]:
    """Items with what repeats folded together, on every level, and what is too long in sections."""
    for item in items:
        item.inside = _folded(item.inside, layers) if item.inside else []
    entries = _entries(items, layers)
    for period in range(1, LONGEST + 1):  # the shortest first: inceptions are folded before the stages that they are in
        if runs := find_runs(period, entries):
            items = _with_runs(items, runs, layers)
            entries = _entries(items, layers)
    return _in_sections(items, layers)


def _entries(items: list[DrawnPart], layers: Sequence[DrawnLayer]) -> list[Entry]:
    reads, live = _links(items, layers)
    hints = ["" if item.inside else layers[item.layers[0]].hint for item in items]
    return [
        Entry(item.look, hint, item.boxes, read, alive)
        for item, hint, read, alive in zip(items, hints, reads, live, strict=True)
    ]


def _links(items: list[DrawnPart], layers: Sequence[DrawnLayer]) -> tuple[list[list[int]], list[int]]:
    """Of each item the items that it reads, and how many tops made before it are read in it or later."""
    holder = {layer: index for index, item in enumerate(items) for layer in item.layers}
    reads: list[list[int]] = []
    last: dict[tuple[int, int], int] = {}
    for index, item in enumerate(items):
        tops = [top for layer in item.layers for top in layers[layer].reads if holder.get(top[0]) != index]
        reads.append(list(dict.fromkeys(holder[top[0]] for top in tops if top[0] in holder)))
        last.update(dict.fromkeys((top for top in tops if top[0] in holder), index))
    changes = [0] * (len(items) + 1)
    for (layer, _), index in last.items():
        changes[holder[layer] + 1] += 1
        changes[index + 1] -= 1
    live, now = [], 0
    for change in changes[:-1]:
        now += change
        live.append(now)
    return reads, live


def _with_runs(items: list[DrawnPart], runs: Sequence[Run], layers: Sequence[DrawnLayer]) -> list[DrawnPart]:
    made = []
    at = 0
    for run in runs:
        made += items[at : run.start]
        repeats = [items[start : start + run.period] for start in range(run.start, run.end, run.period)]
        held = [part[0] if run.period == 1 else _around("repeat", part) for part in repeats]
        run_made = _around("run", held)
        run_made.times, run_made.inside = len(held), _in_sections(held, layers)
        made.append(run_made)
        at = run.end
    return made + items[at:]


def _around(kind: str, items: list[DrawnPart]) -> DrawnPart:
    layers = sorted(layer for item in items for layer in item.layers)
    return DrawnPart(kind, layers, items, look=(kind, *(item.look for item in items)))


def _in_sections(items: list[DrawnPart], layers: Sequence[DrawnLayer]) -> list[DrawnPart]:
    """The items, in sections where they are too many; a section ends where little crosses its end."""
    while len(items) > MOST_ITEMS:
        live = _links(items, layers)[1]
        parts, start = [], 0
        while start < len(items):
            end = start + STRETCH
            if end + STRETCH // 2 < len(items):
                cuts = range(end - STRETCH // 4, end + STRETCH // 4)
                end = min(cuts, key=lambda cut: (live[cut], cut % STRETCH))
            else:
                end = len(items)
            parts.append(_around("section", items[start:end]))
            start = end
        items = parts
    return items


def title_of(item: DrawnPart, layers: Sequence[DrawnLayer]) -> str:
    """The name of an item: its layer's; what the names of a block's layers begin with; the first and last of a run."""
    if item.kind in ("box", "net") or len(item.layers) == 1:
        return layers[item.layers[0]].name
    if item.kind in ("run", "section"):
        first, last = title_of(item.inside[0], layers), title_of(item.inside[-1], layers)
        first, last = first.partition(" … ")[0], last.rpartition(" … ")[2]
        known = len(common_name([first, last])) + 1 if len(first) + len(last) > LONG else 0
        return f"{first} … {last[known if known > 1 else 0 :]}" if first != last else first
    names = [layers[box.layers[0]].name for box in item.walk() if not box.inside]
    return common_name(names) or common_name(names[:-1]) or f"{names[0]} … {names[-1]}"
