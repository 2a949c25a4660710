"""Scores by class and a label for each position, as losses and measures read them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from verify.layers.registry import Array, Call, Wide

Whole = npt.NDArray[np.int64]


def scalar(value: float) -> Array:
    """A top of no axes."""
    return np.array(value, np.float32)


@dataclass(frozen=True)
class Labelled:
    """Scores as outer × classes × inner, and one label for each outer × inner position."""

    scores: Array
    labels: Whole
    valid: npt.NDArray[np.bool_]

    def of_label(self, values: Wide) -> Wide:
        """The entry of `values` (outer × classes × inner) at each position's label; label 0 where ignored."""
        index = np.where(self.valid, self.labels, 0)
        return np.take_along_axis(values, index[:, None], axis=1)[:, 0]


def labelled(call: Call, axis: int, ignored: int | None) -> Labelled:
    """Scores in the first bottom with classes along `axis`, labels in the second; refuses a label that is no class."""
    shape = call.x.shape
    outer, classes, inner = math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])
    labels = call.bottoms[1]
    counts = f"{labels.size} labels for {outer}×{inner} positions, one each expected"
    call.require(labels.size == outer * inner, counts)
    whole = labels.reshape(outer, inner).astype(np.int64)
    valid = np.ones_like(whole, bool) if ignored is None else whole != ignored
    inside = (whole >= 0) & (whole < classes)
    call.require(bool(np.all(inside | ~valid)), f"a label is not within 0 and {classes - 1}")
    return Labelled(call.x.reshape(outer, classes, inner), whole, valid)
