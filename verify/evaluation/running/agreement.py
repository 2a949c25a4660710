"""The sharper test, which needs no labels: does the model give Caffe's scores on real images?

`agree` runs the Caffe files beside the model; `StoredScores` compares with scores that the original Caffe gave before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import BoundedSemaphore

import numpy as np
import numpy.typing as npt

from prototxt.errors import Position, RequestError
from prototxt.words import first_line, format_shape
from verify.engines.engine import Array
from verify.evaluation.records import Agreement, Flip, Item
from verify.evaluation.running.plan import Plan, score
from verify.evaluation.running.results import BatchResult
from verify.evaluation.running.scorers import Scorer

MOST_FLIPS = 200


def agree(
    plan: Plan, scorer: Scorer, judge: Scorer, *, progress: Callable[[int, int], None] | None = None
) -> Agreement:
    """Score the plan's images with both.

    Args:
        plan: which images; every one of them is scored.
        scorer: of the converted model.
        judge: of the Caffe files.
        progress: told how many images of how many are done.

    Raises:
        RequestError: what either of them raises.
    """
    gates = {id(each): BoundedSemaphore(each.at_once) for each in (scorer, judge)}
    found_so_far = _Sum(judge.name)
    with ThreadPoolExecutor(max(scorer.at_once, judge.at_once), "agree") as pool:
        for found in pool.map(lambda batch: _compare(plan, batch, scorer, judge, gates), range(len(plan))):
            found_so_far.add(found)
            if progress is not None:
                progress(found_so_far.images, len(plan.indices))
    return found_so_far.agreement()


class StoredScores:
    """Scores that the original Caffe gave, N×K in the order of the data set.

    Args:
        given: the scores, or an .npy file of them; K may have more axes of 1 behind it.
        images: in the data set.

    Raises:
        RequestError: no such file, or not as many rows as there are images.
    """

    def __init__(self, given: Path | npt.NDArray[np.float32], images: int) -> None:
        place = Position(str(given)) if isinstance(given, Path) else Position("the array of scores")
        try:
            scores = np.load(given, mmap_mode="r", allow_pickle=False) if isinstance(given, Path) else given
        except (OSError, ValueError, EOFError) as error:
            raise RequestError(f"is no .npy file of scores: {first_line(error)}", position=place) from error
        if scores.ndim < 2 or len(scores) != images or scores.dtype.kind != "f":
            shape = f"{scores.dtype} {format_shape(scores.shape)}"
            raise RequestError(f"is {shape}; expected a row of scores for each of {images} images", position=place)
        self._scores = scores.reshape(images, -1)
        self._sum = _Sum(f"Caffe ({given.name})" if isinstance(given, Path) else "Caffe")

    def add(self, plan: Plan, batch: BatchResult) -> None:
        """Compare a batch that kept its scores."""
        if batch.scores is None:
            return
        indices = batch.results["index"].tolist()
        theirs = np.asarray(self._scores[indices], np.float32)
        items = [plan.source.item(index) for index in indices]
        self._sum.add(_beside(self._sum.judge, items, batch.scores, theirs))

    def agreement(self) -> Agreement:
        """Of all batches so far."""
        return self._sum.agreement()


class _Sum:
    """The agreement on several batches."""

    def __init__(self, judge: str) -> None:
        self.judge = judge
        self.images = self._same = 0
        self._largest = self._peak = 0.0
        self._flips: list[Flip] = []

    def add(self, found: Agreement) -> None:
        self.images += found.images
        self._same += found.same_top1
        self._largest = float(np.maximum(self._largest, found.largest_difference))  # which keeps nan
        self._peak = max(self._peak, found.peak)
        self._flips += found.flips

    def agreement(self) -> Agreement:
        flips = sorted(self._flips, key=lambda flip: -flip.difference)[:MOST_FLIPS]
        return Agreement(self.judge, self.images, self._same, self._largest, tuple(flips), self._peak)


def _compare(plan: Plan, batch: int, scorer: Scorer, judge: Scorer, gates: Mapping[int, BoundedSemaphore]) -> Agreement:
    """The agreement on one batch."""
    loaded = plan.read(batch)
    made = []
    for each in (scorer, judge):
        with gates[id(each)]:
            made.append(score(loaded, each, keep_scores=True))
    ours, theirs = made
    if ours.scores is None or theirs.scores is None:
        return Agreement(judge.name, 0, 0, 0.0)
    return _beside(judge.name, loaded.items, ours.scores, theirs.scores)


def _beside(judge: str, items: Sequence[Item], ours: Array, theirs: Array) -> Agreement:
    """The agreement of scores N×K with the judge's.

    Raises:
        RequestError: they have scores of another number of classes.
    """
    if ours.shape != theirs.shape:
        raise RequestError(f"the model gives {ours.shape[1]} scores an image, {judge} {theirs.shape[1]}")
    differences = np.abs(ours - theirs).max(axis=1)
    classes = zip(ours.argmax(axis=1).tolist(), theirs.argmax(axis=1).tolist(), strict=True)
    flips = [
        Flip(item.name, item.label, mine, other, float(difference))
        for item, difference, (mine, other) in zip(items, differences, classes, strict=True)
        if mine != other
    ]
    same, peak = len(items) - len(flips), float(np.abs(theirs).max(initial=0))
    return Agreement(judge, len(items), same, float(differences.max(initial=0)), tuple(flips), peak)
