"""An evaluation as one self-contained page: verdict, error against images seen, the worst classes, misjudged images."""

from __future__ import annotations

from dataclasses import replace
from os import PathLike
from pathlib import Path

from verify.evaluation.records import Counted, Evaluation
from verify.evaluation.shown.figures import Measured, class_error, measured, short_names, title, worst_first
from verify.evaluation.shown.text import causes, verdict_line
from verify.report.records import Json, plain
from verify.report.template import fill_page, write_text

LISTED = 1000
"""Flips and skipped images that a page lists; it counts the others."""


def format_page(evaluation: Evaluation, provenance: Json = None) -> str:
    """The page's text; its foot says what made it, of which files (`verify.report.provenance`)."""
    return fill_page("page.html", _record(evaluation), "verify.evaluation.shown", provenance)


def write_page(evaluation: Evaluation, path: str | PathLike[str], provenance: Json = None) -> None:
    """Write the page; whatever stands at `path` is replaced."""
    write_text(format_page(evaluation, provenance), Path(path))


def _record(evaluation: Evaluation) -> dict[str, Json]:
    """The evaluation with its figures written out, so that the page and the text show the same ones."""
    made = _shortened(evaluation).to_json()
    made["title"] = title(evaluation)
    made["short_names"] = list(short_names(evaluation.classes))
    made["line"] = verdict_line(evaluation)
    made["verdict"] = plain({"outcome": evaluation.verdict.outcome, "reasons": _why(evaluation)})
    made["skipped_count"] = len(evaluation.skipped)
    made["flip_count"] = len(evaluation.agreement.flips) if evaluation.agreement else 0
    errors = {error.name.replace("-", ""): error for error in measured(evaluation)}
    made["errors"] = {
        name: {
            "name": error.name,
            "error": error.error,
            "interval": error.interval,
            "said": error.said,
            "published": error.published,
            "side": error.side,
        }
        for name, error in errors.items()
    }
    made["curve"] = [
        {"images": point.images}
        | {name: _point(error, seen) for name, error in errors.items() if (seen := getattr(point, name)) is not None}
        for point in evaluation.curve
        if point.images
    ]
    made["by_class"] = [
        {
            "label": result.label,
            "name": result.name or evaluation.class_name(result.label),
            "images": result.images,
            "wrong": result.wrong,
            "error": class_error(result),
            "confused": [list(pair) for pair in result.confused],
        }
        for result in worst_first(evaluation.by_class)
    ]
    return made


def _why(evaluation: Evaluation) -> list[str]:
    return [*evaluation.verdict.reasons, *causes(evaluation)]


def _shortened(evaluation: Evaluation) -> Evaluation:
    agreement = evaluation.agreement
    if agreement is not None:
        agreement = replace(agreement, flips=agreement.flips[:LISTED])
    return replace(evaluation, skipped=evaluation.skipped[:LISTED], agreement=agreement)


def _point(error: Measured, seen: Counted) -> Json:
    """A point of the curve, with its figures as that many images deserve them."""
    then = replace(error, seen=seen)
    return {"error": seen.error, "low": seen.low, "high": seen.high, "text": f"{then.error} {then.interval}"}
