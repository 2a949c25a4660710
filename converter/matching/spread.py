"""What works on each channel alone, spread over what a module has for that.

    y = gamma (x - mean) / sqrt(variance + eps) + beta

A module may have normalisations, factors and summands behind each other, each as a layer of its own. The first
normalisation gets the statistics, what holds a factor behind it gamma, and what holds a summand behind that beta; all
else becomes neutral: 1, 0, and statistics whose root is 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from converter.folding import Float64
from converter.matching.aten import StateEntry
from converter.matching.skeleton import NetPart
from converter.tensor import Tensor


class NoRoomError(Exception):
    """A module cannot hold what Caffe's layer has; the message says why."""


@dataclass(frozen=True)
class Norm:
    """(x - mean) / sqrt(variance + eps) · gamma + beta, a value a channel each.

    Attributes:
        neutral: the statistics are no net's own; any that come to the same will do.
    """

    gamma: Float64
    beta: Float64
    mean: Float64
    variance: Float64
    eps: float
    neutral: bool = False

    @property
    def factor(self) -> Float64:
        """What x is multiplied by."""
        made: Float64 = self.gamma / np.sqrt(self.variance + self.eps)
        return made

    @property
    def summand(self) -> Float64:
        """What is added to that."""
        return self.beta - self.mean * self.factor


def affine(factor: Float64, summand: Float64) -> Norm:
    """A factor and a summand as a normalisation of mean 0."""
    return Norm(factor, summand, np.zeros(len(factor)), np.ones(len(factor)), 0.0, neutral=True)


def values_of(held: Tensor | Float64 | None) -> Float64 | None:
    """A parameter's values, a vector in float64."""
    if held is None:
        return None
    return np.asarray(held.load() if isinstance(held, Tensor) else held, np.float64).ravel()


def norm_of(part: NetPart) -> Norm | None:
    """What a part is, where it normalises."""
    if part.kind != "normalisation":
        return None
    arrays = [values_of(part.parameters[role]) for role in ("gamma", "beta", "mean", "variance")]
    gamma, beta, mean, variance = (values for values in arrays if values is not None)
    return Norm(gamma, beta, mean, variance, part.settings["eps"])


def factor_and_summand(part: NetPart, channels: int) -> tuple[Float64, Float64]:
    """Those of a part of any of the kinds."""
    norm = norm_of(part)
    if norm is not None:
        return norm.factor, norm.summand
    factor, summand = values_of(part.parameters.get("weight")), values_of(part.parameters.get("bias"))
    return np.ones(channels) if factor is None else factor, np.zeros(channels) if summand is None else summand


def composed(parts: Sequence[NetPart], channels: int) -> tuple[Float64, Float64]:
    """Factor and summand of parts behind each other."""
    factor, summand = np.ones(channels), np.zeros(channels)
    for part in parts:
        a, c = factor_and_summand(part, channels)
        factor, summand = factor * a, summand * a + c
    return factor, summand


def one_norm(parts: Sequence[NetPart]) -> Norm | None:
    """The one normalisation that parts begin with, and the factors and summands behind it; None for another form."""
    norm = norm_of(parts[0]) if parts else None
    if norm is None or any(each.kind == "normalisation" for each in parts[1:]):
        return None
    for each in parts[1:]:
        factor, summand = factor_and_summand(each, len(norm.gamma))
        norm = replace(norm, gamma=norm.gamma * factor, beta=norm.beta * factor + summand)
    return norm


class _Slot(NamedTuple):
    """Where a module has room for a factor, or a summand, a channel; `neutral` changes nothing there."""

    role: str
    held: StateEntry
    neutral: float


def _slots(part: NetPart) -> Iterator[_Slot]:
    scaled, added = ("gamma", "beta") if part.kind == "normalisation" else ("weight", "bias")
    if scaled in part.parameters:
        yield _Slot("factor", part.parameters[scaled], max(part.settings.get("eps", 0.0), 1.0) ** 0.5)
    if added in part.parameters:
        yield _Slot("summand", part.parameters[added], 0.0)


def _first_normal(parts: Sequence[NetPart]) -> int | None:
    return next((place for place, part in enumerate(parts) if part.kind == "normalisation"), None)


class Spread:
    """What a module's parts get.

    Attributes:
        values: for each parameter.
        notes: what had to be made up for, in words.

    Raises:
        NoRoomError: they have no room for it.
    """

    def __init__(self, parts: Sequence[NetPart], norm: Norm) -> None:
        self.values: list[tuple[StateEntry, Float64]] = []
        self.notes: list[str] = []
        self._parts, self._channels = parts, len(norm.gamma)
        place = _first_normal(parts)
        self._normal = None if place is None else parts[place]
        if self._normal is None:
            norm = affine(norm.factor, norm.summand)
        else:
            norm = self._with_eps(norm, self._normal.settings["eps"])
        self._affine(norm, sum(len(list(_slots(part))) for part in parts[: place or 0]))

    def _with_eps(self, norm: Norm, eps: float) -> Norm:
        """The same for another eps, in the variance; in gamma if that were below 0."""
        if eps == norm.eps:
            return norm
        moved = norm.variance + (norm.eps - eps)
        where = "variance"
        if (moved >= 0).all():
            made = replace(norm, variance=moved, eps=eps)
        else:
            gamma, where = norm.gamma * np.sqrt((norm.variance + eps) / (norm.variance + norm.eps)), "gamma"
            made = replace(norm, gamma=gamma, eps=eps)
        if not norm.neutral:
            self.notes.append(f"eps {norm.eps:g} instead of the module's {eps:g}, in its {where}")
        return made

    def _affine(self, norm: Norm, behind: int) -> None:
        """Gamma into the first factor behind the statistics, beta into the first summand behind that."""
        slots = [slot for part in self._parts for slot in _slots(part)]
        at = _find(slots, "factor", behind)
        if at is None and not (norm.gamma == 1).all():
            raise NoRoomError(f"the module's {self._heads} has no factor")
        room, summand = _find(slots, "summand", behind if at is None else at), norm.beta
        if room is None and summand.any():
            room, summand = _find(slots, "summand", behind), _divided(summand, norm.gamma)
            if room is not None:
                self.notes.append("what is added divided by the factor, since the module multiplies behind it")
            elif self._normal is not None:
                norm = replace(norm, mean=norm.mean - summand * np.sqrt(norm.variance + norm.eps))
                self.notes.append("what is added in the normalisation's mean: the module has no place for it")
            else:
                raise NoRoomError(f"the module's {self._heads} has no summand")
            if not np.isfinite(summand).all():
                raise NoRoomError(f"the module's {self._heads} adds nothing behind a factor of 0")
        for place, slot in enumerate(slots):
            values = norm.gamma if place == at else summand if place == room else np.float64(slot.neutral)
            self._put(slot.held, np.asarray(values))
        for part in self._parts:
            if part.kind == "normalisation":
                self._statistics(part, norm)

    def _statistics(self, part: NetPart, norm: Norm) -> None:
        mean, variance = norm.mean, norm.variance
        if part is not self._normal:
            mean, variance = np.asarray(0.0), np.asarray(max(1 - part.settings["eps"], 0.0))
            if part.settings["eps"] > 1 and "gamma" not in part.parameters:
                raise NoRoomError(f"the module's {part} changes the numbers, whatever its statistics are")
        self._put(part.parameters["mean"], mean)
        self._put(part.parameters["variance"], variance)

    def _put(self, held: StateEntry, values: Float64) -> None:
        self.values.append((held, np.broadcast_to(values, (self._channels,))))

    @property
    def _heads(self) -> str:
        return names(self._parts)


def names(parts: Sequence[NetPart]) -> str:
    """What parts are called, in a list."""
    return " and ".join(part.label or part.type for part in parts)


def _find(slots: Sequence[_Slot], role: str, start: int) -> int | None:
    return next((place for place, slot in enumerate(slots) if place >= start and slot.role == role), None)


def _divided(summand: Float64, factor: Float64) -> Float64:
    """Where both are 0 nothing is to be added; what no factor can give is infinite."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(summand == 0, 0.0, summand / factor)
