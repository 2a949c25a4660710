"""Which Ray cluster a run is on, and how it is reached.

RAY_ADDRESS names one, or `local` for one of the run's own. Without it: the one that `ray start` left running on this
machine, as Ray itself has it; where none answers, one of the run's own.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from prototxt.errors import RequestError
from prototxt.optional import need
from prototxt.words import first_line, reason
from verify.machine import processors

log = logging.getLogger(__name__)

LOCAL = "local"
PATIENCE = 5.0
"""Seconds in which a cluster's machine has to answer; Ray itself would try for minutes."""


@contextmanager
def started() -> Iterator[Any]:
    """The `ray` module, connected, for a block. Only a cluster that was started for the block ends with it.

    Raises:
        MissingDependencyError: Ray is not installed.
        RequestError: the cluster cannot be reached.
    """
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")  # Else Ray's warnings go to standard output.
    ray = need("ray", "'resnet-convert[ray]'", "--runner ray")
    own = not ray.is_initialized()
    if own:
        _connect(ray)
    try:
        if not any(machine.get("CPU") for machine in machines(ray)):
            log.warning("warning: no machine of the Ray cluster has a CPU for tasks; the run waits for one")
        yield ray
    finally:
        if own:
            ray.shutdown()


def machines(ray: Any) -> list[dict[str, float]]:
    """The resources of each machine that is up: `CPU`, `GPU`, `memory` …"""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _connect(ray: Any) -> None:
    named = os.environ.get("RAY_ADDRESS", "")
    address = named or _left_running()
    options: dict[str, Any] = {"address": address, "log_to_driver": False, "logging_level": "ERROR"}
    if address == LOCAL:
        options |= {"num_cpus": max(2, processors()), "include_dashboard": False}
    elif (silence := _silence(address)) is not None:
        raise RequestError(f"Ray cannot be reached at {address}: {silence}")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    polite = signal.getsignal(signal.SIGTERM)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Ray's own about its coming versions
            ray.init(**options)
    except (ConnectionError, RuntimeError, ValueError, SystemExit) as error:  # Ray ends the process at times
        if isinstance(error, SystemExit) and error.code == signal.SIGTERM:
            raise KeyboardInterrupt from None
        hint = "" if named else "; RAY_ADDRESS=local starts one for this run alone"
        raise RequestError(f"Ray cannot be reached at {address}: {first_line(error)}{hint}") from error
    with suppress(ValueError):  # outside the main thread, where nobody handles signals
        signal.signal(signal.SIGTERM, polite)  # Ray took it over


def _left_running() -> str:
    """The address of the cluster that `ray start` says to have left on this machine, if it answers; else `local`."""
    file = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir(), "ray", "ray_current_cluster")
    try:
        address = file.read_text().strip()
    except OSError:
        return LOCAL
    return address if address and _silence(address) is None else LOCAL


def _silence(address: str) -> str | None:
    """Why nobody answers at an address; None where somebody does, or where it is for Ray to find out."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not host or not port.isdecimal():
        return None
    try:
        socket.create_connection((host.strip("[]"), int(port)), PATIENCE).close()
    except (OSError, OverflowError) as error:
        return f"nobody answers there ({reason(error)})"
    return None
