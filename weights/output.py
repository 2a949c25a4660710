"""Output that is there whole or not at all: written under a temporary name beside its target, then renamed.

Whatever ends the block early (an error, Ctrl-C) leaves nothing behind and an existing target as it was.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

from prototxt.errors import Position, RequestError

_PREFIX: Final = ".resnet-convert-"
_REASONS: Final = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file grows beyond what this file system or the limit on file sizes allows",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.ENAMETOOLONG: "the name is too long",
}


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """An empty file, for libraries that open files by name, that becomes `path` when the block ends well.

    A new file gets the mode that the umask leaves, a replaced one keeps its own. A symbolic link at `path` is itself
    replaced, what it points to stays.

    Raises:
        RequestError: the folder is missing, `path` is a directory, a device or write-protected, or writing fails
            (disk full, no permission); an OSError about another file passes through.
    """
    target = Path(path)
    mode = _check_file_target(target)
    temporary = _temporary_name(target.parent)
    try:
        with _as_request_error(target, temporary):
            os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            yield temporary
            if mode is not None:
                os.chmod(temporary, mode)
            os.replace(temporary, target)
    finally:
        with suppress(OSError):
            temporary.unlink()


@contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """`atomic_path`, opened for writing (and reading back) bytes."""
    with atomic_path(path) as temporary, _as_request_error(Path(path), temporary), open(temporary, "r+b") as file:
        yield file


@contextmanager
def atomic_directory(path: str | os.PathLike[str]) -> Iterator[Path]:
    """An empty folder to fill whose files are found in `path` when the block ends well.

    Where `path` exists already its other files stay, those of the same name are replaced one by one, each whole.

    Raises:
        RequestError: the parent folder is missing, `path` is no folder, or writing fails.
    """
    target = Path(path)
    exists = _check_directory_target(target)
    temporary = _temporary_name(target if exists else target.parent)
    try:
        with _as_request_error(target, temporary):
            temporary.mkdir()
            yield temporary
            if exists:
                _check_places(temporary, target)
                _move_into(temporary, target)
            else:
                os.rename(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _temporary_name(folder: Path) -> Path:
    return folder / f"{_PREFIX}{secrets.token_hex(8)}"


def _check_file_target(target: Path) -> int | None:
    """The permissions that an existing target has, None without one."""
    _check_folder(target)
    try:
        with suppress(FileNotFoundError):
            if target.is_symlink() and os.readlink(target).startswith(("/dev/", "/proc/")):
                raise _refusal(target, "is a link to a device; name a file")
            found = os.stat(target)
            if stat.S_ISDIR(found.st_mode):
                raise _refusal(target, "is a directory; name a file")
            if not stat.S_ISREG(found.st_mode):
                raise _refusal(target, "is no regular file; name a file")
            if not os.access(target, os.W_OK):
                raise _refusal(target, "is write-protected")
            return stat.S_IMODE(found.st_mode) & 0o777
    except (OSError, ValueError) as fault:
        raise _refusal(target, f"cannot be written: {_reason(fault)}") from fault
    return None


def _check_directory_target(target: Path) -> bool:
    """Whether the folder exists already."""
    try:
        if target.is_dir():
            return True
        if target.exists() or target.is_symlink():
            raise _refusal(target, "is a file; name a folder")
    except (OSError, ValueError) as fault:
        raise _refusal(target, f"cannot be written: {_reason(fault)}") from fault
    _check_folder(target)
    return False


def _check_folder(target: Path) -> None:
    try:
        folder = target.parent
        if not folder.exists():
            raise _refusal(target, f"cannot be written: the folder {folder} does not exist")
        if not folder.is_dir():
            raise _refusal(target, f"cannot be written: {folder} is no folder")
    except (OSError, ValueError) as fault:
        raise _refusal(target, f"cannot be written: {_reason(fault)}") from fault


def _check_places(source: Path, target: Path) -> None:
    """Refuse before the first file is moved what would stop a later one."""
    for entry in sorted(source.rglob("*")):
        place = target / entry.relative_to(source)
        if place.is_dir() and not entry.is_dir():
            raise _refusal(place, "is a directory where a file is to be written")
        if entry.is_dir() and place.exists() and not place.is_dir():
            raise _refusal(place, "is a file where a folder is to be made")


def _move_into(source: Path, target: Path) -> None:
    for entry in sorted(source.iterdir()):
        place = target / entry.name
        if entry.is_dir():
            place.mkdir(exist_ok=True)
            _move_into(entry, place)
        else:
            os.replace(entry, place)


@contextmanager
def _as_request_error(target: Path, temporary: Path) -> Iterator[None]:
    """Turn failures to write into a RequestError; one that names another file is not ours to explain."""
    try:
        yield
    except OSError as fault:
        name = fault.filename
        ours = name is None or os.fspath(name).startswith((os.fspath(temporary), os.fspath(target)))
        if not ours:
            raise
        raise _refusal(target, f"cannot be written: {_reason(fault)}") from fault


def _reason(fault: OSError | ValueError) -> str:
    if isinstance(fault, OSError) and fault.errno is not None:
        return _REASONS.get(fault.errno, fault.strerror or str(fault))
    return str(fault)


def _refusal(target: Path, message: str) -> RequestError:
    return RequestError(message, position=Position(os.fspath(target)))
