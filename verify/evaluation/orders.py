"""Labels in another order than the net's classes: an error near chance that another order makes small.

shifted      labels that count from 1, or a net with a background class before the others
ILSVRC       the development kit's IDs, where Caffe sorts the synsets by name
as text      class folders 0, 1, 10, 11, …, 2 in the order of their names
any other    each class is taken for one other class, and no two for the same
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from verify.evaluation.datasets.synsets import ilsvrc_to_caffe
from verify.evaluation.running.results import Results

FEWEST = 20
"""Images without which nothing is said."""

Labels = npt.NDArray[np.int64]


class LabelOrder(NamedTuple):
    """Another order of the labels: in words, with it the top-1 error as a share, and without it."""

    what: str
    error: float
    before: float

    def __str__(self) -> str:
        return (
            f"the labels seem to be in another order than the net's classes: {self.what}, the top-1 error would be "
            f"{100 * self.error:.1f} % instead of {100 * self.before:.1f} %"
        )


def suspect_order(results: Results, classes: int) -> LabelOrder | None:
    """The order in which the labels seem to be, if it is another than the net's.

    Args:
        results: of a run.
        classes: how many scores the net gives.
    """
    known = results[results["label"] >= 0]
    labels, seen = known["label"].astype(np.int64), known["best"][:, 0].astype(np.int64)
    if len(known) < FEWEST or classes < 3:
        return None
    error = float(np.mean(seen != labels))
    for what, other in _orders(labels, seen, classes):
        better = float(np.mean(seen != other))
        if error > 0.5 and better < error / 2 and better < 0.6:
            return LabelOrder(what, better, error)
    return None


def _orders(labels: Labels, seen: Labels, classes: int) -> Iterator[tuple[str, Labels]]:
    yield "counted from 0 instead of 1", labels - 1
    yield "moved up by one, for a net with a background class first", labels + 1
    if classes in (1000, 1001) and labels.max() <= 1000:
        caffe = ilsvrc_to_caffe().astype(np.int64)
        yield "taken as ILSVRC's IDs, whose order is not Caffe's", caffe[np.clip(labels - 1, 0, 999)]
        yield "taken as ILSVRC's IDs counted from 0, whose order is not Caffe's", caffe[np.clip(labels, 0, 999)]
        back = np.argsort(caffe)
        yield "turned into ILSVRC's order, which this net seems to use", back[np.clip(labels, 0, 999)]
    text = np.array(sorted(range(classes), key=str), np.int64)
    yield "taken as numbers, where folders named 0, 1, 10, … were sorted as text", text[np.clip(labels, 0, classes - 1)]
    shifts = np.bincount((seen - labels) % classes, minlength=classes)
    shift = int(shifts.argmax())
    yield f"moved on by {shift}", (labels + shift) % classes
    mapping = _taken_for(labels, seen, classes)
    if mapping is not None:
        yield "with each class named as what it is most often taken for", mapping[labels]


def _taken_for(labels: Labels, seen: Labels, classes: int) -> Labels | None:
    """For each class the one that it is most often taken for, when there are enough images and no two share one."""
    if len(labels) < 5 * classes or labels.max() >= classes:
        return None
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (labels, np.clip(seen, 0, classes - 1)), 1)
    mapping = counts.argmax(axis=1)
    return mapping if len(set(mapping.tolist())) == classes else None
