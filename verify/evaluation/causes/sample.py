"""A sample of a run's images, scored with each usual mistake undone; what makes it significantly better is a cause.

Every change is tried on the first `SCREENED` images, and what looks better there on the whole sample of `SAMPLE`. A
change is a cause if the chance that it only seems better is below `SURE`, divided by how many are tried, and fewer
images are wrong. After the best one the others are tried once more, as there may be two mistakes. Images are decoded
once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from verify.evaluation.causes.corrections import Correction, corrections
from verify.evaluation.causes.paired import Labels, Likelihoods, chance, log_likelihoods
from verify.evaluation.causes.records import Cause, Diagnosis, Kind
from verify.evaluation.records import Decoded, ImageFault, Item
from verify.evaluation.running.local import run_local
from verify.evaluation.running.plan import Plan
from verify.evaluation.running.results import Results, merge
from verify.evaluation.running.scorers import Scorer
from verify.evaluation.running.transform import Transform

SAMPLE, SCREENED, FEWEST = 200, 40, 20
SURE, PLAUSIBLE = 1e-3, 0.3
MOST_CAUSES = 3
Transforms: TypeAlias = tuple[Transform, ...]
MOST_BYTES = 1 << 29
"""Of the decoded images that are held."""


def diagnose(
    plan: Plan,
    scorer: Scorer,
    results: Results,
    classes: int,
    *,
    published: Transform | None = None,
    baked: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Diagnosis | None:
    """Look for mistakes in the preprocessing of a run.

    Args:
        plan: of the run.
        scorer: of its model.
        results: what it found; images with labels that the net has are drawn from these.
        classes: how many scores the net gives.
        published: what the authors did, as far as that is known.
        baked: whether the model subtracts and scales by itself.
        progress: told how many images of how many were scored to see which changes to try.

    Returns:
        what was found; None where too few images can be drawn.
    """
    held = _Held.drawn(plan, results, classes)
    if len(held) < FEWEST:
        return None
    search = _Search(plan, scorer, held, published, baked, progress)
    now = plan.transforms
    causes: list[Cause] = []
    while len(causes) < MOST_CAUSES:
        found = search.best(now, {cause.kind for cause in causes})
        if found is None:
            break
        change, error = found
        now = change.to_all(now)
        causes.append(Cause(change.kind, change.what, change.option, error))
    return Diagnosis(len(held), held.error, search.tried, tuple(causes))


class _Scored(NamedTuple):
    """What some transforms give on the sample, or on its first images: how sure of each, and how many are wrong."""

    likelihoods: Likelihoods
    wrong: int


class _Held:
    """Images that were decoded, as a data set."""

    where, classes, notes = "the sample", (), ()

    def __init__(self, images: Sequence[Decoded], rows: Results) -> None:
        self._images, self._rows = images, rows

    @classmethod
    def drawn(cls, plan: Plan, results: Results, classes: int) -> _Held:
        """A sample of the images that were scored, in random order; fewer where they are large."""
        known = results[(results["label"] >= 0) & (results["label"] < classes) & results["finite"]]
        known = known[np.random.default_rng(0).permutation(len(known))[:SAMPLE]]
        images: list[Decoded] = []
        rows = []
        for place, row in enumerate(known):
            with suppress(ImageFault):  # gone since it was scored
                images.append(plan.source.read(int(row["index"]), color=plan.transforms[0].color))
                rows.append(place)
            if sum(image.pixels.nbytes for image in images) > MOST_BYTES:
                break
        return cls(images, known[rows])

    @property
    def labels(self) -> Labels:
        return self._rows["label"].astype(np.int64)

    @property
    def error(self) -> float:
        """The top-1 error of the run on these images."""
        return float((self._rows["rank"] >= 1).mean())

    @property
    def pixels(self) -> list[npt.NDArray[np.uint8]]:
        return [decoded.pixels for decoded in self._images]

    def __len__(self) -> int:
        return len(self._images)

    def item(self, index: int) -> Item:
        return Item(f"image {index} of the sample", int(self._rows["label"][index]))

    def read(self, index: int, *, color: bool) -> Decoded:
        return self._images[index]


class _Search:
    """Tries changes on the sample."""

    def __init__(
        self,
        plan: Plan,
        scorer: Scorer,
        held: _Held,
        published: Transform | None,
        baked: bool,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self._plan, self._scorer, self._held, self._progress = plan, scorer, held, progress
        self._published, self._baked = published, baked
        self.tried = 0

    def best(self, now: Transforms, done: set[Kind]) -> tuple[Correction, float] | None:
        """The change after which the net is surest of the right classes, if that is no chance; and the error then."""
        candidates = corrections(now[0], self._published, self._held.pixels, baked=self._baked)
        candidates = [change for change in candidates if change.kind not in done]
        self.tried = max(self.tried, len(candidates))
        plausible = list(self._screened(now, candidates))
        if not plausible:
            return None
        before = self._scored(now)
        better: list[tuple[float, Correction, float]] = []
        for change in plausible:
            then = self._scored(change.to_all(now))
            gain = then.likelihoods - before.likelihoods
            if then.wrong < before.wrong and chance(gain) < SURE / len(candidates):
                better.append((float(gain.mean()), change, then.wrong / len(gain)))
        most = max(better, key=lambda each: each[0], default=None)
        return None if most is None else most[1:]

    def _screened(self, now: Transforms, candidates: Sequence[Correction]) -> Iterator[Correction]:
        """Those with which the first images look better."""
        before = self._scored(now, SCREENED)
        for number, change in enumerate(candidates, 1):
            if self._progress is not None:
                self._progress(number * SCREENED, len(candidates) * SCREENED)
            then = self._scored(change.to_all(now), SCREENED)
            if chance(then.likelihoods - before.likelihoods) < PLAUSIBLE:
                yield change

    def _scored(self, transforms: Transforms, images: int | None = None) -> _Scored:
        """The sample, or its first images, with these transforms."""
        indices = np.arange(len(self._held))[:images]
        plan = replace(self._plan, source=self._held, transforms=transforms, indices=indices, keep_scores=True)
        batches = sorted(run_local(plan, self._scorer), key=lambda batch: batch.batch)
        scores = np.concatenate([batch.scores for batch in batches if batch.scores is not None])
        results, _, _ = merge(batches)
        return _Scored(log_likelihoods(scores, self._held.labels[indices]), int((results["rank"] >= 1).sum()))
