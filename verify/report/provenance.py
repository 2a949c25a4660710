"""What a report was made by, when, and from which files."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path

from prototxt.names import readable
from prototxt.version import VERSION
from verify.report.records import Json

TOOL = "resnet-convert"


def provenance_of(paths: Iterable[str | os.PathLike[str]], data: Iterable[str | os.PathLike[str]] = ()) -> Json:
    """The tool with its version, the date (UTC), and name, size and SHA-256 of each file.

    Args:
        paths: the files that were read; of a folder the files in it count, what does not exist (mean values where a
            file could be named) is left out. SOURCE_DATE_EPOCH, where it is set, is the date.
        data: data sets, which are named without size and digest.
    """
    files: list[Json] = [_described(file) for path in paths for file in _files(Path(path))]
    files += [{"file": readable(os.fspath(path)), "bytes": None, "sha256": None} for path in data]
    return {"tool": TOOL, "version": VERSION, "date": _date(), "files": files}


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(file for file in path.iterdir() if file.is_file())
    return [path] if path.is_file() else []


def _described(path: Path) -> Json:
    return {"file": readable(str(path)), "bytes": path.stat().st_size, "sha256": _digest(path)}


def _digest(path: Path) -> str:
    import hashlib  # loads OpenSSL, which a run without digests does not need

    made = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            made.update(part)
    return made.hexdigest()


def _date() -> str:
    stated = os.environ.get("SOURCE_DATE_EPOCH", "")
    now = datetime.fromtimestamp(int(stated), timezone.utc) if stated.isdecimal() else datetime.now(timezone.utc)
    return now.isoformat(timespec="seconds")
