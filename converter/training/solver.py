"""A training run as solver.prototxt describes it, over a PyTorch module: Caffe's Solver::Step and Solver::Solve.

Each iteration i, counted from 0, sums the gradients of `iter_size` passes, updates at the rate of i, and counts on.
Tests come before iteration i where i is a multiple of `test_interval`, snapshots after it where i + 1 is one of
`snapshot`.

Not done here, and no part of the arithmetic: the nets and their data, initial `weights`, devices, `random_seed`,
`debug_info`, `snapshot_diff`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import isfinite
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np

from converter.training.learnable import Learnable
from converter.training.policies import Schedule
from converter.training.progress import Hooks, Iteration, SmoothedLoss
from converter.training.settings import Settings, load_settings
from converter.training.snapshots import (
    arrays_for,
    fill,
    histories_for,
    layers_to_write,
    learned_net_path,
    stored_blob,
)
from prototxt import Net
from prototxt.errors import Position, RequestError
from weights import SolverState, open_weights, read_solverstate, write_caffemodel, write_hdf5, write_solverstate

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

Batch = TypeVar("Batch")
Form = Literal["binary", "hdf5"]


class Solver:
    """Drives a module's learnable blobs by Caffe's rules.

    Attributes:
        settings: the solver file.
        iteration: how many updates were made.
        rate: the learning rate of the last update; 0 before the first.
        schedule: gives the rates, and counts the policy's steps.
        optimizer: holds the blobs' histories; its groups have the rate, `lr_mult` and `decay_mult`.
    """

    def __init__(
        self,
        settings: Settings | str | PathLike[str],
        module: torch.nn.Module,
        learnables: Sequence[Learnable],
        *,
        net: Net | None = None,
    ) -> None:
        """Begin at iteration 0 with the weights that the module has.

        Parameters whose `lr_mult` is 0 are set to need no gradient, as Caffe computes none for them, unless the net
        says `force_backward`.

        Args:
            settings: of the solver, or its file.
            module: has the learnable blobs, on the device where they stay.
            learnables: all of them, in the net's order.
            net: in phase TRAIN. Gives the weights that `snapshot` writes its layers' types and settings, and tells
                which blobs layers share.

        Raises:
            PrototxtError, UnsupportedError, RequestError: a solver that is none, or asks for what is not done.
            ValueError: a learnable blob that the module does not have, or has in another size.
        """
        from converter.training.rules import make_optimizer

        self.settings = settings if isinstance(settings, Settings) else load_settings(settings)
        self.iteration = 0
        self.rate = 0.0
        self._net = net
        self._learnables = tuple(learnables)
        self.schedule = Schedule(self.settings.param, self.settings.where)
        self._tensors = _tensors(module, self._learnables)
        if net is None or not net.message.force_backward:
            _freeze(self._learnables, self._tensors)
        self.optimizer = make_optimizer(self.settings, self._learnables, self._tensors)
        self._smoothed = SmoothedLoss(self.settings.param.average_loss)

    def step(self, forward: Callable[[], torch.Tensor]) -> Iteration:
        """One iteration.

        Args:
            forward: one pass over the next batch; gives the loss, a single value with a gradient. Called `iter_size`
                times.

        Raises:
            RequestError: the rate is no finite number.
        """
        passes = self.settings.param.iter_size
        self.optimizer.zero_grad()
        total = 0.0
        for _ in range(passes):
            loss = forward()
            loss.backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
        smoothed = self._smoothed.add(total / passes)
        rate = self.schedule.rate(self.iteration, smoothed)
        if not isfinite(rate):
            what = f"the learning rate of iteration {self.iteration} is {rate}"
            raise RequestError(what, position=self.settings.where("lr_policy"))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.rate = rate
        self.iteration += 1
        return Iteration(self.iteration - 1, rate, total / passes, smoothed)

    def run(
        self,
        forward: Callable[[Batch], torch.Tensor],
        batches: Iterable[Batch],
        iterations: int | None = None,
        *,
        hooks: Hooks | None = None,
        snapshots: bool = True,
    ) -> Iteration | None:
        """Train: tests, displays and snapshots where the solver file wants them.

        Args:
            forward: the loss of one batch.
            batches: `iter_size` of them for each iteration; none is taken ahead.
            iterations: how many; by default up to `max_iter`.
            hooks: what is called on the way.
            snapshots: whether to write them: each `snapshot` iterations, and at the end (`snapshot_after_train`).

        Returns:
            The last iteration; None where there was none to do.

        Raises:
            RequestError: neither `iterations` nor `max_iter` is given, there are too few batches, or a snapshot cannot
                be written.
        """
        param, hooks = self.settings.param, hooks or Hooks()
        end = self._end(iterations)
        if snapshots and (param.snapshot > 0 or param.snapshot_after_train):
            _check_folder(self.settings)
        self._smoothed = SmoothedLoss(param.average_loss)
        supply = iter(batches)
        last = None
        while self.iteration < end:
            if _due(self.iteration, param.test_interval) and (self.iteration or param.test_initialization):
                _call(hooks.test, self.iteration)
            last = self.step(lambda: forward(self._next(supply)))
            if _due(last.iteration, param.display):
                _call(hooks.display, last)
            _call(hooks.progress, last)
            if snapshots and _due(self.iteration, param.snapshot):
                self.snapshot()
        if last is not None:
            if snapshots and param.snapshot_after_train and not _due(self.iteration, param.snapshot):
                self.snapshot()
            if _due(self.iteration, param.test_interval):
                _call(hooks.test, self.iteration)
        return last

    def _end(self, iterations: int | None) -> int:
        if iterations is not None:
            return self.iteration + iterations
        if not self.settings.param.HasField("max_iter"):
            raise RequestError("max_iter is not given; say how many iterations", position=Position(self.settings.path))
        return int(self.settings.param.max_iter)

    def _next(self, supply: Iterator[Batch]) -> Batch:
        for batch in supply:
            return batch
        raise RequestError(f"the batches ran out in iteration {self.iteration}")

    def snapshot(self, prefix: str | PathLike[str] | None = None, *, form: Form | None = None) -> tuple[Path, Path]:
        """Write weights and state: `PREFIX_iter_N.caffemodel` and `PREFIX_iter_N.solverstate`, or both with `.h5`.

        Args:
            prefix: by default the solver's `snapshot_prefix`. The state names the weights by it, so that Caffe finds
                them from the folder that a relative one is relative to.
            form: by default the solver's `snapshot_format`.

        Raises:
            RequestError: a file cannot be written.
            MissingDependencyError: `hdf5` without h5py.
        """
        param = self.settings.param
        stem = f"{self.settings.snapshot_prefix if prefix is None else prefix}_iter_{self.iteration}"
        hdf5 = (form == "hdf5") if form else param.snapshot_format == param.HDF5
        suffix = ".h5" if hdf5 else ""
        model, state = f"{stem}.caffemodel{suffix}", f"{stem}.solverstate{suffix}"
        layers = layers_to_write(self._learnables, self._tensors, self._net, repeat_shared=not hdf5)
        if hdf5:
            write_hdf5(model, layers)
        else:
            write_caffemodel(model, self._net.name if self._net else "", layers)
        write_solverstate(state, self.state(model))
        log.info("snapshot of iteration %d: %s, %s", self.iteration, model, state)
        return Path(model), Path(state)

    def state(self, learned_net: str | None = None) -> SolverState:
        """A copy of the run's state.

        Args:
            learned_net: the file that has the weights.
        """
        kept = [self.optimizer.history_of(tensor) for tensor in self._tensors]
        plateau = self.settings.param.lr_policy == "plateau"
        return SolverState(
            self.iteration,
            [
                stored_blob(histories[nth], one.shape)
                for nth in range(len(self.optimizer.histories))
                for one, histories in zip(self._learnables, kept, strict=True)
            ],
            learned_net=learned_net,
            current_step=self.schedule.current_step,
            minimum_loss=self.schedule.minimum_loss,
            last_event=self.schedule.last_event if plateau else None,
        )

    def restore(self, path: str | PathLike[str], *, weights: str | PathLike[str] | None = None) -> None:
        """Go on from a solver state; nothing is changed where it does not fit.

        Args:
            path: of the `.solverstate` or `.solverstate.h5`, Caffe's or `snapshot`'s.
            weights: of the weights saved with it; by default those that the state names, looked for beside the state
                and then as named. A state that names none leaves the module's.

        Raises:
            WeightsError: a file that is damaged, of another net or of another solver.
            ErrorGroup: several blobs that do not fit.
            MissingDependencyError: an HDF5 file without h5py.
        """
        with read_solverstate(path) as state:
            per_blob = len(self.optimizer.histories)
            histories = histories_for(self._learnables, state.history, per_blob, state.path)
            if weights is None and state.learned_net is not None:
                weights = learned_net_path(state.path, state.learned_net)
            if weights is not None:
                self.load_weights(weights)
            for tensor, arrays in zip(self._tensors, histories, strict=True):
                for kept, values in zip(self.optimizer.history_of(tensor), arrays, strict=True):
                    fill(kept, values)
            self.optimizer.set_step(state.iteration)
            self.iteration = state.iteration
            self.schedule.current_step = state.current_step
            self.schedule.minimum_loss = state.minimum_loss
            self.schedule.last_event = state.last_event or 0
        self._smoothed = SmoothedLoss(self.settings.param.average_loss)

    def load_weights(self, path: str | PathLike[str]) -> None:
        """Fill the learnable blobs from a `.caffemodel` or `.caffemodel.h5`, by layer and index.

        Raises:
            WeightsError: a blob that the file lacks, or has in another shape; a file that is damaged.
            ErrorGroup: several of them.
        """
        with open_weights(path) as source:
            for tensor, values in zip(self._tensors, arrays_for(self._learnables, source), strict=True):
                fill(tensor, values)


def _due(iteration: int, interval: int) -> bool:
    return interval > 0 and iteration % interval == 0


def _call(hook: Callable[..., object] | None, *arguments: object) -> None:
    if hook is not None:
        hook(*arguments)


def _check_folder(settings: Settings) -> None:
    """A snapshot must not fail after hours of training."""
    folder = Path(settings.snapshot_prefix).parent
    if not folder.is_dir():
        raise RequestError(
            f"there is no folder {str(folder)!r} for snapshots", position=settings.where("snapshot_prefix")
        )


def _tensors(module: torch.nn.Module, learnables: Sequence[Learnable]) -> list[torch.Tensor]:
    """The module's own tensors, not views of them."""
    held = module.state_dict(keep_vars=True)
    for one in learnables:
        if one.key not in held or held[one.key].numel() != np.prod(one.shape, dtype=np.int64):
            raise ValueError(f"the module has no {one.key!r} of shape {one.shape}")
    return [held[one.key] for one in learnables]


def _freeze(learnables: Sequence[Learnable], tensors: Sequence[torch.Tensor]) -> None:
    for one, tensor in zip(learnables, tensors, strict=True):
        if not one.lr_mult:
            tensor.requires_grad_(False)
