"""HDF5 files written so that a full disk is an error.

The HDF5 library ends the process, or gives an error that hides the reason, when writing fails as it closes a file. So
it writes through a file object of Python's that keeps the first failure and takes what comes after without a word.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import h5py


@contextmanager
def new_hdf5(path: str | os.PathLike[str]) -> Iterator[h5py.File]:
    """An HDF5 file to fill, in place of the file at `path`.

    Raises:
        ImportError: h5py is not installed.
        OSError: writing failed; its reason is the first failure's.
    """
    library = import_module("h5py")
    with KeepingFile(path) as kept:
        file = library.File(kept, "w")
        try:
            yield file
        finally:
            file.close()


class KeepingFile:
    """The file object, with the methods that h5py and PyTorch ask for."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._file = open(path, "w+b", buffering=0)  # noqa: SIM115 (closed by __exit__)
        self._fault: OSError | None = None

    def __enter__(self) -> KeepingFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._file.close()
        if self._fault is not None and (error is None or isinstance(error, Exception)):
            raise self._fault

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size) or b""

    def readinto(self, buffer: Any) -> int:
        return self._file.readinto(buffer) or 0

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        done = 0
        while self._fault is None and done < len(view):
            try:
                done += self._file.write(view[done:])
            except OSError as fault:
                self._fault = fault
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        if self._fault is None:
            try:
                return self._file.truncate(size)
            except OSError as fault:
                self._fault = fault
        return size or 0

    def flush(self) -> None:
        """Nothing is buffered."""
