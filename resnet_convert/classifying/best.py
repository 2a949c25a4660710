"""The best classes of each image, in the order of the images, by the batches of an evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from prototxt.errors import Position, RequestError
from resnet_convert.classifying.naming import ClassNames
from resnet_convert.classifying.records import ClassScore, Seen
from verify.engines.engine import Array
from verify.evaluation.running.local import run_local
from verify.evaluation.running.plan import Plan
from verify.evaluation.running.results import BatchResult
from verify.evaluation.running.scorers import Scorer


@dataclass(frozen=True)
class Best:
    """Which of a row's scores are looked at.

    Attributes:
        most: how many, the best.
        names: of the classes.
        classes: how many scores the net gives.
    """

    most: int
    names: ClassNames
    classes: int

    def of(self, scores: Array, image: str) -> Seen:
        """An image with its best classes; of equal scores the first class comes first.

        Raises:
            RequestError: another number of scores than the net's.
        """
        if len(scores) != self.classes:
            raise RequestError(f"the model gives {len(scores):,} scores, the net {self.classes:,}")
        if not np.isfinite(scores).all():
            return Seen(image, problem="its scores are no numbers (NaN or infinity)")
        best = np.argsort(-scores, kind="stable")[: self.most].tolist()
        return Seen(image, tuple(ClassScore(label, *self.names.of(label), float(scores[label])) for label in best))


def scored(best: Best, scorer: Scorer, plan: Plan) -> Iterator[Seen]:
    """Every image of a plan, in its order; one that cannot be read with the reason."""
    done: dict[int, BatchResult] = {}
    following = 0
    try:
        for result in run_local(plan, scorer):
            done[result.batch] = result
            while following in done:
                yield from _seen(best, done.pop(following), plan)
                following += 1
    except RequestError as error:
        if error.position != Position(plan.source.where):
            raise
        raise RequestError(error.message) from error  # the image's path says where


def _seen(best: Best, result: BatchResult, plan: Plan) -> Iterator[Seen]:
    problems = dict(result.skipped)
    rows = {} if result.scores is None else dict(zip(result.results["index"].tolist(), result.scores, strict=True))
    for index in plan.images(result.batch):
        name = plan.source.item(index).name
        yield best.of(rows[index], name) if index in rows else Seen(name, problem=problems[index])
