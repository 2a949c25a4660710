"""The command line of this project in child processes, any number at a time, and what they printed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from threading import Lock
from typing import BinaryIO

from resnet_convert.batches.starting import FORKS, Child, ForkServer, ServerGoneError, Spawned, Task

MOST_OUTPUT = 64 << 20
"""Bytes that are read of what a process printed: the last ones of its output, the first ones of its errors."""

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


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
    """The command line in processes of its own.

    Args:
        threads: of each process; 0 leaves that to the libraries. What the environment says already holds.
        pinned: keep each process to as many cores, for libraries that count cores to set their threads. For a pool
            that has this machine to itself: two of them would choose the same cores.
        many: whether there will be many of them: then one process that has loaded everything forks for each.
    """

    def __init__(self, *, threads: int = 0, pinned: bool = False, many: bool = False) -> None:
        self._environment = {**(dict.fromkeys(THREADS, str(threads)) if threads else {}), **os.environ}
        cores = sorted(os.sched_getaffinity(0)) if pinned and hasattr(os, "sched_getaffinity") else []
        self._threads = threads if threads < len(cores) else 0
        self._load = dict.fromkeys(cores, 0)
        self._lock = Lock()
        self._live: set[Child] = set()
        self._forks = many and FORKS
        self._server: ForkServer | None = None
        self._stopped = False

    def run(self, words: Sequence[str], *, folder: Path, timeout: float) -> Ended:
        """Run `resnet-convert WORDS` in a folder to its end.

        Raises:
            StoppedError: `stop` was called.
            OSError: the process could not be started.
        """
        try:
            return self._run(words, folder, timeout, forks=self._forks)
        except ServerGoneError:
            # Out of memory, or by one of the nets that it forked for: which one shows when each is alone.
            return self._run(words, folder, timeout, forks=False)

    def stop(self) -> None:
        """Have all processes end, and start no more; whoever waits for one sees that it does."""
        with self._lock:
            self._stopped = True
            for child in self._live:
                child.tell_to_end()
            server, self._server = self._server, None
        if server is not None:
            server.close()

    def _run(self, words: Sequence[str], folder: Path, timeout: float, *, forks: bool) -> Ended:
        with TemporaryFile() as output, TemporaryFile() as errors, self._cores() as cores:
            child = self._start(Task(words, folder, cores, output, errors), forks=forks)
            try:
                status = child.wait(timeout)
            finally:
                child.end()
                with self._lock:
                    self._live.discard(child)
            if self._stopped:
                raise StoppedError
            return Ended(status, _read(output, last=True), _read(errors, last=False))

    def _start(self, task: Task, *, forks: bool) -> Child:
        with self._lock:
            if self._stopped:
                raise StoppedError
            child = self._forked(task) if forks else Spawned(task, self._environment)
            self._live.add(child)
        return child

    def _forked(self, task: Task) -> Child:
        """Of the server, or of another where it is gone."""
        if self._server is not None and not self._server.alive:
            self._server.close()
            self._server = None
        if self._server is None:
            self._server = ForkServer(self._environment, list(self._load)[: self._threads])
        return self._server.fork(task)

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


def _read(file: BinaryIO, *, last: bool) -> str:
    if last:
        file.seek(max(0, file.seek(0, os.SEEK_END) - MOST_OUTPUT))
    else:
        file.seek(0)
    return file.read(MOST_OUTPUT).decode(errors="backslashreplace")
