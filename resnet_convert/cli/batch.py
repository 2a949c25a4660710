"""`resnet-convert batch`: convert and verify every net of a manifest or of a folder, with one summary page."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path, PurePath
from time import monotonic

from prototxt.names import shown
from prototxt.words import plural, shortened
from resnet_convert.batches.records import Outcome
from resnet_convert.batches.summary import PAGE, Summary, run_batch
from resnet_convert.cli.arguments import request_of, shown_of
from resnet_convert.cli.terminal import say, time_left
from resnet_convert.requests import BatchRequest
from verify.report.text import percent

LONGEST_MESSAGE = 240
"""Characters on the terminal; the page has more, the log all."""

MOST_LEFT = 10
"""Files that are nothing to convert, on the terminal."""

WORTH_SAYING = 90.0
"""Seconds of a batch that are left, from which on they are told."""


def run(parsed: Namespace) -> int:
    """Convert the zoo; 3 if the numbers of any net differ, 1 if any failed, 0 when all are well."""
    request, asked = request_of(BatchRequest, parsed), shown_of(parsed)
    summary = run_batch(request, Told(talks=asked.talks))
    found = summary.counts
    status = 3 if "differs" in found else 0 if set(found) <= {"ok"} else 1
    if asked.json:
        print(json.dumps(summary.to_json()))
    elif asked.talks or status:
        counts = ", ".join(f"{count} {each}" for each, count in found.items())
        say(f"{plural(len(summary.entries), 'net')}: {counts}; {Path(request.output) / PAGE}", failed=bool(status))
    return status


class Told:
    """Says what becomes of the nets, one line each; without words only of those that are not well."""

    def __init__(self, *, talks: bool) -> None:
        self._talks = talks

    def begins(self, summary: Summary) -> None:
        """What was found, and what cannot be converted."""
        if self._talks:
            pairs = [entry for entry in summary.entries if entry.why and not entry.trouble]
            say(*(f"{shown(e.name)}: {shown(together(e.net, e.weights))}: {shown(e.why)}" for e in pairs))
            left = [f"left out: {shown(str(each.path))}: {shown(each.why)}" for each in summary.left]
            more = [f"left out: {len(left) - MOST_LEFT:,} more, which {PAGE} lists"] if len(left) > MOST_LEFT else []
            say(*left[:MOST_LEFT], *more)
        for outcome in summary.troubles:
            say(describe(outcome), failed=True)

    def taken_over(self, summary: Summary) -> None:
        """Some were done by an earlier run."""
        if summary.earlier and self._talks:
            total = plural(len(summary.entries), "net")
            say(f"{summary.earlier} of {total} done by an earlier run (--again does them anew)")

    def ended(self, outcome: Outcome, summary: Summary) -> None:
        """One more."""
        if self._talks:
            print(f"[{len(summary.outcomes)}/{len(summary.entries)}{_left(summary)}] {describe(outcome)}", flush=True)
        elif outcome.status != "ok":
            say(describe(outcome), failed=True)


def _left(summary: Summary) -> str:
    """How long the rest takes, where that is worth saying."""
    done = summary.earlier + len(summary.troubles)
    here, seconds = len(summary.outcomes) - done, monotonic() - summary.begun
    total = len(summary.entries) - done
    if not here or seconds / here * (total - here) < WORTH_SAYING:
        return ""
    return f", {time_left(here, total, seconds)}"


def together(net: str, weights: str | None) -> str:
    """`deploy.prototxt + x.caffemodel`, the second from the first one's folder where it lies there."""
    if not weights:
        return net
    beside = PurePath(weights).parent == PurePath(net).parent
    return f"{net} + {PurePath(weights).name if beside else weights}"


def describe(outcome: Outcome) -> str:
    """One net in one line."""
    head = f"{shown(outcome.name)}: {outcome.status}"
    if outcome.status != "ok":
        first, *more = outcome.message.splitlines() or [""]
        return f"{head}: {shortened(first, LONGEST_MESSAGE)}" + (f" (and {len(more)} more)" if more else "")
    size = f"{outcome.megabytes:.1f} MB" if outcome.megabytes >= 0.1 else f"{1000 * outcome.megabytes:.0f} kB"
    facts = [plural(outcome.layers, "layer"), size, f"{outcome.seconds:.1f} s"]
    if outcome.worst_share is None:
        facts.append("not compared")
    else:
        blobs = f"{plural(outcome.blobs_compared, 'blob')} compared"
        facts.append(f"{blobs}, worst at {percent(outcome.worst_share)} of its bound")
    if outcome.warnings:
        facts.append(f"warning: {shortened(outcome.warnings[0], LONGEST_MESSAGE)}")
    return f"{head} ({', '.join(facts)})"
