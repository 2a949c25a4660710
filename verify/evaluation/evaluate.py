"""An evaluation from a plan to its findings: run, resume, judge, and say what was seen.

plan = Plan(open_source("val", labels="val.txt"), (Transform(3, (224, 224), Resize(256)),), choose(50000, None, 0), 32)
evaluate(plan, ScorerSpec("onnx", "resnet50.onnx", "prob"), Setting("deploy.prototxt", "resnet50.caffemodel", …))
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from prototxt.errors import RequestError
from prototxt.words import plural
from verify.engines.engine import Array
from verify.evaluation.causes.records import Cause, Diagnosis
from verify.evaluation.causes.sample import diagnose
from verify.evaluation.orders import LabelOrder, suspect_order
from verify.evaluation.published.intervals import CONFIDENCE, judge, wilson
from verify.evaluation.records import Agreement, Counted, Evaluation, Expected, Verdict
from verify.evaluation.running.agreement import StoredScores, agree
from verify.evaluation.running.journal import Journal, default_path
from verify.evaluation.running.local import run_local
from verify.evaluation.running.plan import Plan
from verify.evaluation.running.results import BatchResult, Results, merge
from verify.evaluation.running.scorers import Scorer, ScorerSpec
from verify.evaluation.running.transform import Transform
from verify.evaluation.shown.summaries import by_class, curve, misjudged

log = logging.getLogger(__name__)

Runner: TypeAlias = Literal["local", "ray"]


@dataclass(frozen=True)
class Progress:
    """How far a run is: images scored of all, their rate a second, the error so far; `what` says which part it is."""

    what: str
    images: int
    total: int
    rate: float
    top1: Counted | None = None


@dataclass(frozen=True)
class Setting:
    """What a run is besides its plan and model.

    Attributes:
        net, weights, data: for the report.
        run: what tells this run from others, for its journal, in words by name.
        expected: the published errors.
        runner: where batches are worked on.
        resume: go on with the journal of an interrupted run.
        journal: where it lies; by default in the user's folder for state, until the run is complete.
        judge: what runs the Caffe files, for the agreement, and on which images.
        caffe_scores: scores that the original Caffe gave, or an .npy file of them, to compare with.
        scores: an .npy file to write all scores into, N×K in the order of the data set.
        thumbnails: how many misjudged images are shown.
        confidence: of the intervals.
        notes: what the report should say besides.
        classes: their names in label order, where the data set does not know them.
        strict: whether what cannot be told is a failure.
        published: what the authors did to images, as far as that is known.
        baked: whether the model subtracts and scales by itself.
        progress: told after each batch.
    """

    net: str
    weights: str
    data: str
    run: dict[str, str]
    expected: Expected | None = None
    runner: Runner = "local"
    resume: bool = False
    journal: Path | None = None
    judge: tuple[ScorerSpec, Plan] | None = None
    caffe_scores: Path | npt.NDArray[np.float32] | None = None
    scores: Path | None = None
    thumbnails: int = 0
    confidence: float = CONFIDENCE
    notes: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    strict: bool = False
    published: Transform | None = None
    baked: bool = False
    progress: Callable[[Progress], None] | None = None


def evaluate(plan: Plan, spec: ScorerSpec, setting: Setting) -> Evaluation:
    """Score the plan's images and judge what was found.

    Raises:
        RequestError: no image could be read, images that do not go with the net, a model that fails, a journal of
            another run.
        MissingDependencyError: a package that the run needs is not installed.
    """
    scorer = spec.open()
    keepers = _keepers(plan, setting)
    with _journal(setting, plan) as journal:
        # Scores are not in the journal: who wants them all gets them all computed.
        before = [] if keepers else list(journal.done.values())
        begun = perf_counter()
        batches = [*before, *_run(plan, spec, scorer, setting, journal, before, keepers)]
        seconds = perf_counter() - begun
        agreement = _agreement(scorer, setting, keepers)
        if setting.journal is None:
            journal.remove()
    resumed = sum(len(batch.results) for batch in before)
    results, skipped, kinds = merge(batches)
    if not len(results):
        raise RequestError(_nothing(plan, skipped))
    classes = max(batch.classes for batch in batches)
    found = Evaluation(
        net=setting.net,
        weights=setting.weights,
        data=setting.data,
        engine=scorer.name,
        preprocessing=describe_transforms(plan.transforms),
        images=len(results),
        available=len(plan.source),
        confidence=setting.confidence,
        labelled=bool((results["label"] >= 0).any()),
        top1=_error(results, 1, setting.confidence),
        top5=_error(results, 5, setting.confidence) if classes > 5 else None,
        verdict=Verdict("none"),
        expected=setting.expected,
        agreement=agreement,
        skipped=tuple((plan.source.item(index).name, why) for index, why in skipped),
        kinds=kinds,
        classes=plan.source.classes or setting.classes,
        curve=tuple(curve(results, setting.confidence, top5=classes > 5)),
        by_class=tuple(by_class(results, plan.source.classes or setting.classes)),
        misjudged=tuple(misjudged(results, plan.source, setting.thumbnails)),
        notes=(*plan.source.notes, *setting.notes),
        seconds=seconds,
        rate=(len(results) - resumed) / seconds if seconds else 0.0,
        resumed=resumed,
        strict=setting.strict,
    )
    odd = suspect_order(results, classes)
    diagnosis = _diagnosis(plan, scorer, setting, found, results, classes, odd)
    return replace(_judged(found, results, classes, odd), diagnosis=diagnosis)


def _diagnosis(
    plan: Plan,
    scorer: Scorer,
    setting: Setting,
    found: Evaluation,
    results: Results,
    classes: int,
    odd: LabelOrder | None,
) -> Diagnosis | None:
    """Why the errors are not the published ones; not looked for where they are, or are smaller on the full set."""
    top1 = found.top1
    if found.expected is None or found.expected.top1 is None or top1 is None:
        return None
    if odd is not None:
        return Diagnosis(top1.images, odd.before, 1, (Cause("labels", f"the labels {odd.what}", "", odd.error),))
    outcome = judge(top1, found.top5, found.expected).outcome
    if outcome == "too few" or (outcome == "fail" and top1.error > found.expected.top1):
        tell = _told(setting, "with usual mistakes undone")
        return diagnose(plan, scorer, results, classes, published=setting.published, baked=setting.baked, progress=tell)
    return None


def describe_transforms(transforms: Sequence[Transform]) -> str:
    """What is done to an image; several scales in one sentence."""
    if len(transforms) == 1:
        return str(transforms[0])
    sizes = ", ".join(str(each.resize) for each in transforms[1:])
    return f"{transforms[0]}; and the same at {sizes}, averaged"


def _journal(setting: Setting, plan: Plan) -> Journal:
    """The run's journal; where nobody named a place, a folder that cannot be written is no reason to fail."""
    if setting.journal is not None:
        return Journal(setting.journal, setting.run, plan, resume=setting.resume)
    try:
        return Journal(default_path(setting.run), setting.run, plan, resume=setting.resume)
    except RequestError as error:
        if setting.resume:
            raise
        log.warning("an interrupted run could not be resumed: %s", error)
        return Journal(Path(os.devnull), setting.run, plan, resume=False)


def _run(
    plan: Plan,
    spec: ScorerSpec,
    scorer: Scorer,
    setting: Setting,
    journal: Journal,
    before: Sequence[BatchResult],
    keepers: Sequence[_Scores | StoredScores],
) -> list[BatchResult]:
    """The batches that are not done before."""
    batches = []
    tally = _Tally(plan, setting)
    for batch in before:
        tally.add(batch, fresh=False)
    done = {batch.batch for batch in before}
    for batch in _batches(replace(plan, keep_scores=bool(keepers)), spec, scorer, setting.runner, done):
        journal.add(batch)
        for keeper in keepers:
            keeper.add(plan, batch)
        batches.append(replace(batch, scores=None))
        tally.add(batch, fresh=True)
    return batches


def _keepers(plan: Plan, setting: Setting) -> list[_Scores | StoredScores]:
    """What wants to see every score."""
    keepers: list[_Scores | StoredScores] = []
    if setting.caffe_scores is not None:
        keepers.append(StoredScores(setting.caffe_scores, len(plan.source)))
    if setting.scores is not None:
        keepers.append(_Scores(setting.scores, len(plan.indices)))
    return keepers


def _batches(plan: Plan, spec: ScorerSpec, scorer: Scorer, runner: Runner, done: set[int]) -> Iterator[BatchResult]:
    if runner == "local":
        return run_local(plan, scorer, done=done)
    from verify.evaluation.running.on_ray import run_ray

    return run_ray(plan, spec, done=done)


class _Tally:
    """What the progress line says."""

    def __init__(self, plan: Plan, setting: Setting) -> None:
        self._total, self._tell, self._begun = len(plan.indices), setting.progress, perf_counter()
        self._confidence = setting.confidence
        self._images = self._fresh = self._wrong = self._labelled = 0

    def add(self, batch: BatchResult, *, fresh: bool) -> None:
        images = len(batch.results) + len(batch.skipped)
        self._images += images
        self._fresh += images if fresh else 0
        self._labelled += int((batch.results["label"] >= 0).sum())
        self._wrong += int((batch.results["rank"] >= 1).sum())
        if self._tell is not None and fresh:
            rate = self._fresh / max(perf_counter() - self._begun, 1e-9)
            error = wilson(self._wrong, self._labelled, self._confidence) if self._labelled else None
            self._tell(Progress("", self._images, self._total, rate, error))


class _Scores:
    """All scores, N×K, in the order of the data set; a row of nan for an image that could not be read."""

    def __init__(self, path: Path, images: int) -> None:
        self._path, self._images = path, images
        self._rows: Array | None = None

    def add(self, plan: Plan, batch: BatchResult) -> None:
        if batch.scores is None:
            return
        if self._rows is None:
            self._rows = np.full((self._images, batch.scores.shape[1]), np.nan, np.float32)
        self._rows[np.searchsorted(plan.indices, batch.results["index"])] = batch.scores

    def write(self) -> None:
        from weights import atomic_file

        if self._rows is not None:
            with atomic_file(self._path) as file:
                np.lib.format.write_array(file, self._rows, allow_pickle=False)


def _agreement(scorer: Scorer, setting: Setting, keepers: Sequence[_Scores | StoredScores]) -> Agreement | None:
    """With the judge, and with Caffe's stored scores; where there are both, the one that is worse."""
    found = []
    for keeper in keepers:
        if isinstance(keeper, _Scores):
            keeper.write()
        else:
            found.append(keeper.agreement())
    if setting.judge is not None:
        found.append(_judged_by(scorer, *setting.judge, setting))
    return min(found, key=lambda agreement: agreement.ok, default=None)


def _judged_by(scorer: Scorer, spec: ScorerSpec, plan: Plan, setting: Setting) -> Agreement:
    judging = spec.open()
    return agree(plan, scorer, judging, progress=_told(setting, f"beside {judging.name}"))


def _told(setting: Setting, what: str) -> Callable[[int, int], None]:
    """Tells how many images of how many are done of a part that begins now."""
    begun = perf_counter()

    def tell(images: int, total: int) -> None:
        if setting.progress is not None:
            rate = images / max(perf_counter() - begun, 1e-9)
            setting.progress(Progress(what, images, total, rate))

    return tell


def _error(results: Results, k: int, confidence: float) -> Counted | None:
    labelled = results["label"] >= 0
    if not labelled.any():
        return None
    return wilson(int((results["rank"] >= k).sum()), int(labelled.sum()), confidence)


def _judged(found: Evaluation, results: Results, classes: int, odd: LabelOrder | None) -> Evaluation:
    """The findings with their verdict and with what looks odd."""
    beyond = int((results["label"] >= classes).sum())
    nonfinite = int((~results["finite"]).sum())
    verdict = judge(found.top1, found.top5, found.expected, nonfinite=nonfinite)
    notes = list(found.notes)
    if found.resumed:
        notes.append(f"{found.resumed:,} results are from the journal of an interrupted run")
    if beyond:
        notes.append(f"{plural(beyond, 'label')} beyond the net's {classes} classes, counted as wrong")
    if odd:
        verdict = replace(verdict, reasons=(*verdict.reasons, str(odd)))
    verdict = _with_agreement(verdict, found)
    return replace(found, verdict=verdict, notes=tuple(notes))


def _with_agreement(verdict: Verdict, found: Evaluation) -> Verdict:
    """Scores that are not Caffe's fail whatever the error; those that are clear the conversion of a wrong error."""
    agreement = found.agreement
    if agreement is None or not agreement.images:
        return verdict
    if not agreement.ok:
        largest = f"{agreement.largest_difference:.1e}, where float32 explains {agreement.bound:.1e}"
        flipped = agreement.images - agreement.same_top1
        classes = f"{plural(flipped, 'image')} of another class"
        what = f"scores differ from those of {agreement.judge} by up to {largest}; {classes}"
        return Verdict("fail", (what, *verdict.reasons))
    if verdict.outcome != "fail":
        return verdict
    same = f"{agreement.judge} gives all {agreement.images:,} compared images the same scores"
    other = found.expected.other if found.expected else ()
    cause = f"; what differs from the published run: {'; '.join(other)}" if other else ""
    blame = "the images, their preprocessing or the weights make the difference, not the conversion"
    return replace(verdict, reasons=(*verdict.reasons, f"{same}: {blame}{cause}"))


def _nothing(plan: Plan, skipped: list[tuple[int, str]]) -> str:
    if not skipped:
        return f"{plan.source.where} has no images"
    index, why = skipped[0]
    unread = f"{plan.source.where}: not one of {plural(len(skipped), 'image')} could be read"
    return f"{unread}; {plan.source.item(index).name}: {why}"
