"""Two sets of blobs, value by value.

Values that are not finite agree when they are the same at the same places; Caffe's ±FLT_MAX of empty windows counts as
an infinity.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from verify.bounds import OUTSIDE, peak
from verify.engines import Answers, Array
from verify.interpreter import Key, Step, Stream, Trace
from verify.layers.parameters import shape_text
from verify.report import Row

STORED = "Parameter"
"""The one layer without bottoms whose top is no feed: it comes from the weights."""


@dataclass(frozen=True)
class Alone:
    """Each layer run on the model's own inputs to it, and the bounds of what it may differ by.

    `compare` goes through the tops once, so that none of a stream's is kept.
    """

    trace: Trace | Stream
    bounds: Mapping[Key, float]


def compare(
    reference: Trace, answers: Answers, bounds: Mapping[Key, float], alone: Alone | None = None
) -> tuple[tuple[Row, ...], tuple[Row, ...], tuple[Key, ...]]:
    """Every blob that both have, beside its bound.

    Args:
        reference: the interpreter's trace.
        answers: the engine's.
        bounds: by (layer, top), absolute.
        alone: for the layers' own errors; see `substitutes`.

    Returns:
        rows in net order without what was fed; a row for each output of the model as it is shipped; the tops that
        the engine does not have.
    """
    last = {step.top: step.key for step in reference.steps}
    outputs = {last[name] for name in reference.outputs}
    computed = [(place, step) for place, step in enumerate(reference.steps) if step.inputs or step.layer_type == STORED]
    places = {step.key: (place, step) for place, step in computed}
    own = {} if alone is None else _own_errors(answers, alone)
    rows, missing = [], []
    for key, (place, step) in places.items():
        if key in answers.tops:
            row = _row(place, step, answers.tops[key], bounds[key], output=key in outputs)
            rows.append(row if alone is None or row.fault else _with_own_error(row, own[key], alone.bounds[key]))
        else:
            missing.append(key)
    shipped = [
        _row(*places[last[name]], array, bounds[last[name]], output=True)
        for name, array in answers.outputs.items()
        if name in last and last[name] in places
    ]
    return tuple(rows), tuple(shipped), tuple(missing)


def substitutes(reference: Trace, answers: Answers, bounds: Mapping[Key, float]) -> dict[Key, Array]:
    """The model's blobs that can stand for the reference's: of the same shape, and finite where those are.

    Behind a tie (an infinite bound) the model may have found other rows, and those count.
    """
    chosen = {}
    for step in reference.steps:
        got = answers.tops.get(step.key)
        if got is None or got.dtype != np.float32:
            continue
        if not _difference(step.value, got).fault or _behind_a_tie(step.value, got, bounds[step.key]):
            chosen[step.key] = got
    return chosen


def _behind_a_tie(reference: Array, got: npt.NDArray[np.generic], bound: float) -> bool:
    """Whether nothing can be asked of a blob: rounding may have turned a choice before it, and with it any value.

    No choice makes a NaN where there was none, or takes all away.
    """
    if not math.isinf(bound) or got.ndim != reference.ndim or got.dtype.kind not in "fiub":
        return False
    return bool(np.isnan(reference).any() == np.isnan(got).any())


def _own_errors(answers: Answers, alone: Alone) -> dict[Key, float]:
    """What each layer adds to the errors of its inputs."""
    steps = (step for step in alone.trace.steps if step.key in answers.tops)
    return {step.key: _difference(step.value, answers.tops[step.key]).largest for step in steps}


def _with_own_error(row: Row, error: float, bound: float) -> Row:
    return replace(row, own_abs=error, own_bound=bound, ok=row.ok and error <= bound)


def _row(place: int, step: Step, got: npt.NDArray[np.generic], bound: float, *, output: bool) -> Row:
    error = _difference(step.value, got)
    if error.fault and _behind_a_tie(step.value, got, bound):
        error = _Difference(math.inf)
    largest = peak(step.value)
    return Row(
        place=place,
        layer=step.layer,
        layer_type=step.layer_type,
        top=step.top,
        shape=step.value.shape,
        max_abs=error.largest,
        max_rel=error.largest / largest if largest else (math.inf if error.largest else 0.0),
        peak=largest,
        bound=bound,
        ok=not error.fault and error.largest <= bound,
        output=output,
        worst=error.worst,
        fault=error.fault,
    )


@dataclass(frozen=True)
class _Difference:
    largest: float
    worst: tuple[tuple[int, ...], float, float] | None = None
    fault: str = ""


def _difference(reference: Array, got: npt.NDArray[np.generic]) -> _Difference:
    if got.shape != reference.shape:
        seen = f"shape {shape_text(got.shape)}, Caffe's is {shape_text(reference.shape)}"
        return _Difference(math.inf, fault=seen)
    if got.dtype.kind not in "fiub":
        return _Difference(math.inf, fault=f"holds {got.dtype}, no numbers")
    with np.errstate(all="ignore"):
        gap = np.abs(np.subtract(got, reference, dtype=np.float64))
        if not gap.size:
            return _Difference(0.0)
        if not gap.max() < OUTSIDE or max(np.abs(reference).max(), np.abs(got.astype(np.float64)).max()) >= OUTSIDE:
            kinds, own = _kinds(reference), _kinds(got.astype(np.float64))
            if (kinds != own).any():
                return _other_kind(reference, got, kinds != own)
            gap = np.where(kinds == 0, gap, 0.0)
    place = np.unravel_index(int(gap.argmax()), gap.shape)
    return _Difference(float(gap[place]), _at(place, got, reference) if gap[place] else None)


def _kinds(values: npt.NDArray[np.floating]) -> npt.NDArray[np.int8]:
    """0 for ordinary values, 1 and -1 for infinite ones and ±FLT_MAX, 2 for NaN."""
    kinds = (values >= OUTSIDE).astype(np.int8) - (values <= -OUTSIDE).astype(np.int8)
    kinds[np.isnan(values)] = 2
    return kinds


def _other_kind(reference: Array, got: npt.NDArray[np.generic], where: npt.NDArray[np.bool_]) -> _Difference:
    place = np.unravel_index(int(where.argmax()), where.shape)
    at = _at(place, got, reference)
    count = int(where.sum())
    text = f"{at[1]:g} where Caffe has {at[2]:g}, at {list(at[0])}" + (f" and {count - 1} more" if count > 1 else "")
    return _Difference(math.inf, at, text)


def _at(
    place: Sequence[np.intp], got: npt.NDArray[np.generic], reference: Array
) -> tuple[tuple[int, ...], float, float]:
    index = tuple(map(int, place))
    return index, float(got.item(index)), float(reference.item(index))
