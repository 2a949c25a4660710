"""`resnet-convert evaluate`: convert, score a data set, hold the errors against what was published."""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Literal, cast

import numpy as np

from converter.cli_evaluation import EvaluationArguments, ImageArguments
from converter.cli_options import Arguments
from converter.commands.images import Subject, source_of, subject_of, transform_of
from converter.commands.models import dense_subject, fixed_batch, write_model
from converter.dense import Dense, fully_convolutional
from prototxt.errors import RequestError
from verify.engines import open_model
from verify.evaluation.evaluate import Progress, Setting, evaluate
from verify.evaluation.figures import points, published_digits
from verify.evaluation.junit import junit_xml
from verify.evaluation.page import write_page
from verify.evaluation.plan import Plan, UnfitImageError, choose
from verify.evaluation.records import Evaluation, Expected, Source
from verify.evaluation.scorers import ScorerSpec
from verify.evaluation.synsets import names
from verify.evaluation.text import format_evaluation, verdict_line
from verify.evaluation.transform import Resize, Transform
from verify.preprocessing import baked_order
from verify.published import Published, find, published, weights_note
from weights import atomic_path, open_weights

VIEWS_AT_ONCE = 32
"""Pictures in a batch; with ten crops these are 3 images."""
THUMBNAILS = 60
LIST = "list"


def run(arguments: Arguments) -> int:
    """Evaluate and print what was found; 3 if the errors are not those that were published, or Caffe disagrees."""
    if arguments.evaluation.expect == LIST:
        print(_table())
        return 0
    found = evaluation_of(arguments)
    _write(found, arguments.evaluation)
    _print(found, arguments)
    return 3 if failed(found) else 0


def evaluation_of(arguments: Arguments) -> Evaluation:
    """What the command line asks for.

    Raises:
        CaffeModelError: see `verify.evaluation.evaluate`, and all that can be wrong with the net and the images.
    """
    asked, images = arguments.evaluation, arguments.images
    known = None if asked.expect is None else find(asked.expect)
    subject = subject_of(arguments)
    source = source_of(images)
    transforms, notes = _transforms(asked, images, subject, known, source)
    indices = choose(len(source), images.limit, images.seed)
    plan = Plan(source, transforms, indices, images.batch_size or _batch(transforms, subject))
    with ExitStack() as stack:
        spec = stack.enter_context(_model(subject, arguments, _scales(transforms)))
        if spec.compiled and not spec.batch:  # A last batch of another size would be compiled anew.
            spec = replace(spec, batch=plan.batch * transforms[0].views)
        judging = _judge(asked, subject, plan, images.seed)
        baked = _baked(asked)
        if baked is not None:
            if judging is not None:
                raise RequestError(f"{asked.model} has preprocessing baked in: --agree compares models without")
            plan = replace(plan, transforms=tuple(_left_to_do(each, baked) for each in transforms))
            notes.append("mean, scale and order of channels are baked into the model")
        setting = Setting(
            net=arguments.net,
            weights=arguments.weights or arguments.net,
            data=images.data,
            run=_identity(plan, spec, arguments, subject),
            expected=_expected(known, asked, subject, plan),
            runner=asked.runner,
            resume=asked.resume,
            journal=Path(asked.journal) if asked.journal else None,
            judge=judging,
            caffe_scores=_caffe_scores(known, asked, images, subject, plan),
            scores=Path(asked.scores) if asked.scores else None,
            thumbnails=THUMBNAILS if asked.report else 0,
            notes=(*subject.notes, *notes),
            classes=names() if known and known.dataset.startswith("ImageNet") else (),
            progress=_Line() if _shows_progress(arguments) else None,
        )
        return _evaluated(plan, spec, setting)


def failed(found: Evaluation) -> bool:
    """Whether the errors disagree with the published ones, or the scores with Caffe's."""
    return found.verdict.outcome == "fail"


def _evaluated(plan: Plan, spec: ScorerSpec, setting: Setting) -> Evaluation:
    try:
        return evaluate(plan, spec, setting)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("interrupted; the same command with --resume goes on from here") from None


def _transforms(
    asked: EvaluationArguments, images: ImageArguments, subject: Subject, known: Published | None, source: Source
) -> tuple[tuple[Transform, ...], list[str]]:
    scales = asked.scales or (known.scales if known is not None else ())
    mirror = asked.mirror or (known is not None and known.mirror)
    if not scales:
        transform, notes = transform_of(images, subject, known, source, crops=asked.crops, mirror=mirror)
        return (transform,), notes
    name = "--multi-scale" if asked.scales or known is None else known.name
    given = {
        "--resize": images.resize,
        "--crop": images.crop,
        "--crops": asked.crops,
        "--agree": asked.agree,  # the Caffe files run at one size
    }
    for option, value in given.items():
        if value is not None:
            raise RequestError(f"{option} does not go with {name}: there the net sees whole images")
    transform, notes = transform_of(replace(images, resize=()), subject, known, source, crops=1, mirror=mirror)
    if transform.mean is not None and transform.mean.shape[1:] != (1, 1):
        size = f"{transform.mean.shape[1]}×{transform.mean.shape[2]}"
        values = ",".join(f"{value:.3f}" for value in transform.mean.mean(axis=(1, 2), dtype=np.float64))
        raise RequestError(f"a mean image ({size}) does not go with {name}; its mean values do: --mean {values}")
    whole = replace(transform, crop=None)
    return tuple(replace(whole, resize=Resize(shorter=side)) for side in scales), notes


def _scales(transforms: Sequence[Transform]) -> tuple[int, ...]:
    """Shorter sides at which a net in fully convolutional form sees whole images; empty for one that sees crops."""
    return tuple(each.resize.shorter for each in transforms if each.crop is None and each.resize is not None)


def _batch(transforms: Sequence[Transform], subject: Subject) -> int:
    """How many images make about `VIEWS_AT_ONCE` pictures of the net's own size."""
    crop = subject.shape[2] * subject.shape[3]
    pictures = sum(side**2 for side in _scales(transforms)) / crop or 1
    return max(1, int(VIEWS_AT_ONCE / (pictures * transforms[0].views)))


def _baked(asked: EvaluationArguments) -> str | None:
    """The order of channels that a given model takes, when its preprocessing is baked in."""
    if asked.model is None:
        return None
    return baked_order(open_model(asked.model).metadata, asked.model)


def _left_to_do(transform: Transform, order: str) -> Transform:
    return replace(transform, mean=None, scale=1.0, rgb=order == "rgb")


@contextmanager
def _model(subject: Subject, arguments: Arguments, scales: Sequence[int]) -> Iterator[ScorerSpec]:
    """The model to be scored, converted into a folder that is gone afterwards; fully convolutional for scales."""
    asked, images = arguments.evaluation, arguments.images
    engine = "onnx" if asked.engine == "onnxruntime" else asked.engine
    common = ScorerSpec(
        engine,
        subject.net.path,
        subject.scores,
        threads=asked.threads,
        device=images.device,
        compiled=asked.compiled,
        channels_last=asked.channels_last,
    )
    if scales and engine in ("opencv", "caffe"):
        raise RequestError(f"--multi-scale runs in onnx, torch and the interpreter, not in {engine}")
    if asked.model is not None:
        is_folder = Path(asked.model).is_dir()
        yield replace(common, engine="torch" if is_folder else "onnx", path=asked.model)
        return
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="resnet-convert-")))
        weights = None if subject.weights is None else stack.enter_context(open_weights(subject.weights))
        if scales:
            dense = fully_convolutional(subject.net, weights, subject.options)
            for side in scales:  # No image is smaller than the square.
                dense.check_size(side, side)
            stack.enter_context(_explained(dense))
            subject, weights = dense_subject(subject, dense, engine, folder), dense.weights
        if engine in ("interpreter", "opencv", "caffe"):
            yield replace(common, net=subject.net, weights=subject.weights, batch=fixed_batch(engine, subject))
            return
        target = folder / ("model.onnx" if engine == "onnx" else "model")
        form = cast(Literal["onnx", "torch"], engine)
        batch = write_model(subject, weights, form, target, any_size=bool(scales))
        yield replace(common, path=str(target), batch=batch)


@contextmanager
def _explained(dense: Dense) -> Iterator[None]:
    """Say which layer it is that cannot work on an image, and where it stands, instead of what a runtime says."""
    try:
        yield
    except UnfitImageError as error:
        try:
            dense.check_size(*error.size)
        except RequestError as reason:
            raise RequestError(
                f"{error.image}: {reason.message}",
                position=reason.position,
                layer=reason.layer,
                layer_type=reason.layer_type,
            ) from error
        raise


def _judge(asked: EvaluationArguments, subject: Subject, plan: Plan, seed: int) -> tuple[ScorerSpec, Plan] | None:
    if asked.agree is None:
        return None
    engine = asked.judge
    spec = ScorerSpec(engine, subject.net.path, subject.scores, net=subject.net, weights=subject.weights)
    spec = replace(spec, batch=fixed_batch(engine, subject))
    chosen = plan.indices[choose(len(plan.indices), asked.agree or None, seed)]
    return spec, replace(plan, indices=chosen)


def _expected(known: Published | None, asked: EvaluationArguments, subject: Subject, plan: Plan) -> Expected | None:
    top1 = None if asked.expect_top1 is None else asked.expect_top1 / 100
    top5 = None if asked.expect_top5 is None else asked.expect_top5 / 100
    if known is None:
        return None if top1 is None and top5 is None else Expected(top1=top1, top5=top5)
    other = []
    note = weights_note(known, subject.weights) if subject.weights else None
    if note:
        other.append(note)
    if known.dataset == "CIFAR-10 test" and _are_jpegs(plan):
        other.append("the images are compressed as JPEG, those of the published error were not")
    scales = _scales(plan.transforms)
    if scales != known.scales:
        other.append(f"whole images at shorter sides {', '.join(map(str, scales))} instead of {known.protocol}")
    elif plan.transforms[0].crops != known.crops:
        other.append(f"{plan.transforms[0].crops} crops instead of {known.crops}")
    if plan.transforms[0].mirror and not known.mirror and plan.transforms[0].crops == 1:
        other.append("the mirror images as well")
    return Expected(
        name=known.name,
        title=known.title,
        protocol=f"{known.protocol}; {known.preprocessing}",
        source=known.source,
        top1=known.top1 if top1 is None else top1,
        top5=known.top5 if top5 is None else top5,
        variation=known.variation,
        images=known.images,
        exact=bool(known.scores) and len(plan.indices) == len(plan.source) == known.images,
        other=tuple(other),
    )


def _caffe_scores(
    known: Published | None, asked: EvaluationArguments, images: ImageArguments, subject: Subject, plan: Plan
) -> Path | None:
    """The original Caffe's scores: the file that is named, or that of a published run, beside its net or images."""
    if asked.caffe_scores is not None:
        return Path(asked.caffe_scores)
    if known is None or not known.scores or subject.scores != known.blob:
        return None
    if len(plan.source) != known.images or plan.transforms[0].crops != known.crops:
        return None
    paths = (subject.weights, subject.net.path, images.labels, images.data)
    places = [Path(path).resolve().parent / known.scores for path in paths if path]
    return next((place for place in places if place.is_file()), None)


def _are_jpegs(plan: Plan) -> bool:
    first = plan.source.item(int(plan.indices[0])).name if len(plan.indices) else ""
    return first.lower().endswith((".jpg", ".jpeg"))


def _identity(plan: Plan, spec: ScorerSpec, arguments: Arguments, subject: Subject) -> dict[str, str]:
    """What must be the same for a run to be resumed."""
    model = arguments.evaluation.model or subject.weights
    images = arguments.images
    return {
        "data": str(Path(images.data).resolve()),
        "net": hashlib.sha256(subject.net.message.SerializeToString(deterministic=True)).hexdigest(),
        "model": "none" if model is None else _digest(Path(model)),
        "dialects": repr(sorted(arguments.dialects.items())),
        "scores": subject.scores,
        "engine": f"{spec.engine} ({spec.device}{', compiled' if spec.compiled else ''})",
        "fold": arguments.fold,
        "orientation": "ignored" if images.ignore_orientation else "applied",
        "images and preprocessing": plan.fingerprint(),
    }


def _digest(path: Path) -> str:
    """Of a file, or of all files of a folder."""
    made = hashlib.sha256()
    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        if file.is_file():
            with file.open("rb") as opened:
                while part := opened.read(1 << 20):
                    made.update(part)
    return made.hexdigest()


def _write(found: Evaluation, asked: EvaluationArguments) -> None:
    if asked.report is not None:
        with atomic_path(Path(asked.report)) as page:
            write_page(found, page)
    if asked.junit is not None:
        with atomic_path(Path(asked.junit)) as file:
            file.write_text(junit_xml(found), encoding="utf-8")


def _print(found: Evaluation, arguments: Arguments) -> None:
    bad = failed(found)
    if arguments.json:
        print(json.dumps(found.to_json()))
    if bad or not (arguments.quiet or arguments.json):
        text = verdict_line(found) if arguments.quiet else format_evaluation(found, verbose=arguments.verbose)
        print(text, file=sys.stderr if bad else sys.stdout)


def _table() -> str:
    """Everything that `--expect` knows."""
    rows: list[tuple[str, ...]] = [("name", "top-1", "top-5", "how", "model")]
    for entry in published().values():
        errors = [
            "–" if error is None else points(error, published_digits(error)) for error in (entry.top1, entry.top5)
        ]
        rows.append((entry.name, *errors, entry.protocol, entry.title))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    return "\n".join(
        "  ".join(
            [row[0].ljust(widths[0]), row[1].rjust(widths[1]), row[2].rjust(widths[2]), row[3].ljust(widths[3]), row[4]]
        )
        for row in rows
    )


def _shows_progress(arguments: Arguments) -> bool:
    return sys.stderr.isatty() and not arguments.quiet and not arguments.json


class _Line:
    """The line of progress on a terminal, which `describe` words."""

    def __init__(self) -> None:
        self._shown = 0.0

    def __call__(self, progress: Progress) -> None:
        last = progress.images >= progress.total
        if monotonic() - self._shown < 0.2 and not last:
            return
        self._shown = monotonic()
        print(f"\r\x1b[K{'' if last else describe(progress)}", end="", file=sys.stderr, flush=True)


def describe(progress: Progress) -> str:
    """`12,800 of 50,000 images, 143/s, 4 min left, top-1 error 24.9 % [24.2, 25.7]`."""
    left = (progress.total - progress.images) / progress.rate if progress.rate else 0.0
    parts = [f"{progress.images:,} of {progress.total:,} images {progress.what}".rstrip(), f"{progress.rate:,.0f}/s"]
    parts.append(f"{left / 60:.0f} min left" if left >= 90 else f"{left:.0f} s left")
    if progress.top1 is not None:
        error = progress.top1
        parts.append(f"top-1 error {points(error.error)} % [{points(error.low)}, {points(error.high)}]")
    return ", ".join(parts)
