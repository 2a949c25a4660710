"""Colours of knots: two of one colour stand in the same place of their nets, as far as a colour looks.

This is the refinement of Weisfeiler and Leman: a knot's colour is what it is, and then, again and again, that together
with the colours of what it reads and of who reads it, by place where places matter. Both nets are coloured at once, so
that colours mean the same in both. `far` looks through the whole net: one sweep from its inputs and one from its
outputs carry a colour all the way, and the sweeps are repeated while they tell more knots apart. `near` looks as many
threads far as it is told, so that a difference beyond does not show.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

from converter.matching.knots import Knot, Thread

Colours = dict[int, int]
"""By `id` of the knot."""
Look = Callable[[Any], Hashable]


class Palette:
    """Numbers for what looks alike."""

    def __init__(self) -> None:
        self._numbers: dict[Hashable, int] = {}

    def __call__(self, look: Hashable) -> int:
        return self._numbers.setdefault(look, len(self._numbers))


def far(nets: Sequence[Sequence[Knot]], of_knot: Look, of_thread: Look) -> Colours:
    """Colours by the whole net.

    Args:
        nets: knots of each, in the order in which they run.
        of_knot, of_thread: what a knot, and the parts on a thread, look like.
    """
    palette = Palette()
    everyone = [knot for net in nets for knot in net]
    colours = {id(knot): palette(of_knot(knot)) for knot in everyone}
    found = 0
    while len(set(colours.values())) > found:
        found = len(set(colours.values()))
        for net in nets:
            for knot in net:
                colours[id(knot)] = palette(("reads", colours[id(knot)], _sources(knot, colours, of_thread)))
        for net in nets:
            for knot in reversed(net):
                colours[id(knot)] = palette(("read by", colours[id(knot)], _targets(knot, colours, of_thread)))
    return colours


def near(nets: Sequence[Sequence[Knot]], of_knot: Look, of_thread: Look, threads: int) -> Colours:
    """Colours by what lies within some threads; arguments as of `far`."""
    palette = Palette()
    everyone = [knot for net in nets for knot in net]
    colours = {id(knot): palette(of_knot(knot)) for knot in everyone}
    for _ in range(threads):
        colours = {
            id(knot): palette(
                (colours[id(knot)], _sources(knot, colours, of_thread), _targets(knot, colours, of_thread))
            )
            for knot in everyone
        }
    return colours


def _sources(knot: Knot, colours: Colours, of_thread: Look) -> tuple[Hashable, ...]:
    seen = [_end(thread, colours[id(thread.source)], of_thread) for thread in knot.reads]
    return tuple(seen if knot.ordered else sorted(seen, key=str))


def _targets(knot: Knot, colours: Colours, of_thread: Look) -> tuple[Hashable, ...]:
    return tuple(sorted((_end(thread, colours[id(thread.target)], of_thread) for thread in knot.read_by), key=str))


def _end(thread: Thread, colour: int, of_thread: Look) -> tuple[Hashable, ...]:
    return (colour, thread.end, of_thread(thread.parts))
