"""A file that is read piece by piece, as its structure and its numbers are wanted.

It is never mapped: a page of a map that lies behind the end of a file that was cut short meanwhile kills the process
(SIGBUS), where a read is told; and pages that a map has shown count as this process's memory.
"""

from __future__ import annotations

import os
import weakref
from threading import Lock

from prototxt.errors import Position, WeightsError
from prototxt.words import unreadable
from weights.wire import Wire


class PiecewiseFile:
    """A file, open for reads at any place, by several threads too.

    Attributes:
        path: its name, for messages.
        size: its bytes when it was opened.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Open `path`.

        Raises:
            WeightsError: it cannot be read.
        """
        self.path = os.fspath(path)
        try:
            with open(self.path, "rb") as file:
                self.size = os.fstat(file.fileno()).st_size
                self._file = open(os.dup(file.fileno()), "rb", buffering=0, closefd=False)  # noqa: SIM115
        except (OSError, ValueError) as fault:
            raise WeightsError(unreadable(fault), position=Position(self.path)) from fault
        self._lock = Lock()
        self._is_open = True
        self._let_go = weakref.finalize(self, os.close, self._file.fileno())

    def wire(self) -> Wire:
        """A walk through the message that the file is."""
        return Wire.over(self.piece, self.size)

    def piece(self, start: int, stop: int) -> bytes:
        """The bytes between two positions; errors as of `read`."""
        found = bytearray(stop - start)
        self.read(start, memoryview(found))
        return bytes(found)

    def read(self, start: int, into: memoryview) -> None:
        """Fill some memory with the file's bytes from `start` on.

        Raises:
            WeightsError: the file was closed, or has become shorter.
        """
        view = into
        with self._lock:
            if not self._is_open:
                raise WeightsError("is closed, its weights can be read no more", position=Position(self.path))
            self._file.seek(start)
            while view:
                try:
                    count = self._file.readinto(view)
                except OSError as fault:
                    raise WeightsError(unreadable(fault), position=Position(self.path)) from fault
                if not count:
                    missing = f"{len(view):,} bytes should follow at byte {start + len(into) - len(view):,}"
                    raise WeightsError(f"was cut short while it was read: {missing}", position=Position(self.path))
                view = view[count:]

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._is_open = False
            self._let_go()

    def __enter__(self) -> PiecewiseFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
