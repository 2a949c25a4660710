"""The sharper test, which needs no labels: does the model give Caffe's scores on real images?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from threading import BoundedSemaphore

import numpy as np

from verify.evaluation.plan import Plan, score
from verify.evaluation.records import Agreement, Flip
from verify.evaluation.scorers import Scorer

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
    same = images = 0
    largest = 0.0
    flips: list[Flip] = []
    with ThreadPoolExecutor(max(scorer.at_once, judge.at_once), "agree") as pool:
        for found in pool.map(lambda batch: _compare(plan, batch, scorer, judge, gates), range(len(plan))):
            same += found.same_top1
            images += found.images
            largest = float(np.maximum(largest, found.largest_difference))  # which keeps nan
            flips += found.flips
            if progress is not None:
                progress(images, len(plan.indices))
    flips.sort(key=lambda flip: -flip.difference)
    return Agreement(judge.name, images, same, largest, tuple(flips[:MOST_FLIPS]))


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
    differences = np.abs(ours.scores - theirs.scores).max(axis=1)
    classes = zip(ours.results["best"][:, 0].tolist(), theirs.results["best"][:, 0].tolist(), strict=True)
    flips = [
        Flip(item.name, item.label, mine, other, float(difference))
        for item, difference, (mine, other) in zip(loaded.items, differences, classes, strict=True)
        if mine != other
    ]
    images = len(loaded.items)
    return Agreement(judge.name, images, images - len(flips), float(differences.max()), tuple(flips))
