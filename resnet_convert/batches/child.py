"""The command line as a child process runs it: alone, or in a fork of a process that has loaded everything once.

A process that forks owns its forks: nobody else can wait for them or, since the kernel gives numbers out again, safely
kill them. It is asked over a socket, its standard input:

    asking     a byte, with three descriptors: a channel, and the files that the net's process prints to
    channel    takes the request, a line of JSON; when the asker closes its side, or is gone, the process is ended,
               politely, and after a while by force. Gives back, once nothing of the process is left, its exit status,
               or why there was no process

It starts no thread and loads nothing that does: a fork has one thread, and would wait for ever for what others locked.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import selectors
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pkgutil import walk_packages
from typing import Any, NoReturn

GRACE = 5.0
"""Seconds that a process has to take away what is half written, before it is killed."""

AGAIN = 0.1
"""Seconds until a process that has been killed, and does not end, is looked at again."""

MODULES = ("resnet_convert.verification",)
FOLDERS = (
    "converter.layers",
    "converter.passes",
    "converter.targets",
    "verify.engines",
    "verify.layers",
    "verify.report",
)
"""Packages of which a net may need any module. Runtimes start threads: each fork loads its own."""


def run(main: Callable[[], int], *, forks: bool) -> NoReturn:
    """Run the command line with the words of `sys.argv`; or, as often as that is asked for, with others in a fork.

    It ends with the process that started this one.
    """
    status = 1  # of an exception that nobody catches

    def leave() -> NoReturn:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)

    if forks:
        # Registered first, called last: to take every module apart costs as much as a conversion.
        atexit.register(leave)
        sys.argv[1:] = _fork_for_each()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    status = main()
    sys.exit(status)


def _end_with_parent() -> None:
    """Nothing ever comes on standard input; when it closes, the parent is gone, by SIGKILL even."""
    os.read(0, 1)
    os.killpg(0, signal.SIGTERM)
    time.sleep(GRACE)
    os.killpg(0, signal.SIGKILL)


def _fork_for_each() -> list[str]:
    """Serve until the asker is gone; returns in the forks alone, with the words of each."""
    gc.disable()
    for name in MODULES:
        import_module(name)
    for folder in FOLDERS:
        for module in walk_packages(import_module(folder).__path__, f"{folder}."):
            import_module(module.name)
    gc.freeze()  # a look for garbage would write to every page, and a page that is written to is shared no more
    return _Forks().serve()


@dataclass
class _Fork:
    """A process that was forked.

    Attributes:
        process: its number, which is its group's as well.
        lifeline: the end of a pipe that nothing is ever written to; it closes when this process ends.
        killed_at: when, if it was told to end.
    """

    process: int
    lifeline: int
    killed_at: float | None = None


class _Forks:
    def __init__(self) -> None:
        self._asker = socket.socket(fileno=0)
        self._asked = True
        self._running: dict[socket.socket, _Fork] = {}
        self._bell, self._button = socket.socketpair()  # it rings when a fork has ended
        self._bell.setblocking(False)
        self._button.setblocking(False)
        signal.set_wakeup_fd(self._button.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def serve(self) -> list[str]:
        """The words, in a fork."""
        while self._asked or self._running:
            for ready in self._wait():
                if ready is self._asker:
                    words = self._fork()
                    if words is not None:
                        return words
                elif ready is self._bell:
                    self._bell.recv(4096)
                else:
                    self._tell_to_end(self._running[ready])
            self._take_leave()
        sys.exit(0)

    def _wait(self) -> list[socket.socket]:
        """Who has something to say."""
        times = [fork.killed_at for fork in self._running.values() if fork.killed_at is not None]
        patience = max(AGAIN, min(times) - time.monotonic()) if times else None
        with selectors.DefaultSelector() as selector:
            selector.register(self._bell, selectors.EVENT_READ)
            if self._asked:
                selector.register(self._asker, selectors.EVENT_READ)
            for channel, fork in self._running.items():
                if fork.killed_at is None:
                    selector.register(channel, selectors.EVENT_READ)
            return [found.fileobj for found, _ in selector.select(patience) if isinstance(found.fileobj, socket.socket)]

    def _fork(self) -> list[str] | None:
        """One more; the words in the fork, and None here."""
        said, descriptors, *_ = socket.recv_fds(self._asker, 1, 3)
        if not said:
            self._asked = False
            return None
        channel, prints_to = socket.socket(fileno=descriptors[0]), descriptors[1:]
        request = _request(channel)
        reads_from, lifeline = os.pipe()
        process = self._forked(channel, request) if request else -1
        if process == 0:
            channel.close()
            os.close(lifeline)
            self._become((reads_from, *prints_to), request["cores"])
            return list(request["words"])
        for descriptor in (reads_from, *prints_to):
            os.close(descriptor)
        if process > 0:
            with suppress(OSError):  # it may have done that itself, and more
                os.setpgid(process, process)
            self._running[channel] = _Fork(process, lifeline)
        else:
            channel.close()
            os.close(lifeline)
        return None

    def _forked(self, channel: socket.socket, request: dict[str, Any]) -> int:
        """What `os.fork` gives, in the request's folder; -1 where there is no process."""
        try:
            os.chdir(request["folder"])
            return os.fork()
        except OSError as error:
            _answer(channel, {"errno": error.errno, "file": error.filename})
            return -1

    def _become(self, streams: Sequence[int], cores: Sequence[int]) -> None:
        """In the fork: nothing stays of what the other process does."""
        os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for each in (self._asker, self._bell, self._button, *self._running):
            each.close()
        for fork in self._running.values():
            os.close(fork.lifeline)
        for standard, descriptor in enumerate(streams):
            os.dup2(descriptor, standard)
            os.close(descriptor)
        if cores:
            os.sched_setaffinity(0, cores)

    def _tell_to_end(self, fork: _Fork) -> None:
        _signal(fork, signal.SIGTERM)
        fork.killed_at = time.monotonic() + GRACE

    def _take_leave(self) -> None:
        """Of the forks that have ended, with all that they started; whose time is over is killed."""
        for channel, fork in list(self._running.items()):
            if fork.killed_at is not None and time.monotonic() >= fork.killed_at:
                _signal(fork, signal.SIGKILL)
            # It stays a zombie for now, so that its number is nobody else's.
            if os.waitid(os.P_PID, fork.process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                continue
            _signal(fork, signal.SIGKILL)
            _, status = os.waitpid(fork.process, 0)
            _answer(channel, {"status": os.waitstatus_to_exitcode(status)})
            os.close(fork.lifeline)
            del self._running[channel]


def _signal(fork: _Fork, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(fork.process, number)


def _request(channel: socket.socket) -> dict[str, Any]:
    """Empty when the asker is gone before it has said what it wants."""
    with channel.makefile("rb") as file:
        line = file.readline()
    request: dict[str, Any] = json.loads(line) if line.endswith(b"\n") else {}
    return request


def _answer(channel: socket.socket, answer: dict[str, Any]) -> None:
    with channel, suppress(BrokenPipeError, ConnectionResetError):  # nobody waits for it any more
        channel.sendall(json.dumps(answer).encode())
