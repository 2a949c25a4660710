"""The nets of a batch for a CI server: a JUnit case for each, and a table in Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, Literal

from prototxt.words import plural, shortened
from resnet_convert.batches.records import Outcome, Status
from verify.report.junit import Case, Suite
from verify.report.markdown import BAD, GOOD, LONGEST, code, headed, prose, table
from verify.report.text import percent

MOST_NETS = 200

STATUS: Final[Mapping[Status, Literal["ok", "failure", "error", "skipped"]]] = {
    "ok": "ok",
    "differs": "failure",
    "failed": "error",
    "missing": "error",
    "ambiguous": "error",
    "timed out": "error",
    "skipped": "skipped",
}
"""What a case is that ended so."""


def batch_suite(manifest: str, outcomes: Sequence[Outcome]) -> Suite:
    """A net whose numbers differ is a failure, one that gave no model an error."""
    return Suite(manifest, f"batch.{manifest}", list(map(_case, outcomes)), sum(each.seconds for each in outcomes))


def batch_markdown(manifest: str, outcomes: Sequence[Outcome]) -> str:
    """How many ended in which way, and each net; those that are not well come first."""
    counts = Counter(each.status for each in outcomes)
    ranked = sorted(outcomes, key=lambda each: each.status == "ok")
    told = ", ".join(f"{count} {status}" for status, count in counts.items())
    lines = [f"{plural(len(outcomes), 'net')}: {told}", ""]
    lines += table(("", "net", "form", "of bound", "what"), map(_row, ranked[:MOST_NETS]), (3,))
    if len(ranked) > MOST_NETS:
        lines += ["", f"and {len(ranked) - MOST_NETS:,} more"]
    return headed(set(counts) <= {"ok"}, f"batch of {code(manifest)}", lines)


def _case(outcome: Outcome) -> Case:
    lines = tuple(outcome.message.split("\n")) + outcome.warnings
    if outcome.status == "ok":
        return Case(outcome.name, seconds=outcome.seconds)
    status = STATUS[outcome.status]
    return Case(outcome.name, status, lines[0], lines, outcome.status, outcome.seconds)


def _row(outcome: Outcome) -> list[str]:
    share = "" if outcome.worst_share is None else percent(outcome.worst_share)
    said = outcome.message.split("\n")[0] or next(iter(outcome.warnings), "")
    what = outcome.status if outcome.status == "ok" else f"{outcome.status}: {prose(shortened(said, LONGEST))}"
    return [GOOD if outcome.status == "ok" else BAD, code(outcome.name), outcome.target, share, what]
