"""How far a drawn net's answer may lie from the interpreter's: `tolerance`, or what float32 rounding makes of it.

Two things rounding does. A net whose answer hangs on the last bits of its inputs may differ by as much as those bits
move each value. And a layer may round more inside than its answer shows: of two values beside each other MVN makes 1
and -1, wherever they lie, and the mean that it takes off them is rounded to the last bit of the values themselves, not
of their distance. The second is what the verification's own bounds tell.

Where every value of an answer may be nothing but rounding (a sigmoid of -17, places all beside an image) its largest is
no measure: the kind of net then says what errors are a share of at least, `scale`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from prototxt import Net
from tests.golden import Array, assert_close
from verify.bounds import Rounding, motion_of, perturbed
from verify.inputs import exact_inputs
from verify.interpreter.steps import Trace

BITS = 2.0**-22
"""Twice what float32 rounds of a value, as a share of it."""

TIMES = 8.0
"""Errors that a run may make, each of them as large as the change of the inputs."""

CHANGES = 6

WORST = 1e-3
"""A share of the largest value that rounding inside a layer is never granted more than: wrong rules are off by more."""

Run = Callable[[Mapping[str, Array]], Trace]


def assert_close_as_conditioned(
    got: Array,
    top: str,
    net: Net,
    where: str,
    tolerance: float,
    feeds: Mapping[str, Array],
    again: Run,
    scale: float = 0.0,
) -> None:
    """`assert_close` to the interpreter's answer; where that fails, within what rounding explains.

    Args:
        got, top, where, tolerance, scale: the blob, as `assert_close` has it.
        net: what was run.
        feeds: the inputs; whole numbers (labels, indices) stay as they are.
        again: runs the interpreter.
    """
    trace = again(feeds)
    expected = trace.blobs[top]
    try:
        assert_close(got, expected, where, tolerance, scale)
    except AssertionError:
        if got.shape != expected.shape:
            raise
        moved = [_moved(expected, again(_changed(feeds, seed)).blobs[top]) for seed in range(CHANGES)]
        probes = [again(perturbed(feeds, exact_inputs(net), sign=sign)) for sign in (1, -1)]
        allowed = np.maximum(TIMES * np.max(moved, axis=0), _rounded(trace, probes, top))
        nearest = np.clip(got, expected - allowed, expected + allowed)
        assert_close(got, np.where(np.isfinite(nearest), nearest, expected), where, tolerance, scale)


def _rounded(trace: Trace, probes: Sequence[Trace], top: str) -> float:
    """The verification's bound of a blob; nothing where it has none, or one that would hide a wrong rule."""
    if any(len(probe.steps) != len(trace.steps) for probe in probes):
        return 0.0
    rounding = Rounding({})
    bounds = {
        id(step): rounding.add(step, motion_of(step.value, others))
        for step, *others in zip(trace.steps, *([s.value for s in probe.steps] for probe in probes), strict=True)
    }
    bound, value = bounds[id(trace.last[top])], trace.blobs[top]
    largest = np.abs(value[np.isfinite(value)]).max(initial=0.0)
    return bound if math.isfinite(bound) and bound <= WORST * largest else 0.0


def _changed(feeds: Mapping[str, Array], seed: int) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    return {
        name: values if np.array_equal(values, np.round(values)) else _shaken(values, rng)
        for name, values in feeds.items()
    }


def _shaken(values: Array, rng: np.random.Generator) -> Array:
    return (values * (1 + BITS * rng.uniform(-1, 1, values.shape))).astype(np.float32)


def _moved(expected: Array, found: Array) -> Array:
    """How far each value moved; nothing where it is no number, or where the shape is another."""
    if found.shape != expected.shape:
        return np.zeros_like(expected)
    with np.errstate(invalid="ignore"):
        return np.nan_to_num(np.abs(found - expected), nan=0.0, posinf=0.0, neginf=0.0)
