"""Converting a whole zoo: each net in a process of its own, its outcome in a file, none stopping the others.

OUT/NAME/model.onnx      what was converted (model_torch, model_caffe … for other forms)
OUT/NAME/parity.html     the comparison blob by blob
OUT/NAME/result.json     the outcome, and what it is the outcome of: a later run skips what has not changed
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter
from typing import Any, Literal, get_args

from converter.api import SUFFIXES, Target
from converter.manifest import Entry
from weights import atomic_file

Status = Literal["ok", "failed", "differs", "timed out"]
RESULT = "result.json"
LONGEST_MESSAGE = 2000


@dataclass(frozen=True)
class Outcome:
    """What became of one net.

    Attributes:
        name, net, weights, target: which, and into what.
        status: `differs` when it was converted and its numbers leave their bounds.
        message: the first error, or the verdict of the comparison.
        seconds, megabytes: time of the whole process, and size of what was written.
        layers, blobs: of the net, and how many blobs were compared (0 without a comparison).
        worst_share: the largest error as a share of its bound; None without a comparison.
        output, report: paths beside OUT; empty where there is none.
        fingerprint: of the files, the options and this version.
        warnings: of the conversion.
    """

    name: str
    net: str
    weights: str
    target: str
    status: Status
    message: str
    seconds: float
    fingerprint: str
    megabytes: float = 0.0
    layers: int = 0
    blobs: int = 0
    worst_share: float | None = None
    output: str = ""
    report: str = ""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class BatchOptions:
    """What goes for every net.

    Attributes:
        to: the form, where an entry says none.
        verify: compare after converting.
        timeout: seconds for one net.
        threads: of one net's process; 0 for all.
    """

    to: Target = "onnx"
    verify: bool = True
    timeout: float = 3600.0
    threads: int = 0


def finished(entry: Entry, out: Path, options: BatchOptions) -> Outcome | None:
    """The outcome of an earlier run, if neither files nor options have changed and it did not end for want of time."""
    try:
        stored = json.loads((out / entry.name / RESULT).read_bytes())
        outcome = Outcome(**{**stored, "warnings": tuple(stored["warnings"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None
    if outcome.fingerprint != fingerprint(entry, options) or outcome.status == "timed out":
        return None
    return outcome if not outcome.output or (out / outcome.output).exists() else None


def convert_entry(entry: Entry, out: Path, options: BatchOptions) -> Outcome:
    """Convert one net in a new process and write its outcome; whatever happens to the process is an outcome."""
    folder = out / entry.name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RESULT).unlink(missing_ok=True)
    begun = perf_counter()
    status, message, found = _run(command(entry, folder, options), options)
    outcome = _outcome(entry, out, options, status, message, perf_counter() - begun, found)
    with atomic_file(folder / RESULT) as file:
        file.write(json.dumps(asdict(outcome), indent=1, ensure_ascii=False).encode(errors="backslashreplace"))
    return outcome


def run_local(entries: Sequence[Entry], out: Path, options: BatchOptions, jobs: int) -> Iterator[Outcome]:
    """The outcomes as they come, `jobs` nets at a time."""
    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(convert_entry, entry, out, options) for entry in entries]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            for future in futures:
                future.cancel()


def run_ray(entries: Sequence[Entry], out: Path, options: BatchOptions, ray: Any) -> Iterator[Outcome]:
    """The same on Ray, one task a net; manifest and OUT lie where every machine finds them."""
    remote = ray.remote(num_cpus=max(1, options.threads), max_retries=3)(convert_entry)
    waiting = [remote.remote(entry, out.resolve(), options) for entry in entries]
    while waiting:
        done, waiting = ray.wait(waiting)
        yield from ray.get(done)


def command(entry: Entry, folder: Path, options: BatchOptions) -> list[str]:
    """The command line that converts an entry into its folder."""
    to = target_of(entry, options)
    words = [sys.executable, "-m", "converter.cli", "convert", str(entry.net)]
    words += [str(entry.weights)] if entry.weights is not None else []
    words += ["--to", to, "-o", str(folder / f"model{SUFFIXES[to]}"), "--json"]
    words += ["--report", str(folder / "parity.html")] if options.verify else ["--no-verify"]
    for name, values in entry.options.items():
        if name == "to":
            continue
        flag = f"--{name.replace('_', '-')}"
        if name == "allow_unknown":
            words += [flag] if values[0].lower() in ("true", "yes", "1") else []
            continue
        words += [f"{flag}={value}" for value in values]
    return words


def target_of(entry: Entry, options: BatchOptions) -> Target:
    """The form that an entry is converted into."""
    asked = entry.options.get("to", (options.to,))[0]
    return next(each for each in get_args(Target) if each == asked)


def fingerprint(entry: Entry, options: BatchOptions) -> str:
    """What an outcome is the outcome of: paths, sizes and times of the files, options, and this version."""
    made = hashlib.sha256()
    for path in (entry.net, entry.weights):
        stat = path.stat() if path is not None and path.exists() else None
        made.update(f"{path}|{stat and stat.st_size}|{stat and stat.st_mtime_ns}\n".encode(errors="surrogateescape"))
    made.update(json.dumps([sorted(entry.options.items()), target_of(entry, options), options.verify]).encode())
    made.update(_version().encode())
    return made.hexdigest()


def _version() -> str:
    try:
        return version("resnet-convert")
    except PackageNotFoundError:  # run from a checkout that was never installed
        return ""


def _run(words: list[str], options: BatchOptions) -> tuple[Status, str, dict[str, Any]]:
    threads = {name: str(options.threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    environment = {**os.environ, **(threads if options.threads else {})}
    try:
        done = subprocess.run(
            words,
            env=environment,
            capture_output=True,
            text=True,
            errors="backslashreplace",
            timeout=options.timeout,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        return "timed out", f"stopped after {options.timeout:g} s", {}
    found = _last_json(done.stdout)
    if done.returncode == 0:
        return "ok", "", found
    message = done.stderr.strip()[-LONGEST_MESSAGE:]
    if done.returncode < 0:
        return "failed", f"ended by signal {-done.returncode} (out of memory?) {message}".strip(), found
    return ("differs" if done.returncode == 3 else "failed"), message, found


def _last_json(text: str) -> dict[str, Any]:
    """What `--json` printed; nothing when the process never came that far."""
    lines = text.strip().splitlines()
    try:
        found = json.loads(lines[-1]) if lines else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _outcome(
    entry: Entry, out: Path, options: BatchOptions, status: Status, message: str, seconds: float, found: dict[str, Any]
) -> Outcome:
    check = found.get("verification") or {}
    rows = [*check.get("rows", []), *check.get("shipped", [])]
    shares = [row["share"] for row in rows if row.get("share") is not None]
    files = [Path(name) for name in found.get("files", [])]
    to = target_of(entry, options)
    place = out / entry.name / f"model{SUFFIXES[to]}"
    report = out / entry.name / "parity.html"
    return Outcome(
        name=entry.name,
        net=str(entry.net),
        weights="" if entry.weights is None else str(entry.weights),
        target=to,
        status=status,
        message=message,
        seconds=round(seconds, 3),
        fingerprint=fingerprint(entry, options),
        megabytes=sum(file.stat().st_size for file in files if file.exists()) / 1e6,
        layers=found.get("layers", 0),
        blobs=len(check.get("rows", [])),
        worst_share=max(shares, default=None),
        output=str(place.relative_to(out)) if place.exists() else "",
        report=str(report.relative_to(out)) if report.exists() and check else "",
        warnings=tuple(found.get("warnings", [])),
    )
