"""Whether one way of scoring is better than another on the same images.

    log-likelihood   log p of an image's own class; where the net's scores are no probabilities, p is their softmax
    better           Wilcoxon's signed-rank test of the differences, one-sided, by its normal approximation

Errors alone tell little: of 200 images two ways differ in a dozen; in how sure the net is of the right class, in all.
Ranks, not sums: a few images of which a net is sure and wrong would outweigh the others.

Source: F. Wilcoxon, Biometrics Bulletin 1 (1945); ties as in W. J. Conover, Practical Nonparametric Statistics, 5.7.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from verify.engines.engine import Array

Labels = npt.NDArray[np.int64]
Likelihoods = npt.NDArray[np.float64]

FEWEST = 10
"""Differences that are not zero, without which the approximation is none."""

LEAST = 1e-12
"""Probability that a class has at least: float32 gives 0 to many."""


def log_likelihoods(scores: Array, labels: Labels) -> Likelihoods:
    """Of N×K scores, the logarithm of the probability of each image's own class."""
    wide = scores.astype(np.float64)
    own = np.arange(len(labels)), labels
    if wide.min(initial=0.0) >= 0 and bool(np.all(np.abs(wide.sum(axis=1) - 1) < 1e-2)):
        chosen = wide[own]
    else:
        powers = np.exp(wide - wide.max(axis=1, keepdims=True))
        chosen = powers[own] / powers.sum(axis=1)
    logs: Likelihoods = np.log(np.maximum(chosen, LEAST))
    return logs


def chance(differences: Likelihoods) -> float:
    """The probability of differences that are as much above zero where there is none; 1 where too few are not zero."""
    found = differences[differences != 0]
    images = len(found)
    if images < FEWEST or not np.isfinite(found).all():
        return 1.0
    _, places, counts = np.unique(np.abs(found), return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2
    above = float(ranks[places][found > 0].sum())
    ties = float((counts**3 - counts).sum())
    spread = math.sqrt(images * (images + 1) * (2 * images + 1) / 24 - ties / 48)
    return NormalDist().cdf(-(above - images * (images + 1) / 4) / spread)
