"""Learning rate policies: the rate of each iteration, to the last bit of Caffe's float32.

    fixed       base_lr
    step        base_lr · gamma ^ floor(i / stepsize)
    exp         base_lr · gamma ^ i
    inv         base_lr · (1 + gamma · i) ^ -power
    multistep   base_lr · gamma ^ n        n: how many stepvalues were reached, one more an iteration at most
    poly        min_lr + (base_lr - min_lr) · (1 - i / max_iter) ^ power        min_lr: NVIDIA's fork, else 0
    sigmoid     base_lr / (1 + e ^ (-gamma · (i - stepsize)))
    plateau     base_lr · gamma ^ n        n: grows when the smoothed loss had no new minimum for plateau_winsize[n]
                                           iterations (forks of ssd, Intel, PVANet)
    multifixed  stagelr[k]                 k: the first stage with i <= stageiter[k], else the last (eric612)

Warm-up comes before any policy, and rises in a straight line to base_lr: from `rampup_lr` over `rampup_interval`
iterations (NVIDIA), from `warmup_start_lr` over `warmup_iter` (Intel).

Source: SGDSolver::GetLearningRate of BVLC's, NVIDIA's and Intel's sgd_solver.cpp. There `gamma` is raised to an
integer, which C++ does in double; every other power and exponential has float arguments and a float result.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from prototxt import Position
from prototxt.caffe_pb2 import SolverParameter
from prototxt.errors import RequestError, UnsupportedError

FieldPosition: TypeAlias = Callable[[str], "Position | None"]

FLT_MAX = float(np.finfo(np.float32).max)
_f32 = np.float32
_Rule: TypeAlias = Callable[[SolverParameter, int, int], np.float32]


def _nowhere(_: str) -> None:
    return None


def _powf(base: np.float32, exponent: np.float32) -> np.float32:
    return _f32(np.power(np.float64(base), np.float64(exponent)))


def _decayed(solver: SolverParameter, times: int) -> np.float32:
    return _f32(np.float64(_f32(solver.base_lr)) * np.power(np.float64(_f32(solver.gamma)), np.float64(times)))


def _fixed(solver: SolverParameter, iteration: int, step: int) -> np.float32:
    return _f32(solver.base_lr)


def _stepped(solver: SolverParameter, iteration: int, step: int) -> np.float32:
    return _decayed(solver, step)


def _exp(solver: SolverParameter, iteration: int, step: int) -> np.float32:
    return _decayed(solver, iteration)


def _inv(solver: SolverParameter, iteration: int, step: int) -> np.float32:
    base = _f32(1) + _f32(solver.gamma) * _f32(iteration)
    return _f32(solver.base_lr) * _powf(base, -_f32(solver.power))


def _poly(solver: SolverParameter, iteration: int, step: int) -> np.float32:
    least, rest = _f32(solver.min_lr), _f32(1) - _f32(iteration) / _f32(solver.max_iter)
    return least + (_f32(solver.base_lr) - least) * _powf(rest, _f32(solver.power))


def _sigmoid(solver: SolverParameter, iteration: int, step: int) -> np.float32:
    exponent = -_f32(solver.gamma) * (_f32(iteration) - _f32(solver.stepsize))
    return _f32(solver.base_lr) * (_f32(1) / (_f32(1) + _f32(np.exp(np.float64(exponent)))))


def _multifixed(solver: SolverParameter, iteration: int, step: int) -> np.float32:
    stages = (k for k, last in enumerate(solver.stageiter) if iteration <= last)
    return _f32(solver.stagelr[next(stages, len(solver.stagelr) - 1)])


_RULES: dict[str, _Rule] = {
    "fixed": _fixed,
    "step": _stepped,
    "exp": _exp,
    "inv": _inv,
    "multistep": _stepped,
    "poly": _poly,
    "sigmoid": _sigmoid,
    "plateau": _stepped,
    "multifixed": _multifixed,
}
POLICIES = tuple(_RULES)


def check_policy(solver: SolverParameter, where: FieldPosition = _nowhere) -> None:
    """Refuse a policy that is unknown or lacks what it needs.

    Args:
        solver: in today's form.
        where: gives the place of a field, for the error.

    Raises:
        UnsupportedError: an `lr_policy` that is not in the table above.
        RequestError: no `lr_policy`, a step or an end of 0, stages without rates, two kinds of warm-up.
    """
    policy = solver.lr_policy
    if not policy:
        raise RequestError(f"lr_policy is not given; expected {', '.join(POLICIES)}", position=where("lr_policy"))
    if policy not in _RULES:
        raise UnsupportedError(f"lr_policy {policy!r}; expected {', '.join(POLICIES)}", position=where("lr_policy"))
    if policy == "step" and solver.stepsize < 1:
        raise RequestError(f"stepsize is {solver.stepsize}; expected 1 or more", position=where("stepsize"))
    if policy == "poly" and solver.max_iter < 1:
        raise RequestError(f"max_iter is {solver.max_iter}; policy poly needs 1 or more", position=where("max_iter"))
    if policy == "multifixed" and (not solver.stagelr or len(solver.stagelr) != len(solver.stageiter)):
        what = (
            f"{len(solver.stagelr)} stagelr and {len(solver.stageiter)} stageiter; expected as many of one as the other"
        )
        raise RequestError(what, position=where("stagelr"))
    if solver.rampup_interval > 0 and solver.warmup_iter > 0:
        what = "rampup_interval and warmup_iter are both given; they are the warm-ups of different forks"
        raise RequestError(what, position=where("warmup_iter"))


def rate(solver: SolverParameter, iteration: int, current_step: int | None = None) -> float:
    """The learning rate of one iteration, a float32's value.

    Args:
        solver: in today's form.
        iteration: counted from 0, as Caffe logs it.
        current_step: how often `multistep` has lowered the rate; by default as often as if every iteration from the
            first had asked, so that this depends on the iteration alone.

    Raises:
        UnsupportedError, RequestError: see `check_policy`; `plateau`, which depends on the losses, without
            `current_step`.
    """
    check_policy(solver)
    if current_step is None:
        if solver.lr_policy == "plateau":
            raise RequestError("the rate of policy plateau depends on the losses so far; use Schedule")
        current_step = _steps_by(solver, iteration)
    return _rate(solver, iteration, current_step)


class Schedule:
    """The rates of a training run, with what Caffe carries from one iteration to the next.

    Attributes:
        current_step: how often `step`, `multistep` or `plateau` has lowered the rate.
        minimum_loss: the smallest smoothed loss so far (`plateau`).
        last_event: the iteration that found it, or lowered the rate since (`plateau`).
    """

    def __init__(self, solver: SolverParameter, where: FieldPosition = _nowhere) -> None:
        """Check the policy; see `check_policy` for `where` and for what is raised."""
        check_policy(solver, where)
        self._solver = solver
        self.current_step = 0
        self.minimum_loss = FLT_MAX
        self.last_event = 0

    def rate(self, iteration: int, smoothed_loss: float | None = None) -> float:
        """The rate of this iteration; call it once for each, in order.

        Args:
            iteration: counted from 0.
            smoothed_loss: of this iteration's forward pass, for `plateau`.

        Raises:
            ValueError: `plateau` without a loss.
        """
        if iteration >= _warm_up(self._solver):
            self._advance(iteration, smoothed_loss)
        return _rate(self._solver, iteration, self.current_step)

    def _advance(self, iteration: int, smoothed_loss: float | None) -> None:
        solver, step = self._solver, self.current_step
        if solver.lr_policy == "step":
            self.current_step = iteration // solver.stepsize
        elif solver.lr_policy == "multistep":
            if step < len(solver.stepvalue) and iteration >= solver.stepvalue[step]:
                self.current_step += 1
        elif solver.lr_policy == "plateau":
            if smoothed_loss is None:
                raise ValueError("policy plateau needs the smoothed loss")
            if smoothed_loss < self.minimum_loss:
                self.minimum_loss, self.last_event = smoothed_loss, iteration
            if step < len(solver.plateau_winsize) and iteration >= self.last_event + solver.plateau_winsize[step]:
                self.current_step += 1
                self.last_event = iteration


def _warm_up(solver: SolverParameter) -> int:
    return max(solver.rampup_interval, solver.warmup_iter, 0)


def _steps_by(solver: SolverParameter, iteration: int) -> int:
    if solver.lr_policy == "step":
        return iteration // solver.stepsize
    if solver.lr_policy != "multistep":
        return 0
    steps, last = 0, _warm_up(solver) - 1
    for value in solver.stepvalue:
        last = max(last + 1, value)
        if last > iteration:
            break
        steps += 1
    return steps


def _rate(solver: SolverParameter, iteration: int, step: int) -> float:
    base = _f32(solver.base_lr)
    with np.errstate(all="ignore"):  # An overflow is infinity, as in C; who uses the rate refuses it.
        if iteration < solver.rampup_interval:
            start, part = _f32(solver.rampup_lr), _f32(iteration) / _f32(solver.rampup_interval)
            return float(start + (base - start) * part)
        if iteration < solver.warmup_iter:
            whole = solver.warmup_iter
            start = _f32(solver.warmup_start_lr)
            return float((_f32(iteration) * base + _f32(whole - iteration) * start) / _f32(whole))
        return float(_RULES[solver.lr_policy](solver, iteration, step))
