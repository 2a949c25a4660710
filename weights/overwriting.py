"""No output takes the place of an input, nor of another output, by whatever name or link either goes."""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import Final, TypeAlias

from weights.moving import refusal

File: TypeAlias = str | os.PathLike[str]
_OURS: Final = (b"<!doctype html", b"<testsuite", b"resnet_convert", b"resnet-convert")
"""How what we write begins, in lower case: reports, JUnit, journals, models."""
_HEAD: Final = 4096


def refuse_overwriting(outputs: Iterable[File | None], inputs: Iterable[File | None]) -> None:
    """Refuse outputs that would destroy what is read, before anything is written.

    Args:
        outputs: the files to be written; of a folder those in it. None is left out.
        inputs: files that are read, and folders of which any file may be. In such a folder new files may be made, and
            older ones of ours replaced.

    Raises:
        RequestError: an output is one of the inputs, also through symbolic and hard links, or two outputs are one file.
    """
    read = [Path(each) for each in inputs if each is not None]
    files = {_identity(path): path for path in read if not path.is_dir()}
    folders = [Path(os.path.realpath(path)) for path in read if path.is_dir()]
    seen: dict[Hashable, Path] = {}
    for output in (Path(each) for each in outputs if each is not None):
        identity = _identity(output)
        if identity in files:
            raise refusal(output, f"is {_as(files[identity], output)} that is read; name another file to write")
        if identity in seen:
            raise refusal(output, f"is {_as(seen[identity], output)} that is written as well; name two files")
        seen[identity] = output
        around = Path(_resolved(output)).parents
        if any(folder in around for folder in folders) and output.is_file() and not _is_ours(output):
            raise refusal(output, "is in a folder that is read, and not of ours; name another file to write")


def _identity(path: Path) -> Hashable:
    """One for all names of a file: its number in the file system, or where it will be."""
    try:
        found = path.stat()
        return found.st_dev, found.st_ino
    except (OSError, ValueError):
        return _resolved(path)


def _resolved(path: Path) -> str:
    try:
        return os.path.realpath(path)
    except ValueError:  # a NUL: no file has that name
        return os.fspath(path)


def _as(other: Path, output: Path) -> str:
    return "a file" if os.fspath(other) == os.fspath(output) else f"the file {other}"


def _is_ours(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(_HEAD).lower()
    return any(mark in head for mark in _OURS)
