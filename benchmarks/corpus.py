#!/usr/bin/env python3
"""Parse every net of the corpus, convert its deploy nets with random weights, and say what stands in the way.

    python -m benchmarks.corpus [--corpus ../shared/corpus] [--run] [--parse-only] [--journal FILE [--retry]]

Each net has a process of its own with a limit of time and of memory, so that none can stop the rest. What is known of
a net is appended to the journal at once; a run that was cut short goes on from there. With --run every converted net is
also run in onnxruntime and compared, blob by blob, with the independent interpreter. Exit status 1 when fewer than 99 %
of the nets parse.
"""

from __future__ import annotations

import argparse
import json
import logging
import lzma
import multiprocessing
import os
import re
import resource
import sys
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path

from prototxt.errors import CaffeModelError, ErrorGroup

CORPUS = Path(__file__).resolve().parents[2] / "shared" / "corpus"
BAR = 0.99
PRELOADED = ["converter.api", "converter.onnx_model", "verify"]
STEPS = ("parse", "convert", "run")
NET = Path("net.prototxt")
"""Relative, in the process's own folder: messages then hold no path of this machine."""


@dataclass(frozen=True)
class Entry:
    """A net of the corpus: its path there, the form it has, and whether it is for deployment."""

    file: str
    form: str
    deploy: bool
    text: str = field(repr=False, compare=False)


@dataclass
class Finding:
    """What became of one net.

    Attributes:
        file: its path in the corpus.
        steps: what was tried, of parse, convert, run.
        reached: how many of them held.
        lenient: whether it took --allow-unknown.
        reasons: why the next one did not, each as a sentence without names and numbers.
        message: the first error as it reads.
        seconds, peak: of its process; peak resident bytes.
        share: of --run, the largest error as a share of its bound.
    """

    file: str
    steps: tuple[str, ...]
    reached: int = 0
    lenient: bool = False
    reasons: list[str] = field(default_factory=list)
    message: str = ""
    seconds: float = 0.0
    peak: float = 0.0
    share: float | None = None

    def did(self, step: str) -> bool:
        """Whether a step held."""
        return step in self.steps[: self.reached]


def read_corpus(folder: Path) -> list[Entry]:
    """The nets, read in place from the archive in one pass."""
    with lzma.open(folder / "index.json.xz") as file:
        nets = {entry["file"]: entry for entry in json.load(file) if entry["kind"] == "net"}
    found = []
    with tarfile.open(folder / "prototxt.tar.xz") as archive:
        for member in archive:
            if member.name in nets:
                stream = archive.extractfile(member)
                assert stream is not None
                entry, text = nets[member.name], stream.read().decode("utf-8", "surrogateescape")
                found.append(Entry(member.name, entry["format"], entry["phase"] == "deploy", text))
    return sorted(found, key=lambda entry: entry.file)


def examine(entry: Entry, steps: tuple[str, ...], limit: int, folder: str, answer: Connection) -> None:
    """What the process of one net does, in a folder of its own; the one who started it removes that."""
    os.chdir(folder)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    logging.disable(logging.CRITICAL)
    start, finding = time.perf_counter(), Finding(entry.file, steps)
    try:
        _take_steps(entry, finding)
    except CaffeModelError as error:
        finding.reasons, finding.message = reasons(error), str(error).partition("\n")[0]
    except MemoryError:
        finding.reasons = [f"needs more than {limit / 2**30:.0f} GB"]
    except Exception as error:  # noqa: BLE001 (a defect of ours, which the table must show)
        finding.reasons = [f"defect: {type(error).__name__}: {sentence(str(error))}"]
        finding.message = f"{type(error).__name__}: {error}"[:300]
    finding.seconds = time.perf_counter() - start
    finding.peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    answer.send(finding)


def _take_steps(entry: Entry, finding: Finding) -> None:
    from converter.api import Options, load_parsed, prepare, write
    from prototxt.net import read_net_message

    try:
        read_net_message(entry.text, entry.file)
    except CaffeModelError:
        finding.lenient = True
        read_net_message(entry.text, entry.file, allow_unknown=True)
    finding.reached = 1
    if "convert" not in finding.steps:
        return
    model = Path("model.onnx")
    NET.write_text(entry.text, encoding="utf-8", errors="surrogateescape")
    options = Options(random_weights=0, allow_unknown=finding.lenient)
    ready = prepare(load_parsed(NET, options), None, options)
    write(ready, "onnx", model, None)
    finding.reached = 2
    if "run" in finding.steps:
        from verify.parity import verify_model

        report = verify_model(ready.net, ready.weights, model)
        finding.share = report.worst.share if report.worst else None
        bad = report.first_bad
        if bad is not None:
            finding.reasons, finding.message = [f"numbers: {bad.layer_type} {bad.fault}".strip()], bad.label
        finding.reached = 3 if report.ok else 2


def reasons(error: CaffeModelError) -> list[str]:
    """Every error of a group, once each, as a sentence that other nets can share."""
    errors = error.errors if isinstance(error, ErrorGroup) else (error,)
    return list(dict.fromkeys(r for e in errors for r in (reasons(e) if isinstance(e, ErrorGroup) else [_reason(e)])))


def _reason(error: CaffeModelError) -> str:
    unknown = re.match(r"unknown layer type '(.*?)'", error.message)
    if unknown:
        return f"layer type {unknown[1]}"
    kind = f"{error.layer_type}: " if error.layer_type else ""
    return f"{kind}{sentence(error.message)}"


def sentence(message: str) -> str:
    """A message without its names and numbers: those differ from net to net."""
    text = re.sub(r"(?<!\w)'[^']*'|\"[^\"]*\"|\S*\w/\w\S*", "…", message.partition("\n")[0])
    text = re.sub(r"\d+(×\d+)*", "N", text)
    return re.sub(r"N(, N)+", "N", text)[:160]


class Pool:
    """Processes with limits, at most `jobs` of them at a time."""

    def __init__(self, jobs: int, seconds: float, memory: int) -> None:
        self._jobs, self._seconds, self._memory = jobs, seconds, memory
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(PRELOADED)

    def run(self, entries: Sequence[Entry], steps: Sequence[tuple[str, ...]]) -> Iterator[Finding]:
        """A finding for each net, as they come."""
        waiting = list(zip(entries, steps, strict=True))[::-1]
        running: list[_Running] = []
        while waiting or running:
            while waiting and len(running) < self._jobs:
                running.append(self._start(*waiting.pop()))
            wait([r.answer for r in running], timeout=min(r.deadline for r in running) - time.monotonic())
            for one in list(running):
                finding = one.finding()
                if finding is not None:
                    running.remove(one)
                    yield finding

    def _start(self, entry: Entry, steps: tuple[str, ...]) -> _Running:
        here, there = self._context.Pipe(duplex=False)
        folder = tempfile.TemporaryDirectory()
        words = (entry, steps, self._memory, folder.name, there)
        process = self._context.Process(target=examine, args=words, daemon=True)
        process.start()
        there.close()
        return _Running(entry, steps, process, here, folder, time.monotonic() + self._seconds, self._seconds)


@dataclass
class _Running:
    entry: Entry
    steps: tuple[str, ...]
    process: multiprocessing.process.BaseProcess
    answer: Connection
    folder: tempfile.TemporaryDirectory[str]
    deadline: float
    seconds: float

    def finding(self) -> Finding | None:
        """What it found, or how it ended; None while it is at work."""
        found: Finding | None = None
        if self.answer.poll():
            try:
                found = self.answer.recv()
            except EOFError:
                self.process.join(10)
                found = self._ended(f"died with exit status {self.process.exitcode}")
        elif time.monotonic() >= self.deadline:
            self.process.kill()
            found = self._ended(f"takes more than {self.seconds:.0f} s")
        if found is not None:
            self.process.join()
            self.answer.close()
            self.folder.cleanup()
        return found

    def _ended(self, reason: str) -> Finding:
        return Finding(self.entry.file, self.steps, reasons=[reason])


class Journal:
    """Findings, one JSON object a line; a line that was cut short is dropped."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self.findings: dict[str, Finding] = {}
        for line in path.read_text(encoding="utf-8").splitlines() if path and path.exists() else []:
            try:
                read = json.loads(line)
            except ValueError:
                continue
            finding = Finding(**{**read, "steps": tuple(read["steps"])})
            self.findings[finding.file] = finding

    def knows(self, file: str, steps: tuple[str, ...]) -> bool:
        """Whether these steps were tried on the net before."""
        return file in self.findings and self.findings[file].steps == steps

    def forget_failures(self) -> None:
        """Take up again what did not go through all its steps."""
        self.findings = {name: f for name, f in self.findings.items() if f.reached == len(f.steps)}

    def add(self, finding: Finding) -> None:
        """Keep a finding, at once on disk."""
        self.findings[finding.file] = finding
        if self._path:
            with open(self._path, "a", encoding="utf-8") as out:
                out.write(json.dumps(asdict(finding)) + "\n")


def summary(entries: Sequence[Entry], findings: dict[str, Finding], steps: tuple[str, ...]) -> str:
    """The counts, the nets that do not parse, and the reasons of those that do not convert or run."""
    known = [(entry, findings[entry.file]) for entry in entries if entry.file in findings]
    parsed = [f for _, f in known if f.did("parse")]
    lenient = sum(f.lenient for f in parsed)
    lines = [
        f"{len(parsed)} of {len(known)} nets parse ({_share(len(parsed), len(known))}), "
        f"{len(parsed) - lenient} as they are and {lenient} with --allow-unknown",
        *(f"  {f.message or f'{f.file}: {f.reasons[0]}'}" for _, f in known if not f.did("parse")),
    ]
    for step, verb in (("convert", "convert with --random-weights"), ("run", "give the interpreter's numbers")):
        if step in steps:
            before = STEPS[STEPS.index(step) - 1]
            tried = [f for entry, f in known if entry.deploy and (step == "convert" or f.did(before))]
            good = sum(f.did(step) for f in tried)
            lines.append(f"{good} of {len(tried)} deploy nets {verb} ({_share(good, len(tried))})")
            lines += _grouped([f for f in tried if not f.did(step)])
    return "\n".join(lines)


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "none"


def _grouped(failed: Sequence[Finding]) -> list[str]:
    """Reasons by how many nets have them; how many have no other; an example."""
    count = Counter(reason for f in failed for reason in f.reasons)
    alone = Counter(f.reasons[0] for f in failed if len(f.reasons) == 1)
    example = {reason: f.file for f in reversed(failed) for reason in f.reasons}
    order = sorted(count, key=lambda reason: (-count[reason], -alone[reason], reason))
    return [f"  {count[r]:4} ({alone[r]:3} for this alone)  {r}   e.g. {example[r]}" for r in order]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, default=CORPUS)
    parser.add_argument("--run", action="store_true", help="also run what converts, in onnxruntime, and compare")
    parser.add_argument("--parse-only", action="store_true", help="convert nothing")
    parser.add_argument("--only", default="", metavar="WORD", help="nets with this in their path")
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time (%(default)s)")
    parser.add_argument("--seconds", type=float, default=120, help="for each net (%(default)s)")
    parser.add_argument("--memory", type=float, default=6, metavar="GB", help="for each net (%(default)s)")
    parser.add_argument("--journal", type=Path, metavar="FILE", help="go on from here, and keep what is found")
    parser.add_argument("--retry", action="store_true", help="try again what the journal says failed")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all findings")
    arguments = parser.parse_args()
    steps = STEPS[: 1 if arguments.parse_only else 3 if arguments.run else 2]
    entries = [entry for entry in read_corpus(arguments.corpus) if arguments.only in entry.file]
    journal = Journal(arguments.journal)
    if arguments.retry:
        journal.forget_failures()
    wanted = {entry.file: steps if entry.deploy else STEPS[:1] for entry in entries}
    todo = [entry for entry in entries if not journal.knows(entry.file, wanted[entry.file])]
    pool = Pool(arguments.jobs, arguments.seconds, int(arguments.memory * 2**30))
    for done, finding in enumerate(pool.run(todo, [wanted[entry.file] for entry in todo]), 1):
        journal.add(finding)
        if sys.stderr.isatty():
            print(f"\r\x1b[K{done}/{len(todo)} {finding.file[-90:]}", end="", file=sys.stderr, flush=True)
    if sys.stderr.isatty() and todo:
        print("\r\x1b[K", end="", file=sys.stderr)
    print(summary(entries, journal.findings, steps))
    found = [journal.findings[entry.file] for entry in entries]
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(f) for f in found], indent=1) + "\n", encoding="utf-8")
    return 0 if sum(f.did("parse") for f in found) >= BAR * len(found) else 1


if __name__ == "__main__":
    sys.exit(main())
