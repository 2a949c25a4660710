"""`resnet-convert batch`: convert and verify every net of a manifest, with one summary page."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast, get_args

from converter.api import Target
from converter.batch import BatchOptions, Outcome, Status, finished, run_local, run_ray
from converter.cli_evaluation import BatchArguments
from converter.cli_options import Arguments
from converter.manifest import Entry, read_manifest
from prototxt.errors import Position, RequestError
from verify.batch_page import write_batch
from verify.batch_records import BatchRow
from verify.engine_onnx import processors
from verify.engines import need
from verify.report_text import percent, printable
from weights import atomic_path

CORES_A_NET = 2
SUMMARY = "summary.html"


def run(arguments: Arguments) -> int:
    """Convert the zoo; 3 if the numbers of any net differ, 1 if any failed, 0 when all are well."""
    asked = arguments.batch
    entries = read_manifest(asked.manifest)
    out = _folder(asked.output)
    jobs = asked.jobs or max(1, processors() // CORES_A_NET)
    threads = max(1, processors() // jobs)
    options = BatchOptions(cast(Target, asked.to), not asked.no_verify, asked.timeout, threads)
    before = {} if asked.again else {entry.name: finished(entry, out, options) for entry in entries}
    outcomes = {name: outcome for name, outcome in before.items() if outcome is not None}
    pending = [entry for entry in entries if entry.name not in outcomes]
    if outcomes and not arguments.quiet and not arguments.json:
        print(f"{len(outcomes)} of {len(entries)} nets are done already (--again does them anew)")
    try:
        for outcome in _outcomes(pending, out, options, jobs, asked):
            outcomes[outcome.name] = outcome
            _say(outcome, len(outcomes), len(entries), arguments)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"interrupted; the same command goes on after {len(outcomes)} nets") from None
    finally:
        done = [outcomes[entry.name] for entry in entries if entry.name in outcomes]
        with atomic_path(out / SUMMARY) as page:
            write_batch([_row(outcome) for outcome in done], page)
    return _concluded(done, out, arguments)


def _folder(name: str) -> Path:
    out = Path(name)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RequestError(f"cannot be made: {error.strerror}", position=Position(name)) from error
    return out


def _outcomes(
    entries: Sequence[Entry], out: Path, options: BatchOptions, jobs: int, asked: BatchArguments
) -> Iterator[Outcome]:
    if asked.runner == "local" or not entries:
        yield from run_local(entries, out, options, jobs)
        return
    from verify.evaluation.ray_runner import started

    with started(need("ray", "'resnet-convert[ray]'", "--runner ray")) as ray:
        yield from run_ray(entries, out, options, ray)


def _row(outcome: Outcome) -> BatchRow:
    return BatchRow(
        name=outcome.name,
        net=outcome.net,
        weights=outcome.weights,
        target=outcome.target,
        status=outcome.status,
        message=outcome.message or "; ".join(outcome.warnings),
        seconds=outcome.seconds,
        megabytes=outcome.megabytes,
        layers=outcome.layers,
        blobs_compared=outcome.blobs,
        worst_share=outcome.worst_share,
        output=outcome.output,
        report=outcome.report,
    )


def _say(outcome: Outcome, count: int, total: int, arguments: Arguments) -> None:
    if arguments.quiet or arguments.json:
        return
    print(f"[{count}/{total}] {describe(outcome)}", flush=True)


def describe(outcome: Outcome) -> str:
    """One net in one line."""
    head = f"{printable(outcome.name)}: {outcome.status}"
    if outcome.status != "ok":
        first = next(iter(outcome.message.splitlines()), "")
        return f"{head}: {printable(first)}"
    facts = [f"{outcome.layers} layers", f"{outcome.megabytes:.1f} MB", f"{outcome.seconds:.1f} s"]
    if outcome.worst_share is not None:
        facts.append(f"{outcome.blobs} blobs compared, worst at {percent(outcome.worst_share)} of its bound")
    return f"{head} ({', '.join(facts)})"


def _concluded(done: Sequence[Outcome], out: Path, arguments: Arguments) -> int:
    statuses = [outcome.status for outcome in done]
    counts = ", ".join(f"{statuses.count(each)} {each}" for each in get_args(Status) if each in statuses)
    status = 3 if "differs" in statuses else 0 if set(statuses) <= {"ok"} else 1
    if arguments.json:
        print(json.dumps([vars(_row(outcome)) for outcome in done]))
    elif not arguments.quiet or status:
        print(f"{len(done)} nets: {counts}; {out / SUMMARY}", file=sys.stderr if status else sys.stdout)
    return status
