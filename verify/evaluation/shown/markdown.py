"""An evaluation in GitHub's Markdown, as a job's summary shows it."""

from __future__ import annotations

from collections.abc import Iterator

from prototxt.words import shortened
from verify.evaluation.records import Evaluation
from verify.evaluation.shown.figures import Measured, measured, title
from verify.evaluation.shown.text import images, sentences, verdict_line
from verify.report.markdown import LONGEST, code, headed, prose, table


def evaluation_markdown(evaluation: Evaluation) -> str:
    """The verdict, the errors beside the published ones, and what else should be known."""
    errors = [_cells(error) for error in measured(evaluation)]
    lines = [prose(verdict_line(evaluation)), ""]
    if errors:
        head = ("", "error", "interval", "published", "images")
        lines += [*table(head, errors, range(1, len(head))), ""]
    lines += [f"- {prose(shortened(line, LONGEST))}" for line in _told(evaluation)]
    return headed(evaluation.ok, f"evaluation of {code(title(evaluation))}", lines)


def _cells(error: Measured) -> list[str]:
    return [error.name, error.error, prose(error.interval), f"{error.said} %" if error.said else "", _count(error)]


def _count(error: Measured) -> str:
    return f"{error.seen.wrong:,} of {error.seen.images:,} wrong"


def _told(evaluation: Evaluation) -> Iterator[str]:
    yield from sentences(evaluation)
    yield f"preprocessing: {evaluation.preprocessing}"
    if evaluation.skipped:
        yield f"{images(len(evaluation.skipped))} could not be read"
