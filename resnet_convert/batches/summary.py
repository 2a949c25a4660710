"""What became of the nets of a batch so far, kept as a page and as JSON beside the nets' folders."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic
from typing import Protocol, get_args

from prototxt.errors import Position, RequestError
from prototxt.names import readable
from prototxt.words import reason
from resnet_convert.batches.conversion import BatchOptions, claimed, failure, finished, read_for, written_for
from resnet_convert.batches.manifest import Entry, read_manifest
from resnet_convert.batches.missing import with_missing_files
from resnet_convert.batches.page import row_of, write_batch
from resnet_convert.batches.records import Outcome, Status
from resnet_convert.batches.runners import run_local, run_ray
from resnet_convert.gating import gated
from resnet_convert.option import takes
from resnet_convert.provenance import provenance
from resnet_convert.requests import BatchRequest
from resnet_convert.zoo.roles import LeftOut
from verify.machine import processors
from verify.report.provenance import provenance_of
from verify.report.records import Json
from weights import atomic_file, atomic_path, refuse_overwriting

CORES_A_NET = 2
PAGE, RECORD = "summary.html", "summary.json"

PAUSE = 10.0
"""Seconds between two states of the summary while the batch runs."""


class Listener(Protocol):
    """Who is told what becomes of the nets."""

    def begins(self, summary: Summary) -> None:
        """What was found, before any work: nets, and what keeps some from being converted."""

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

    Example:
        >>> summary = resnet_convert.batch("examples/digits", "converted", verify=False)
        >>> summary.counts, [row.output for row in summary.rows]
        ({'ok': 1}, ['digits/model.onnx'])
        >>> [(left.path.name, left.why) for left in summary.left]
        [('solver.prototxt', 'a solver'), ('train_val.prototxt', 'a net for training')]
    """
    return run_batch(request)


def run_batch(request: BatchRequest, listener: Listener | None = None) -> Summary:
    """What `batch` does, told as it goes."""
    with gated(request, "batch", request.manifest) as gate:
        summary = _run(request, listener)
        gate.tell_batch(summary.rows)
        return summary


def _run(request: BatchRequest, listener: Listener | None) -> Summary:
    entries, left = _entries(request)
    jobs = request.jobs or max(1, processors() // CORES_A_NET)
    threads = CORES_A_NET if request.runner == "ray" else max(1, processors() // jobs)
    options = BatchOptions(request.to, request.verify, request.timeout, threads)
    _guard(request, entries, options)
    out = _folder(str(request.output))
    with claimed(out):
        summary = Summary(entries, options, out, str(request.manifest), left=left, provenance=_provenance(request))
        summary.settle()
        if listener is not None:
            listener.begins(summary)
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


def _entries(request: BatchRequest) -> tuple[list[Entry], list[LeftOut]]:
    """The nets of a manifest or of a folder, and what in the folder is none."""
    path, out = str(request.manifest), Path(request.output)
    if not os.path.isdir(path):
        return [with_missing_files(entry) for entry in read_manifest(path)], []
    if out.exists() and out.samefile(path):
        raise RequestError("is the folder whose nets are converted; choose another -o", position=Position(str(out)))
    from resnet_convert.batches.tree import read_tree

    return read_tree(path, without=[out])


def _provenance(request: BatchRequest) -> Json:
    """Of a folder the name alone: its nets' own pages tell which files they are of."""
    path = str(request.manifest)
    return provenance_of([], [path]) if os.path.isdir(path) else provenance(request)


def _guard(request: BatchRequest, entries: Sequence[Entry], options: BatchOptions) -> None:
    """Refuse a batch whose files would take the place of the manifest, or of what any of its nets is read from."""
    out = Path(request.output).absolute()
    written = (path for entry in entries for path in written_for(entry, out, options))
    read = (path for entry in entries for path in read_for(entry))
    # A folder of nets is not read as such: new files may be made in it.
    manifest = [] if os.path.isdir(request.manifest) else [request.manifest]
    refuse_overwriting([out / PAGE, out / RECORD, *written], [*manifest, *read])


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
        manifest: its path, or that of the folder.
        left: what of a folder is nothing to convert.
        outcomes: by name, of those that have ended.
        earlier: how many an earlier run did.
        provenance: what made it, of which manifest.
        begun: when this run did, by `time.monotonic`.
    """

    entries: Sequence[Entry]
    options: BatchOptions
    out: Path
    manifest: str
    left: Sequence[LeftOut] = ()
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    earlier: int = 0
    provenance: Json = None
    begun: float = field(default_factory=monotonic)
    _written: float = field(default_factory=monotonic, repr=False)

    def settle(self) -> None:
        """What there is nothing to be done about."""
        for entry in self.entries:
            if entry.trouble:
                self.outcomes[entry.name] = replace(failure(entry, self.options, entry.message), status=entry.trouble)

    @property
    def troubles(self) -> list[Outcome]:
        """Those of which a file is missing, or that are ambiguous."""
        return [self.outcomes[entry.name] for entry in self.entries if entry.trouble]

    def take_over(self) -> None:
        """What an earlier run finished."""
        for entry in self.pending():
            outcome = finished(entry, self.out, self.options)
            if outcome is not None:
                self.outcomes[entry.name] = replace(outcome, why=entry.why)
                self.earlier += 1

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
            write_batch(self.rows, page, source=self.manifest, left=self.left_out, provenance=self.provenance)
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
            "left_out": self.left_out,
            "provenance": self.provenance,
        }

    @property
    def left_out(self) -> list[Json]:
        """What of a folder is nothing to convert: its path from there, and why."""
        here = Path(self.manifest)
        return [{"path": readable(os.path.relpath(each.path, here)), "why": readable(each.why)} for each in self.left]

    def _skipped(self, entry: Entry) -> Outcome:
        why = "the run ended, or was looked at, before it came to this net"
        return replace(failure(entry, self.options, why), status="skipped")
