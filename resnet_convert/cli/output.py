"""Standard output and error as a command needs them: what cannot be printed is remembered, and stops no work.

The exit status tells how the work ended. A reader that went away, a full disk or a closed descriptor must neither break
the work off nor, but for the reader, pass for a success.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

CLOSED = -1


class LastingOutput(io.RawIOBase):
    """Writes to a descriptor, and takes what that does not.

    Attributes:
        failure: what went wrong first.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.failure: OSError | None = None

    def write(self, data: Any, /) -> int:
        """Write some of the data, or lose all of it."""
        if self.failure is None:
            try:
                return os.write(self._descriptor, data)
            except OSError as error:
                self.failure = error
        return memoryview(data).nbytes

    def writable(self) -> bool:
        """It is."""
        return True

    def isatty(self) -> bool:
        """Whether a person reads it."""
        return os.isatty(self._descriptor)

    def fileno(self) -> int:
        """The descriptor; -1 for one that was closed."""
        return self._descriptor


@contextmanager
def lasting_output() -> Iterator[LastingOutput]:
    """Put `LastingOutput` below `sys.stdout` and `sys.stderr`, unless somebody has put other objects in their place.

    Closed descriptors are opened on nothing: the next file that is opened would get their numbers, and whatever is
    printed past Python would end in it.
    """
    before = sys.stdout, sys.stderr
    closed = [descriptor for descriptor in range(3) if not _is_open(descriptor)]
    for _ in closed:
        os.open(os.devnull, os.O_RDWR)
    output, errors = (LastingOutput(CLOSED if number in closed else number) for number in (1, 2))
    if sys.stdout is None or sys.stdout is sys.__stdout__:
        sys.stdout = _text(output, sys.stdout, by_line=output.isatty())
    if sys.stderr is None or sys.stderr is sys.__stderr__:
        sys.stderr = _text(errors, sys.stderr, by_line=True)
    with suppress(AttributeError):  # another object in its place
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        yield output
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        sys.stdout, sys.stderr = before


def _text(raw: LastingOutput, like: TextIO | None, *, by_line: bool) -> TextIO:
    encoding = "utf-8" if like is None else like.encoding
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding, "backslashreplace", line_buffering=by_line)


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True
