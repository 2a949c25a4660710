"""The nets of a batch, several at a time: in processes on this machine, or on Ray."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any
from uuid import uuid4

from resnet_convert.batches.child import GRACE
from resnet_convert.batches.conversion import BatchOptions, convert_entry, failure, read_for
from resnet_convert.batches.manifest import Entry
from resnet_convert.batches.process import Children
from resnet_convert.batches.records import Outcome
from verify.evaluation.running.cluster import machines

TRIES = 4
"""How often Ray starts a net whose worker dies."""

MOST_WAITING = 1000
"""Tasks that Ray has at a time; enough for a cluster to grow by."""

TOKEN = ".ray"
"""A file in OUT while a batch runs on Ray."""


def run_local(entries: Sequence[Entry], out: Path, options: BatchOptions, jobs: int) -> Iterator[Outcome]:
    """The outcomes as they come, `jobs` nets at a time; closing the iterator ends what is running."""
    children = Children(threads=options.threads, pinned=True, many=len(entries) > 1)
    with ThreadPoolExecutor(max(1, min(jobs, len(entries)))) as pool:
        futures = [pool.submit(convert_entry, entry, out.absolute(), options, children) for entry in entries]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            for future in futures:
                future.cancel()
            children.stop()


def run_ray(entries: Sequence[Entry], out: Path, options: BatchOptions, jobs: int, ray: Any) -> Iterator[Outcome]:
    """The same on Ray, one task a net: as many at a time as its CPUs allow, or `jobs` where that is not 0.

    Manifest, nets and OUT lie where every machine finds them under the same absolute path; a net whose worker does not
    see them fails and says so. A task whose worker dies is run again; one that dies over and over is a failure of its
    net alone.
    """
    from ray.exceptions import RayError, RayTaskError

    logging.getLogger("ray").setLevel(logging.ERROR)
    largest = max((machine.get("CPU", 0) for machine in machines(ray)), default=0)
    remote = ray.remote(num_cpus=max(1, min(options.threads, int(largest))), max_retries=TRIES - 1)(_convert_there)
    pending = list(reversed(entries))
    running: dict[Any, Entry] = {}
    with _token(out.absolute()) as token:
        try:
            while pending or running:
                while pending and len(running) < (jobs or MOST_WAITING):
                    entry = pending.pop()
                    running[remote.remote(entry, out.absolute(), options, _visible(entry), token)] = entry
                (done,), _ = ray.wait(list(running))
                entry = running.pop(done)
                try:
                    yield ray.get(done)
                except RayError as error:
                    lines = str(error).strip().splitlines() or [""]
                    said = lines[-1] if isinstance(error, RayTaskError) else lines[0]
                    yield failure(entry, options, f"Ray gave up on it: {type(error).__name__}: {said}")
        finally:
            # Politely: Ray kills a worker's children when it kills the worker, but not what those have started.
            for each in running:
                ray.cancel(each)
            if running:
                ray.wait(list(running), num_returns=len(running), timeout=2 * GRACE)


@contextmanager
def _token(out: Path) -> Iterator[str]:
    """What is in `OUT/.ray` meanwhile: it tells a worker that its OUT is ours, not another of the same path."""
    token = uuid4().hex
    (out / TOKEN).write_text(token)
    try:
        yield token
    finally:
        (out / TOKEN).unlink(missing_ok=True)


def _visible(entry: Entry) -> list[Path]:
    """What of an entry's folder and files is there on this machine."""
    return [path for path in (entry.folder, *read_for(entry)) if path.exists()]


def _convert_there(entry: Entry, out: Path, options: BatchOptions, visible: Sequence[Path], token: str) -> Outcome:
    """Convert on a worker that sees the same files."""
    unseen = next((path for path in visible if not path.exists()), None)
    if unseen is None and _read_token(out) != token:
        unseen = out
    if unseen is None:
        return convert_entry(entry, out, options, _children(options.threads))
    where = f"the Ray worker on {socket.gethostname()} does not see it"
    need = "manifest, nets and OUT must lie under the same path on every machine"
    return failure(entry, options, f"{unseen}: {where}; {need}")


@lru_cache(maxsize=1)
def _children(threads: int) -> Children:
    """Those of this worker, to which Ray gives one net after another; they end with it."""
    return Children(threads=threads, many=True)


def _read_token(out: Path) -> str | None:
    try:
        return (out / TOKEN).read_text()
    except OSError:
        return None
