"""How child processes are started, so that they can be ended at any time, with all that they have started.

Each leads a process group of its own: a time limit or Ctrl-C ends what it has started as well. When its standard input
closes, the parent is gone, by SIGKILL even, and the child ends itself. What it prints goes to files: pipes would fill
up, or stay open in the hands of a grandchild.

A child is a Python of its own, or, where systems let loaded processes fork, a fork of one that has loaded everything.
"""

from __future__ import annotations

import json
import math
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import BinaryIO, Protocol

from resnet_convert.batches.child import GRACE

FORKS = hasattr(os, "fork") and sys.platform != "darwin"
"""Whether a process that has loaded numpy can be forked: on macOS, Apple's libraries break in a fork."""

LONGEST_WAIT = 86400.0
"""Seconds that a socket waits at a time; it takes no more than some weeks."""

LONGEST_ANSWER = 1 << 16

ROOT = str(Path(__file__).resolve().parents[2])

# Not `-m resnet_convert.cli.main`: that would import from the working folder first, where a `weights.py` may lie.
LAUNCH = """\
import os, sys
root, cores, forks = sys.argv[1:4]
del sys.argv[1:4]
sys.path = [place for place in sys.path if place]
if root not in sys.path:
    sys.path.insert(0, root)
if cores:
    os.sched_setaffinity(0, map(int, cores.split(",")))
from resnet_convert.batches.child import run
from resnet_convert.cli import convert, verify  # what main loads by need
from resnet_convert.cli.main import main
run(main, forks=forks == "forks")
"""


class ServerGoneError(Exception):
    """The process that forks for the nets has ended; those that it had forked end themselves."""


@dataclass(frozen=True)
class Task:
    """What a child does: the words of its command line, its folder and cores (all where there are none), its output."""

    words: Sequence[str]
    folder: Path
    cores: Sequence[int]
    output: BinaryIO
    errors: BinaryIO


class Child(Protocol):
    """A process that does a task."""

    def wait(self, timeout: float) -> int | None:
        """Its exit status, negative for a signal; None when it has not ended in time, or though it was told to."""

    def tell_to_end(self) -> None:
        """Ask it, and all that it has started, to end; any thread may, and none waits here."""

    def end(self) -> None:
        """The same, and after a while by force; nothing of it is left then."""


class Spawned:
    """A Python of its own.

    Raises:
        OSError: it could not be started.
    """

    def __init__(self, task: Task, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            _command(task.cores, "", *task.words),
            cwd=task.folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=task.output,
            stderr=task.errors,
            start_new_session=True,
        )
        self._told = math.inf

    def wait(self, timeout: float) -> int | None:
        until = monotonic() + timeout
        while (now := monotonic()) < min(until, self._told + GRACE):
            with suppress(subprocess.TimeoutExpired):
                return self._process.wait(min(until - now, GRACE))
        return None

    def tell_to_end(self) -> None:
        if self._process.poll() is None:
            self._told = min(self._told, monotonic())
            self._signal(signal.SIGTERM)

    def end(self) -> None:
        self.tell_to_end()
        self.wait(GRACE)
        self._signal(signal.SIGKILL)
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):  # the whole group has ended; macOS calls that EPERM
            os.killpg(self._process.pid, number)


class ForkServer:
    """A process that has loaded everything, and forks for each task.

    Args:
        environment: of it and its forks.
        cores: as many as a fork will have, for libraries that count them as they are loaded.
    """

    def __init__(self, environment: Mapping[str, str], cores: Sequence[int]) -> None:
        self._asking, asked = socket.socketpair()
        with asked:
            self._process = subprocess.Popen(
                _command(cores, "forks"),
                env=environment,
                stdin=asked.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )

    @property
    def alive(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def fork(self, task: Task) -> Forked:
        """A process for a task.

        Raises:
            ServerGoneError: the server has ended.
        """
        channel, theirs = socket.socketpair()
        try:
            with theirs:
                descriptors = [theirs.fileno(), task.output.fileno(), task.errors.fileno()]
                socket.send_fds(self._asking, [b"+"], descriptors)
            request = {"words": list(task.words), "folder": str(task.folder), "cores": list(task.cores)}
            channel.sendall(json.dumps(request).encode() + b"\n")
        except (BrokenPipeError, ConnectionResetError) as error:
            channel.close()
            raise ServerGoneError from error
        return Forked(channel)

    def close(self) -> None:
        """End it, when its forks have ended."""
        self._asking.close()
        self._process.wait()


class Forked:
    """A fork of the server, which alone can wait for it and end it."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel

    def wait(self, timeout: float) -> int | None:
        """As of any child.

        Raises:
            OSError: it could not be started.
            ServerGoneError: the server has ended.
        """
        until = monotonic() + timeout
        answer = None
        while answer is None and (left := until - monotonic()) > 0:
            answer = self._answer(min(left, LONGEST_WAIT))
        if answer is None:
            return None
        if not answer:
            raise ServerGoneError
        found: dict[str, int | str] = json.loads(answer)
        if "errno" in found:
            raise OSError(found["errno"], os.strerror(int(found["errno"])), found["file"])
        return int(found["status"])

    def tell_to_end(self) -> None:
        with suppress(OSError):  # the server is gone, or has let go
            self._channel.shutdown(socket.SHUT_WR)

    def end(self) -> None:
        self.tell_to_end()
        while self._answer(LONGEST_WAIT) != b"":
            pass
        self._channel.close()

    def _answer(self, timeout: float) -> bytes | None:
        """What the server has to say, empty when it never will; None when it does not within so many seconds."""
        self._channel.settimeout(timeout)
        try:
            return self._channel.recv(LONGEST_ANSWER)
        except TimeoutError:
            return None
        except ConnectionResetError:
            return b""


def _command(cores: Sequence[int], forks: str, *words: str) -> list[str]:
    return [sys.executable, "-c", LAUNCH, ROOT, ",".join(map(str, cores)), forks, *words]
