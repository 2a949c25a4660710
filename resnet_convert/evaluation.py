"""An evaluation as one request: convert, score a data set, hold the errors against what was published."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from converter.options import File
from prototxt.errors import RequestError
from resnet_convert.gating import Gate, gated
from resnet_convert.guarding import guard
from resnet_convert.images.expectations import caffe_scores_of, expected_of, published_transform, scales_of
from resnet_convert.images.preprocessing import transform_of
from resnet_convert.images.scored import VIEWS_AT_ONCE, baked_into, fixed_batch, left_to_do, opened_model
from resnet_convert.images.subject import Subject, source_of, subject_of
from resnet_convert.option import takes
from resnet_convert.provenance import provenance
from resnet_convert.requests import EvaluationRequest
from verify.evaluation.datasets.synsets import names
from verify.evaluation.evaluate import Progress, Setting
from verify.evaluation.evaluate import evaluate as run_evaluation
from verify.evaluation.published.figure import Published
from verify.evaluation.published.known import find
from verify.evaluation.records import Evaluation, Source
from verify.evaluation.running.journal import refuse_other_files
from verify.evaluation.running.plan import Plan, choose
from verify.evaluation.running.scorers import ScorerSpec
from verify.evaluation.running.transform import Resize, Transform
from verify.evaluation.shown.page import write_page
from weights import Outputs

THUMBNAILS = 60


@takes(EvaluationRequest)
def evaluate(request: EvaluationRequest) -> Evaluation:
    """Score images with a converted net as Caffe would, and hold the errors against published ones.

    Arguments are the fields of `EvaluationRequest`: those of the command line's verb, with arrays where it has files.

    Returns:
        errors with their intervals, the verdict, and what else was seen.

    Raises:
        CaffeModelError: files that cannot be read, a net that takes no images, images that do not fit it.
        MissingDependencyError: OpenCV, or what runs the net, is not installed.

    Example:
        >>> found = resnet_convert.evaluate(
        ...     "examples/digits/deploy.prototxt",
        ...     "examples/digits/digits_resnet.caffemodel",
        ...     "examples/digits/val",
        ...     labels="examples/digits/val.txt",
        ...     expect="digits-resnet",
        ... )
        >>> found.images, found.top1.error, found.verdict.outcome
        (500, 0.02, 'pass')
    """
    with gated(request, "evaluate", request.net) as gate:
        found = evaluation_of(request)
        write_files(found, request, gate)
        return found


def evaluation_of(request: EvaluationRequest, progress: Callable[[Progress], None] | None = None) -> Evaluation:
    """What the request asks for, but for the files that are to be written of it.

    Raises:
        CaffeModelError: see `verify.evaluation.evaluate`, and all that can be wrong with the net and the request.
    """
    guard(request)
    _refuse_idle_strictness(request)
    if request.journal:
        refuse_other_files(Path(request.journal))
    known = None if request.expect is None else find(request.expect)
    subject = subject_of(request)
    source = source_of(request)
    transforms, notes = _transforms(request, subject, known, source)
    indices = choose(len(source), request.limit, request.seed)
    plan = Plan(source, transforms, indices, request.batch_size or _batch(transforms, subject))
    with ExitStack() as stack:
        spec = stack.enter_context(opened_model(subject, request, scales_of(transforms)))
        if spec.compiled and not spec.batch:  # A last batch of another size would be compiled anew.
            spec = replace(spec, batch=plan.batch * transforms[0].views)
        judging = _judge(request, subject, plan)
        baked = baked_into(request)
        theirs, planned = published_transform(known, request, subject, source, transforms[0]), plan
        if baked is not None:
            if judging is not None:
                raise RequestError(f"{request.model} has preprocessing baked in: --agree compares models without")
            plan = replace(plan, transforms=tuple(left_to_do(each, baked) for each in transforms))
            notes.append("mean, scale and order of channels are baked into the model")
        setting = Setting(
            net=str(request.net),
            weights=str(request.weights or request.net),
            data=_named(request.data),
            run=_identity(plan, spec, request, subject),
            expected=expected_of(known, request, subject, planned, theirs),
            runner=request.runner,
            resume=request.resume,
            journal=Path(request.journal) if request.journal else None,
            judge=judging,
            caffe_scores=caffe_scores_of(known, request, subject, plan),
            scores=Path(request.scores) if request.scores else None,
            thumbnails=THUMBNAILS if request.report else 0,
            notes=(*subject.notes, *notes),
            classes=names() if known and known.dataset.startswith("ImageNet") else (),
            strict=request.strict,
            published=theirs,
            baked=baked is not None,
            progress=progress,
        )
        return _evaluated(plan, spec, setting)


def _refuse_idle_strictness(request: EvaluationRequest) -> None:
    """A strict run that is held against nothing would pass whatever it finds."""
    if request.strict and not request.stated() & {"expect", "expect_top1", "expect_top5", "agree", "caffe_scores"}:
        raise RequestError("--strict has nothing to hold the run against: give --expect, --expect-top1 or --agree")


def _evaluated(plan: Plan, spec: ScorerSpec, setting: Setting) -> Evaluation:
    try:
        return run_evaluation(plan, spec, setting)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("interrupted; the same command with --resume goes on from here") from None


def _transforms(
    request: EvaluationRequest, subject: Subject, known: Published | None, source: Source
) -> tuple[tuple[Transform, ...], list[str]]:
    scales = request.multi_scale or (known.scales if known is not None else ())
    mirror = request.mirror or (known is not None and known.mirror)
    if not scales:
        transform, notes = transform_of(request, subject, known, source, crops=request.crops, mirror=mirror)
        return (transform,), notes
    name = "--multi-scale" if request.multi_scale or known is None else known.name
    given = {
        "--resize": request.resize,
        "--crop": request.crop,
        "--crops": request.crops,
        "--agree": request.agree,  # the Caffe files run at one size
    }
    for option, value in given.items():
        if value is not None:
            raise RequestError(f"{option} does not go with {name}: there the net sees whole images")
    transform, notes = transform_of(replace(request, resize=()), subject, known, source, crops=1, mirror=mirror)
    if transform.mean is not None and transform.mean.shape[1:] != (1, 1):
        size = f"{transform.mean.shape[1]}×{transform.mean.shape[2]}"
        values = ",".join(f"{value:.3f}" for value in transform.mean.mean(axis=(1, 2), dtype=np.float64))
        raise RequestError(f"a mean image ({size}) does not go with {name}; its mean values do: --mean {values}")
    whole = replace(transform, crop=None)
    return tuple(replace(whole, resize=Resize(shorter=side)) for side in scales), notes


def _batch(transforms: Sequence[Transform], subject: Subject) -> int:
    """How many images make about `VIEWS_AT_ONCE` pictures of the net's own size."""
    crop = subject.shape[2] * subject.shape[3]
    pictures = sum(side**2 for side in scales_of(transforms)) / crop or 1
    return max(1, int(VIEWS_AT_ONCE / (pictures * transforms[0].views)))


def _judge(request: EvaluationRequest, subject: Subject, plan: Plan) -> tuple[ScorerSpec, Plan] | None:
    if request.agree is None:
        return None
    engine = request.judge
    spec = ScorerSpec(engine, subject.net.path, subject.scores, net=subject.net, weights=subject.weights)
    spec = replace(spec, batch=fixed_batch(engine, subject))
    chosen = plan.indices[choose(len(plan.indices), request.agree or None, request.seed)]
    return spec, replace(plan, indices=chosen)


def _identity(plan: Plan, spec: ScorerSpec, request: EvaluationRequest, subject: Subject) -> dict[str, str]:
    """What must be the same for a run to be resumed."""
    model = request.model or subject.weights
    return {
        "data": _data_identity(request.data),
        "net": hashlib.sha256(subject.net.message.SerializeToString(deterministic=True)).hexdigest(),
        "model": "none" if model is None else _digest(Path(model)),
        "dialects": repr(sorted(request.dialects.items())),
        "scores": subject.scores,
        "engine": f"{spec.engine} ({spec.device}{', compiled' if spec.compiled else ''})",
        "fold": request.fold,
        "orientation": "ignored" if request.ignore_orientation else "applied",
        "images and preprocessing": plan.fingerprint(),
    }


def _named(data: File | npt.NDArray[np.uint8]) -> str:
    return f"an array of {len(data)} images" if isinstance(data, np.ndarray) else str(data)


def _data_identity(data: File | npt.NDArray[np.uint8]) -> str:
    if isinstance(data, np.ndarray):
        return hashlib.sha256(np.ascontiguousarray(data).tobytes()).hexdigest()
    return str(Path(data).resolve())


def _digest(path: Path) -> str:
    """Of a file, or of all files of a folder."""
    made = hashlib.sha256()
    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        if file.is_file():
            with file.open("rb") as opened:
                while part := opened.read(1 << 20):
                    made.update(part)
    return made.hexdigest()


def write_files(found: Evaluation, request: EvaluationRequest, gate: Gate) -> None:
    """The page, where it is asked for, and what a CI server is told."""
    if request.report is not None:
        with Outputs() as outputs:
            write_page(found, outputs.file(request.report), provenance(request))
    gate.tell_evaluation(found)
