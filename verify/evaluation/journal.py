"""The results of a run as they come, so that one that was interrupted can go on.

One line of JSON a batch, after a first line that says what run this is. A line cut short by the end of the run is not
counted; its batch is scored again, which gives the same numbers (`Plan`).
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from prototxt.errors import Position, RequestError
from verify.evaluation.results import RESULT, BatchResult

FORM = 1


class Journal:
    """A journal that is open for more results; closed at the end of its block.

    Args:
        path: the file.
        run: what tells this run from others, in words by name; the values are compared.
        resume: go on with what the file holds; else it is begun anew.

    Raises:
        RequestError: a file that is no journal, that of another run (naming what differs), or one that cannot be
            written.
    """

    def __init__(self, path: Path, run: Mapping[str, str], *, resume: bool) -> None:
        self.path = path
        self.done: dict[int, BatchResult] = {}
        whole = 0
        if resume and path.exists():
            self.done, whole = _read(path, run)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file: BinaryIO = path.open("r+b" if whole else "wb")
        except OSError as error:
            raise RequestError(f"cannot be written: {error.strerror}", position=Position(str(path))) from error
        if whole:
            self._file.truncate(whole)
            self._file.seek(whole)
        if not whole:
            self._line({"resnet_convert_journal": FORM, **run})

    def add(self, result: BatchResult) -> None:
        """Write the results of a batch down; they survive the end of the process."""
        self._line(
            {
                "batch": result.batch,
                "classes": result.classes,
                "results": base64.b64encode(result.results.tobytes()).decode(),
                "skipped": [list(skip) for skip in result.skipped],
                "kinds": dict(result.kinds),
            }
        )

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def remove(self) -> None:
        """Take the file away, when nobody will need it."""
        self._file.close()
        if self.path.is_file():
            self.path.unlink()

    def _line(self, entry: Mapping[str, object]) -> None:
        try:
            self._file.write(json.dumps(entry).encode() + b"\n")
            self._file.flush()
        except OSError as error:
            raise RequestError(f"cannot be written: {error.strerror}", position=Position(str(self.path))) from error


def _read(path: Path, run: Mapping[str, str]) -> tuple[dict[int, BatchResult], int]:
    """The batches of a journal, and how many bytes of it are whole lines."""
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except OSError as error:
        raise RequestError(f"cannot be read: {error.strerror}", position=Position(str(path))) from error
    if lines and not lines[-1].endswith(b"\n"):
        lines.pop()
    if not lines:
        return {}, 0
    head = _entry(path, 1, lines[0])
    if head.get("resnet_convert_journal") != FORM:
        raise RequestError("is no journal of an evaluation", position=Position(str(path)))
    differing = [name for name, value in run.items() if head.get(name) != value]
    if differing:
        name = differing[0]
        was = f"its {name} was {head.get(name)}, not {run[name]}"
        raise RequestError(f"belongs to another run: {was}", position=Position(str(path)))
    batches = [_batch(path, number, _entry(path, number, line)) for number, line in enumerate(lines[1:], 2)]
    return {batch.batch: batch for batch in batches}, sum(map(len, lines))


def _entry(path: Path, number: int, line: bytes) -> dict[str, object]:
    try:
        entry = json.loads(line)
    except ValueError:
        entry = None
    if not isinstance(entry, dict):
        raise RequestError("is no journal of an evaluation", position=Position(str(path), number))
    return entry


def _batch(path: Path, number: int, entry: Mapping[str, object]) -> BatchResult:
    try:
        data = base64.b64decode(str(entry["results"]), validate=True)
        results = np.frombuffer(data, RESULT)
        skipped = tuple((int(index), str(why)) for index, why in entry["skipped"])  # type: ignore[attr-defined]
        kinds = {str(kind): int(count) for kind, count in entry["kinds"].items()}  # type: ignore[attr-defined]
        return BatchResult(int(str(entry["batch"])), int(str(entry["classes"])), results, skipped, kinds)
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise RequestError("is damaged; begin anew without --resume", position=Position(str(path), number)) from error


def default_path(run: Mapping[str, str]) -> Path:
    """Where a run's journal lies when nobody names a place: in the user's folder for state, by what the run is."""
    import hashlib

    state = os.environ.get("XDG_STATE_HOME") or os.path.join(Path.home(), ".local", "state")
    name = hashlib.sha256(json.dumps(dict(run), sort_keys=True).encode()).hexdigest()[:16]
    return Path(state) / "resnet-convert" / f"evaluation-{name}.journal"
