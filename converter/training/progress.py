"""What a training run tells on its way: each iteration's rate and loss, and the hooks that hear of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Iteration:
    """One iteration.

    Attributes:
        iteration: counted from 0, as Caffe logs it.
        rate: the learning rate of its update.
        loss: mean over its `iter_size` passes, before the update.
        smoothed_loss: mean over the last `average_loss` iterations.
    """

    iteration: int
    rate: float
    loss: float
    smoothed_loss: float


@dataclass(frozen=True)
class Hooks:
    """What a run calls on its way; each is optional.

    Attributes:
        progress: after every iteration.
        display: after each iteration that is a multiple of the solver's `display`.
        test: before each iteration that is a multiple of `test_interval`, and once at the end if that is one, with its
            number. Leaves the module in the mode it found it in.
    """

    progress: Callable[[Iteration], object] | None = None
    display: Callable[[Iteration], object] | None = None
    test: Callable[[int], object] | None = None


class SmoothedLoss:
    """Mean of the last losses, added up in float32 as Caffe's Solver::UpdateSmoothedLoss does."""

    def __init__(self, window: int) -> None:
        """Over `window` losses, 1 or more."""
        self._window = window
        self._losses: list[np.float32] = []
        self._count = 0
        self._mean = np.float32(0)

    def add(self, loss: float) -> float:
        """Take one more loss; the mean with it."""
        new = np.float32(loss)
        with np.errstate(all="ignore"):
            if len(self._losses) < self._window:
                self._losses.append(new)
                size = np.float32(len(self._losses))
                self._mean = (self._mean * (size - np.float32(1)) + new) / size
            else:
                place = self._count % self._window
                self._mean += (new - self._losses[place]) / np.float32(self._window)
                self._losses[place] = new
        self._count += 1
        return float(self._mean)
