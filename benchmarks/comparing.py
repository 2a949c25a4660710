"""How far an array is from the original Caffe's."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Errors: TypeAlias = Iterator[tuple[str, float]]
"""Names of arrays with their errors."""


def beside(found: npt.NDArray[Any], expected: npt.NDArray[Any]) -> float:
    """The largest difference as a share of the largest expected value."""
    if found.size != expected.size:
        return math.inf
    difference = float(np.abs(found.reshape(expected.shape).astype(np.float64) - expected).max(initial=0))
    peak = float(np.abs(expected).max(initial=0))
    return difference / peak if peak else (0.0 if difference == 0 else math.inf)
