"""Where the files of a data set lie: a folder, or an archive that is read as it is.

A store knows every regular file by a relative name with `/`, in plain sorted order, and gives its bytes by place in
that order. It can be pickled, and several threads may read at once. What is hidden (a name that starts with a dot, and
the `__MACOSX` that macOS puts into archives) counts for nothing.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final, Protocol

from prototxt.errors import Position, RequestError
from prototxt.words import unreadable
from verify.evaluation.datasets.decoding import LARGEST_FILE
from verify.evaluation.records import ImageFault

IMAGE_ENDINGS: Final = frozenset(
    ".jpg .jpeg .jpe .png .bmp .dib .tif .tiff .webp .gif .pbm .pgm .ppm .pnm .pxm .jp2 .avif .ras .sr".split()
)
"""Of the files that count as images when no list says which are."""


class Store(Protocol):
    """Files under relative names."""

    @property
    def where(self) -> str:
        """The path as the user gave it, for messages."""

    @property
    def names(self) -> Sequence[str]:
        """Of every file, sorted."""

    @property
    def folders(self) -> Sequence[str]:
        """Every folder below the top, those without files too, sorted."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What was odd about it, in words."""

    def read(self, place: int) -> bytes:
        """The file `names[place]`.

        Raises:
            ImageFault: it cannot be read, or is larger than `LARGEST_FILE`.
        """


class FolderStore:
    """A folder and all that is below it; links are followed, but into no folder twice."""

    def __init__(self, path: str, names: Sequence[str] | None = None) -> None:
        """Look through the folder, or take some names for granted.

        Raises:
            RequestError: the folder cannot be looked through.
        """
        self.where = path
        self.notes: tuple[str, ...] = ()
        self.names: Sequence[str] = names or ()
        self.folders: Sequence[str] = ()
        self._root = os.path.abspath(path)
        if names is None:
            files: list[str] = []
            folders: list[str] = []
            for name, is_folder in _walk(self._root, path):
                (folders if is_folder else files).append(name)
            self.names, self.folders = sorted(files), sorted(folders)

    def read(self, place: int) -> bytes:
        try:
            with open(os.path.join(self._root, self.names[place]), "rb", buffering=0) as file:
                size = os.fstat(file.fileno()).st_size
                if size > LARGEST_FILE:
                    raise ImageFault(too_large(size))
                return file.read()
        except OSError as fault:
            raise ImageFault(f"it {unreadable(fault)}") from fault


class SharedFile:
    """A file that many threads read at any place; each process opens it when it first reads."""

    def __init__(self, path: str) -> None:
        self.path = os.path.abspath(path)
        self._prepare()

    def _prepare(self) -> None:
        self._descriptor = -1
        self._lock = threading.Lock()

    def read(self, offset: int, size: int) -> bytes:
        """So many bytes from there on, fewer only at the end of the file.

        Raises:
            OSError: the file cannot be opened or read.
        """
        descriptor = self.descriptor()
        data = os.pread(descriptor, size, offset)
        while len(data) < size:
            more = os.pread(descriptor, size - len(data), offset + len(data))
            if not more:
                break
            data += more
        return data

    def descriptor(self) -> int:
        """This process's open file; it stays open as long as this object lives.

        Raises:
            OSError: the file cannot be opened.
        """
        if self._descriptor < 0:
            with self._lock:
                if self._descriptor < 0:
                    descriptor = self.open()
                    weakref.finalize(self, os.close, descriptor)
                    self._descriptor = descriptor
        return self._descriptor

    def open(self) -> int:
        """A new file descriptor, which the caller closes."""
        return os.open(self.path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key not in ("_descriptor", "_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._prepare()


def images(names: Iterable[str]) -> list[str]:
    """The names that look like an image's."""
    return [name for name in names if PurePosixPath(name).suffix.lower() in IMAGE_ENDINGS]


def hidden(name: str) -> bool:
    """Whether a relative name is of a hidden file, or of one in a hidden folder."""
    if "." not in name and "_" not in name:
        return False
    return any((part.startswith(".") and part != "..") or part == "__MACOSX" for part in name.split("/"))


def too_large(size: int) -> str:
    """The complaint about a file of so many bytes."""
    return f"it has {size >> 20} MB, more than the {LARGEST_FILE >> 20} MB that one image may have"


def folder_of(name: str) -> str:
    """The folder that a name is in, `""` at the top."""
    return name.rpartition("/")[0]


def tail_of(where: str) -> tuple[str, ...]:
    """The parts of a data set's absolute path, an archive's without its endings."""
    path = Path(os.path.abspath(where))
    name = path.name
    if not path.is_dir():
        for ending in (".gz", ".tgz", ".xz", ".txz", ".bz2", ".tbz2", ".tar", ".zip"):
            name = name.removesuffix(ending)
    return (*path.parts[1:-1], name)


def _walk(root: str, shown: str) -> Iterator[tuple[str, bool]]:
    """Relative names, and whether they are folders."""
    waiting = [""]
    seen = set()
    while waiting:
        folder = waiting.pop()
        path = os.path.join(root, folder)
        try:
            found = os.stat(path)
            if (found.st_dev, found.st_ino) in seen:
                continue
            seen.add((found.st_dev, found.st_ino))
            with os.scandir(path) as entries:
                for entry in entries:
                    name = f"{folder}/{entry.name}" if folder else entry.name
                    if entry.name.startswith(".") or entry.name == "__MACOSX":
                        continue
                    if entry.is_dir():
                        waiting.append(name)
                        yield name, True
                    elif entry.is_file():
                        yield name, False
        except OSError as fault:
            place = os.path.join(shown, folder) if folder else shown
            raise RequestError(unreadable(fault), position=Position(place)) from fault
