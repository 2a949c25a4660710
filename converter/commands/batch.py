"""`resnet-convert batch`: convert and verify every net of a manifest, with one summary page."""

from __future__ import annotations

import json
import sys
from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path
from time import monotonic
from typing import cast, get_args

from converter.api import Target
from converter.batch import BatchOptions, Outcome, claimed, failure, finished
from converter.batch_messages import cut
from converter.batch_runners import run_local, run_ray
from converter.cli_evaluation import BatchArguments
from converter.cli_options import Arguments
from converter.manifest import Entry, read_manifest
from prototxt.errors import Position, RequestError
from prototxt.optional import need
from verify.batch_page import write_batch
from verify.batch_records import BatchRow, Status
from verify.engine_onnx import processors
from verify.report import Json, plain
from verify.report_text import percent, printable
from weights import atomic_file, atomic_path

CORES_A_NET = 2
PAGE, RECORD = "summary.html", "summary.json"
LONGEST_MESSAGE = 240
"""Characters on the terminal; the page has more, the log all."""

PAUSE = 10.0
"""Seconds between two states of the summary while the batch runs."""


def run(arguments: Arguments) -> int:
    """Convert the zoo; 3 if the numbers of any net differ, 1 if any failed, 0 when all are well."""
    asked = arguments.batch
    entries = read_manifest(asked.manifest)
    out = _folder(asked.output)
    with claimed(out):
        jobs = asked.jobs or max(1, processors() // CORES_A_NET)
        threads = CORES_A_NET if asked.runner == "ray" else max(1, processors() // jobs)
        options = BatchOptions(cast(Target, asked.to), not asked.no_verify, asked.timeout, threads)
        summary = Summary(entries, options, out, arguments)
        if not asked.again:
            summary.take_over()
        try:
            with closing(_outcomes(summary.pending(), out, options, jobs, asked)) as outcomes:
                for outcome in outcomes:
                    summary.add(outcome)
        except KeyboardInterrupt:
            done = len(summary.outcomes)
            raise KeyboardInterrupt(
                f"interrupted after {done} of {len(entries)} nets; the same command goes on"
            ) from None
        finally:
            summary.write()
        return summary.conclude()


def _folder(name: str) -> Path:
    out = Path(name)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RequestError(f"cannot be made: {error.strerror}", position=Position(name)) from error
    return out.absolute()


def _outcomes(
    entries: Sequence[Entry], out: Path, options: BatchOptions, jobs: int, asked: BatchArguments
) -> Generator[Outcome, None, None]:
    if asked.runner == "local" or not entries:
        yield from run_local(entries, out, options, jobs)
        return
    from verify.evaluation.ray_runner import started

    with started(need("ray", "'resnet-convert[ray]'", "--runner ray")) as ray:
        yield from run_ray(entries, out, options, asked.jobs, ray)


class Summary:
    """What became of the nets so far: said line by line, and kept as a page and as JSON beside the nets' folders."""

    def __init__(self, entries: Sequence[Entry], options: BatchOptions, out: Path, arguments: Arguments) -> None:
        self.outcomes: dict[str, Outcome] = {}
        self._entries, self._options, self._out, self._arguments = entries, options, out, arguments
        self._begun = self._written = monotonic()
        self._taken_over = 0

    def take_over(self) -> None:
        """What an earlier run finished."""
        for entry in self._entries:
            outcome = finished(entry, self._out, self._options)
            if outcome is not None:
                self.outcomes[entry.name] = outcome
        self._taken_over = len(self.outcomes)
        if self._taken_over and self._talks:
            print(f"{self._taken_over} of {_nets(len(self._entries))} done by an earlier run (--again does them anew)")

    def pending(self) -> list[Entry]:
        """What is still to be done."""
        return [entry for entry in self._entries if entry.name not in self.outcomes]

    def add(self, outcome: Outcome) -> None:
        """One more; the files are written now and then, so that a long run can be looked at."""
        self.outcomes[outcome.name] = outcome
        place = f"[{len(self.outcomes)}/{len(self._entries)}{self._left()}]"
        if self._talks:
            print(f"{place} {describe(outcome)}", flush=True)
        elif outcome.status != "ok":
            print(describe(outcome), file=sys.stderr, flush=True)
        if monotonic() - self._written > PAUSE:
            self.write()

    def write(self) -> None:
        """Write summary.html and summary.json."""
        rows = [self._row(entry) for entry in self._entries]
        with atomic_path(self._out / PAGE) as page:
            write_batch(rows, page, source=self._arguments.batch.manifest)
        with atomic_file(self._out / RECORD) as file:
            file.write(json.dumps(self._record(rows), indent=1).encode())
        self._written = monotonic()

    def conclude(self) -> int:
        """Say how it went; the exit status."""
        found = [self.outcomes[entry.name].status for entry in self._entries]
        status = 3 if "differs" in found else 0 if set(found) <= {"ok"} else 1
        if self._arguments.json:
            print(json.dumps(self._record([self._row(entry) for entry in self._entries])))
        elif self._talks or status:
            counts = ", ".join(f"{found.count(each)} {each}" for each in get_args(Status) if each in found)
            page = Path(self._arguments.batch.output) / PAGE
            print(f"{_nets(len(found))}: {counts}; {page}", file=sys.stderr if status else sys.stdout)
        return status

    @property
    def _talks(self) -> bool:
        return not self._arguments.quiet and not self._arguments.json

    def _left(self) -> str:
        """How long the rest takes if it goes on like this, where that is worth saying."""
        here = len(self.outcomes) - self._taken_over
        seconds = (monotonic() - self._begun) / here * (len(self._entries) - len(self.outcomes))
        if seconds < 90:
            return ""
        return f", {seconds / 60:.0f} min left" if seconds < 5400 else f", {seconds / 3600:.0f} h left"

    def _row(self, entry: Entry) -> BatchRow:
        outcome = self.outcomes.get(entry.name)
        status: Status = "skipped" if outcome is None else outcome.status
        found = outcome or failure(entry, self._options, "the run ended, or was looked at, before it came to this net")
        return BatchRow(
            name=found.name,
            net=found.net,
            weights=found.weights,
            target=found.target,
            status=status,
            message="\n".join(filter(None, (found.message, *found.warnings))),
            seconds=found.seconds,
            megabytes=found.megabytes,
            layers=found.layers,
            blobs_compared=found.blobs,
            worst_share=found.worst_share,
            output=found.output,
            report=found.report,
            log=found.log,
        )

    def _record(self, rows: Sequence[BatchRow]) -> Json:
        found = [row.status for row in rows]
        counts = {each: found.count(each) for each in get_args(Status) if each in found}
        nets = [vars(row) | {"compared": row.worst_share is not None} for row in rows]
        return plain({"manifest": self._arguments.batch.manifest, "counts": counts, "nets": nets})


def describe(outcome: Outcome) -> str:
    """One net in one line."""
    head = f"{printable(outcome.name)}: {outcome.status}"
    if outcome.status != "ok":
        first, *more = outcome.message.splitlines() or [""]
        return f"{head}: {cut(printable(first), LONGEST_MESSAGE)}" + (f" (and {len(more)} more)" if more else "")
    size = f"{outcome.megabytes:.1f} MB" if outcome.megabytes >= 0.1 else f"{1000 * outcome.megabytes:.0f} kB"
    facts = [f"{outcome.layers} layer{'' if outcome.layers == 1 else 's'}", size, f"{outcome.seconds:.1f} s"]
    if outcome.worst_share is None:
        facts.append("not compared")
    else:
        blobs = f"{outcome.blobs} blob{'' if outcome.blobs == 1 else 's'} compared"
        facts.append(f"{blobs}, worst at {percent(outcome.worst_share)} of its bound")
    if outcome.warnings:
        facts.append(f"warning: {cut(printable(outcome.warnings[0]), LONGEST_MESSAGE)}")
    return f"{head} ({', '.join(facts)})"


def _nets(count: int) -> str:
    return f"{count} net{'' if count == 1 else 's'}"
