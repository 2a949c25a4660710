"""`resnet-convert evaluate`: convert, score a data set, hold the errors against what was published."""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Literal, cast

from converter.api import Options, converted
from converter.cli_evaluation import EvaluationArguments, ImageArguments
from converter.cli_options import Arguments
from converter.commands.images import Subject, source_of, subject_of, transform_of
from converter.dense import fully_convolutional
from prototxt.errors import CaffeModelError, RequestError
from verify.evaluation.evaluate import Progress, Setting, evaluate
from verify.evaluation.figures import points, published_digits
from verify.evaluation.junit import junit_xml
from verify.evaluation.page import write_page
from verify.evaluation.plan import Plan, choose
from verify.evaluation.records import Evaluation, Expected
from verify.evaluation.scorers import ScorerSpec
from verify.evaluation.synsets import names
from verify.evaluation.text import format_evaluation, verdict_line
from verify.evaluation.transform import Resize, Transform
from verify.published import Published, find, published, weights_note
from weights import atomic_path

VIEWS_AT_ONCE = 32
"""Pictures in a batch; with ten crops these are 3 images."""
THUMBNAILS = 60
LIST = "list"


def run(arguments: Arguments) -> int:
    """Evaluate and print what was found; 3 if the errors are not those that were published, or Caffe disagrees."""
    asked, images = arguments.evaluation, arguments.images
    if asked.expect == LIST:
        print(_table())
        return 0
    known = None if asked.expect is None else find(asked.expect)
    subject = subject_of(arguments)
    source = source_of(images)
    transforms, notes = _transforms(asked, images, subject, known)
    indices = choose(len(source), images.limit, images.seed)
    batch = images.batch_size or max(1, VIEWS_AT_ONCE // transforms[0].views)
    plan = Plan(source, transforms, indices, batch)
    with ExitStack() as stack:
        spec = stack.enter_context(_model(subject, arguments, dense=transforms[0].crop is None))
        setting = Setting(
            net=arguments.net,
            weights=arguments.weights or arguments.net,
            data=images.data,
            run=_identity(plan, spec, arguments, subject),
            expected=_expected(known, asked, images, subject, plan),
            runner=asked.runner,
            resume=asked.resume,
            journal=Path(asked.journal) if asked.journal else None,
            judge=_judge(asked, subject, plan, images.seed),
            scores=Path(asked.scores) if asked.scores else None,
            thumbnails=THUMBNAILS if asked.report else 0,
            notes=(*subject.notes, *notes),
            classes=names() if known and known.dataset.startswith("ImageNet") else (),
            progress=_Line(arguments) if _shows_progress(arguments) else None,
        )
        found = _evaluated(plan, spec, setting)
    _write(found, asked)
    _print(found, arguments)
    return 3 if failed(found) else 0


def failed(found: Evaluation) -> bool:
    """Whether the errors disagree with the published ones, or the scores with Caffe's."""
    agreement = found.agreement
    flipped = agreement is not None and agreement.same_top1 < agreement.images
    return found.verdict.outcome == "fail" or flipped


def _evaluated(plan: Plan, spec: ScorerSpec, setting: Setting) -> Evaluation:
    try:
        return evaluate(plan, spec, setting)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("interrupted; the same command with --resume goes on from here") from None


def _transforms(
    asked: EvaluationArguments, images: ImageArguments, subject: Subject, known: Published | None
) -> tuple[tuple[Transform, ...], list[str]]:
    transform, notes = transform_of(images, subject, known, crops=asked.crops, mirror=asked.mirror)
    scales = asked.scales or (known.scales if known is not None else ())
    if not scales:
        return (transform,), notes
    whole = replace(transform, crop=None, crops=1)
    return tuple(replace(whole, resize=Resize(shorter=side)) for side in scales), notes


@contextmanager
def _model(subject: Subject, arguments: Arguments, *, dense: bool) -> Iterator[ScorerSpec]:
    """The model to be scored, converted into a folder that is gone afterwards."""
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
    if dense and engine in ("opencv", "caffe"):
        raise RequestError(f"--multi-scale runs in onnx, torch and the interpreter, not in {engine}")
    if asked.model is not None:
        is_folder = Path(asked.model).is_dir()
        yield replace(common, engine="torch" if is_folder else "onnx", path=asked.model)
        return
    with ExitStack() as stack:
        if dense:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="resnet-convert-")))
            subject = fully_convolutional_subject(subject, folder)
        if engine in ("interpreter", "opencv", "caffe"):
            yield replace(common, net=subject.net, weights=subject.weights, batch=_fixed_batch(engine, subject))
            return
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="resnet-convert-")))
        target = folder / ("model.onnx" if engine == "onnx" else "model")
        batch = _convert(subject, arguments, cast(Literal["onnx", "torch"], engine), target, dense=dense)
        yield replace(common, path=str(target), batch=batch)


def _fixed_batch(engine: str, subject: Subject) -> int:
    """OpenCV and Caffe reshape the net to any batch, the interpreter likewise unless a Reshape layer fixes it."""
    fixed = any(
        layer.type == "Reshape" and layer.param.reshape_param.shape.dim[:1] not in ([0], [-1], [])
        for layer in subject.net.layers
    )
    return subject.shape[0] if fixed and engine == "interpreter" else 0


def _convert(
    subject: Subject, arguments: Arguments, engine: Literal["onnx", "torch"], target: Path, *, dense: bool
) -> int:
    """Write the model with a free batch axis where the net allows it; the batch that it takes, 0 for any."""
    free = ("N", subject.shape[1], *(("H", "W") if dense else subject.shape[2:]))
    source = subject.source or arguments.net, subject.source_weights or arguments.weights
    options = replace(subject.options, input_shapes={subject.input: free})
    try:
        _convert_to(engine, source, options, target)
        return 0
    except CaffeModelError:
        if dense:
            raise
    # Some nets name their batch in a Reshape layer.
    _convert_to(engine, source, replace(options, input_shapes={subject.input: subject.shape}), target)
    return subject.shape[0]


def _convert_to(
    engine: Literal["onnx", "torch"], source: tuple[str, str | None], options: Options, target: Path
) -> None:
    with converted(*source, to=engine, output=target, opset=None, options=options):
        pass


def fully_convolutional_subject(subject: Subject, folder: Path) -> Subject:
    """The same net without InnerProduct layers, as files in a folder."""
    net, weights = fully_convolutional(subject.net, subject.weights, subject.options, folder)
    return replace(subject, net=net, weights=weights, source=net.path, source_weights=weights)


def _judge(asked: EvaluationArguments, subject: Subject, plan: Plan, seed: int) -> tuple[ScorerSpec, Plan] | None:
    if asked.agree is None:
        return None
    if plan.transforms[0].crop is None:
        raise RequestError("--agree compares single crops, not --multi-scale")
    engine = asked.judge
    spec = ScorerSpec(engine, subject.net.path, subject.scores, net=subject.net, weights=subject.weights)
    spec = replace(spec, batch=_fixed_batch(engine, subject))
    chosen = plan.indices[choose(len(plan.indices), asked.agree or None, seed)]
    return spec, replace(plan, indices=chosen)


def _expected(
    known: Published | None, asked: EvaluationArguments, images: ImageArguments, subject: Subject, plan: Plan
) -> Expected | None:
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
    if plan.transforms[0].crops != known.crops:
        other.append(f"{plan.transforms[0].crops} crops instead of {known.crops}")
    return Expected(
        name=known.name,
        title=known.title,
        protocol=f"{known.protocol}; {known.preprocessing}",
        source=known.source,
        top1=known.top1 if top1 is None else top1,
        top5=known.top5 if top5 is None else top5,
        variation=known.variation,
        images=known.images,
        other=tuple(other),
    )


def _are_jpegs(plan: Plan) -> bool:
    first = plan.source.item(int(plan.indices[0])).name if len(plan.indices) else ""
    return first.lower().endswith((".jpg", ".jpeg"))


def _identity(plan: Plan, spec: ScorerSpec, arguments: Arguments, subject: Subject) -> dict[str, str]:
    """What must be the same for a run to be resumed."""
    model = arguments.evaluation.model or subject.weights
    return {
        "net": hashlib.sha256(subject.net.message.SerializeToString(deterministic=True)).hexdigest(),
        "model": "none" if model is None else _digest(Path(model)),
        "engine": spec.engine,
        "fold": arguments.fold,
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

    def __init__(self, arguments: Arguments) -> None:
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
