"""A net gone through once, with everything that a check compares at hand top by top, so that no top need be kept.

    reference    the net on what is fed
    probes       the net on what is fed, changed by a little (`verify.bounds`)
    alone        each layer on what the converted model feeds it
    the model    its own blobs, as its engine hands them out

They are runs of the interpreter side by side, and read each layer's learned blobs once for all. Only the reference is
convolved in float64 as a whole; of what lies near it in the others, what it differs by is convolved in float32.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from prototxt import Net
from prototxt.unread import Unread
from verify.bounds import TAME, Rounding, handed_in, jumping, motion_of, perturbed
from verify.comparison import Rows, Seen, difference
from verify.engines.engine import Array, Blobs
from verify.inputs import exact_inputs
from verify.interpreter.lanes import Lane, Made, side_by_side
from verify.interpreter.wiring import Wired, wire
from verify.keys import Key
from verify.layers import find
from weights import Weights

Feeds = Mapping[str, Array]
OnStep = Callable[[int, int], None]


@dataclass(frozen=True)
class Walk:
    """What a walk has found.

    Attributes:
        rows: one for each blob.
        names: of the net's blobs, in the order in which they first appear.
        outputs: those whose final value no layer reads.
        shipped: the model's outputs by name, as it gives them.
        notes: what the model could not give, in words.
        unread: what the net states and no layer here read, where no number hangs on it.
    """

    rows: Rows
    names: tuple[str, ...]
    outputs: tuple[str, ...]
    shipped: Mapping[str, Array]
    notes: tuple[str, ...]
    unread: tuple[Unread, ...]


def walk(
    net: Net,
    weights: Weights | None,
    fed: Feeds,
    model: Callable[[], Blobs],
    *,
    order: Sequence[Wired] | None = None,
    keys: Sequence[Key] = (),
    wanted: Collection[str] = (),
    feed_errors: Mapping[str, npt.NDArray[np.float64]] | None = None,
    seed: int = 0,
    tell: OnStep = lambda done, total: None,
) -> Walk:
    """Go through a net beside a model.

    Args:
        net, weights: the net; see `verify.interpreter.run`.
        fed: its inputs.
        model: runs the model. It is asked again where it turns out on the way that a layer jumps: the probe then needs
            its other sign, or that an output of the model is a blob that was not kept for it.
        order: the layers that run, as `verify.interpreter.wiring.wire` gives them; all by default.
        keys: the tops that the model says it has; none where it says nothing.
        wanted: names of blobs whose final value is kept, besides those that no layer reads.
        feed_errors, seed: as for `verify.bounds.estimate`.
        tell: called with how many tops of how many are done.
    """
    order = wire(net) if order is None else order
    exact, bounded = exact_inputs(net), handed_in(feed_errors or {})
    kept = {*wanted, *_ends(order)}
    signs = (1, -1) if any(map(_surely_jumps, order)) else (1,)
    while True:
        running = model()
        course = _Course(_Mail(running, keys), _keys(order), kept, bounded)
        probes = [Lane(perturbed(fed, exact, seed=seed, sign=sign)) for sign in signs]
        lanes = side_by_side(net, weights, [Lane(fed), *probes, *course.alone(fed)], order)
        for place, made in enumerate(lanes.made):
            tell(place, course.total)
            if jumping(made.steps[0]) and len(signs) == 1:
                break
            course.step(place, made, len(signs))
        else:
            course.mail.end()
            missed = course.dropped.intersection(running.outputs)
            if not missed:
                return course.walked(running, lanes.unread)
            kept |= missed
            continue
        signs = (1, -1)


def _keys(order: Sequence[Wired]) -> Counter[Key]:
    return Counter((item.layer.name, top) for item in order for top in item.layer.tops)


def _surely_jumps(item: Wired) -> bool:
    rule = find(item.layer.kind)
    return rule is not None and rule.jumps and bool(item.layer.bottoms)


def _ends(order: Sequence[Wired]) -> set[str]:
    """Names of the blobs that no layer reads."""
    last = {name: item.makes + place for item in order for place, name in enumerate(item.layer.tops)}
    read = {index for item in order for index in item.reads}
    return {name for name, index in last.items() if index not in read}


class _Mail:
    """The model's blobs, each until its step comes: an engine may hand them out in another order."""

    def __init__(self, model: Blobs, keys: Sequence[Key]) -> None:
        self._coming = iter(model.tops)
        self._left = Counter(keys)
        self._come: dict[Key, Array] = {}
        if not keys:
            self._come.update((key, array) for of, array in self._coming for key in of)
        self.any = bool(keys or self._come)

    def take(self, key: Key) -> Array | None:
        """The blob that the model has for a top, if it has one; of several that it says are one top, the last."""
        while self._left[key] > 0:
            for each, array in self._next():
                self._left[each] -= 1
                self._come[each] = array
        return self._come.pop(key, None)

    def _next(self) -> Iterator[tuple[Key, Array]]:
        of, array = next(self._coming, ((), None))
        if array is None:  # the model has said all
            self._left.clear()
        else:
            yield from ((key, array) for key in of)

    def end(self) -> None:
        """Hear the model out: its outputs may come last."""
        for _ in self._coming:
            pass


class _Course:
    """What is kept on the way through a net.

    Args:
        mail: the model's blobs.
        to_come: how often each key comes.
        kept: names of the blobs whose final values the model's outputs are compared with.
        fed: bounds of what is fed.
    """

    def __init__(self, mail: _Mail, to_come: Counter[Key], kept: Collection[str], fed: Mapping[str, float]) -> None:
        self.mail = mail
        self.rows = Rows()
        self.total = to_come.total()
        self.dropped: set[str] = set()
        self._to_come, self._kept = to_come, kept
        self._whole, self._parts = Rounding(fed), Rounding(fed)
        self._instead: dict[int, Array] = {}
        self._places: dict[str, int] = {}
        self._read: set[int] = set()

    def alone(self, fed: Feeds) -> list[Lane]:
        """The lane in which each layer reads what the model has; none beside a model that gives its outputs alone."""
        return [Lane(fed, self._instead)] if self.mail.any else []

    def step(self, place: int, made: Made, probes: int) -> None:
        """Compare one top."""
        reference, after, alone = made.steps[0], made.steps[1 : 1 + probes], made.steps[1 + probes :]
        moved = motion_of(reference.value, [step.value for step in after])
        bound, own_bound = self._whole.add(reference, moved), self._parts.add(reference, moved)
        seen = Seen(place, reference, bound, moved.tame, moved.peak)
        self._to_come[reference.key] -= 1
        got = self.mail.take(reference.key) if self._to_come[reference.key] <= 0 else None
        self._instead.clear()
        if got is None:
            self.rows.add(seen, None)
        else:
            error = difference(reference.value, got, tame=moved.tame)
            own = difference(alone[0].value, got, tame=moved.tame and error.largest < TAME)
            self.rows.add(seen, got, error, (own.largest, own_bound))
            if seen.can_stand_for(got, error):
                self._instead[place] = got
                self._parts.forget()
        self._name(seen, is_read=made.is_read)
        self._whole.drop(made.gone)
        self._parts.drop(made.gone)

    def _name(self, seen: Seen, *, is_read: bool) -> None:
        self._read.update(seen.step.inputs)
        if seen.step.again and is_read:
            return
        name = seen.step.top
        self._places[name] = seen.place
        self.rows.note(seen, keep=name in self._kept)
        if name not in self._kept:
            self.dropped.add(name)

    def walked(self, model: Blobs, unread: Sequence[Unread]) -> Walk:
        """What was found."""
        names = tuple(self.rows.names)
        outputs = tuple(name for name in names if self._places[name] not in self._read)
        return Walk(self.rows, names, outputs, model.outputs, tuple(model.notes), tuple(unread))
