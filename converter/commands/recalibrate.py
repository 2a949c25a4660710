"""`resnet-convert recalibrate`: BatchNorm's statistics as plain averages over images, and the net written with them."""

from __future__ import annotations

import json
import sys
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import cast

from converter.api import Target, default_output, load_parsed, prepare, write
from converter.cli_evaluation import RecalibrationArguments
from converter.cli_options import Arguments
from converter.commands.convert import physical_memory
from converter.commands.images import Subject, source_of, subject_of, transform_of
from converter.commands.options import options_of
from converter.graph import Array
from converter.recalibration import Recalibrated, recalibrate, shift, write_weights
from prototxt.errors import RequestError
from verify.engine_onnx import processors
from verify.evaluation.plan import Loaded, Plan, choose
from verify.report_text import printable
from weights import Weights, open_weights

BATCH = 32
SHOWN = 5


def run(arguments: Arguments) -> int:
    """Measure, write, and say how far the statistics moved."""
    images = arguments.images
    subject = subject_of(arguments)
    source = source_of(images)
    transform, notes = transform_of(images, subject, None, source)
    plan = Plan(source, (transform,), choose(len(source), images.limit, images.seed), images.batch_size or BATCH)
    if subject.weights is None:
        raise RequestError("there are no weights whose statistics could be computed anew")
    with open_weights(subject.weights) as weights:
        found, skipped = _measured(plan, subject, weights, arguments)
        target = _write(found, arguments)
    notes = [*subject.notes, *notes, *source.notes, *found.notes]
    if skipped:
        notes.append(f"{len(skipped)} images could not be read and were left out, the first: {next(iter(skipped))}")
    _print(found, target, notes, arguments)
    return 0


def _measured(
    plan: Plan, subject: Subject, weights: Weights, arguments: Arguments
) -> tuple[Recalibrated, dict[str, str]]:
    skipped: dict[str, str] = {}

    def batches() -> Iterator[dict[str, Array]]:
        for loaded in _ahead(plan):
            skipped.update((plan.source.item(index).name, why) for index, why in loaded.skipped)
            if loaded.inputs and loaded.inputs[0]:
                yield {subject.input: loaded.inputs[0][0]}

    asked: RecalibrationArguments = arguments.recalibration
    device = arguments.images.device
    found = recalibrate(
        load_parsed(arguments.net, options_of(arguments), arguments.weights),
        weights,
        batches,
        options=options_of(arguments),
        device=_cuda_or_cpu() if device == "auto" else device,
        precision=asked.precision,
        cache_bytes=physical_memory() // 4 if asked.cache is None else int(asked.cache * 1e6),
        progress=_progress(arguments),
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
    from prototxt.optional import need

    return "cuda" if need("torch", "torch", "computing statistics").cuda.is_available() else "cpu"


def _write(found: Recalibrated, arguments: Arguments) -> Path:
    if arguments.to == "caffemodel":
        name = Path(default_output(arguments.net, "onnx")).with_suffix(".caffemodel").name
        return write_weights(found, arguments.output or f"recalibrated_{name}")
    to = cast(Target, arguments.to)
    target = Path(arguments.output or default_output(arguments.net, to))
    net = load_parsed(arguments.net, options_of(arguments), arguments.weights)
    write(prepare(net, found.weights, options_of(arguments)), to, target, None)
    return target


def _progress(arguments: Arguments) -> Callable[[int, int, int], None] | None:
    if not sys.stderr.isatty() or arguments.quiet or arguments.json:
        return None

    def tell(number: int, passes: int, images: int) -> None:
        print(f"\r\x1b[Kpass {number} of {passes}: {images:,} images", end="", file=sys.stderr, flush=True)

    return tell


def _print(found: Recalibrated, target: Path, notes: list[str], arguments: Arguments) -> None:
    moves = shift(found)
    if arguments.json:
        layers = [{"layer": move.layer, "mean": move.mean, "variance": move.variance} for move in moves]
        facts = {"file": str(target), "images": found.images, "passes": found.passes, "layers": layers, "notes": notes}
        print(json.dumps(facts))
        return
    if arguments.quiet:
        return
    if _progress(arguments) is not None:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    print(f"{len(moves)} layers over {found.images:,} images in {found.passes} passes -> {target}")
    print("  moved most, in old standard deviations (mean) and as a ratio (variance):")
    for move in sorted(moves, key=lambda move: -move.mean)[:SHOWN]:
        print(f"    {printable(move.layer)}: mean by {move.mean:.3g}, variance to {move.variance:.3g} of the old")
    for note in notes:
        print(f"  note: {printable(note)}")
