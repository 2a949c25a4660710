"""A converted model in a process of its own, with a time limit: what it does there cannot end or hang the check.

A model from elsewhere is somebody's program: model.py is Python, and a graph may loop for ever. In the process of the
check an `os._exit(0)` would look like success, and no Ctrl-C would end a loop within onnxruntime.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from queue import Empty, Full, Queue
from threading import Thread
from time import monotonic
from typing import IO, Any

from prototxt.errors import CaffeModelError, MissingDependencyError, ModelError, Position, RequestError
from prototxt.words import reason
from verify.engines.engine import Array, Blobs, File, ModelInput, OneByOne
from verify.engines.messages import Message, read_message, write_message
from verify.keys import Key

if sys.platform == "linux":
    import fcntl

LAUNCH = "import sys; sys.path[:] = sys.argv[1:-1]; from verify.engines.child import main; main()"
MALLOC = "glibc.malloc.tcache_count=0"
"""To glibc, of whose memory a runtime that fuses layers takes some half a dozen copies of each weight: what is freed is
used again, and its peak the same at each run, only if no small pieces kept for a thread lie between."""
ON_THE_WAY = 1 << 20
"""Bytes of its answers that may be on the way; the fewer, the more often the two processes wait for each other."""
FAULTS = {kind.__name__: kind for kind in (RequestError, ModelError, MissingDependencyError)}


class ModelApart(OneByOne):
    """An .onnx file, or a folder with model.py, run by a process of its own.

    Args:
        path: of the model.
        limit: seconds that it may take to load.

    Attributes:
        limit: seconds that it may be waited for while it runs; may be set meanwhile.

    Raises:
        ModelError: it does not load, or not in time, or its process ends.
        RequestError: it is no model.
        MissingDependencyError: its runtime is not installed.
    """

    def __init__(self, path: File, *, limit: float) -> None:
        self.limit = limit
        self._path = Path(path)
        self._messages: Queue[Message | None] = Queue(1)  # the process shall not be far ahead of who asks
        self._waited = 0.0
        self._closed = False
        self._running = Blobs(iter(()))
        self._sender: Thread | None = None
        self._process = _started(self._path)
        try:
            Thread(target=self._listen, args=(self._process.stdout,), daemon=True).start()
            self._learn(self._answer("load").fields)
        except BaseException:
            self.close()
            raise

    def stream(self, feeds: Mapping[str, Array]) -> Blobs:
        """Run the model; errors as in the same process, and ModelError when it does not end in time."""
        for _ in self._running.tops:  # somebody went away before its end
            pass
        self._waited = 0.0
        self._sender = Thread(target=self._send, args=(feeds,), daemon=True)
        self._sender.start()
        self._running = Blobs(iter(()))
        self._running.tops = self._blobs(self._running)
        return self._running

    def _blobs(self, blobs: Blobs) -> Iterator[tuple[Sequence[Key], Array]]:
        """One message for each blob, and one with the outputs."""
        while True:
            answer = self._answer("run")
            try:
                if "tops" not in answer.fields:
                    blobs.outputs.update(zip(map(str, answer.fields["outputs"]), answer.arrays, strict=True))
                    blobs.notes += map(str, answer.fields["notes"])
                    return
                keys = [(str(layer), str(top)) for layer, top in answer.fields["tops"]]
                (array,) = answer.arrays
            except (KeyError, TypeError, ValueError) as error:
                raise self._fault("its process gives no answer that makes sense") from error
            del answer
            yield keys, array
            del array

    def close(self) -> None:
        """End the process and all that it has started."""
        with suppress(ProcessLookupError, PermissionError):  # the whole group has ended; macOS calls that EPERM
            if hasattr(os, "killpg"):
                os.killpg(self._process.pid, signal.SIGKILL)
            else:
                self._process.kill()
        self._process.wait()
        self._closed = True
        if self._sender is not None:
            self._sender.join(1)
        if self._process.stdin is not None and not (self._sender and self._sender.is_alive()):
            with suppress(BrokenPipeError):
                self._process.stdin.close()

    def _send(self, feeds: Mapping[str, Array]) -> None:
        """In a thread: a process that reads nothing shall not hold this one up."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it has ended, and `_ending` says how
            write_message(self._process.stdin, {"names": list(feeds)}, list(feeds.values()))

    def _listen(self, stream: IO[bytes]) -> None:
        with suppress(ValueError), stream:
            while self._pass_on(read_message(stream)):
                pass
        self._pass_on(None)

    def _pass_on(self, message: Message | None) -> bool:
        """Whether there may be more to pass on."""
        while not self._closed:
            with suppress(Full):
                self._messages.put(message, timeout=0.1)
                return message is not None
        return False

    def _answer(self, doing: str) -> Message:
        start = monotonic()
        try:
            message = self._messages.get(timeout=max(0.0, self.limit - self._waited))
            self._waited += monotonic() - start
        except Empty:
            raise self._fault(
                f"does not {doing} to its end within {self.limit:.4g} s (--timeout gives it longer)"
            ) from None
        if message is None:
            raise self._fault(self._ending())
        if "fault" in message.fields:
            raise self._told(message.fields)
        return message

    def _ending(self) -> str:
        try:
            status = self._process.wait(1)
        except subprocess.TimeoutExpired:
            return "its process says no more"
        if status < 0:
            with suppress(ValueError):
                return f"its process was ended by {signal.Signals(-status).name} before the check was done"
        return f"its process ended with status {status} before the check was done"

    def _told(self, fields: Mapping[str, Any]) -> CaffeModelError:
        position = fields.get("position")
        with suppress(TypeError, ValueError):
            path, line, column = position  # type: ignore[misc]
            where = Position(str(path), int(line), int(column))
            return FAULTS.get(fields["fault"], ModelError)(str(fields.get("message")), position=where)
        if fields["fault"] == MissingDependencyError.__name__:
            return MissingDependencyError(str(fields.get("message")))
        return self._fault(str(fields.get("message")))

    def _fault(self, message: str) -> ModelError:
        return ModelError(message, position=Position(str(self._path)))

    def _learn(self, fields: Mapping[str, Any]) -> None:
        try:
            self.name = str(fields["name"])
            self.inputs = tuple(ModelInput(str(name), _sizes(shape)) for name, shape in fields["inputs"])
            self.metadata: Mapping[str, str] = {str(key): str(value) for key, value in fields["metadata"].items()}
            self.blobs: tuple[Key, ...] = tuple((str(layer), str(top)) for layer, top in fields["blobs"])
            self.outputs: tuple[str, ...] = tuple(map(str, fields["outputs"]))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise self._fault("its process gives no answer that makes sense") from error


def _sizes(shape: Any) -> tuple[int | None, ...] | None:
    return None if shape is None else tuple(None if size is None else int(size) for size in shape)


def _started(path: Path) -> subprocess.Popen[bytes]:
    # The search path is this process's own: a `verify.py` in the working folder shall not come before it.
    command = [sys.executable, "-c", LAUNCH, *sys.path, str(path)]
    pipe, errors = subprocess.PIPE, subprocess.DEVNULL if sys.__stderr__ is None else None
    tunables = filter(None, (MALLOC, os.environ.get("GLIBC_TUNABLES")))  # the user's come last, and count
    environment = {**os.environ, "GLIBC_TUNABLES": ":".join(tunables)}
    try:
        process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=errors, start_new_session=True, env=environment
        )
    except OSError as error:
        raise ModelError(f"no process can be started for it: {reason(error)}", position=Position(str(path))) from error
    if sys.platform == "linux" and process.stdout is not None:
        with suppress(OSError):  # the user's pipes have all the memory that they may have
            fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, ON_THE_WAY)
    return process
