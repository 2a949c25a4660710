"""What is kept of each image: where its own class ranks, and the best classes; 48 bytes, so that a run stays small.

An image is right in the top k when fewer than k other classes have a score as large as its own class's: a tie counts
against it, as in Caffe's Accuracy layer (accuracy_layer.cpp). A score that is no number is wrong in every top k.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from verify.engines.engine import Array

BEST = 5
RESULT = np.dtype(
    [
        ("index", "<i8"),  # of the image in the data set
        ("label", "<i4"),  # -1 without one
        ("rank", "<i4"),  # how many other classes have at least the own class's score; -1 without a label
        ("best", "<i4", (BEST,)),  # the best classes, -1 where the net has fewer
        ("score", "<f4"),  # of the best class
        ("own", "<f4"),  # of the image's own class
        ("finite", "?"),
    ]
)
Results = npt.NDArray[np.void]
"""A structured array of RESULT."""


@dataclass(frozen=True)
class BatchResult:
    """What became of one batch of images.

    Attributes:
        batch: its number.
        classes: how many scores the net gives; 0 when no image was scored.
        results: one record for each image that was scored.
        skipped: index and reason of those that were not.
        kinds: how many images were special, by kind.
        scores: N×K, where they are to be kept.
    """

    batch: int
    classes: int
    results: Results
    skipped: tuple[tuple[int, str], ...] = ()
    kinds: Mapping[str, int] = field(default_factory=dict)
    scores: Array | None = None


def assess(indices: Sequence[int], labels: Sequence[int | None], scores: Array) -> Results:
    """Records for a batch of scores N×K.

    Labels at or beyond K have no score: they count as wrong.
    """
    images, classes = scores.shape
    made = np.zeros(images, RESULT)
    made["index"] = indices
    own = np.array([-1 if label is None else label for label in labels], np.int32)
    made["label"] = own
    best = np.argsort(-scores, axis=1, kind="stable")[:, :BEST]
    made["best"] = -1
    made["best"][:, : best.shape[1]] = best
    made["score"] = np.take_along_axis(scores, best[:, :1], 1)[:, 0]
    made["finite"] = np.isfinite(scores).all(axis=1)
    known = (own >= 0) & (own < classes)
    ours = np.where(known, scores[np.arange(images), np.where(known, own, 0)], np.nan)
    made["own"] = ours
    ranks = (scores >= ours[:, None]).sum(axis=1) - 1
    ranks[~(known & made["finite"])] = classes
    ranks[own < 0] = -1
    made["rank"] = ranks
    return made


def merge(batches: Iterable[BatchResult]) -> tuple[Results, list[tuple[int, str]], dict[str, int]]:
    """All results in the order of the batches, all skipped images, and the counts of special ones."""
    ordered = sorted(batches, key=lambda batch: batch.batch)
    kinds: dict[str, int] = {}
    for batch in ordered:
        for kind, count in batch.kinds.items():
            kinds[kind] = kinds.get(kind, 0) + count
    results = np.concatenate([batch.results for batch in ordered]) if ordered else np.zeros(0, RESULT)
    return results, [skip for batch in ordered for skip in batch.skipped], dict(sorted(kinds.items()))
