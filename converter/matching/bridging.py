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

from dataclasses import dataclass, field, replace
from math import prod

import numpy as np

from converter.folding import Float64
from converter.matching.aten import StateEntry
from converter.matching.pairing import Pairing
from converter.matching.plain import AFFINE
from converter.matching.skeleton import NetPart
from converter.matching.spread import (
    Norm,
    NoRoomError,
    Spread,
    affine,
    composed,
    names,
    one_norm,
    values_of,
)
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
        elif self.caffe.kind == "learned rectifier":
            self._slopes()
        elif self.caffe.parameters.keys() == self.module.parameters.keys():
            for role, tensor in self.caffe.parameters.items():
                self._put(self.module.parameters[role], tensor)
        else:
            raise NoRoomError(f"parameters {', '.join(self.caffe.parameters)}: nobody here knows how they go over")

    def _slopes(self) -> None:
        """One for all, or one a channel: another number of them holds what is the same everywhere."""
        ours, held = self.caffe.parameters["weight"], self.module.parameters["weight"]
        if prod(ours.shape) == prod(held.shape):
            self._put(held, ours)
            return
        slopes = np.unique(ours.load())
        if len(slopes) != 1:
            raise NoRoomError("the module has one slope for all channels, Caffe's layer one for each")
        one = prod(ours.shape) == 1
        self.notes.append("one slope for all channels, in each" if one else "equal slopes as one for all")
        self._put(held, np.full(prod(held.shape), slopes[0]))

    def _put(self, held: StateEntry, values: Tensor | Float64 | Array) -> None:
        start = 0
        for piece in held.pieces:
            self._put(piece, _rows(values, held, start, start + piece.shape[0]))
            start += piece.shape[0]
        if held.pieces:
            return
        if isinstance(values, Tensor):
            tensor = values.reshaped(held.shape) if values.shape != held.shape else values
        else:
            made = as_float32(values).reshape(held.shape)
            tensor = Tensor(held.name, held.shape, lambda: made)
        if not isinstance(values, Tensor) and not np.isfinite(made).all():
            raise NoRoomError(f"{held.name} would hold values that are no finite numbers")
        before = self.tensors.setdefault(held.name, tensor)
        if before is not tensor and not np.array_equal(before.load().ravel(), tensor.load().ravel()):
            raise NoRoomError(f"the module has one {held.name} for two uses; Caffe has two")

    def _weighted_sum(self) -> None:
        caffe, module = self.caffe, self.module
        if caffe.joined != module.joined:
            self.notes.append(f"{_convolutions(caffe)} as {_convolutions(module)}")
        if bool(caffe.settings.get("linear")) != bool(module.settings.get("linear")):
            forms = ["a fully connected layer", f"a convolution of {'×'.join(map(str, caffe.settings['kernel']))}"]
            ours, theirs = forms if caffe.settings.get("linear") else forms[::-1]
            self.notes.append(f"{ours} as {theirs}")
        norm, factor = one_norm(caffe.affine), None
        bias = values_of(caffe.parameters.get("bias"))
        room = module.parameters.get("bias")
        if module.affine:
            factor = self._bias_before(room, bias, norm)
        elif caffe.affine:
            factor, summand = composed(caffe.affine, self._channels)
            self.notes.append(f"{names(caffe.affine)} folded into the weights: the module has no normalisation")
            self._bias(room, summand if bias is None else summand + bias * factor, exact=None)
        else:
            self._bias(room, bias, exact=caffe.parameters.get("bias"))
        self._weight(factor)

    def _bias(self, room: StateEntry | None, bias: Float64 | None, exact: Tensor | None) -> None:
        if room is not None:
            if bias is None:
                self.notes.append("a bias of 0: Caffe's layer has none")
            self._put(room, np.zeros(self._channels) if bias is None else bias if exact is None else exact)
        elif bias is not None and bias.any():
            raise NoRoomError("the module's layer has no bias, Caffe's has one")

    def _bias_before(self, room: StateEntry | None, bias: Float64 | None, norm: Norm | None) -> Float64 | None:
        """The sum's bias, and what is behind it, where the module normalises there; what the weights must take."""
        held = self.caffe.parameters.get("bias")
        if norm is None:
            norm = affine(*composed(self.caffe.affine, self._channels))
            if room is None and bias is not None:
                norm = replace(norm, beta=norm.beta + norm.gamma * bias)
                self.notes.append("a normalisation that changes nothing but adds the bias: Caffe's layer has none")
            elif not self.caffe.affine:
                self.notes.append("a normalisation that changes nothing: Caffe's layer has none")
            else:
                self.notes.append(f"{names(self.caffe.affine)} as a normalisation of mean 0")
        elif room is None and bias is not None and bias.any():
            norm = replace(norm, mean=norm.mean - bias)
            self.notes.append("the bias in the normalisation's mean: the module's layer has none")
        factor = None
        try:
            found = Spread(self.module.affine, norm)
        except NoRoomError:
            factor, summand = norm.factor, norm.summand
            if room is not None:
                held, summand = summand if bias is None else summand + bias * factor, np.zeros(self._channels)
            found = Spread(self.module.affine, affine(np.ones(self._channels), summand))
            self.notes.append("the factor in the weights: what the module has behind them can't hold it")
        if room is not None:
            self._put(room, np.zeros(self._channels) if held is None else held)
            if held is None:
                self.notes.append("a bias of 0: Caffe's layer has none")
        self._take(found)
        return factor

    def _channels_alone(self) -> None:
        norm = one_norm(self.caffe.together)
        if norm is None:
            norm = affine(*composed(self.caffe.together, self._channels))
            if self.module.kind == "normalisation":
                self.notes.append(f"{names(self.caffe.together)} as a normalisation of mean 0")
        self._take(Spread(self.module.together, norm))

    def _take(self, found: Spread) -> None:
        for held, values in found.values:
            self._put(held, values)
        self.notes += found.notes

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

        self._put(held, Tensor(held.name, held.shape, lambda: made(source.load())))


def _rows(values: Tensor | Float64 | Array, held: StateEntry, start: int, stop: int) -> Tensor | Float64 | Array:
    """Some rows of what a parameter gets that is several."""
    if not isinstance(values, Tensor):
        return values.reshape(held.shape)[start:stop]
    shape = (stop - start, *held.shape[1:])
    return Tensor(values.name, shape, lambda: values.load().reshape(held.shape)[start:stop])


def _convolutions(part: NetPart) -> str:
    groups = part.settings["groups"]
    return f"{part.joined} convolutions of slices" if part.joined > 1 else f"one convolution in {groups} groups"


def _order(part: NetPart) -> tuple[int, ...]:
    """The axes of the map, without the batch, in the order in which a flattened one has them."""
    axes = 1 + len(part.settings["kernel"])
    return part.order[1:] if part.order else tuple(range(1, axes + 1))
