"""Moving files that belong together to their names, so that no moment shows some old and some new.

One file is renamed, and so is a folder that is new. Of several files over older ones, a rename each would show a mix
between the first and the last. There the names become, one by one, symbolic links through one that leads to the old
files, that one is turned to the new files by one rename, and the names become the files themselves:

    model.py -> .resnet-convert-…/now/model.py      now -> old, then new

Where the file system has no links, the old files go before the new ones come: some may be missing, none is of another
run.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from prototxt.errors import Position, RequestError

HIDDEN: Final = ".resnet-convert-"
NEW: Final = "new"
"""The folder in a hidden one that outputs are written in."""
_REASONS: Final = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file grows beyond what this file system or the limit on file sizes allows",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.ENAMETOOLONG: "the name is too long",
}


class _Move(NamedTuple):
    """A file, by its name in the folders it is moved between."""

    name: Path
    source: Path
    place: Path


def move_into_place(source: Path, folder: Path, hidden: Path) -> list[Path]:
    """Move the files of a folder into another, all at one moment, in place of older ones; or the folder itself.

    Args:
        source: what was written.
        folder: where it is to be found; a folder that does not exist yet is `source` renamed.
        hidden: a folder of ours in the same file system, for what is needed meanwhile.

    Returns:
        where the files are now.

    Raises:
        RequestError: a folder stands in a file's place, or a file in a folder's.
        OSError: the file system refuses; then everything is as before.
    """
    names = [entry.relative_to(source) for entry in sorted(source.rglob("*"))]
    # What reads the others comes last: model.onnx after model.onnx.data, model.py after model.safetensors.
    files = [name for name in reversed(names) if not (source / name).is_dir()]
    if not folder.exists():
        os.rename(source, folder)
        return [folder / name for name in files]
    _check_places(names, source, folder)
    for name in names:
        if (source / name).is_dir():
            (folder / name).mkdir(exist_ok=True)
    moves = [_Move(name, source / name, folder / name) for name in files]
    for move in moves:
        take_mode(move.source, move.place)
    if len(moves) < 2 or not any(move.place.exists() for move in moves):
        for move in moves:
            os.replace(move.source, move.place)
    else:
        _exchange(moves, source, hidden)
    return [move.place for move in moves]


def _check_places(names: Sequence[Path], source: Path, folder: Path) -> None:
    """Refuse before the first file is moved what would stop a later one."""
    for name in names:
        place, is_folder = folder / name, (source / name).is_dir()
        if place.is_dir() and not is_folder:
            raise refusal(place, "is a directory where a file is to be written")
        if is_folder and place.exists() and not place.is_dir():
            raise refusal(place, "is a file where a folder is to be made")


def _exchange(moves: Sequence[_Move], new: Path, hidden: Path) -> None:
    old, now, link = hidden / "old", hidden / "now", hidden / "link"
    abandoned = [_hidden_folder_of(move.place) for move in moves]
    try:
        _keep(moves, old)
        os.symlink(old.name, now)
    except OSError:
        _one_after_the_other(moves, old)
        return
    try:
        for move in moves:
            os.symlink(os.path.relpath(now / move.name, move.place.parent), link)
            os.replace(link, move.place)
        os.symlink(os.path.relpath(new, hidden), link)
        os.replace(link, now)
        for move in moves:
            os.replace(move.source, move.place)
    except BaseException:
        for move in moves:
            _put_back(move, old)
        raise
    for folder in filter(None, abandoned):
        discard(folder)


def _keep(moves: Sequence[_Move], old: Path) -> None:
    """The old files once more, under the names that they have, in a folder of their own."""
    for move in moves:
        kept = old / move.name
        kept.parent.mkdir(parents=True, exist_ok=True)
        if move.place.is_symlink():
            os.symlink(os.path.realpath(move.place), kept)
        elif move.place.exists():
            os.link(move.place, kept)


def _put_back(move: _Move, old: Path) -> None:
    if os.path.lexists(old / move.name):
        os.replace(old / move.name, move.place)
    else:
        move.place.unlink(missing_ok=True)


def _one_after_the_other(moves: Sequence[_Move], aside: Path) -> None:
    discard(aside)
    for move in moves:
        (aside / move.name).parent.mkdir(parents=True, exist_ok=True)
    readers = moves[:0:-1]
    try:
        for move in readers:
            if os.path.lexists(move.place):
                os.replace(move.place, aside / move.name)
        os.replace(moves[0].source, moves[0].place)
    except BaseException:
        for move in readers:
            with suppress(FileNotFoundError):
                os.replace(aside / move.name, move.place)
        raise
    for move in moves[1:]:
        os.replace(move.source, move.place)


def _hidden_folder_of(place: Path) -> Path | None:
    """The hidden folder beside it that a link points into: a run was killed between two of its renames."""
    if place.is_symlink():
        first = Path(os.readlink(place)).parts[0]
        if first.startswith(HIDDEN):
            return place.parent / first
    return None


def discard(hidden: Path) -> None:
    """Take away a folder of ours with what is left in it: after a good run nothing but the place written in."""
    with suppress(OSError):
        os.rmdir(hidden / NEW)
        os.rmdir(hidden)
        return
    import shutil  # which loads every kind of archive

    shutil.rmtree(hidden, ignore_errors=True)


def take_mode(file: Path, replaced: Path) -> None:
    """Give a file the permissions of the one that it is to replace, if there is one."""
    with suppress(FileNotFoundError):
        os.chmod(file, replaced.stat().st_mode & 0o777)


def reason(fault: OSError | ValueError) -> str:
    """Why something cannot be written, in words."""
    if isinstance(fault, OSError) and fault.errno is not None:
        return _REASONS.get(fault.errno, fault.strerror or str(fault))
    return str(fault)


def refusal(target: Path, message: str) -> RequestError:
    """The error that a target is at fault for."""
    return RequestError(message, position=Position(os.fspath(target)))
