"""Repeats in a sequence: the same few items, wired alike, several times one behind the other."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

LONGEST = 16
"""Items of what repeats."""
WORTH = 6
"""Boxes of a repeat that is worth folding the second time it comes."""
FEWEST = 8
"""Boxes of a run of at least three smaller repeats that is worth folding."""


@dataclass(frozen=True)
class Run:
    """`count` times `period` items, from `start` on."""

    start: int
    period: int
    count: int

    @property
    def end(self) -> int:
        """The item behind it."""
        return self.start + self.period * self.count


@dataclass(frozen=True)
class Entry:
    """One item of a sequence.

    Attributes:
        look: what items that repeat each other have in common.
        detail: what they have in common as well where they are no more than a chain.
        boxes: how many boxes it is.
        reads: the items that it reads.
        live: how many tops are read from here on that were made before.
    """

    look: Hashable
    detail: Hashable
    boxes: int
    reads: Sequence[int]
    live: int


def find_runs(period: int, entries: Sequence[Entry]) -> list[Run]:
    """The runs of a sequence of items whose repeats have `period` items; none overlap."""
    same = _matches(entries, period)
    found = []
    at = 0
    while at < len(entries):
        run = _run_at(at, period, same[at], entries) if same[at] >= period else None
        if run and _is_worth(run, entries):
            found.append(run)
        at = found[-1].end if found and found[-1].end > at else at + 1
    return found


def _matches(entries: Sequence[Entry], period: int) -> list[int]:
    """For each place, how many items in a row look like those a period later."""
    same = [0] * (len(entries) + 1)
    for at in range(len(entries) - period - 1, -1, -1):
        same[at] = same[at + 1] + 1 if entries[at].look == entries[at + period].look else 0
    return same


def _run_at(at: int, period: int, alike: int, entries: Sequence[Entry]) -> Run | None:
    """The run of a period that begins here, or a little later where less crosses into its repeats."""
    start = min(range(at, at + alike % period + 1), key=lambda first: (entries[first].live, first))
    whole = (alike - (start - at)) // period + 1
    first = _wiring(start, period, entries)
    count = 1
    while count < whole and _continues(start, count * period, period, entries, first):
        count += 1
    return Run(start, period, count) if count > 1 else None


def _continues(start: int, ahead: int, period: int, entries: Sequence[Entry], first: list[list[int]]) -> bool:
    """Whether what stands so far behind the first repeat is another."""
    at = start + ahead
    if _wiring(at, period, entries) != first or _is_step(start, at, period, entries):
        return False
    places = range(start, start + period)
    is_chain = all(entries[place].reads == [place - 1] for place in places)
    return not is_chain or all(entries[place].detail == entries[place + ahead].detail for place in places)


def _wiring(start: int, period: int, entries: Sequence[Entry]) -> list[list[int]]:
    """What each item of a repeat reads within it, and of what is outside only that it does."""
    items = range(start, start + period)
    return [sorted(read - start if read >= start else -1 for read in entries[at].reads) for at in items]


def _is_step(start: int, at: int, period: int, entries: Sequence[Entry]) -> bool:
    """Whether a repeat reads the one before it and beside that something else than the first repeat.

    Such are the steps of a ladder, for example of the half of a U-Net that widens: folded together they would hide what
    the net is. Heads that do not read each other are none.
    """
    outside = [[read for read in entries[at + i].reads if read < at] for i in range(period)]
    beside = [[read for read in reads if read < at - period] for reads in outside]
    if beside == outside:
        return False
    return any(not set(beside[i]) <= set(entries[start + i].reads) for i in range(period))


def _is_worth(run: Run, entries: Sequence[Entry]) -> bool:
    boxes = sum(entry.boxes for entry in entries[run.start : run.start + run.period])
    blocks = run.period == 1 and boxes > 1
    return blocks or boxes >= WORTH or (run.count > 2 and boxes * run.count >= FEWEST)
