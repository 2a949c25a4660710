"""The parameters of paired parts, in the form of the one that gets them.

    y = gamma (W x + b - mean) / sqrt(variance + eps) + beta

Where both sides have the same the numbers keep their bits. What only one of them has goes where the other has room for
it, which is exact but for one rounding:

    a bias before a normalisation, where a module's sum has none         mean - b
    a normalisation that a module lacks                                  W · gamma / sqrt(…), and the rest in the bias
    a normalisation that a net lacks                                     gamma 1, variance 1 - eps, the bias in beta
    another eps                                                          in the variance; in gamma if that were below 0

All is computed in float64 and cast once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np

from converter.folding import Float64
from converter.matching.aten import StateEntry
from converter.matching.pairing import Pairing
from converter.matching.plain import AFFINE
from converter.matching.skeleton import NetPart
from converter.tensor import Array, Tensor, as_float32


@dataclass(frozen=True)
class Bridge:
    """A difference of form that the numbers make up for.

    Attributes:
        caffe, module: the parts.
        what: what was done, in words.
    """

    caffe: NetPart
    module: NetPart
    what: str


@dataclass
class Bridged:
    """The parameters that a module gets.

    Attributes:
        tensors: by key of the state dict, computed when they are written.
        sources: the Caffe part that each comes from.
        bridges: what had to be made up for.
        refused: pairs whose parameters the module has no room for, and why.
    """

    tensors: dict[str, Tensor] = field(default_factory=dict)
    sources: dict[str, NetPart] = field(default_factory=dict)
    bridges: list[Bridge] = field(default_factory=list)
    refused: list[Bridge] = field(default_factory=list)


class NoRoomError(Exception):
    """A module cannot hold what Caffe's layer has; the message says why."""


def bridge(pairing: Pairing) -> Bridged:
    """The parameters of all pairs that fit."""
    done = Bridged()
    misfits = {id(ours) for ours, _ in pairing.misfits}
    for ours, theirs in pairing.pairs:
        held = any(part.parameters for side in (ours, theirs) for part in side.part.together)
        if id(ours) in misfits or not held:
            continue
        work = _Pair(ours.part, theirs.part)
        try:
            work.fill()
            _enter(done, work)
        except NoRoomError as error:
            done.refused.append(Bridge(ours.part, theirs.part, str(error)))
    return done


def _enter(done: Bridged, work: _Pair) -> None:
    for key, tensor in work.tensors.items():
        if key in done.tensors and not np.array_equal(done.tensors[key].load(), tensor.load()):
            raise NoRoomError(f"the module has one {key} for this layer and for {done.sources[key]}; Caffe has two")
    done.tensors.update(work.tensors)
    done.sources.update(dict.fromkeys(work.tensors, work.caffe))
    done.bridges += [Bridge(work.caffe, work.module, note) for note in work.notes]


@dataclass
class _Norm:
    """(x - mean) / sqrt(variance + eps) · gamma + beta, a value a channel each."""

    gamma: Float64
    beta: Float64
    mean: Float64
    variance: Float64
    eps: float

    @property
    def factor(self) -> Float64:
        made: Float64 = self.gamma / np.sqrt(self.variance + self.eps)
        return made

    @property
    def summand(self) -> Float64:
        return self.beta - self.mean * self.factor


class _Pair:
    """One pair at work."""

    def __init__(self, caffe: NetPart, module: NetPart) -> None:
        self.caffe, self.module = caffe, module
        self.tensors: dict[str, Tensor] = {}
        self.notes: list[str] = []
        self._channels = caffe.settings["features"] if caffe.kind == "weighted sum" else caffe.shape[1]

    def fill(self) -> None:
        """Make all parameters; NoRoomError where the module cannot hold what there is."""
        if self.caffe.kind == "weighted sum":
            self._weighted_sum()
        elif self.caffe.kind in AFFINE:
            self._channels_alone()
        elif self.caffe.parameters.keys() == self.module.parameters.keys():
            for role, tensor in self.caffe.parameters.items():
                self._put(self.module.parameters[role], tensor)
        else:
            raise NoRoomError(f"parameters {', '.join(self.caffe.parameters)}: nobody here knows how they go over")

    def _put(self, held: StateEntry, values: Tensor | Float64 | Array) -> None:
        if isinstance(values, Tensor):
            tensor = values.reshaped(held.shape) if values.shape != held.shape else values
        else:
            made = as_float32(values).reshape(held.shape)
            tensor = Tensor(held.name, held.shape, lambda: made)
        if not isinstance(values, Tensor) and not np.isfinite(made).all():
            raise NoRoomError(f"{held.name} would hold values that are no finite numbers")
        self.tensors[held.name] = tensor

    def _weighted_sum(self) -> None:
        caffe, module = self.caffe, self.module
        if bool(caffe.settings.get("linear")) != bool(module.settings.get("linear")):
            forms = ["a fully connected layer", f"a convolution of {'×'.join(map(str, caffe.settings['kernel']))}"]
            ours, theirs = forms if caffe.settings.get("linear") else forms[::-1]
            self.notes.append(f"{ours} as {theirs}")
        norm, affine = _normalisation(caffe), caffe.affine
        factor = None
        bias = _values(caffe.parameters.get("bias"))
        room = module.parameters.get("bias")
        if not module.affine:
            if affine:
                factor, summand = self._whole_affine(norm)
                bias = summand + (0.0 if bias is None else bias * factor)
                self.notes.append(f"{_names(affine)} folded into the weights: the module has no normalisation")
            self._bias(room, bias, exact=None if affine else caffe.parameters.get("bias"))
        else:
            self._bias_before(room, bias, norm)
        self._weight(factor)

    def _bias(self, room: StateEntry | None, bias: Float64 | None, exact: Tensor | None) -> None:
        if room is not None:
            if bias is None:
                self.notes.append("a bias of 0: Caffe's layer has none")
            self._put(room, np.zeros(self._channels) if bias is None else bias if exact is None else exact)
        elif bias is not None and bias.any():
            raise NoRoomError("the module's layer has no bias, Caffe's has one")

    def _bias_before(self, room: StateEntry | None, bias: Float64 | None, norm: _Norm | None) -> None:
        """The sum's bias where the module normalises behind it."""
        held = bias is not None and self.caffe.parameters.get("bias")
        if norm is None:
            factor, summand = self._whole_affine(None)
            if room is None and bias is not None:
                summand = summand + factor * bias
                self.notes.append("a normalisation that changes nothing but adds the bias: Caffe's layer has none")
            elif not self.caffe.affine:
                self.notes.append("a normalisation that changes nothing: Caffe's layer has none")
            else:
                self.notes.append(f"{_names(self.caffe.affine)} as a normalisation of mean 0")
            eps = self.module.affine[0].settings.get("eps", 0.0)
            norm = _Norm(factor, summand, np.zeros(self._channels), np.ones(self._channels) - eps, eps)
        elif room is None and bias is not None and bias.any():
            norm.mean = norm.mean - bias
            self.notes.append("the bias in the normalisation's mean: the module's layer has none")
        if room is not None:
            self._put(room, held if isinstance(held, Tensor) else np.zeros(self._channels))
            if bias is None:
                self.notes.append("a bias of 0: Caffe's layer has none")
        self._normalise(self.module.affine, norm)

    def _whole_affine(self, norm: _Norm | None) -> tuple[Float64, Float64]:
        """Factor and summand of all that Caffe has behind the sum."""
        if norm is not None:
            return norm.factor, norm.summand
        factor, summand = np.ones(self._channels), np.zeros(self._channels)
        for part in self.caffe.affine if self.caffe.kind == "weighted sum" else self.caffe.together:
            own = _one_norm(part)
            a, c = (own.factor, own.summand) if own is not None else _factor_and_summand(part, self._channels)
            factor, summand = factor * a, summand * a + c
        return factor, summand

    def _channels_alone(self) -> None:
        norm = _normalisation(self.caffe)
        if norm is None:
            factor, summand = self._whole_affine(None)
            eps = self.module.settings.get("eps", 0.0)
            norm = _Norm(factor, summand, np.zeros(self._channels), np.ones(self._channels) - eps, eps)
            if self.module.kind == "normalisation":
                self.notes.append(f"{_names(self.caffe.together)} as a normalisation of mean 0")
        self._normalise(self.module.together, norm)

    def _normalise(self, parts: Sequence[NetPart], norm: _Norm) -> None:
        """Fill what a module has for each channel."""
        head, *others = parts
        if others:
            raise NoRoomError(f"the module's {_names(parts)} are two where Caffe has one")
        held = head.parameters
        if head.kind != "normalisation":
            for role, values, neutral in (("weight", norm.factor, 1.0), ("bias", norm.summand, 0.0)):
                if role in held:
                    self._put(held[role], values)
                elif not (values == neutral).all():
                    raise NoRoomError(f"the module's {head} has no {role}")
            return
        gamma, variance, eps = norm.gamma, norm.variance, head.settings["eps"]
        if eps != norm.eps:
            moved = variance + (norm.eps - eps)
            if (moved >= 0).all():
                variance, where = moved, "variance"
            else:
                gamma, where = gamma * np.sqrt((variance + eps) / (variance + norm.eps)), "gamma"
            self.notes.append(f"eps {norm.eps:g} instead of the module's {eps:g}, in its {where}")
        self._put(held["mean"], norm.mean)
        self._put(held["variance"], variance)
        for role, values, neutral in (("gamma", gamma, 1.0), ("beta", norm.beta, 0.0)):
            if role in held:
                self._put(held[role], values)
            elif not (values == neutral).all():
                raise NoRoomError(f"the module's {head} has no {role}")

    def _weight(self, factor: Float64 | None) -> None:
        caffe, held = self.caffe, self.module.parameters["weight"]
        source: Tensor = caffe.parameters["weight"]
        settings = caffe.settings
        rows, groups = settings["features"], settings["groups"]
        turned = caffe.settings.get("stored") is not None
        ours, theirs = _order(caffe), _order(self.module)
        if factor is None and ours == theirs and not turned and not held.turned:
            self._put(held, source)
            return
        if ours != theirs:
            self.notes.append("the inputs in the order in which the module flattens its map")
        whole = (settings["channels"] // groups, *settings["kernel"])

        def made(stored: Array) -> Array:
            weight = stored.T if turned else stored
            if settings["transposed"]:
                assert factor is not None
                by_group = weight.reshape(groups, -1, rows // groups, prod(settings["kernel"]))
                return as_float32(by_group * factor.reshape(groups, 1, -1, 1)).reshape(held.shape)
            weight = weight.reshape(rows, -1)
            if factor is not None:
                weight = np.multiply(
                    weight,
                    factor[:, None],
                    out=np.empty(weight.shape, np.float32),
                    dtype=np.float64,
                    casting="same_kind",
                )
            if ours != theirs:
                sizes = tuple(whole[axis - 1] for axis in ours)
                back = tuple(ours.index(axis) for axis in range(1, len(ours) + 1))
                cube = weight.reshape(rows, *sizes).transpose(0, *(place + 1 for place in back))
                weight = cube.transpose(0, *theirs).reshape(rows, -1)
            out: Array = weight.T if held.turned else weight
            return np.ascontiguousarray(out).reshape(held.shape)

        self.tensors[held.name] = Tensor(held.name, held.shape, lambda: made(source.load()))


def _order(part: NetPart) -> tuple[int, ...]:
    """The axes of the map, without the batch, in the order in which a flattened one has them."""
    axes = 1 + len(part.settings["kernel"])
    return part.order[1:] if part.order else tuple(range(1, axes + 1))


def _values(tensor: Tensor | None) -> Float64 | None:
    return None if tensor is None else tensor.load().astype(np.float64).ravel()


def _one_norm(part: NetPart) -> _Norm | None:
    if part.kind != "normalisation":
        return None
    arrays = [_values(part.parameters[role]) for role in ("gamma", "beta", "mean", "variance")]
    gamma, beta, mean, variance = (values for values in arrays if values is not None)
    return _Norm(gamma, beta, mean, variance, part.settings["eps"])


def _factor_and_summand(part: NetPart, channels: int) -> tuple[Float64, Float64]:
    factor, summand = _values(part.parameters.get("weight")), _values(part.parameters.get("bias"))
    return np.ones(channels) if factor is None else factor, np.zeros(channels) if summand is None else summand


def _normalisation(part: NetPart) -> _Norm | None:
    """The one normalisation behind a sum, or that a part is, with the factors behind it; None for another form."""
    behind = part.affine if part.kind == "weighted sum" else part.together
    norm, others = (_one_norm(behind[0]) if behind else None), behind[1:]
    if norm is None or any(each.kind == "normalisation" for each in others):
        return None
    for each in others:
        factor, summand = _factor_and_summand(each, len(norm.gamma))
        norm.gamma, norm.beta = norm.gamma * factor, norm.beta * factor + summand
    return norm


def _names(parts: Sequence[NetPart]) -> str:
    return " and ".join(part.label or part.type for part in parts)
