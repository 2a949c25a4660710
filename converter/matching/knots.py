"""A plain skeleton drawn together: knots, which have weights or join several values, and the threads between them.

A thread is what one knot reads of another, and on it stand the parts that have neither: rectifiers, pooling,
normalisation by neighbours. Where these differ the knots are still the same ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from converter.matching.plain import AFFINE, settings_of
from converter.matching.skeleton import NetPart, Skeleton

ORDERED = "concatenation"
_JOINS_ANYHOW = ("addition", "multiplication", "maximum")
FORM = ("channels", "features", "kernel", "groups", "transposed")
"""The settings of a weighted sum that its weights show."""


@dataclass(eq=False)
class Knot:
    """A part that has weights, joins values, or is an end of the net.

    Attributes:
        place: among the knots of its net, in the order in which they run.
        part: what it is; of an output a part of that kind.
        reads: its threads, in the order of its inputs.
        read_by: the threads that lead on from it.
    """

    place: int
    part: NetPart
    reads: list[Thread] = field(default_factory=list)
    read_by: list[Thread] = field(default_factory=list)

    @property
    def ordered(self) -> bool:
        """Whether it matters which of its inputs is the first."""
        return self.part.kind not in _JOINS_ANYHOW


@dataclass(eq=False)
class Thread:
    """What a knot reads.

    Attributes:
        source, target: the knots that it joins.
        place: among the target's inputs.
        parts: what stands on it, from the source on.
    """

    source: Knot
    target: Knot
    place: int
    parts: list[NetPart]

    @property
    def end(self) -> int:
        """Its place, where that matters; of a sum's inputs none is the first."""
        return self.place if self.target.ordered else -1


def knots(skeleton: Skeleton) -> list[Knot]:
    """The knots of a plain skeleton, each before those that read it."""
    made: list[Knot] = []
    of: dict[int, Knot] = {}
    ends = [NetPart("output", {}, [part], part.shape, label=part.label, type=part.type) for part in skeleton.outputs]
    for part in (*skeleton.parts, *ends):
        if not _is_knot(part):
            continue
        knot = Knot(len(made), part)
        made.append(knot)
        of[id(part)] = knot
        for place, source in enumerate(part.inputs):
            passed: list[NetPart] = []
            while not _is_knot(source):
                passed.append(source)
                (source,) = source.inputs
            thread = Thread(of[id(source)], knot, place, passed[::-1])
            knot.reads.append(thread)
            of[id(source)].read_by.append(thread)
    return made


def _is_knot(part: NetPart) -> bool:
    return len(part.inputs) != 1 or bool(part.parameters) or part.kind in ("input", "output")


def form(knot: Knot) -> tuple[Any, ...]:
    """What two knots must share for one to have the other's weights."""
    part = knot.part
    if part.kind == "weighted sum":
        return (part.kind, *(part.settings[name] for name in FORM))
    if part.kind in AFFINE:
        return ("for each channel", part.shape[1])
    if part.kind == "learned rectifier":
        return (part.kind, *part.shape[1:2])
    return (part.kind, part.settings.get("axis"))


def whole(knot: Knot) -> tuple[Any, ...]:
    """All settings of a knot."""
    return (*form(knot), *_frozen(settings_of(knot.part)))


def on_thread(parts: Sequence[NetPart]) -> tuple[Any, ...]:
    """All that stands on a thread."""
    return tuple((part.kind, *_frozen(settings_of(part))) for part in parts)


def kinds_on_thread(parts: Sequence[NetPart]) -> tuple[str, ...]:
    """What of a thread is likely the same where a net was built once more: where it pools, and no rectifiers."""
    return tuple(part.kind for part in parts if part.kind in ("pooling", "slice", "permutation"))


def _frozen(settings: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(sorted((name, str(value)) for name, value in settings.items() if name != "eps"))
