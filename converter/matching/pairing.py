"""Which knot of one net is which of another.

Inputs are pairs by their order, and so are outputs where both have as many. From there on, and from every pair that is
found, the same is tried with finer colours first and coarser ones after them:

    anchors     a colour that one knot of each net has makes them a pair
    threads     of a pair's readers, and of what it reads, those that alone have a colour at their place are pairs

Colours go from all settings in the whole net to the shape of the weights alone. A setting that differs somewhere shows
in the fine colours of all knots around it and in no coarse one, so that the pair is found, and the difference is left
to be told. In the end come knots that stand in each other's place with weights of other shapes: such a pair says what
differs, and nothing can be ported.

Where colours tell no knots apart, the net is the same whichever is taken for which; then the order in which they run
decides, and the report says so. No name is ever looked at.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from converter.matching.colours import Colours, far, near
from converter.matching.knots import Knot, Thread, form, kinds_on_thread, knots, on_thread, whole
from converter.matching.skeleton import NetPart, Skeleton


@dataclass
class Pairing:
    """What was found.

    Attributes:
        pairs: knots of the Caffe net and of the module, in the Caffe net's order.
        misfits: those of them whose weights have other shapes.
        by_order: those that only their order tells from others.
        caffe_left, module_left: knots without a counterpart.
    """

    pairs: list[tuple[Knot, Knot]]
    misfits: list[tuple[Knot, Knot]] = field(default_factory=list)
    by_order: list[tuple[Knot, Knot]] = field(default_factory=list)
    caffe_left: list[Knot] = field(default_factory=list)
    module_left: list[Knot] = field(default_factory=list)

    @property
    def threads(self) -> Iterator[tuple[Thread, Thread]]:
        """The threads that both nets have between pairs."""
        mates = {id(ours): theirs for ours, theirs in self.pairs}
        for ours, theirs in self.pairs:
            yield from _threads_between(ours, theirs, mates)


def pair(caffe: Skeleton, module: Skeleton) -> Pairing:
    """Pair two skeletons in plain form."""
    return _Pairing(knots(caffe), knots(module)).found()


class _Pairing:
    def __init__(self, ours: list[Knot], theirs: list[Knot]) -> None:
        self._ours, self._theirs = ours, theirs
        self._mate: dict[int, Knot] = {}
        self._tied: set[int] = set()
        nets = (ours, theirs)
        self._levels: list[Colours] = [
            far(nets, whole, on_thread),
            far(nets, form, kinds_on_thread),
            *(near(nets, form, kinds_on_thread, threads) for threads in (8, 4, 2, 1, 0)),
        ]
        self._kinds = near(nets, lambda knot: knot.part.kind, kinds_on_thread, 0)

    def found(self) -> Pairing:
        """Find what can be found."""
        for kind in ("input", "output"):
            ours, theirs = ([knot for knot in net if knot.part.kind == kind] for net in (self._ours, self._theirs))
            if kind == "input" or len(ours) == len(theirs):
                for mine, other in zip(ours, theirs, strict=False):
                    self._join(mine, other)
        while self._by_colours() or self._by_order(even=True) or self._by_place() or self._by_order(even=False):
            pass  # the surer ones again after each find
        pairs = [(knot, self._mate[id(knot)]) for knot in self._ours if id(knot) in self._mate]
        return Pairing(
            pairs,
            [(a, b) for a, b in pairs if form(a) != form(b)],
            [(a, b) for a, b in pairs if id(a) in self._tied],
            [knot for knot in self._ours if id(knot) not in self._mate],
            [knot for knot in self._theirs if id(knot) not in self._mate],
        )

    def _join(self, ours: Knot, theirs: Knot) -> None:
        self._mate[id(ours)], self._mate[id(theirs)] = theirs, ours

    def _by_colours(self) -> bool:
        """Go through all levels; whether anything was found."""
        before = len(self._mate)
        for number, colours in enumerate(self._levels):
            if number < 4:  # colours that look less far may be shared by chance
                for ours, theirs in self._alike(colours):
                    if len(ours) == len(theirs) == 1:
                        self._join(ours[0], theirs[0])
            self._along_threads(colours)
        return len(self._mate) > before

    def _alike(self, colours: Colours) -> list[tuple[list[Knot], list[Knot]]]:
        """The knots without a pair by their colours, of those that both nets have."""
        by_colour: dict[int, tuple[list[Knot], list[Knot]]] = {}
        for side, net in enumerate((self._ours, self._theirs)):
            for knot in net:
                if id(knot) not in self._mate:
                    by_colour.setdefault(colours[id(knot)], ([], []))[side].append(knot)
        return [(ours, theirs) for ours, theirs in by_colour.values() if ours and theirs]

    def _along_threads(self, colours: Colours) -> None:
        waiting = deque(knot for knot in self._ours if id(knot) in self._mate)
        queued = {id(knot) for knot in waiting}
        while waiting:
            ours = waiting.popleft()
            queued.discard(id(ours))
            theirs = self._mate[id(ours)]
            made = [
                *self._matched(ours.read_by, theirs.read_by, colours, reading=True),
                *self._matched(ours.reads, theirs.reads, colours, reading=False),
            ]
            for mine, other in made:
                if id(mine) in self._mate or id(other) in self._mate:
                    continue
                self._join(mine, other)
                for thread in (*mine.reads, *mine.read_by):
                    for near_by in (thread.source, thread.target):
                        if id(near_by) in self._mate and id(near_by) not in queued:
                            queued.add(id(near_by))
                            waiting.append(near_by)

    def _matched(
        self, ours: Sequence[Thread], theirs: Sequence[Thread], colours: Colours, *, reading: bool
    ) -> Iterator[tuple[Knot, Knot]]:
        """Of the knots at the other ends of a pair's threads, those that alone look as they do on both sides."""
        sides = [self._ends(threads, colours, reading) for threads in (ours, theirs)]
        for look, mine in sides[0].items():
            others = sides[1].get(look, ())
            if len(mine) == len(others) == 1:
                yield mine[0], others[0]

    def _ends(self, threads: Iterable[Thread], colours: Colours, reading: bool) -> dict[Hashable, list[Knot]]:
        found: dict[Hashable, list[Knot]] = {}
        for thread in threads:
            knot = thread.target if reading else thread.source
            if id(knot) in self._mate:
                continue
            same = found.setdefault((colours[id(knot)], thread.end), [])
            if knot not in same:
                same.append(knot)
        return found

    def _by_order(self, *, even: bool) -> bool:
        """Take the first of those that look alike for each other; `even`: only where both nets have as many of them."""
        for colours in self._levels:
            groups = [group for group in self._alike(colours) if not even or len(group[0]) == len(group[1])]
            if groups:
                ours, theirs = min(groups, key=lambda group: group[0][0].place)
                if len(ours) > 1 or len(theirs) > 1:
                    self._tied.update(map(id, ours))
                self._join(ours[0], theirs[0])
                return True
        return False

    def _by_place(self) -> bool:
        """Take knots of one kind for each other that stand in the same place, whatever their weights' shapes."""
        before = len(self._mate)
        self._along_threads(self._kinds)
        return len(self._mate) > before


def _threads_between(ours: Knot, theirs: Knot, mates: dict[int, Knot]) -> Iterator[tuple[Thread, Thread]]:
    """The threads that a pair reads by which lead from another pair."""
    left = list(theirs.reads)
    for thread in ours.reads:
        mate = mates.get(id(thread.source))
        same = [
            other
            for other in left
            if other.source is mate and (not ours.ordered or other.place == thread.place or len(ours.reads) == 1)
        ]
        if same:
            best = next((each for each in same if on_thread(each.parts) == on_thread(thread.parts)), same[0])
            left.remove(best)
            yield thread, best


def counterparts(ours: Sequence[NetPart], theirs: Sequence[NetPart]) -> list[tuple[NetPart | None, NetPart | None]]:
    """The parts of two threads beside each other; None where one has no counterpart."""
    from difflib import SequenceMatcher

    found: list[tuple[NetPart | None, NetPart | None]] = []
    kinds = [part.kind for part in ours], [part.kind for part in theirs]
    for what, a, b, c, d in SequenceMatcher(None, *kinds, autojunk=False).get_opcodes():
        if what == "equal":
            found += zip(ours[a:b], theirs[c:d], strict=True)
        else:
            found += [(part, None) for part in ours[a:b]] + [(None, part) for part in theirs[c:d]]
    return found


def couples(pairing: Pairing) -> list[tuple[NetPart, NetPart]]:
    """All parts that are each other's counterparts, in the Caffe net's order."""
    found: dict[tuple[int, int], tuple[NetPart, NetPart]] = {}
    behind: dict[int, list[tuple[NetPart, NetPart]]] = {}
    for ours, theirs in pairing.threads:
        pairs = [(a, b) for a, b in counterparts(ours.parts, theirs.parts) if a is not None and b is not None]
        behind.setdefault(id(ours.target), []).extend(pairs)
    for mine, other in pairing.pairs:
        for couple in (*behind.get(id(mine), ()), (mine.part, other.part)):
            found.setdefault((id(couple[0]), id(couple[1])), couple)
    return list(found.values())


def ends(pairing: Pairing) -> list[tuple[NetPart, NetPart]]:
    """The parts whose values are outputs of both nets, whether they are each other's counterparts or not."""
    outputs = [(ours.part, theirs.part) for ours, theirs in pairing.pairs if ours.part.kind == "output"]
    return [(ours.inputs[0], theirs.inputs[0]) for ours, theirs in outputs]
