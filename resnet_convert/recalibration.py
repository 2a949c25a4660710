"""BatchNorm's statistics as plain averages over images, and the net written with them, as one request."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from converter.api import default_output, files_of, prepare, write
from converter.reading import load_parsed
from converter.recalibration.recalibrate import Recalibrated, write_weights
from converter.recalibration.recalibrate import recalibrate as measure
from converter.tensor import Array
from prototxt.errors import RequestError
from prototxt.optional import need
from prototxt.words import plural
from resnet_convert.guarding import guard
from resnet_convert.images.preprocessing import transform_of
from resnet_convert.images.subject import Subject, source_of, subject_of
from resnet_convert.option import takes
from resnet_convert.requests import RecalibrationRequest
from verify.evaluation.running.plan import Loaded, Plan, choose
from verify.machine import physical_memory, processors
from weights import Weights, open_weights

BATCH = 32

Progress = Callable[[int, int, int], None]
"""Told the pass, of how many, and the images that it has seen."""


@dataclass(frozen=True)
class Recalibration:
    """What a recalibration did.

    Attributes:
        found: the statistics, old and new.
        file: what was written.
        notes: what else should be known.
    """

    found: Recalibrated
    file: Path
    notes: list[str]


@takes(RecalibrationRequest)
def recalibrate(request: RecalibrationRequest) -> Recalibration:
    """Compute BatchNorm's means and variances anew, as plain averages over images, and write the net.

    Arguments are the fields of `RecalibrationRequest`: those of the command line's verb, with arrays for files.

    Raises:
        CaffeModelError: files that cannot be read, a net without weights or without images.

    Example:
        >>> done = resnet_convert.recalibrate(
        ...     "examples/digits/deploy.prototxt",
        ...     "examples/digits/digits_resnet.caffemodel",
        ...     "examples/digits/val",
        ...     limit=64,
        ...     output="recalibrated.caffemodel",
        ... )
        >>> done.file, done.found.images
        (PosixPath('recalibrated.caffemodel'), 64)
    """
    return recalibration_of(request)


def recalibration_of(request: RecalibrationRequest, progress: Progress | None = None) -> Recalibration:
    """Measure and write; errors as of `recalibrate`."""
    guard(request, output=_files(request))
    subject = subject_of(request)
    source = source_of(request)
    transform, notes = transform_of(request, subject, None, source)
    plan = Plan(source, (transform,), choose(len(source), request.limit, request.seed), request.batch_size or BATCH)
    if subject.weights is None:
        raise RequestError("there are no weights whose statistics could be computed anew")
    with open_weights(subject.weights) as weights:
        found, skipped = _measured(plan, subject, weights, request, progress)
        target = _write(found, request)
    notes = [*subject.notes, *notes, *source.notes, *found.notes]
    if skipped:
        unread = plural(len(skipped), "image")
        notes.append(f"left out {unread} that could not be read, the first: {next(iter(skipped))}")
    return Recalibration(found, target, notes)


def _measured(
    plan: Plan, subject: Subject, weights: Weights, request: RecalibrationRequest, progress: Progress | None
) -> tuple[Recalibrated, dict[str, str]]:
    skipped: dict[str, str] = {}

    def batches() -> Iterator[dict[str, Array]]:
        for loaded in _ahead(plan):
            skipped.update((plan.source.item(index).name, why) for index, why in loaded.skipped)
            if loaded.inputs and loaded.inputs[0]:
                yield {subject.input: loaded.inputs[0][0]}

    options = request.to_options()
    found = measure(
        load_parsed(request.net, options, request.weights),
        weights,
        batches,
        options=options,
        device=_cuda_or_cpu() if request.device == "auto" else request.device,
        precision=request.precision,
        cache_bytes=physical_memory() // 4 if request.cache is None else int(request.cache * 1e6),
        progress=progress,
    )
    return found, skipped


def _ahead(plan: Plan) -> Iterator[Loaded]:
    """The batches in order, some of them read while others are in use."""
    waiting: deque[Future[Loaded]] = deque()
    with ThreadPoolExecutor(processors()) as pool:
        for batch in range(len(plan)):
            waiting.append(pool.submit(plan.read, batch))
            if len(waiting) > processors():
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _cuda_or_cpu() -> str:
    return "cuda" if need("torch", "torch", "computing statistics").cuda.is_available() else "cpu"


def _target(request: RecalibrationRequest) -> Path:
    if request.output is not None:
        return Path(request.output)
    if request.to != "caffemodel":
        return Path(default_output(request.net, request.to))
    return Path(f"recalibrated_{Path(default_output(request.net, 'onnx')).with_suffix('.caffemodel').name}")


def _files(request: RecalibrationRequest) -> list[Path]:
    target = _target(request)
    return [target] if request.to == "caffemodel" else files_of(request.to, target)


def _write(found: Recalibrated, request: RecalibrationRequest) -> Path:
    target = _target(request)
    if request.to == "caffemodel":
        return write_weights(found, target)
    options = request.to_options()
    net = load_parsed(request.net, options, request.weights)
    write(prepare(net, found.weights, options), request.to, target, None)
    return target
