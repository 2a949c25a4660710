"""A drawn net whose answer hangs on the last bits of its inputs may differ by as much as those bits move each value."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from tests.golden import Array, assert_close

ROUNDING = 2.0**-22
"""Twice what float32 rounds of a value, as a share of it."""

TIMES = 8.0
"""Errors that a run may make, each of them as large as the change of the inputs."""

CHANGES = 6

Run = Callable[[Mapping[str, Array]], Mapping[str, Array]]


def assert_close_as_conditioned(
    got: Array, top: str, expected: Array, where: str, tolerance: float, feeds: Mapping[str, Array], again: Run
) -> None:
    """`assert_close`; where that fails, within what the interpreter's own answer moves by when its inputs do.

    Args:
        got, top, expected, where, tolerance: the blob, as `assert_close` has it.
        feeds: the inputs; whole numbers (labels, indices) stay as they are.
        again: runs the interpreter on other inputs.
    """
    try:
        assert_close(got, expected, where, tolerance)
    except AssertionError:
        if got.shape != expected.shape:
            raise
        allowed = TIMES * np.max(
            [_moved(expected, again(_changed(feeds, seed))[top]) for seed in range(CHANGES)], axis=0
        )
        nearest = np.clip(got, expected - allowed, expected + allowed)
        assert_close(got, np.where(np.isfinite(nearest), nearest, expected), where, tolerance)


def _changed(feeds: Mapping[str, Array], seed: int) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    return {
        name: values if np.array_equal(values, np.round(values)) else _shaken(values, rng)
        for name, values in feeds.items()
    }


def _shaken(values: Array, rng: np.random.Generator) -> Array:
    return (values * (1 + ROUNDING * rng.uniform(-1, 1, values.shape))).astype(np.float32)


def _moved(expected: Array, found: Array) -> Array:
    """How far each value moved; nothing where it is no number, or where the shape is another."""
    if found.shape != expected.shape:
        return np.zeros_like(expected)
    with np.errstate(invalid="ignore"):
        return np.nan_to_num(np.abs(found - expected), nan=0.0, posinf=0.0, neginf=0.0)
