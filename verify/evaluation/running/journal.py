"""The results of a run as they come, so that one that was interrupted can go on.

One line of JSON a batch, after a first line that says what run this is. A line cut short by the end of the run is not
counted; its batch is scored again, which gives the same numbers (`Plan`). Every other line must be a batch of the plan:
a journal that holds anything else is refused, and so is any file that is no journal.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from prototxt.errors import Position, RequestError
from prototxt.json_text import read_json
from prototxt.names import shown
from prototxt.words import reason, unreadable
from verify.evaluation.running.plan import Plan
from verify.evaluation.running.results import RESULT, BatchResult, Results

FORM = 1
HEAD = b'{"resnet_convert_journal": '
"""How a journal of ours begins, whatever its form."""
LONGEST_HEAD = 1 << 20
LONGEST_IMAGE = 1 << 12
"""Bytes of a line for each image of its batch, with why it was skipped."""
LONGEST_VALUE = 200
"""Characters that an error shows of what another run was."""
MOST_CLASSES = 10_000_000
NOWHERE = Path(os.devnull)


class Journal:
    """A journal that is open for more results, for this run alone; closed at the end of its block.

    Args:
        path: the file.
        run: what tells this run from others, in words by name; the values are compared.
        plan: of the run.
        resume: go on with what the file holds; else it is begun anew.

    Raises:
        RequestError: a file that is no journal, one that another run writes or wrote (naming what differs), one that is
            damaged (naming the line), or that cannot be written. The file is then as it was.
    """

    def __init__(self, path: Path, run: Mapping[str, str], plan: Plan, *, resume: bool) -> None:
        self.path = path
        self.done: dict[int, BatchResult] = {}
        self._file = _opened(path)
        try:
            whole = 0
            if resume and path != NOWHERE:
                self.done, whole = _read(path, self._file, run, plan)
            self._begin(whole, run)
        except RequestError:
            self._file.close()
            raise

    def add(self, result: BatchResult) -> None:
        """Write the results of a batch down, if the file does not have them; they survive the end of the process."""
        if result.batch in self.done:
            return
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
        if self.path.is_file():
            self.path.unlink()
        self._file.close()

    def _begin(self, whole: int, run: Mapping[str, str]) -> None:
        """Go on after so many bytes; a journal without any says first what run this is."""
        if self.path != NOWHERE:
            self._file.seek(whole)
            self._file.truncate()
        if not whole:
            self._line({"resnet_convert_journal": FORM, **run})

    def _line(self, entry: Mapping[str, object]) -> None:
        try:
            self._file.write(json.dumps(entry).encode() + b"\n")
            self._file.flush()
        except OSError as error:
            raise RequestError(f"cannot be written: {reason(error)}", position=Position(str(self.path))) from error


def refuse_other_files(path: Path) -> None:
    """Look at a journal's place, long before there is anything to write.

    Raises:
        RequestError: there is something that is no journal of ours, or that cannot be read.
    """
    if path == NOWHERE or not path.exists():
        return
    try:
        ours = path.is_file() and _begins_as_ours(path)
    except OSError as error:
        raise RequestError(unreadable(error), position=Position(str(path))) from error
    if not ours:
        raise RequestError("is no journal of an evaluation", position=Position(str(path)))


def _begins_as_ours(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(HEAD)) in (b"", HEAD)


def _opened(path: Path) -> BinaryIO:
    """The file, made where there is none, for one run alone."""
    refuse_other_files(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666), "r+b")
    except OSError as error:
        raise RequestError(f"cannot be written: {reason(error)}", position=Position(str(path))) from error
    if path != NOWHERE:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.close()
            raise RequestError("another run writes there now", position=Position(str(path))) from error
        except OSError:
            pass  # a network file system without locks
    return file


class _Damage(Exception):  # noqa: N818 (what is wrong with a line, in words)
    pass


def _read(path: Path, file: BinaryIO, run: Mapping[str, str], plan: Plan) -> tuple[dict[int, BatchResult], int]:
    """The batches of a journal, and how many bytes of it are whole lines."""
    done: dict[int, BatchResult] = {}
    whole = classes = 0
    for number, line in enumerate(_lines(file, LONGEST_HEAD + LONGEST_IMAGE * plan.batch), 1):
        try:
            if number == 1:
                _check_head(path, _entry(line), run)
            else:
                batch = _batch(_entry(line), plan, classes)
                if batch.batch in done:
                    raise _Damage(f"batch {batch.batch} is there twice")
                done[batch.batch] = batch
                classes = classes or batch.classes
        except _Damage as damage:
            message = f"is damaged: {damage}; begin anew without --resume"
            raise RequestError(message, position=Position(str(path), number)) from damage
        whole += len(line)
    return done, whole


def _lines(file: BinaryIO, longest: int) -> Iterator[bytes]:
    """Whole lines, none much longer than any of ours; a longer one comes in parts, which are no JSON."""
    while line := file.readline(longest):
        if len(line) < longest and not line.endswith(b"\n"):
            return
        yield line


def _entry(line: bytes) -> dict[str, Any]:
    try:
        entry = read_json(line)
    except ValueError as error:
        raise _Damage("no line of a journal") from error
    if not isinstance(entry, dict):
        raise _Damage("no line of a journal")
    return entry


def _check_head(path: Path, head: Mapping[str, object], run: Mapping[str, str]) -> None:
    if head.get("resnet_convert_journal") != FORM:
        raise RequestError("is no journal of an evaluation", position=Position(str(path)))
    name = next((name for name, value in run.items() if head.get(name) != value), None)
    if name is not None:
        was = f"its {name} was {str(head.get(name))[:LONGEST_VALUE]}, not {run[name]}"
        raise RequestError(f"belongs to another run: {was}", position=Position(str(path)))


def _batch(entry: Mapping[str, Any], plan: Plan, classes: int) -> BatchResult:
    """A line as a batch of the plan, with as many classes as those before it (0 where there was none)."""
    number = _count(entry.get("batch"), len(plan) - 1, "batch")
    of_net = _count(entry.get("classes"), MOST_CLASSES, "number of classes")
    results = _results(entry.get("results"))
    skipped = _skipped(entry.get("skipped"))
    kinds = entry.get("kinds")
    if not isinstance(kinds, dict):
        raise _Damage("it does not say which images were special")
    special = {shown(kind): _count(count, len(results), "number of special images") for kind, count in kinds.items()}
    left_out = dict(skipped)
    images = plan.images(number)
    if len(left_out) != len(skipped) or not left_out.keys() <= set(images):
        raise _Damage(f"it skips other images than those of batch {number}")
    if results["index"].tolist() != [index for index in images if index not in left_out]:
        raise _Damage(f"its images are not those of batch {number}")
    if bool(of_net) != bool(len(results)) or (classes and of_net and of_net != classes):
        raise _Damage(f"its scores are of {of_net} classes")
    _check_results(results, plan, of_net)
    return BatchResult(number, of_net, results, skipped, special)


def _count(value: object, most: int, what: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise _Damage(f"{shown(repr(value)[:40])} is no {what}")
    return value


def _results(text: object) -> Results:
    try:
        results: Results = np.frombuffer(base64.b64decode(str(text), validate=True), RESULT)
    except ValueError as error:
        raise _Damage("its results cannot be read") from error
    if (results["finite"].view(np.uint8) > 1).any():
        raise _Damage("its results cannot be read")
    return results


def _skipped(given: object) -> tuple[tuple[int, str], ...]:
    try:
        return tuple((_count(index, 1 << 62, "image"), shown(why)) for index, why in given)  # type: ignore[attr-defined]
    except (TypeError, ValueError) as error:
        raise _Damage("it does not say which images were skipped") from error


def _check_results(results: Results, plan: Plan, classes: int) -> None:
    """Labels are the data set's, ranks and classes those of a net with so many."""
    labels = [plan.source.item(index).label for index in results["index"].tolist()]
    if results["label"].tolist() != [-1 if label is None else label for label in labels]:
        raise _Damage("its labels are not those of the images")
    best, rank, unlabelled = results["best"], results["rank"], results["label"] < 0
    if ((best < -1) | (best >= classes)).any() or (best[:, :1] < 0).any():
        raise _Damage(f"it has images in classes that are not among the {classes}")
    if ((rank < -1) | (rank > classes) | ((rank < 0) != unlabelled)).any():
        raise _Damage(f"it has ranks that are not among the {classes} classes")


def default_path(run: Mapping[str, str]) -> Path:
    """Where a run's journal lies when nobody names a place: in the user's folder for state, by what the run is."""
    import hashlib

    state = os.environ.get("XDG_STATE_HOME") or os.path.join(Path.home(), ".local", "state")
    name = hashlib.sha256(json.dumps(dict(run), sort_keys=True).encode()).hexdigest()[:16]
    return Path(state) / "resnet-convert" / f"evaluation-{name}.journal"
