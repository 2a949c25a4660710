"""Two sets of blobs, value by value.

Values that are not finite agree when they are the same at the same places; Caffe's ±FLT_MAX of empty windows counts as
an infinity.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from prototxt.names import utf8
from prototxt.words import format_shape
from verify.bounds import OUTSIDE, TAME, is_tame, peak
from verify.engines.engine import Answers, Array
from verify.interpreter.steps import Step, Trace
from verify.keys import Key
from verify.layers import find
from verify.report.records import Row

PART = 1 << 16
"""Values that are compared at a time: they stay in the processor's cache."""
CLOSE = 1.0 - 2.0**-22
"""Two differences whose quotient is nearer to 1 may come in either order when they are rounded to float32."""


def compare(
    reference: Trace, answers: Answers, bounds: Mapping[Key, float]
) -> tuple[tuple[Row, ...], tuple[Row, ...], tuple[Key, ...]]:
    """Every blob that both have, beside its bound.

    Args:
        reference: the interpreter's trace.
        answers: the engine's.
        bounds: by (layer, top), absolute.

    Returns:
        rows in net order without what was fed; a row for each output of the model as it is shipped; the tops that
        the engine does not have.
    """
    rows = Rows()
    named = {id(step) for step in reference.last.values()}
    for place, step in enumerate(reference.steps):
        seen = Seen(place, step, bounds.get(step.key, math.inf), is_tame(step.value))
        rows.add(seen, answers.tops.get(step.key))
        if id(step) in named:
            rows.note(seen, keep=True)
    return (*rows.finished(reference.outputs, answers.outputs), rows.missing)


@dataclass(frozen=True)
class Seen:
    """A step of the reference, with what is known of it when a blob is laid beside it.

    Attributes:
        place: among the steps.
        step: the step.
        bound: largest difference that float32 explains.
        tame: whether its values are ordinary numbers, far from infinities.
        peak: its largest value, where that is known.
    """

    place: int
    step: Step
    bound: float
    tame: bool
    peak: float | None = None

    @property
    def is_fed(self) -> bool:
        """Whether nothing computes it."""
        return not self.step.inputs and not _comes_from_weights(self.step)

    def beside(self, got: npt.NDArray[np.generic], error: Gap | None = None) -> Row:
        """The row of one blob."""
        step = self.step
        error = difference(step.value, got, tame=self.tame) if error is None else error
        if error.fault and self.may_be(got):
            error = Gap(math.inf)
        largest = peak(step.value) if self.peak is None else self.peak
        return Row(
            place=self.place,
            layer=utf8(step.layer),
            layer_type=utf8(step.layer_type),
            top=utf8(step.top),
            shape=step.value.shape,
            max_abs=error.largest,
            max_rel=error.largest / largest if largest else (math.inf if error.largest else 0.0),
            peak=largest,
            bound=self.bound,
            ok=not error.fault and error.largest <= self.bound,
            worst=error.worst,
            fault=error.fault,
        )

    def may_be(self, got: npt.NDArray[np.generic]) -> bool:
        """Whether nothing can be asked of a blob: rounding may have turned a choice before it, and with it any value.

        No choice makes a NaN where there was none, or takes all away.
        """
        value = self.step.value
        if not math.isinf(self.bound) or got.ndim != value.ndim or got.dtype.kind not in "fiub":
            return False
        return bool(np.isnan(value).any() == np.isnan(got).any())

    def can_stand_for(self, got: npt.NDArray[np.generic], error: Gap) -> bool:
        """Whether a layer can be run on the model's blob: of the same shape, and finite where this one is.

        Behind a tie (an infinite bound) the model may have found other rows, and those count.
        """
        return got.dtype == np.float32 and (not error.fault or self.may_be(got))


class Rows:
    """The rows of a report, which grow in net order; of several steps of one key the last counts.

    Attributes:
        names: the step that each blob is given as by name, by its key, in the order in which the names first appear.
    """

    def __init__(self) -> None:
        self.names: dict[str, Key] = {}
        self._rows: dict[Key, Row | None] = {}
        self._noted: dict[Key, Seen] = {}

    @property
    def missing(self) -> tuple[Key, ...]:
        """The tops that the engine does not have."""
        return tuple(key for key, row in self._rows.items() if row is None)

    def add(
        self,
        seen: Seen,
        got: npt.NDArray[np.generic] | None,
        error: Gap | None = None,
        own: tuple[float, float] | None = None,
    ) -> None:
        """Enter a step of the reference.

        Args:
            seen: the step.
            got: the engine's blob, if it has it.
            error: the difference of the two, where that is known.
            own: what the layer adds to the errors of its inputs, and the most that it may.
        """
        if seen.is_fed:
            return
        self._rows.pop(seen.step.key, None)
        row = None if got is None else seen.beside(got, error)
        if row is not None and own is not None and not row.fault:
            row = replace(row, own_abs=own[0], own_bound=own[1], ok=row.ok and own[0] <= own[1])
        self._rows[seen.step.key] = row

    def note(self, seen: Seen, *, keep: bool) -> None:
        """Enter a step under its blob's name, in place of the one before; `keep` its values for the outputs' sake."""
        name = seen.step.top
        if name in self.names:
            self._noted.pop(self.names[name], None)
        self.names[name] = seen.step.key
        if keep:
            self._noted[seen.step.key] = seen

    def finished(self, outputs: Iterable[str], shipped: Mapping[str, Array]) -> tuple[tuple[Row, ...], tuple[Row, ...]]:
        """All rows, and one for each output of the model as it is shipped.

        Args:
            outputs: names of the net's outputs.
            shipped: the model's, under the blobs' names.
        """
        ends = {self.names[name] for name in outputs}
        rows = [(key, row) for key, row in self._rows.items() if row is not None]
        noted = {name: self._noted[key] for name, key in self.names.items() if key in self._noted}
        return (
            tuple(replace(row, output=True) if key in ends else row for key, row in rows),
            tuple(
                replace(noted[name].beside(values), output=True)
                for name, values in shipped.items()
                if name in noted and not noted[name].is_fed
            ),
        )


def _comes_from_weights(step: Step) -> bool:
    rule = find(step.layer_type)
    return rule is not None and rule.gives_blob


@dataclass(frozen=True)
class Gap:
    """How far two blobs are apart.

    Attributes:
        largest: absolute; inf with a fault.
        worst: where that is: index, the engine's value, the reference's; None without a difference.
        fault: what is wrong when it is not a matter of size, in words.
    """

    largest: float
    worst: tuple[tuple[int, ...], float, float] | None = None
    fault: str = ""


def difference(reference: Array, got: npt.NDArray[np.generic], *, tame: bool) -> Gap:
    """The largest difference, worked out in float64.

    Args:
        reference, got: the blobs.
        tame: whether one of them has no value that is an infinity, near one, or no number.
    """
    if got.shape != reference.shape:
        seen = f"shape {format_shape(got.shape)}, Caffe's is {format_shape(reference.shape)}"
        return Gap(math.inf, fault=seen)
    if got.dtype.kind not in "fiub":
        return Gap(math.inf, fault=f"holds {got.dtype}, no numbers")
    if not reference.size:
        return Gap(0.0)
    found = _tame_difference(reference, got) if tame and got.dtype == np.float32 else None
    largest, place = found or (0.0, 0)
    if found is None:
        with np.errstate(all="ignore"):
            gap = np.abs(np.subtract(got, reference, dtype=np.float64))
            kinds, own = _kinds(reference), _kinds(got.astype(np.float64))
        if (kinds != own).any():
            return _other_kind(reference, got, kinds != own)
        gap = np.where(kinds == 0, gap, 0.0)
        place = int(gap.argmax())
        largest = float(gap.flat[place])
    where = np.unravel_index(place, reference.shape)
    return Gap(largest, _at(where, got, reference) if largest else None)


def _tame_difference(reference: Array, got: npt.NDArray[np.generic]) -> tuple[float, int] | None:
    """The largest difference and its place; None where a value is found that is no ordinary one.

    float32 finds the few places that may have it, and float64 which of them has.
    """
    one, other = reference.reshape(-1), got.reshape(-1)
    largest, place = 0.0, 0
    memory: Array = np.empty(min(PART, one.size), np.float32)
    for start in range(0, one.size, PART):
        part = slice(start, min(start + PART, one.size))
        gap = memory[: part.stop - start]
        with np.errstate(all="ignore"):
            np.subtract(other[part], one[part], out=gap)
            np.abs(gap, out=gap)
        most = float(gap.max())
        if not most < TAME:
            return None
        if most > largest * CLOSE:
            near = start + np.flatnonzero(gap >= np.float32(most * CLOSE))
            exact = np.abs(np.subtract(other[near], one[near], dtype=np.float64))
            first = int(exact.argmax())
            if exact[first] > largest:
                largest, place = float(exact[first]), int(near[first])
    return largest, place


def _kinds(values: npt.NDArray[np.floating]) -> npt.NDArray[np.int8]:
    """0 for ordinary values, 1 and -1 for infinite ones and ±FLT_MAX, 2 for NaN."""
    kinds = (values >= OUTSIDE).astype(np.int8) - (values <= -OUTSIDE).astype(np.int8)
    kinds[np.isnan(values)] = 2
    return kinds


def _other_kind(reference: Array, got: npt.NDArray[np.generic], where: npt.NDArray[np.bool_]) -> Gap:
    place = np.unravel_index(int(where.argmax()), where.shape)
    at = _at(place, got, reference)
    count = int(where.sum())
    text = f"{at[1]:g} where Caffe has {at[2]:g}, at {list(at[0])}" + (f" and {count - 1} more" if count > 1 else "")
    return Gap(math.inf, at, text)


def _at(
    place: Sequence[np.intp], got: npt.NDArray[np.generic], reference: Array
) -> tuple[tuple[int, ...], float, float]:
    index = tuple(map(int, place))
    return index, float(got.item(index)), float(reference.item(index))
