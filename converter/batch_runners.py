"""The nets of a batch, several at a time: in processes on this machine, or on Ray."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from converter.batch import BatchOptions, Outcome, convert_entry, failure
from converter.batch_process import GRACE, Children
from converter.manifest import Entry

TRIES = 4
"""How often Ray starts a net whose worker dies."""

MOST_WAITING = 1000
"""Tasks that Ray has at a time; enough for a cluster to grow by."""


def run_local(entries: Sequence[Entry], out: Path, options: BatchOptions, jobs: int) -> Iterator[Outcome]:
    """The outcomes as they come, `jobs` nets at a time; closing the iterator ends what is running."""
    children = Children(threads=options.threads, pinned=True)
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

    Manifest, nets and OUT lie where every machine finds them under the same path. A task whose worker dies is run
    again; one that dies over and over is a failure of its net alone.
    """
    from ray.exceptions import RayError, RayTaskError

    logging.getLogger("ray").setLevel(logging.ERROR)
    largest = max(node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"])
    remote = ray.remote(num_cpus=max(1, min(options.threads, int(largest))), max_retries=TRIES - 1)(convert_entry)
    pending = list(reversed(entries))
    running: dict[Any, Entry] = {}
    try:
        while pending or running:
            while pending and len(running) < (jobs or MOST_WAITING):
                entry = pending.pop()
                running[remote.remote(entry, out.absolute(), options)] = entry
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
