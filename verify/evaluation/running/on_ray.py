"""A plan on Ray Data, on this machine or on any cluster: the same batches as on one machine, so the same numbers.

    read     tasks on CPUs read, decode and preprocess whole batches
    score    one actor with the model for each GPU, or for every few cores, scores them

Ray starts tasks and actors again whose process died. The model travels to the actors, the Caffe files of an engine that
reads them too; images lie where every machine finds them under the same absolute path.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Collection, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from prototxt.errors import CaffeModelError, Position, RequestError
from prototxt.optional import need
from prototxt.words import first_line
from verify.evaluation.records import ImageFault
from verify.evaluation.running.cluster import machines, started
from verify.evaluation.running.plan import Loaded, Plan, score
from verify.evaluation.running.results import BatchResult
from verify.evaluation.running.scorers import Scorer, ScorerSpec

CORES_AN_ACTOR = 4
"""Of a machine without GPUs; an actor's threads share one copy of the model."""

RayRow = dict[str, Any]


def run_ray(plan: Plan, spec: ScorerSpec, *, done: Collection[int] = ()) -> Iterator[BatchResult]:
    """The results of every batch that is not done, as they come.

    Args:
        plan: what to score.
        spec: the model.
        done: numbers of batches to leave out.

    Raises:
        MissingDependencyError: Ray is not installed.
        RequestError: what the plan or the scorer raises, a run that Ray gives up, or an image that a worker cannot read
            though this machine can.
    """
    pending = [{"batch": batch} for batch in range(len(plan)) if batch not in done]
    if not pending:
        return
    with started() as ray:
        data = need("ray.data", "'resnet-convert[ray]'", "--runner ray")
        _quieten(data)
        share = _share(ray, spec)
        # Tasks that state their memory are not fused with the actors: reading goes on while the model works.
        rows = data.from_items(pending, override_num_blocks=len(pending)).map(
            partial(_read, ray.put(plan)), num_cpus=share.reading, memory=plan.batch * plan.image_bytes
        )
        scored = rows.map(
            _Actor,
            fn_constructor_args=(replace(spec.pack(), threads=share.threads), plan.keep_scores),
            compute=data.ActorPoolStrategy(min_size=1, max_size=share.actors),
            num_cpus=share.threads,
            num_gpus=1 if share.gpus else None,
        )
        yield from _results(scored, plan)


def _quieten(data: Any) -> None:
    """The run has its own line of progress, and Ray's log has its own files."""
    context = data.DataContext.get_current()
    context.enable_progress_bars = context.enable_rich_progress_bars = False
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


class _Share(NamedTuple):
    """What a run takes of a cluster: actors, cores of each (0 beside a GPU), cores of a task that reads, GPUs."""

    actors: int
    threads: int
    reading: int
    gpus: int


def _share(ray: Any, spec: ScorerSpec) -> _Share:
    """As much as there is; an actor's cores are those of one machine."""
    found = machines(ray)
    gpus = 0 if spec.device == "cpu" else int(sum(machine.get("GPU", 0) for machine in found))
    cores = [machine.get("CPU", 0) for machine in found]
    reading = 1 if sum(cores) >= 2 else 0  # beside the one core that an actor has
    if gpus:
        return _Share(gpus, 0, reading, gpus)
    threads = max(1, min(CORES_AN_ACTOR, int(max(cores, default=1)), int(sum(cores)) - 1))
    return _Share(max(1, int(sum(cores) // (threads + 1))), threads, reading, 0)


def _read(shared: Any, row: RayRow) -> RayRow:
    import ray

    plan: Plan = ray.get(shared)
    try:
        return {"loaded": plan.read(int(row["batch"])), "machine": socket.gethostname()}
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

    def __call__(self, row: RayRow) -> RayRow:
        loaded: Loaded | CaffeModelError = row["loaded"]
        if isinstance(loaded, CaffeModelError):
            return {"result": loaded}
        if isinstance(self._scorer, CaffeModelError):
            return {"result": self._scorer}
        try:
            result = score(loaded, self._scorer, keep_scores=self._keep_scores)
            return {"result": result, "machine": row["machine"]}
        except CaffeModelError as error:
            return {"result": error}


def _results(scored: Any, plan: Plan) -> Iterator[BatchResult]:
    """The results; an error among them is raised."""
    from ray.exceptions import RayError

    try:
        for row in scored.iter_rows():
            if isinstance(row["result"], CaffeModelError):
                raise row["result"]
            _check_skipped(row["result"], plan, row["machine"])
            yield row["result"]
    except RayError as error:
        raise RequestError(f"Ray gave up: {first_line(error)}") from error


def _check_skipped(result: BatchResult, plan: Plan, machine: str) -> None:
    """A skipped image is one that nobody can read, not one that lies elsewhere on the worker's machine."""
    for index, why in result.skipped:
        try:
            plan.source.read(index, color=plan.transforms[0].color)
        except ImageFault:
            continue
        name = plan.source.item(index).name
        message = (
            f"{name} can be read here, but not by the Ray worker on {machine}: {why}; "
            "images must lie under the same path on every machine"
        )
        raise RequestError(message, position=Position(plan.source.where))
