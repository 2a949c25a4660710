"""`resnet-convert evaluate`: convert, score a data set, hold the errors against what was published."""

from __future__ import annotations

from argparse import Namespace

from resnet_convert.cli.arguments import Shown, request_of, shown_of
from resnet_convert.cli.models import LIST, print_table
from resnet_convert.cli.terminal import progress, say_json, table, time_left
from resnet_convert.evaluation import evaluation_of, write_files
from resnet_convert.gating import gated
from resnet_convert.published_models import models
from resnet_convert.requests import EvaluationRequest
from verify.evaluation.evaluate import Progress
from verify.evaluation.records import Evaluation
from verify.evaluation.shown.figures import points
from verify.evaluation.shown.text import format_evaluation, verdict_line


def run(parsed: Namespace) -> int:
    """Evaluate and print what was found; 3 if the errors are not those that were published, or Caffe disagrees."""
    if getattr(parsed, "expect", None) == LIST:
        print_table(models())
        return 0
    request, shown = request_of(EvaluationRequest, parsed, net=getattr(parsed, "net", "")), shown_of(parsed)
    with gated(request, "evaluate", request.net) as gate:
        with progress(shown.talks) as line:
            found = evaluation_of(request, (lambda state: line(describe(state))) if line else None)
        write_files(found, request, gate)
    _print(found, request, shown)
    return 0 if found.ok else 3


def _print(found: Evaluation, request: EvaluationRequest, shown: Shown) -> None:
    bad = not found.ok
    if shown.json:
        say_json(found.to_json(), request)
    if bad or shown.talks:
        text = verdict_line(found) if shown.quiet else format_evaluation(found, verbose=shown.verbose)
        table(text.split("\n"), failed=bad)


def describe(progress: Progress) -> str:
    """`12,800 of 50,000 images, 143/s, 4 min left, top-1 error 24.9 % [24.2, 25.7]`."""
    parts = [f"{progress.images:,} of {progress.total:,} images {progress.what}".rstrip(), f"{progress.rate:,.0f}/s"]
    if progress.rate:
        parts.append(time_left(progress.images, progress.total, progress.images / progress.rate))
    if progress.top1 is not None:
        error = progress.top1
        parts.append(f"top-1 error {points(error.error)} % [{points(error.low)}, {points(error.high)}]")
    return ", ".join(parts)
