"""Outputs that are there whole or not at all: written under temporary names, moved when all of them are good.

Each is written in a hidden folder beside its target (`.resnet-convert-…`), so that moving it is a rename. Whatever ends
the block early (an error, Ctrl-C) leaves nothing behind and an existing target as it was. A process that is killed may
leave the hidden folder; what bears the targets' names is then whole and of one run (`weights.moving`).
"""

from __future__ import annotations

import os
import signal
import stat
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, NamedTuple

from prototxt.errors import CaffeModelError, ErrorGroup
from weights.moving import HIDDEN, NEW, discard, move_into_place, reason, refusal, take_mode

_MOVED: Final[ContextVar[list[Path] | None]] = ContextVar("moved", default=None)


class _Staged(NamedTuple):
    """An output on its way: where it is to be, where it is written, and the hidden folder around that."""

    target: Path
    written: Path
    hidden: Path
    is_folder: bool

    @property
    def way(self) -> tuple[Path, Path]:
        """From which folder to which."""
        return (self.written, self.target) if self.is_folder else (self.written.parent, self.target.parent)

    @property
    def older(self) -> Path:
        """Where the file that it replaces waits."""
        return self.hidden / "older"


class Outputs:
    """Files and folders that get their names together, when the block ends well.

        with Outputs() as outputs:
            write(outputs.file("net.onnx"))
            write_page(outputs.file("parity.html"))

    A new file gets the mode that the umask leaves, a replaced one keeps its own. A symbolic link at a file's target is
    itself replaced, what it points to stays. What a block writes beside a file (its external data) is moved with it. In
    a folder that exists already other files stay. Errors that leave the block name the targets, not the hidden folders.

    Raises:
        RequestError: on leaving the block, where writing failed (disk full, no permission) or a target became something
            else meanwhile; an OSError about another file passes through.
    """

    def __init__(self) -> None:
        self._staged: list[_Staged] = []

    def file(self, path: str | os.PathLike[str]) -> Path:
        """Where to write the file that is to become `path`; there is none yet.

        ext4 writes out at once what was truncated before it was written, also an empty file: hence none.

        Raises:
            RequestError: the folder is missing or cannot be written to, `path` is a directory, a device or
                write-protected.
        """
        target = Path(path)
        written = self.staged(target.parent) / target.name
        if written.parent == target.parent:
            check_file_target(target)
            written = self._hide(target, target.parent, target.name, is_folder=False)
        with _told(target):
            os.close(os.open(written, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            written.unlink()
        return written

    def folder(self, path: str | os.PathLike[str]) -> Path:
        """An empty folder whose files are to be found in `path`.

        Raises:
            RequestError: the parent folder is missing or cannot be written to, or `path` is no folder.
        """
        target = Path(path)
        around = target if _is_directory_target(target) else target.parent
        name = os.path.basename(os.path.abspath(target)) or "folder"
        written = self._hide(target, around, name, is_folder=True)
        with _told(target):
            written.mkdir()
        return written

    def staged(self, path: str | os.PathLike[str]) -> Path:
        """Where lies, until the block ends, what is to be found at `path` afterwards."""
        wanted = Path(path)
        for staged in self._staged:
            if wanted == staged.target or staged.target in wanted.parents:
                return staged.written / wanted.relative_to(staged.target)
        return wanted

    def named(self, text: str) -> str:
        """A text with the targets' names in place of the temporary ones."""
        for staged in self._staged:
            text = text.replace(os.fspath(staged.written), os.fspath(staged.target))
            text = text.replace(os.path.realpath(staged.written), os.fspath(staged.target))
        return text

    def __enter__(self) -> Outputs:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            if error is None:
                self._move()
            elif isinstance(error, OSError):
                self._raise_ours(error)
            elif isinstance(error, CaffeModelError):
                self._name_targets(error)
        finally:
            for staged in self._staged:
                discard(staged.hidden)
            self._staged.clear()

    def _hide(self, target: Path, around: Path, name: str, *, is_folder: bool) -> Path:
        hidden = around / f"{HIDDEN}{os.urandom(8).hex()}"
        staged = _Staged(target, hidden / NEW / name, hidden, is_folder)
        self._staged.append(staged)
        with _told(target):
            hidden.mkdir()
            staged.written.parent.mkdir()
        return staged.written

    def _move(self) -> None:
        with _uninterrupted(), ExitStack() as undo:
            for staged in self._staged[1:]:  # The report on an older model does not stand beside the new one.
                with _told(staged.target):
                    if not staged.is_folder and os.path.lexists(staged.target):
                        take_mode(staged.written, staged.target)
                        os.replace(staged.target, staged.older)
                        undo.callback(os.replace, staged.older, staged.target)
            for staged in self._staged:
                with _told(staged.target):
                    moved = move_into_place(*staged.way, staged.hidden)
                listener = _MOVED.get()
                if listener is not None:
                    listener += moved
            undo.pop_all()

    def _raise_ours(self, fault: OSError) -> None:
        """Turn a failure to write into a RequestError; one that names another file is not ours to explain."""
        name = fault.filename
        for staged in reversed(self._staged):
            ours = (os.fspath(staged.hidden), os.fspath(staged.target))
            if name is None or (isinstance(name, (str, bytes)) and os.fsdecode(name).startswith(ours)):
                raise refusal(staged.target, f"cannot be written: {reason(fault)}") from fault

    def _name_targets(self, error: CaffeModelError) -> None:
        for each in error.errors if isinstance(error, ErrorGroup) else (error,):
            each.message = self.named(each.message)
            if each.position is not None:
                each.position = each.position._replace(path=self.named(each.position.path))


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """`Outputs` of one file, for libraries that open files by name."""
    with Outputs() as outputs:
        yield outputs.file(path)


@contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """`atomic_path`, opened for writing (and reading back) bytes."""
    with Outputs() as outputs, open(outputs.file(path), "x+b") as file:
        yield file


@contextmanager
def atomic_directory(path: str | os.PathLike[str]) -> Iterator[Path]:
    """`Outputs` of one folder."""
    with Outputs() as outputs:
        yield outputs.folder(path)


@contextmanager
def noting_outputs() -> Iterator[list[Path]]:
    """A list that gets every path that is moved into place during the block, for those who say what was written."""
    moved: list[Path] = []
    token = _MOVED.set(moved)
    try:
        yield moved
    finally:
        _MOVED.reset(token)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ctrl-C and a polite end by the system wait: outputs are moved all or none."""
    if threading.current_thread() is not threading.main_thread():  # no other is ever interrupted
        yield
        return
    held: list[int] = []
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number, handler in handlers.items():
        if callable(handler):
            signal.signal(number, lambda number, _: held.append(number))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            if callable(handler):
                signal.signal(number, handler)
        for again in held:
            signal.raise_signal(again)


@contextmanager
def _told(target: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as fault:
        raise refusal(target, f"cannot be written: {reason(fault)}") from fault


def check_file_target(target: Path) -> None:
    """Refuse what cannot become a file, or be written to.

    Raises:
        RequestError: the folder is missing or cannot be written to, `target` is a directory, a device or
            write-protected.
    """
    _check_folder(target)
    with _told(target), suppress(FileNotFoundError):
        if target.is_symlink() and os.readlink(target).startswith(("/dev/", "/proc/")):
            raise refusal(target, "is a link to a device; name a file")
        found = os.stat(target)
        if stat.S_ISDIR(found.st_mode):
            raise refusal(target, "is a directory; name a file")
        if not stat.S_ISREG(found.st_mode):
            raise refusal(target, "is no regular file; name a file")
        if not os.access(target, os.W_OK):
            raise refusal(target, "is write-protected")


def _is_directory_target(target: Path) -> bool:
    """Whether the folder exists already."""
    with _told(target):
        if target.is_dir():
            return True
        if target.exists() or target.is_symlink():
            raise refusal(target, "is a file; name a folder")
    _check_folder(target)
    return False


def _check_folder(target: Path) -> None:
    with _told(target):
        folder = target.parent
        if not folder.exists():
            raise refusal(target, f"cannot be written: the folder {folder} does not exist")
        if not folder.is_dir():
            raise refusal(target, f"cannot be written: {folder} is no folder")
