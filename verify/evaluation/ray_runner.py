"""A plan on Ray Data, on this machine or on any cluster: the same batches as on one machine, so the same numbers.

    read     tasks on CPUs read, decode and preprocess whole batches
    score    one actor with the model for each GPU, or for every few cores, scores them

Ray starts tasks and actors again whose process died. The model travels to the actors; images, and Caffe files for an
engine that reads them, lie where every machine finds them under the same path.
"""

from __future__ import annotations

import logging
import os
import signal
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any

from prototxt.errors import CaffeModelError, RequestError
from prototxt.optional import need
from verify.engine_onnx import processors
from verify.engines import first_line
from verify.evaluation.plan import Loaded, Plan, score
from verify.evaluation.results import BatchResult
from verify.evaluation.scorers import Scorer, ScorerSpec

CORES_AN_ACTOR = 4
"""Of a machine without GPUs; an actor's threads share one copy of the model."""

Row = dict[str, Any]


def run_ray(plan: Plan, spec: ScorerSpec, *, done: Collection[int] = ()) -> Iterator[BatchResult]:
    """The results of every batch that is not done, as they come.

    Ray is started on this machine unless it runs already or RAY_ADDRESS names a cluster.

    Args:
        plan: what to score.
        spec: the model.
        done: numbers of batches to leave out.

    Raises:
        MissingDependencyError: Ray is not installed.
        RequestError: what the plan or the scorer raises, or a run that Ray gives up.
    """
    ray = need("ray", "'resnet-convert[ray]'", "--runner ray")
    data = need("ray.data", "'resnet-convert[ray]'", "--runner ray")
    pending = [{"batch": batch} for batch in range(len(plan)) if batch not in done]
    if not pending:
        return
    with started(ray):
        _quieten(data)
        cores, gpus = _resources(ray, spec)
        actors = max(1, gpus or int(cores // (CORES_AN_ACTOR + 1)))
        threads = 0 if gpus else max(1, min(CORES_AN_ACTOR, int(cores) - 1))
        # Tasks that state their memory are not fused with the actors: reading goes on while the model works.
        rows = data.from_items(pending, override_num_blocks=len(pending)).map(
            partial(_read, ray.put(plan)), num_cpus=1, memory=plan.batch * plan.image_bytes
        )
        scored = rows.map(
            _Actor,
            fn_constructor_args=(replace(spec.pack(), threads=threads), plan.keep_scores),
            compute=data.ActorPoolStrategy(min_size=1, max_size=actors),
            num_cpus=threads,
            num_gpus=1 if gpus else None,
        )
        yield from _results(scored)


@contextmanager
def started(ray: Any) -> Iterator[Any]:
    """Ray, for a block: as it runs already, or connected to RAY_ADDRESS, or started on this machine, and then ended.

    Raises:
        RequestError: the cluster cannot be reached.
    """
    own = not ray.is_initialized()
    if own:
        _start(ray)
    try:
        yield ray
    finally:
        if own:
            ray.shutdown()


def _start(ray: Any) -> None:
    address = os.environ.get("RAY_ADDRESS")
    options: dict[str, Any] = {"address": address} if address else {"num_cpus": max(2, processors())}
    if not address:
        options["include_dashboard"] = False
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    polite = signal.getsignal(signal.SIGTERM)
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Ray's own about its coming versions
            ray.init(log_to_driver=False, logging_level="ERROR", **options)
    except (ConnectionError, RuntimeError, ValueError, SystemExit) as error:  # Ray ends the process at times
        raise RequestError(f"Ray cannot be reached at {address or 'this machine'}: {first_line(error)}") from error
    with suppress(ValueError):  # outside the main thread, where nobody handles signals
        signal.signal(signal.SIGTERM, polite)  # Ray took it over


def _quieten(data: Any) -> None:
    """The run has its own line of progress, and Ray's log has its own files."""
    context = data.DataContext.get_current()
    context.enable_progress_bars = context.enable_rich_progress_bars = False
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _resources(ray: Any, spec: ScorerSpec) -> tuple[float, int]:
    """Cores and GPUs of all machines."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = 0 if spec.device == "cpu" else int(sum(node.get("GPU", 0) for node in nodes))
    return sum(node.get("CPU", 0) for node in nodes), gpus


def _read(shared: Any, row: Row) -> Row:
    import ray

    plan: Plan = ray.get(shared)
    try:
        return {"loaded": plan.read(int(row["batch"]))}
    except CaffeModelError as error:
        return {"loaded": error}  # Ray would hand on its text alone


class _Actor:
    """A model in a process of its own."""

    def __init__(self, spec: ScorerSpec, keep_scores: bool) -> None:
        self._keep_scores = keep_scores
        self._scorer: Scorer | CaffeModelError
        try:
            self._scorer = spec.open()
        except CaffeModelError as error:
            self._scorer = error

    def __call__(self, row: Row) -> Row:
        loaded: Loaded | CaffeModelError = row["loaded"]
        if isinstance(loaded, CaffeModelError):
            return {"result": loaded}
        if isinstance(self._scorer, CaffeModelError):
            return {"result": self._scorer}
        try:
            return {"result": score(loaded, self._scorer, keep_scores=self._keep_scores)}
        except CaffeModelError as error:
            return {"result": error}


def _results(scored: Any) -> Iterator[BatchResult]:
    """The results; an error among them is raised."""
    from ray.exceptions import RayError

    try:
        for row in scored.iter_rows():
            if isinstance(row["result"], CaffeModelError):
                raise row["result"]
            yield row["result"]
    except RayError as error:
        raise RequestError(f"Ray gave up: {first_line(error)}") from error
