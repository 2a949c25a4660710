"""`resnet-convert verify`: converted models beside an independent run of the Caffe net."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from converter.options import File
from resnet_convert.cli.arguments import Shown, request_of, shown_of
from resnet_convert.cli.terminal import progress, table, warn
from resnet_convert.guarding import guard
from resnet_convert.provenance import provenance
from resnet_convert.requests import VerificationRequest
from resnet_convert.verification import compare, judge, opened
from verify import Report, format_report, verdict, write_html
from verify.report.records import Json
from weights import Outputs, unused_warnings


def run(parsed: Namespace) -> int:
    """Compare every model and print what was found; 3 if one of them leaves its bound."""
    shown, models, weights = shown_of(parsed), list(parsed.models), getattr(parsed, "weights", None)
    if weights is not None and _is_model(weights):
        models.insert(0, weights)  # a net that brings its weights, and models
        weights = None
    request = request_of(VerificationRequest, parsed, weights=weights)
    if request.report is not None:
        guard(request, report=pages_of(request.report, len(models) + hasattr(parsed, "judge")), reading=models)
    reports = []
    with opened(request) as (net, stored), progress(shown.talks) as line:
        for warning in unused_warnings(stored, (layer.name for layer in net.layers)):
            warn(warning)
        if hasattr(parsed, "judge"):
            reports.append(judge(net, stored, parsed.judge, request))
        reports += compare(net, stored, models, request, request.mean, line, time_limit=request.timeout)
    for report in reports:
        tell(report, shown)
    if request.report is not None or shown.json:
        made = [_provenance(report, request, models) for report in reports]
        write_pages(reports, request.report, made)
        if shown.json:
            facts = zip(reports, made, strict=True)
            print(json.dumps([{**report.to_json(), "provenance": each} for report, each in facts]))
    return 0 if all(report.ok for report in reports) else 3


def _provenance(report: Report, request: VerificationRequest, models: Sequence[str]) -> Json:
    """Of the report on one of the models, or on another reader of the Caffe files."""
    return provenance(replace(request, model=report.model) if report.model in models else request)


def _is_model(path: str) -> bool:
    return path.endswith(".onnx") or Path(path).is_dir()


def tell(report: Report, shown: Shown, *, briefly: bool = False) -> None:
    """Print a report: to standard output when it is good, to standard error when it is not."""
    if report.ok and not shown.talks:
        return
    text = verdict(report) if briefly and report.ok else format_report(report, verbose=shown.verbose)
    table(text.split("\n"), failed=not report.ok)


def write_pages(reports: Sequence[Report], path: File | None, made: Sequence[Json]) -> None:
    """The reports as pages, where they are asked for: FILE.html, FILE-2.html …"""
    if path is not None:
        with Outputs() as outputs:
            for report, each, page in zip(reports, made, pages_of(path, len(reports)), strict=True):
                write_html(report, outputs.file(page), each)


def pages_of(path: File, count: int) -> list[Path]:
    """The pages for some reports."""
    target = Path(path)
    more = (target.with_name(f"{target.stem}-{number}{target.suffix}") for number in range(2, count + 1))
    return [target, *more]
