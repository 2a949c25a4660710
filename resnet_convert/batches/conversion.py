"""Converting a whole zoo: each net in a process of its own, its outcome in a file, none stopping the others.

OUT/NAME/model.onnx      what was converted (model_torch, model_caffe … for other forms)
OUT/NAME/parity.html     the comparison blob by blob
OUT/NAME/log.txt         what the conversion printed besides: warnings, errors
OUT/NAME/result.json     the outcome, and what it is the outcome of: a later run skips what has not changed
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path, PurePath
from time import perf_counter
from typing import Any, cast

from converter.api import files_of
from converter.options import SUFFIXES, Target
from prototxt.errors import Position, RequestError
from prototxt.json_text import read_json
from prototxt.version import VERSION
from prototxt.words import reason
from resnet_convert.batches.manifest import SWITCHES, Entry
from resnet_convert.batches.messages import messages_of
from resnet_convert.batches.process import Children, Ended
from resnet_convert.batches.records import Outcome
from weights import atomic_file

log = logging.getLogger(__name__)

RESULT, REPORT, LOG, LOCK = "result.json", "parity.html", "log.txt", ".lock"
TEMPORARY = ".resnet-convert-*"
"""What a killed process leaves of the files that it was writing (`weights.output`)."""


@dataclass(frozen=True)
class BatchOptions:
    """What goes for every net.

    Attributes:
        to: the form, where an entry says none.
        verify: compare after converting.
        timeout: seconds for one net.
        threads: of one net's process; 0 for all.
    """

    to: Target = "onnx"
    verify: bool = True
    timeout: float = 3600.0
    threads: int = 0


@contextmanager
def claimed(out: Path) -> Iterator[None]:
    """OUT for one run alone; the claim ends with the process, however that ends.

    Raises:
        RequestError: another run has it, or it cannot be written.
    """
    try:
        file = (out / LOCK).open("ab")
    except OSError as error:
        raise RequestError(f"cannot be written: {reason(error)}", position=Position(str(out))) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RequestError("another run writes there; choose another -o", position=Position(str(out))) from error
        except OSError as error:  # a network file system without locks
            log.warning("%s: warning: cannot be locked (%s); let no other run write there", out, reason(error))
        yield


def finished(entry: Entry, out: Path, options: BatchOptions) -> Outcome | None:
    """The outcome of an earlier run, if the net was converted then and neither files nor options have changed.

    What failed is not finished: another try may have more time, more memory, or a package more.
    """
    stored = _stored(out / entry.name)
    if stored is None or stored.status not in ("ok", "differs"):
        return None
    if stored.name != entry.name or stored.fingerprint != fingerprint(entry, options):
        return None
    written = filter(None, (stored.output, stored.report))
    return stored if all((out / path).exists() for path in written) else None


def convert_entry(entry: Entry, out: Path, options: BatchOptions, children: Children | None = None) -> Outcome:
    """Convert one net in a new process and write its outcome; whatever happens to the process is an outcome.

    Args:
        entry: the net.
        out: the folder of the batch, absolute.
        options: what goes for every net.
        children: whose process it is to be, so that somebody can stop it.

    Raises:
        StoppedError: somebody did; no outcome is written.
    """
    children = children or Children(threads=options.threads)
    folder = out / entry.name
    begun = perf_counter()
    try:
        _prepare(folder, out, target_of(entry, options))
        made = fingerprint(entry, options)  # before: a file that changes meanwhile is converted anew next time
        ended = children.run(command(entry, folder, options), folder=entry.folder, timeout=options.timeout)
        outcome = _outcome(entry, out, options, ended, made, perf_counter() - begun)
        with atomic_file(folder / RESULT) as file:
            file.write(_as_json(outcome))
    except OSError as error:  # a full disk, a file where a folder is to be, no more processes
        message = f"{error.filename or folder}: {reason(error)}"
        return failure(entry, options, message, perf_counter() - begun)
    except RequestError as error:
        return failure(entry, options, str(error), perf_counter() - begun)
    finally:
        with suppress(OSError):  # the next run tries again
            _remove_temporaries(folder)
    return outcome


def written_for(entry: Entry, out: Path, options: BatchOptions) -> list[Path]:
    """The files that an entry's conversion may write, for `refuse_overwriting`."""
    folder, to = out / entry.name, target_of(entry, options)
    return [*files_of(to, folder / f"model{SUFFIXES[to]}"), *(folder / name for name in (REPORT, LOG, RESULT))]


def failure(entry: Entry, options: BatchOptions, message: str, seconds: float = 0.0) -> Outcome:
    """The outcome of a net that nothing was made of."""
    target = target_of(entry, options)
    why, seconds = entry.why, round(seconds, 3)
    return Outcome(entry.name, entry.net, entry.weights or "", target, "failed", message, seconds, why=why)


def command(entry: Entry, folder: Path, options: BatchOptions) -> list[str]:
    """The command line, without the program's name, that converts an entry into its folder."""
    to = target_of(entry, options)
    words = ["convert", "--to", to, "-o", str(folder / f"model{SUFFIXES[to]}"), "--json"]
    words += ["--report", str(folder / REPORT)] if options.verify else ["--no-verify"]
    for name, values in entry.options.items():
        flag = f"--{name.replace('_', '-')}"
        if name in SWITCHES:
            words += [flag] if values == ("true",) else []
        elif name != "to":
            words += [f"{flag}={value}" for value in values]
    if entry.stated_in:
        return [*words, "--", str(PurePath(entry.stated_in).parent)]
    return [*words, "--", entry.net, *([] if entry.weights is None else [entry.weights])]


def target_of(entry: Entry, options: BatchOptions) -> Target:
    """The form that an entry is converted into."""
    return cast(Target, entry.options["to"][0]) if "to" in entry.options else options.to


def fingerprint(entry: Entry, options: BatchOptions) -> str:
    """What an outcome is the outcome of: the files' paths, sizes and times, the options, and this version."""
    asked = [sorted(entry.options.items()), target_of(entry, options), options.verify]
    told = [[name, *(_state(entry.folder / name) if name else ())] for name in _named(entry)]
    return hashlib.sha256(json.dumps([told, asked, VERSION]).encode()).hexdigest()


def read_for(entry: Entry) -> list[Path]:
    """Where the files lie that an entry names, whether they exist or not (mean values stand where a file could)."""
    return [entry.folder / name for name in _named(entry) if name]


def _named(entry: Entry) -> list[str]:
    stated = [entry.stated_in] if entry.stated_in else []
    return [entry.net, entry.weights or "", *stated, *entry.options.get("mean", ()), *entry.options.get("plugin", ())]


def _state(path: Path) -> list[int]:
    try:
        found = path.stat()
    except OSError:  # no such file, or mean values where a file could be named
        return []
    return [found.st_size, found.st_mtime_ns]


def _as_json(outcome: Outcome) -> bytes:
    """JSON has no infinity: a share without a size is null, as one without a comparison, which has no blobs."""
    made = asdict(outcome)
    return json.dumps(
        {**made, "worst_share": None if outcome.worst_share == math.inf else outcome.worst_share}
    ).encode()


def _stored(folder: Path) -> Outcome | None:
    try:
        stored = read_json((folder / RESULT).read_bytes())
        share = math.inf if stored["worst_share"] is None and stored["blobs_compared"] else stored["worst_share"]
        return Outcome(**{**stored, "worst_share": share, "warnings": tuple(stored["warnings"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _prepare(folder: Path, out: Path, target: Target) -> None:
    """The net's folder, without what an earlier run wrote: a failure must not stand beside a model that it is not of.

    Only files that this run would replace, and those that an earlier one says it wrote: OUT may be anybody's folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    before = _stored(folder)
    for path in (before.output, before.report, before.log) if before else ():
        if path and (out / path).parent == folder:
            _remove(out / path)
    for name in (f"model{SUFFIXES[target]}", REPORT, LOG, RESULT):
        if not (folder / name).is_dir():
            _remove(folder / name)
    _remove_temporaries(folder)


def _remove_temporaries(folder: Path) -> None:
    for left in folder.glob(TEMPORARY):
        _remove(left)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _outcome(entry: Entry, out: Path, options: BatchOptions, ended: Ended, made: str, seconds: float) -> Outcome:
    found = _last_json(ended.output)
    check = found.get("verification") or {}
    rows = [*check.get("rows", []), *check.get("shipped", [])]
    shares = [math.inf if row["share"] is None else row["share"] for row in rows]
    files = [Path(name) for name in found.get("files", [])]
    folder, to = out / entry.name, target_of(entry, options)
    status, message, warnings = messages_of(ended, entry.position, options.timeout)
    if status in ("ok", "differs") and not files:  # a plugin may have left early
        status, message = "failed", message or "ended without a word of what it wrote"
    if ended.errors:
        (folder / LOG).write_text(ended.errors, encoding="utf-8")
    return Outcome(
        name=entry.name,
        net=entry.net,
        weights=entry.weights or "",
        target=to,
        status=status,
        message=message,
        seconds=round(seconds, 3),
        fingerprint=made,
        megabytes=sum(file.stat().st_size for file in files) / 1e6,
        layers=found.get("layers", 0),
        blobs_compared=len(check.get("rows") or check.get("shipped") or ()),
        worst_share=max(shares, default=None),
        output=f"{entry.name}/model{SUFFIXES[to]}" if files else "",
        report=f"{entry.name}/{REPORT}" if check else "",
        log=f"{entry.name}/{LOG}" if ended.errors else "",
        warnings=warnings,
        why=entry.why,
    )


def _last_json(text: str) -> dict[str, Any]:
    """What `--json` printed; nothing when the process never came that far."""
    lines = text.strip().splitlines()
    with suppress(ValueError):
        found = read_json(lines[-1]) if lines else {}
        return found if isinstance(found, dict) else {}
    return {}
