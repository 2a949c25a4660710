"""What became of the nets of a batch so far, kept as a page and as JSON beside the nets' folders."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic
from typing import Protocol, get_args

from prototxt.errors import Position, RequestError
from prototxt.words import reason
from resnet_convert.batches.conversion import BatchOptions, claimed, failure, finished, read_for, written_for
from resnet_convert.batches.manifest import Entry, read_manifest
from resnet_convert.batches.page import row_of, write_batch
from resnet_convert.batches.records import Outcome, Status
from resnet_convert.batches.runners import run_local, run_ray
from resnet_convert.gating import gated
from resnet_convert.guarding import guard
from resnet_convert.option import takes
from resnet_convert.provenance import provenance
from resnet_convert.requests import BatchRequest
from verify.machine import processors
from verify.report.records import Json
from weights import atomic_file, atomic_path

CORES_A_NET = 2
PAGE, RECORD = "summary.html", "summary.json"

PAUSE = 10.0
"""Seconds between two states of the summary while the batch runs."""


class Listener(Protocol):
    """Who is told what becomes of the nets."""

    def taken_over(self, summary: Summary) -> None:
        """Some were done by an earlier run."""

    def ended(self, outcome: Outcome, summary: Summary) -> None:
        """One more."""


@takes(BatchRequest)
def batch(request: BatchRequest) -> Summary:
    """Convert and verify every net of a list; one failure stops none of the others.

    Arguments are the fields of `BatchRequest`: those of the command line's verb.

    Raises:
        RequestError: a manifest at fault, or a folder that cannot be written; never what is wrong with one of the nets.
    """
    return run_batch(request)


def run_batch(request: BatchRequest, listener: Listener | None = None) -> Summary:
    """What `batch` does, told as it goes."""
    with gated(request, "batch", request.manifest) as gate:
        summary = _run(request, listener)
        gate.tell_batch(summary.rows)
        return summary


def _run(request: BatchRequest, listener: Listener | None) -> Summary:
    entries = read_manifest(str(request.manifest))
    jobs = request.jobs or max(1, processors() // CORES_A_NET)
    threads = CORES_A_NET if request.runner == "ray" else max(1, processors() // jobs)
    options = BatchOptions(request.to, request.verify, request.timeout, threads)
    _guard(request, entries, options)
    out = _folder(str(request.output))
    with claimed(out):
        summary = Summary(entries, options, out, str(request.manifest), provenance=provenance(request))
        if not request.again:
            summary.take_over()
            if listener is not None:
                listener.taken_over(summary)
        try:
            with closing(_outcomes(summary.pending(), out, options, jobs, request)) as outcomes:
                for outcome in outcomes:
                    summary.add(outcome)
                    if listener is not None:
                        listener.ended(outcome, summary)
        except KeyboardInterrupt:
            done = len(summary.outcomes)
            raise KeyboardInterrupt(
                f"interrupted after {done} of {len(entries)} nets; the same command goes on"
            ) from None
        finally:
            summary.write()
        return summary


def _guard(request: BatchRequest, entries: Sequence[Entry], options: BatchOptions) -> None:
    """Refuse a batch whose files would take the place of the manifest, or of what any of its nets is read from."""
    out = Path(request.output).absolute()
    written = (path for entry in entries for path in written_for(entry, out, options))
    read = (path for entry in entries for path in read_for(entry))
    guard(request, output=[out / PAGE, out / RECORD, *written], reading=read)


def _folder(name: str) -> Path:
    out = Path(name)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RequestError(f"cannot be made: {reason(error)}", position=Position(name)) from error
    return out.absolute()


def _outcomes(
    entries: Sequence[Entry], out: Path, options: BatchOptions, jobs: int, request: BatchRequest
) -> Generator[Outcome, None, None]:
    if request.runner == "local" or not entries:
        yield from run_local(entries, out, options, jobs)
        return
    from verify.evaluation.running.cluster import started

    with started() as ray:
        yield from run_ray(entries, out, options, request.jobs, ray)


@dataclass
class Summary:
    """The nets of a batch, and what became of them so far.

    Attributes:
        entries: the manifest's, in its order.
        options: what goes for every net.
        out: the folder.
        manifest: its path.
        outcomes: by name, of those that have ended.
        earlier: how many an earlier run did.
        provenance: what made it, of which manifest.
        begun: when this run did, by `time.monotonic`.
    """

    entries: Sequence[Entry]
    options: BatchOptions
    out: Path
    manifest: str
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    earlier: int = 0
    provenance: Json = None
    begun: float = field(default_factory=monotonic)
    _written: float = field(default_factory=monotonic, repr=False)

    def take_over(self) -> None:
        """What an earlier run finished."""
        for entry in self.entries:
            outcome = finished(entry, self.out, self.options)
            if outcome is not None:
                self.outcomes[entry.name] = outcome
        self.earlier = len(self.outcomes)

    def pending(self) -> list[Entry]:
        """What is still to be done."""
        return [entry for entry in self.entries if entry.name not in self.outcomes]

    def add(self, outcome: Outcome) -> None:
        """One more; the files are written now and then, so that a long run can be looked at."""
        self.outcomes[outcome.name] = outcome
        if monotonic() - self._written > PAUSE:
            self.write()

    def write(self) -> None:
        """Write summary.html and summary.json."""
        with atomic_path(self.out / PAGE) as page:
            write_batch(self.rows, page, source=self.manifest, provenance=self.provenance)
        with atomic_file(self.out / RECORD) as file:
            file.write(json.dumps(self.to_json(), indent=1).encode())
        self._written = monotonic()

    @property
    def rows(self) -> list[Outcome]:
        """An outcome for each net, in the manifest's order; `skipped` where it was not reached."""
        return [self.outcomes.get(entry.name) or self._skipped(entry) for entry in self.entries]

    @property
    def counts(self) -> dict[Status, int]:
        """How many nets ended in each way, but for those in which none did."""
        found = Counter(row.status for row in self.rows)
        return {each: found[each] for each in get_args(Status) if found[each]}

    def to_json(self) -> Json:
        """The summary for other programs."""
        counts: dict[str, Json] = dict(self.counts.items())
        return {
            "manifest": self.manifest,
            "counts": counts,
            "nets": [row_of(row) for row in self.rows],
            "provenance": self.provenance,
        }

    def _skipped(self, entry: Entry) -> Outcome:
        why = "the run ended, or was looked at, before it came to this net"
        return replace(failure(entry, self.options, why), status="skipped")
