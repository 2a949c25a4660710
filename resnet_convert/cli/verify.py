"""`resnet-convert verify`: converted models beside an independent run of the Caffe net."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path

from resnet_convert.cli.arguments import Shown, request_of, shown_of
from resnet_convert.cli.garbage import keep_freed
from resnet_convert.cli.terminal import progress, table, warn
from resnet_convert.requests import VerificationRequest
from resnet_convert.verification import provenance_of, verified
from verify import Report, format_report, verdict


def run(parsed: Namespace) -> int:
    """Compare every model and print what was found; 3 if one of them leaves its bound."""
    keep_freed()
    shown, models, weights = shown_of(parsed), list(parsed.models), getattr(parsed, "weights", None)
    if weights is not None and _is_model(weights):
        models.insert(0, weights)  # a net that brings its weights, and models
        weights = None
    request = request_of(VerificationRequest, parsed, weights=weights)
    with progress(shown.talks) as line:
        judge = getattr(parsed, "judge", None)
        reports = verified(request, models, judge, line, warn, lambda report: tell(report, shown))
    if shown.json:
        print(json.dumps([{**each.to_json(), "provenance": provenance_of(each, request, models)} for each in reports]))
    return 0 if all(report.ok for report in reports) else 3


def _is_model(path: str) -> bool:
    return path.endswith(".onnx") or Path(path).is_dir()


def tell(report: Report, shown: Shown, *, briefly: bool = False) -> None:
    """Print a report: to standard output when it is good, to standard error when it is not."""
    if report.ok and not shown.talks:
        return
    text = verdict(report) if briefly and report.ok else format_report(report, verbose=shown.verbose)
    table(text.split("\n"), failed=not report.ok)
