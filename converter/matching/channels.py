"""What a module has for each channel behind a sum, in Caffe's layers.

    y = gamma (W x + b - mean) / sqrt(variance + eps) + beta

BatchNorm gets mean and variance, and 1 as the number by which it divides them; the Scale behind it gamma and beta. What
only one side has goes where Caffe has room for it:

    a bias before a normalisation, where Caffe's sum has none     mean - b
    another eps                                                   in the variance; in gamma if that were below 0
    a normalisation that Caffe lacks                              in a Scale, else in the weights and the bias
    one that the module lacks                                     mean 0, variance 1 - eps, gamma 1; the bias in beta
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from converter.folding import Float64
from converter.matching.aten import StateEntry
from converter.matching.skeleton import NetPart
from converter.matching.spread import Norm, NoRoomError
from converter.node import Node
from converter.tensor import Array, Tensor, as_float32

NEUTRAL = {"weight": 1.0, "gamma": 1.0, "bias": 0.0, "beta": 0.0, "mean": 0.0, "inverse_std": 1.0, "scale_factor": 1.0}
"""What changes nothing, of all that a layer has for each channel but the variance."""


def vector(held: StateEntry | None, state: Mapping[str, Array]) -> Float64 | None:
    """A parameter's values, a channel each; None for one that is not there."""
    return None if held is None else state[held.name].astype(np.float64).ravel()


@dataclass
class Filling:
    """A Caffe part whose blobs are being found.

    Attributes:
        caffe: the part.
        nodes: the graph's by their layers' names.
        values: by `id` of the blob's tensor.
        notes: what had to be made up for, in words.
    """

    caffe: NetPart
    nodes: Mapping[str, Node]
    values: dict[int, Tensor] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def place(self, part: NetPart, role: str) -> Tensor | None:
        """The tensor that stands for a blob in the graph; None where the layer has none of that role."""
        held = self.nodes[part.label].tensors if part.kind == "normalisation" else part.parameters
        tensor: Tensor | None = held.get(role)
        return None if tensor is None else tensor.root

    def put(self, part: NetPart, role: str, values: npt.NDArray[np.floating]) -> None:
        """Enter values; NoRoomError where those for each channel are no finite numbers."""
        place = self.place(part, role)
        assert place is not None
        made = as_float32(values).reshape(tuple(map(int, place.shape)))
        if values.dtype == np.float64 and not np.isfinite(made).all():
            raise NoRoomError(f"{place.name} would hold values that are no finite numbers")
        self.values[id(place)] = Tensor(place.name, place.shape, lambda: made)


class ChannelBlob(NamedTuple):
    """A blob with a value for each channel: the layer's place behind its sum, its part, the blob's role."""

    at: int
    part: NetPart
    role: str


class Channels:
    """What a Caffe part has for each channel, as it is filled.

    Args:
        blobs: where it goes.
        caffe: the part: a sum and what stands behind it, or a normalisation or factor alone.
        parts: what the module has there.
        state: the module's.
    """

    def __init__(self, blobs: Filling, caffe: NetPart, parts: Sequence[NetPart], state: Mapping[str, Array]) -> None:
        self._blobs, self._caffe, self._parts, self._state = blobs, caffe, parts, state
        self._sums = caffe.kind == "weighted sum"
        self._count = caffe.settings["features"] if self._sums else caffe.shape[1]
        self._chain = caffe.affine if self._sums else caffe.together
        self._norm = next((ChannelBlob(i, p, "variance") for i, p in enumerate(self._chain) if _normalises(p)), None)

    def fill(self, bias: Float64 | None) -> Float64 | None:
        """Enter all of it.

        Args:
            bias: of the module's sum.

        Returns:
            what the sum's weights have to be multiplied by; None for nothing.

        Raises:
            NoRoomError: there is no place for something.
        """
        norm = self._of_module()
        if norm is not None and self._norm is not None and self._holds(norm, self._norm):
            self._normalise(norm, self._norm, bias)
            factor = None
        else:
            factor = self._spread(bias)
        self._leave_the_rest()
        return factor

    def _of_module(self) -> Norm | None:
        """The module's one normalisation, with what stands behind it; None for another form."""
        first, others = (self._parts[0] if self._parts else None), self._parts[1:]
        if first is None or not _normalises(first) or any(map(_normalises, others)):
            return None
        norm = self._norm_of(first)
        for part in others:
            factor, summand = self._factor_and_summand(part)
            norm = replace(norm, gamma=norm.gamma * factor, beta=norm.beta * factor + summand)
        return norm

    def _norm_of(self, part: NetPart) -> Norm:
        gamma, beta = self._of(part, "gamma", 1), self._of(part, "beta", 0)
        return Norm(gamma, beta, self._of(part, "mean", 0), self._of(part, "variance", 1), part.settings["eps"])

    def _of(self, part: NetPart, role: str, neutral: float) -> Float64:
        found = vector(part.parameters.get(role), self._state)
        return np.full(self._count, float(neutral)) if found is None else found

    def _factor_and_summand(self, part: NetPart) -> tuple[Float64, Float64]:
        if _normalises(part):
            norm = self._norm_of(part)
            return norm.factor, norm.summand
        return self._of(part, "weight", 1), self._of(part, "bias", 0)

    def _places(self, *roles: str) -> list[ChannelBlob]:
        pairs = ((at, part, role) for at, part in enumerate(self._chain) for role in roles)
        return [ChannelBlob(*each) for each in pairs if self._blobs.place(each[1], each[2]) is not None]

    def _room(self, first: int) -> tuple[ChannelBlob | None, ChannelBlob | None]:
        """Where a factor goes behind a place of the chain, and where a summand that no factor is to multiply."""
        factor = next((place for place in self._places("weight", "gamma") if place.at >= first), None)
        behind = first if factor is None else factor.at
        summands = [place for place in self._places("bias", "beta") if place.at >= behind]
        return factor, summands[-1] if summands else None

    # A normalisation on both sides.

    def _holds(self, norm: Norm, place: ChannelBlob) -> bool:
        """Whether all that a normalisation has finds its place in Caffe's, or is not needed."""
        factor, summand = self._room(place.at)
        small = (norm.variance + norm.eps < place.part.settings["eps"]).any()
        needs_factor = small or (norm.gamma != 1).any()
        return (factor is not None or not needs_factor) and (summand is not None or not norm.beta.any())

    def _normalise(self, norm: Norm, place: ChannelBlob, bias: Float64 | None) -> None:
        factor, summand = self._room(place.at)
        if not self._put_bias(bias) and bias is not None and bias.any():
            norm = replace(norm, mean=norm.mean - bias)
            self._note("the bias in the mean: Caffe's layer has none")
        gamma, variance, eps = norm.gamma, norm.variance, place.part.settings["eps"]
        if eps != norm.eps:
            moved = variance + (norm.eps - eps)
            if (moved >= 0).all():
                variance, where = moved, "variance"
            else:
                gamma, where = gamma * np.sqrt((variance + eps) / (variance + norm.eps)), "gamma"
            self._note(f"eps {norm.eps:g} instead of Caffe's {eps:g}, in its {where}")
        self._put(place.part, "mean", norm.mean)
        self._put_variance(place.part, variance)
        for target, values in ((factor, gamma), (summand, norm.beta)):
            if target is not None:
                self._put(target.part, target.role, values)

    def _put_bias(self, bias: Float64 | None) -> bool:
        """Enter the bias of the sum itself, where it has one."""
        if not self._sums or self._blobs.place(self._caffe, "bias") is None:
            return False
        if bias is None:
            self._note("a bias of 0: the module has none")
        self._put(self._caffe, "bias", np.zeros(self._count) if bias is None else bias)
        return True

    # Any other form: a factor and a summand, spread over what there is.

    def _spread(self, bias: Float64 | None) -> Float64 | None:
        factor, summand = np.ones(self._count), np.zeros(self._count)
        for part in self._parts:
            a, c = self._factor_and_summand(part)
            factor, summand = factor * a, summand * a + c
        if self._chain and not self._parts:
            self._note(f"{_names(self._chain)} without effect: the module has none")
        if (factor == 1).all():
            if not summand.any():
                if not self._put_bias(bias) and bias is not None:
                    self._add(bias)
                return None
            return self._in_one(None, summand if bias is None else summand + bias)
        room, other = self._room(0)
        if room is not None and (other is not None or not (summand.any() or bias is not None)):
            self._note(f"{_names(self._parts)} in {room.part.label}")
            self._put(room.part, room.role, factor)
            if not self._put_bias(bias) and bias is not None:
                summand = summand + factor * bias
            if other is not None:
                self._put(other.part, other.role, summand)
            return None
        return self._in_one(factor, summand if bias is None else summand + factor * bias)

    def _in_one(self, factor: Float64 | None, summand: Float64) -> Float64 | None:
        """Where Caffe has no factor: in the weights, or, where there are none, in a variance."""
        if self._sums:
            if factor is not None:
                self._note(f"{_names(self._parts)} folded into the weights: Caffe's net has no such layer")
            if not self._put_bias(summand):
                self._add(summand)
            return factor
        if factor is None:
            self._add(summand)
            return None
        if self._norm is None or not (factor > 0).all():
            raise NoRoomError(f"Caffe's {_names(self._chain)} has no factor for each channel")
        part = self._norm.part
        variance = 1 / factor**2 - part.settings["eps"]
        if (variance < 0).any():
            raise NoRoomError(f"Caffe's {_names(self._chain)} has no factor for each channel")
        self._note(f"{_names(self._parts)} in mean and variance: Caffe's net has no Scale there")
        self._put_variance(part, variance)
        self._put(part, "mean", -summand / factor)
        return None

    def _add(self, summand: Float64) -> None:
        """A summand where all factors are 1."""
        places = self._places("bias", "beta")
        if places:
            self._put(places[-1].part, places[-1].role, summand)
        elif self._norm is not None:
            self._put(self._norm.part, "mean", -summand)
        elif summand.any():
            raise NoRoomError("Caffe's layer has no bias, the module's has one")

    # Filling.

    def _note(self, what: str) -> None:
        self._blobs.notes.append(what)

    def _put(self, part: NetPart, role: str, values: Float64) -> None:
        self._blobs.put(part, role, values)

    def _put_variance(self, part: NetPart, variance: Float64) -> None:
        """Enter what Caffe's layer stores of a variance: itself, its inverse root, or the rest where eps comes late."""
        if self._blobs.place(part, "inverse_std") is not None:
            self._put(part, "inverse_std", 1 / np.sqrt(variance))
            return
        behind = getattr(self._blobs.nodes[part.label].layer, "eps_behind_root", 0.0)
        if behind:
            root = np.sqrt(variance) - behind
            if (root < 0).any():
                raise NoRoomError(f"a variance below the square of its eps, {behind:g}, that is added behind the root")
            variance = root**2
        self._put(part, "variance", variance)

    def _leave_the_rest(self) -> None:
        """Have what was given no values change nothing."""
        for part in self._chain:
            roles = self._blobs.nodes[part.label].tensors if _normalises(part) else part.parameters
            for role in roles:
                place = self._blobs.place(part, role)
                if place is None or id(place) in self._blobs.values:
                    continue
                if role == "variance":
                    self._put_variance(part, np.ones(self._count) - part.settings["eps"])
                else:
                    self._put(part, role, np.full(tuple(map(int, place.shape)), NEUTRAL[role]))


def _normalises(part: NetPart) -> bool:
    return part.kind == "normalisation"


def _names(parts: Sequence[NetPart]) -> str:
    return " and ".join(part.label or part.type for part in parts)
