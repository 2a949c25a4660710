"""Processes with limits of time and memory, one a net, and the journal of what they found.

A net that takes too long is killed, one that takes too much memory fails, one that crashes is recorded with its signal;
none stops the rest.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, fields
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TextIO

from benchmarks.corpus_work import Entry, Finding, Limits, examine, too_much_memory

PRELOADED = [
    "benchmarks.corpus_work",
    "converter.api",
    "converter.targets.onnx_model",
    "converter.targets.torch_model",
    "verify",
]
FRAMEWORKS = ["onnxruntime", "torch", "safetensors"]
"""What the nets that are run need besides: a process of a net starts with them, and needs no second for each."""


class Pool:
    """Processes with limits, at most `jobs` of them at a time; processors are shared out among them.

    Args:
        jobs: how many nets at a time.
        seconds, memory: limits of each; memory in bytes.
        preload: modules that a process starts with.
    """

    def __init__(self, jobs: int, seconds: float, memory: int, preload: Sequence[str] = ()) -> None:
        self._seconds, self._memory = seconds, memory
        cores = sorted(os.sched_getaffinity(0))
        each = max(1, len(cores) // jobs)
        self._slots = [[cores[(job * each + i) % len(cores)] for i in range(each)] for job in range(jobs)]
        for library in ("OMP", "OPENBLAS", "MKL"):  # the process that the others come from reads these as it starts
            os.environ[f"{library}_NUM_THREADS"] = str(each)
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([*PRELOADED, *preload])

    def run(self, entries: Sequence[Entry], steps: Sequence[tuple[str, ...]]) -> Iterator[Finding]:
        """A finding for each net, as they come. Closed before its end, it ends the processes."""
        waiting = list(zip(entries, steps, strict=True))[::-1]
        slots, running = list[Sequence[int]](self._slots), list[_Running]()
        try:
            while waiting or running:
                while waiting and slots:
                    running.append(self._start(*waiting.pop(), slots.pop()))
                wait([r.answer for r in running], timeout=max(0, min(r.deadline for r in running) - time.monotonic()))
                for one in list(running):
                    finding = one.finding()
                    if finding is not None:
                        running.remove(one)
                        slots.append(one.limits.cores)
                        yield finding
        finally:
            for one in running:
                one.stop()

    def _start(self, entry: Entry, steps: tuple[str, ...], cores: Sequence[int]) -> _Running:
        here, there = self._context.Pipe(duplex=False)
        folder = tempfile.TemporaryDirectory()
        limits = Limits(self._seconds, self._memory, cores)
        words = (entry, steps, limits, folder.name, there)
        process = self._context.Process(target=examine, args=words, daemon=True)
        process.start()
        there.close()
        return _Running(Finding(entry.file, steps), process, here, folder, limits, time.monotonic() + self._seconds)


@dataclass
class _Running:
    last: Finding
    process: multiprocessing.process.BaseProcess
    answer: Connection
    folder: tempfile.TemporaryDirectory[str]
    limits: Limits
    deadline: float

    def finding(self) -> Finding | None:
        """What it found, or how it ended; None while it is at work."""
        try:
            while self.answer.poll():
                self.last = self.answer.recv()
        except (EOFError, OSError):
            self.process.join(10)
            return self._ended(_how_it_ended(self.process.exitcode, self.limits.memory))
        if time.monotonic() >= self.deadline:
            return self._ended(f"takes more than {self.limits.seconds:.0f} s")
        return None

    def stop(self) -> None:
        """End it, and take away its folder."""
        self.process.kill()
        self.process.join()
        self.answer.close()
        self.folder.cleanup()

    def _ended(self, reason: str) -> Finding:
        self.stop()
        if reason:
            self.last.faults[self.last.at] = [reason]
            self.last.messages[self.last.at] = ""
        return self.last


def _how_it_ended(status: int | None, memory: int) -> str:
    """The reason of a process that ended by itself, "" for a good end."""
    if status == 0:
        return ""
    if status == -signal.SIGKILL:  # the kernel's way out when memory is short
        return too_much_memory(memory)
    if status is not None and status < 0:
        return f"crashed: {signal.Signals(-status).name}"
    return f"died with exit status {status}"


def is_limit(finding: Finding) -> bool:
    """Whether a limit stopped it, not the net."""
    reasons = [reason for step in finding.faults.values() for reason in step]
    return any(reason.startswith(("needs more than ", "takes more than ", "crashed: ")) for reason in reasons)


class Journal:
    """Findings, one JSON object a line, each on disk as soon as it is known.

    A line that was cut short, or has another form, is passed over. Of two lines for a net the later one holds.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self.findings: dict[str, Finding] = {}
        self.passed_over = 0
        text = path.read_text(encoding="utf-8") if path and path.exists() else ""
        for line in text.splitlines():
            try:
                finding = _read(json.loads(line))
            except (ValueError, TypeError, AttributeError):
                self.passed_over += 1
                continue
            self.findings[finding.file] = finding
        if path and text and not text.endswith("\n"):
            with open(path, "a", encoding="utf-8") as out:
                out.write("\n")  # or the next finding would be lost with the half line before it

    def knows(self, file: str, steps: tuple[str, ...]) -> bool:
        """Whether these steps were tried on the net before."""
        return file in self.findings and self.findings[file].steps == steps

    def forget_failures(self) -> None:
        """Take up again what did not go through all its steps."""
        self.findings = {name: finding for name, finding in self.findings.items() if not finding.faults}

    def add(self, finding: Finding) -> None:
        """Keep a finding."""
        self.findings[finding.file] = finding
        if self._path:
            with open(self._path, "a", encoding="utf-8") as out:
                out.write(json.dumps(asdict(finding)) + "\n")


def _read(line: object) -> Finding:
    if not isinstance(line, dict) or line.keys() != {entry.name for entry in fields(Finding)}:
        raise ValueError("no finding")
    return Finding(**{**line, "steps": tuple(line["steps"])})


class Progress:
    """A line with a bar on a terminal; elsewhere a line every now and then.

    Args:
        total: how many nets there are to do.
        out: where it is shown.
        every: seconds between two lines where it is no terminal.
    """

    def __init__(self, total: int, out: TextIO = sys.stderr, every: float = 60) -> None:
        self._total, self._out, self._every = total, out, every
        self._start = self._said = time.monotonic()
        self._done = self._failed = 0

    def add(self, finding: Finding) -> None:
        """Count a net."""
        self._done += 1
        self._failed += bool(finding.faults)
        now = time.monotonic()
        if self._out.isatty():
            print(f"\r\x1b[K{self.line(now)}  {finding.file[-50:]}", end="", file=self._out, flush=True)
        elif now - self._said >= self._every or self._done == self._total:
            self._said = now
            print(self.line(now), file=self._out, flush=True)

    def line(self, now: float) -> str:
        """`412/874 [#########-----------]  47 %, 31 not through, 35 min left`."""
        share = self._done / self._total if self._total else 1.0
        left = (now - self._start) / self._done * (self._total - self._done) if self._done else 0.0
        bar = "#" * int(20 * share)
        return f"{self._done}/{self._total} [{bar:-<20}] {share:4.0%}, {self._failed} not through, {_span(left)} left"

    def end(self) -> None:
        """Leave the line."""
        if self._out.isatty() and self._done:
            print("\r\x1b[K", end="", file=self._out, flush=True)


def _span(seconds: float) -> str:
    return (
        f"{seconds / 3600:.1f} h"
        if seconds >= 5400
        else f"{seconds / 60:.0f} min"
        if seconds >= 90
        else f"{seconds:.0f} s"
    )


def work(
    pool: Pool, journal: Journal, entries: Sequence[Entry], wanted: dict[str, tuple[str, ...]], progress: Progress
) -> None:
    """Put the nets through the pool and their findings into the journal."""
    with closing(pool.run(entries, [wanted[entry.file] for entry in entries])) as findings:
        for finding in findings:
            journal.add(finding)
            progress.add(finding)
    progress.end()
