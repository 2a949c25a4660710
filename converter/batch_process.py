"""Child processes that can be ended at any time, with all that they have started, and that never outlive their parent.

Each child leads a process group of its own, so that a time limit or Ctrl-C ends what it has started as well. Its
standard input is a pipe on which nothing ever comes: when it closes, the parent is gone, by SIGKILL even, and the child
ends itself. What it prints goes to files: pipes would fill up, or stay open in the hands of a grandchild.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from threading import Lock
from time import monotonic
from typing import BinaryIO

GRACE = 5.0
"""Seconds that a process has to take away what is half written, before it is killed."""

MOST_OUTPUT = 64 << 20
"""Bytes that are read of what a process printed: the last ones of its output, the first ones of its errors."""

ROOT = str(Path(__file__).resolve().parents[1])
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

# Not `-m converter.cli`: that would import from the working folder first, where a `weights.py` may lie.
LAUNCH = f"""\
import os, signal, sys, threading, time
root, cores = sys.argv[1:3]
del sys.argv[1:3]
sys.path = [place for place in sys.path if place]
if root not in sys.path:
    sys.path.insert(0, root)
if cores:
    os.sched_setaffinity(0, map(int, cores.split(",")))
def end_with_parent():
    os.read(0, 1)
    os.killpg(0, signal.SIGTERM)
    time.sleep({GRACE})
    os.killpg(0, signal.SIGKILL)
threading.Thread(target=end_with_parent, daemon=True).start()
from converter.cli import main
sys.exit(main(sys.argv[1:]))
"""


class StoppedError(Exception):
    """The process was ended by `Children.stop`, or not started after it."""


@dataclass(frozen=True)
class Ended:
    """A process that ended.

    Attributes:
        status: its exit status, negative for a signal, None when its time was up.
        output, errors: what it printed.
    """

    status: int | None
    output: str
    errors: str


class Children:
    """The command line of this project in processes of its own, any number at a time.

    Args:
        threads: of each process; 0 leaves that to the libraries. What the environment says already holds.
        pinned: keep each process to as many cores, for libraries that count cores to set their threads. For a pool
            that has this machine to itself: two of them would choose the same cores.
    """

    def __init__(self, *, threads: int = 0, pinned: bool = False) -> None:
        self._environment = {**(dict.fromkeys(THREADS, str(threads)) if threads else {}), **os.environ}
        cores = sorted(os.sched_getaffinity(0)) if pinned and hasattr(os, "sched_getaffinity") else []
        self._threads = threads if threads < len(cores) else 0
        self._load = dict.fromkeys(cores, 0)
        self._lock = Lock()
        self._live: set[subprocess.Popen[bytes]] = set()
        self._stopped = False

    def run(self, words: Sequence[str], *, folder: Path, timeout: float) -> Ended:
        """Run `resnet-convert WORDS` in a folder to its end.

        Raises:
            StoppedError: `stop` was called.
            OSError: the process could not be started.
        """
        with TemporaryFile() as output, TemporaryFile() as errors, self._cores() as cores:
            command = [sys.executable, "-c", LAUNCH, ROOT, ",".join(map(str, cores)), *words]
            process = self._start(command, folder, output, errors)
            try:
                status: int | None = process.wait(timeout)
            except subprocess.TimeoutExpired:
                status = None
            finally:
                _end([process])
                with self._lock:
                    self._live.discard(process)
            if self._stopped:
                raise StoppedError
            return Ended(status, _read(output, last=True), _read(errors, last=False))

    def stop(self) -> None:
        """End all processes, and start no more."""
        with self._lock:
            self._stopped = True
            live = list(self._live)
        _end(live)

    def _start(
        self, command: Sequence[str], folder: Path, output: BinaryIO, errors: BinaryIO
    ) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._stopped:
                raise StoppedError
            process = subprocess.Popen(
                command,
                cwd=folder,
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=errors,
                start_new_session=True,
            )
            self._live.add(process)
        return process

    @contextmanager
    def _cores(self) -> Iterator[list[int]]:
        """Those with the least to do."""
        with self._lock:
            mine = sorted(self._load, key=self._load.__getitem__)[: self._threads]
            for core in mine:
                self._load[core] += 1
        try:
            yield mine
        finally:
            with self._lock:
                for core in mine:
                    self._load[core] -= 1


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """End processes and all that they have started: politely, and after a while by force."""
    for process in processes:
        if process.poll() is None:
            _signal(process, signal.SIGTERM)
    until = monotonic() + GRACE
    for process in processes:
        with suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, until - monotonic()))
        _signal(process, signal.SIGKILL)
        process.wait()
        if process.stdin is not None:
            process.stdin.close()


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):  # the whole group has ended; macOS calls that EPERM
        os.killpg(process.pid, number)


def _read(file: BinaryIO, *, last: bool) -> str:
    if last:
        file.seek(max(0, file.seek(0, os.SEEK_END) - MOST_OUTPUT))
    else:
        file.seek(0)
    return file.read(MOST_OUTPUT).decode(errors="backslashreplace")
