"""What float32 rounds, as the error functions of layers count it (`verify.bounds` says why)."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

UNIT_ROUNDOFF = 2.0**-24
LAMBDA = 9.0
PROBE = 2.0**-12
SHAKES = 3
"""Runs with noise of a layer whose rounding only running it can tell."""

Wide = npt.NDArray[np.float64]


def of_sum(terms: int) -> float:
    """Share of the sum of magnitudes by which a float32 sum may be off, in any order; of one term nothing is."""
    return LAMBDA * math.sqrt(terms) * UNIT_ROUNDOFF if terms > 1 else 0.0


def centred_and_scaled(lanes: Wide, spread: Wide | None) -> tuple[float, float]:
    """Of (x - mean) / spread: the gain of an error of x, and what rounding adds.

    Args:
        lanes: rows over which the mean is taken.
        spread: of each row, what its values are divided by; None where they are not.

    The mean of n values is off by e = sum of |x| / n times the rounding of a sum, and so is every difference from it:
    where values are large and lie near each other, e is much of the difference. Divided by the row's spread, it is
    e / spread, but no row of n values passes sqrt(n) whatever it is divided by. A row that varies by less than the
    probe moves it, is divided by less than that too (its eps is small), and is not all 0, has no slope: what an error
    of x makes of it nobody can say.
    """
    terms = lanes.shape[1]
    mean = lanes.mean(axis=1)
    off = of_sum(terms) * np.abs(lanes).mean(axis=1) + (UNIT_ROUNDOFF * np.abs(mean) if terms > 1 else 0.0)
    reach = np.abs(lanes - mean[:, None]).max(axis=1, initial=0.0)
    if spread is None:
        return 1.0, float((off + UNIT_ROUNDOFF * reach).max(initial=0.0))
    with np.errstate(all="ignore"):
        values = np.where(spread > 0, reach / spread, 0.0)
        shift = np.where(off > 0, off / spread, 0.0)
        scale = values * (of_sum(terms) + 4 * UNIT_ROUNDOFF + shift**2) / 2
        added = np.minimum(shift + scale + 4 * UNIT_ROUNDOFF * values, math.sqrt(terms) + values)
        alive = np.abs(lanes).max(axis=1, initial=0.0)
        flat = (terms > 1) & (alive > 0) & (np.maximum(reach, spread) < PROBE * alive)
        gain = float((1 / spread).max(initial=0.0, where=(alive > 0) & (spread > 0)))
    return math.inf if flat.any() else gain, float(added.max(initial=0.0, where=~np.isnan(added)))
