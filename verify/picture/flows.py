"""What goes from where to where in each frame of a picture: between the items in it, and through its border.

A top that is made deep inside one item and read deep inside another leaves each frame on the way through its border,
and enters each on the other side. Tops that take the same way in a frame make one flow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from verify.picture.records import DrawnNet, DrawnTop
from verify.picture.tree import DrawnPart

BORDER = -1
"""Stands for the border of the frame, above as a source and below as a target."""


@dataclass(frozen=True)
class Flow:
    """Tops on one way in one frame.

    Attributes:
        tops: which.
        source: number of the item that they come from; `BORDER` for what comes from outside.
        targets: numbers of the items that they go to; `BORDER` for what goes outside as well.
    """

    tops: tuple[DrawnTop, ...]
    source: int
    targets: tuple[int, ...]


@dataclass
class _Ways:
    """Of one frame: each top's source and targets."""

    source: dict[DrawnTop, int] = field(default_factory=dict)
    targets: dict[DrawnTop, dict[int, None]] = field(default_factory=dict)

    def add(self, top: DrawnTop, source: int, target: int) -> None:
        self.source.setdefault(top, source)
        self.targets.setdefault(top, {})[target] = None


def flows_of(net: DrawnNet, root: DrawnPart) -> Mapping[int, list[Flow]]:
    """By the number of each item that holds others, the flows in its frame."""
    paths = _paths(root, len(net.layers))
    ways: dict[int, _Ways] = {item.number: _Ways() for item in root.walk() if item.inside}
    for reader, layer in enumerate(net.layers):
        for top in dict.fromkeys(layer.reads):
            _route(top, paths[top[0]], paths[reader], ways)
    return {number: _bundled(way) for number, way in ways.items()}


def _paths(root: DrawnPart, count: int) -> list[tuple[int, ...]]:
    """Of each layer, the numbers of the items that it is in, outermost first."""
    paths: list[tuple[int, ...]] = [()] * count
    waiting: list[tuple[DrawnPart, tuple[int, ...]]] = [(root, ())]
    while waiting:
        item, above = waiting.pop()
        path = (*above, item.number)
        waiting.extend((inner, path) for inner in item.inside)
        if not item.inside:
            for layer in item.layers:
                paths[layer] = path
    return paths


def _route(top: DrawnTop, start: tuple[int, ...], end: tuple[int, ...], ways: Mapping[int, _Ways]) -> None:
    if start == end:
        return
    depth = next(i for i, (one, other) in enumerate(zip(start, end, strict=False)) if one != other)
    ways[start[depth - 1]].add(top, start[depth], end[depth])
    for frame, item in zip(start[depth:], start[depth + 1 :], strict=False):
        ways[frame].add(top, item, BORDER)
    for frame, item in zip(end[depth:], end[depth + 1 :], strict=False):
        ways[frame].add(top, BORDER, item)


def _bundled(ways: _Ways) -> list[Flow]:
    bundles: dict[tuple[int, tuple[int, ...]], list[DrawnTop]] = {}
    for top, targets in ways.targets.items():
        bundles.setdefault((ways.source[top], tuple(targets)), []).append(top)
    return [Flow(tuple(tops), source, targets) for (source, targets), tops in bundles.items()]
