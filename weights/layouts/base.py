"""A layout: how a framework names a ResNet's parameters, and in which order of axes it keeps them.

    convolution   outputs × inputs × height × width, or with `channels_last` height × width × inputs × outputs
    last layer    classes × features, or with `channels_last` features × classes
    BatchNorm     mean, variance, scale and shift; or with `affine` those two alone, the statistics folded in:
                  s = scale / sqrt(variance + 1e-5),   b = shift - (mean - bias) · s

A layout without a name for the convolution's bias has it in the mean (or in b); one with such names has zeros where
Caffe has none. What is computed is computed in float64 and cast once; everything else keeps its bits in both ways.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from prototxt.errors import CaffeModelError, Position, RequestError, WeightsError, raise_all
from prototxt.words import format_shape, listed, named
from weights.layouts.arrays import Arrays, LazyArray
from weights.layouts.family import (
    DEPTHS,
    EPS,
    NORM_ROLES,
    Head,
    ResNet,
    Role,
    Stride,
    Unit,
    bias_of,
    features,
    units,
    without_bias,
)
from weights.layouts.msra import read
from weights.model import Shape, Weights

OIHW_TO_HWIO: Final = (2, 3, 1, 0)
HWIO_TO_OIHW: Final = (3, 2, 0, 1)
_UNIT_VARIANCE: Final = np.float32(1 - EPS)
_SHOWN: Final = 6


@dataclass(frozen=True)
class Layout:
    """A framework's names and orders of axes.

    Attributes:
        name: as on the command line.
        title: the framework's own name.
        unit_names: names by role, for a depth and one of its units.
        head_names: of the last layer's weight and bias; `{}` stands for the number of classes.
        channels_last: whether kernels are height × width × inputs × outputs.
        affine: whether statistics are folded into scale and shift.
        depths: those that the framework has.
        ignored: names that a file may have beside the parameters, and that nothing is lost with.
        own_stride: which convolution of a bottleneck has the stride in the framework's own model.
        own_eps: BatchNorm's in that model.
        own_net: whether Caffe has layers for that model as it is.
        trap: what else differs in it, `{title}` being its name.
        advice: how a model is made to fit the weights, for a `{depth}`.
        endings: of the framework's own files that it can be written to, beside .safetensors and .npz.
        state_key: under which such a file has the arrays in a dictionary; empty for none around them.
        beside: what else that dictionary has.
    """

    name: str
    title: str
    unit_names: Callable[[int, Unit], Mapping[Role, str]] = field(repr=False)
    head_names: tuple[str, str]
    channels_last: bool = False
    affine: bool = False
    depths: tuple[int, ...] = DEPTHS
    ignored: re.Pattern[str] = re.compile("(?!)")
    own_stride: Stride = "3x3"
    own_eps: float = EPS
    own_net: bool = True
    trap: str = field(default="Caffe's first pooling is not padded, that of {title} is", repr=False)
    advice: str = field(default="", repr=False)
    endings: tuple[str, ...] = ()
    state_key: str = ""
    beside: Mapping[str, str | bool | Mapping[str, str]] = field(default_factory=dict, repr=False, compare=False)

    def names(self, depth: int, classes: int | None = 1000) -> tuple[str, ...]:
        """Every name of a net of that depth; without those of the last layer for `classes=None`.

        Raises:
            RequestError: a depth that the framework does not have.
        """
        self._check_depth(depth)
        found = [name for unit in units(depth) for name in self.unit_names(depth, unit).values()]
        return (*found, *(() if classes is None else self._head(classes)))

    def to(self, weights: Weights | ResNet) -> dict[str, LazyArray]:
        """The parameters by the framework's names.

        Args:
            weights: an open weight file with MSRA's layer names, which must stay open while the arrays are read; or
                what another layout's `back` gave.

        Raises:
            WeightsError: the file holds no such net, or a damaged one.
            RequestError: a depth that the framework does not have.
        """
        net = weights if isinstance(weights, ResNet) else read(weights)
        self._check_depth(net.depth)
        found: dict[str, LazyArray] = {}
        for unit, roles in net.units.items():
            names = self.unit_names(net.depth, unit)
            found |= {names[role]: self._given(role, unit, roles, "bias" in names) for role in names}
        if net.head is not None and net.classes is not None:
            weight, bias = self._head(net.classes)
            found[weight] = net.head.weight.transposed((1, 0)) if self.channels_last else net.head.weight
            found[bias] = net.head.bias
        return found

    def back(self, arrays: Arrays, path: str = "") -> ResNet:
        """The ResNet that a framework's file holds; with `affine` mean 0 and a variance that makes the root 1.

        Args:
            arrays: by the framework's names.
            path: of the file, for messages.

        Raises:
            WeightsError: names that no depth has, absent names, or shapes that do not fit.
        """
        kept = {name: array for name, array in arrays.items() if not self.ignored.fullmatch(name)}
        depth = min(self.depths, key=lambda d: len(kept.keys() ^ set(self.names(d, None))))
        heads = self._heads(kept)
        required = self.names(depth, None)
        absent = [name for name in required if name not in kept]
        extra = sorted(kept.keys() - set(required) - set(heads or ()))
        if len(absent) == len(required):
            raise WeightsError(
                f"has none of the names of {self.title}'s ResNets, such as {absent[0]!r}", position=Position(path)
            )
        faults = [f"lacks {named(absent, _SHOWN)} of {self.title}'s ResNet-{depth}"] if absent else []
        faults += [f"holds {named(extra, _SHOWN)}, which {self.title}'s ResNet-{depth} does not have"] if extra else []
        raise_all([WeightsError(fault, position=Position(path)) for fault in faults])
        return self._assembled(depth, kept, heads, path)

    def caution(self, net: ResNet) -> str:
        """Why the framework's own model gives other numbers with these weights, though they load; and what to do."""
        why = []
        stride = net.stride or "1x1"
        if net.bottleneck and stride != self.own_stride:
            where = {"1x1": "the first 1×1", "3x3": "the 3×3"}
            why.append(
                f"these weights want a bottleneck's stride in {where[stride]} convolution, "
                f"{self.title}'s own model has it in {where[self.own_stride]}"
            )
        why += [self.trap.format(title=self.title), self.advice.format(depth=net.depth)]
        return f"same shapes, other numbers: {'; '.join(why)}"

    def depth_of(self, names: Iterable[str]) -> int | None:
        """The depth whose names are all there; the deepest, since those of 34 are also names of 50."""
        there = set(names)
        for depth in sorted(self.depths, reverse=True):
            if there.issuperset(self.names(depth, None)):
                return depth
        return None

    def _assembled(self, depth: int, arrays: Arrays, heads: tuple[str, str] | None, path: str) -> ResNet:
        named = {unit: self.unit_names(depth, unit) for unit in units(depth)}
        shapes = {name: self._shape(role, unit) for unit, names in named.items() for role, name in names.items()}
        if heads is not None:
            classes = (*arrays[heads[1]].shape, 0)[0]
            weight = (features(depth), classes) if self.channels_last else (classes, features(depth))
            shapes |= {heads[0]: weight, heads[1]: (classes,)}
        raise_all(_misfits(arrays, shapes, path))
        found: dict[Unit, Mapping[Role, LazyArray]] = {}
        for unit, names in named.items():
            roles = {role: arrays[name] for role, name in names.items()}
            if self.channels_last:
                roles["weight"] = roles["weight"].transposed(HWIO_TO_OIHW)
            if self.affine:
                roles |= {"mean": _filled(unit.outputs, 0.0), "variance": _filled(unit.outputs, _UNIT_VARIANCE)}
            found[unit] = roles
        if heads is None:
            return ResNet(depth, found)
        matrix, bias = arrays[heads[0]], arrays[heads[1]]
        return ResNet(depth, found, Head(matrix.transposed((1, 0)) if self.channels_last else matrix, bias))

    def _given(self, role: Role, unit: Unit, roles: Mapping[Role, LazyArray], biased: bool) -> LazyArray:
        """One parameter as this layout keeps it."""
        if role == "weight":
            return roles[role].transposed(OIHW_TO_HWIO) if self.channels_last else roles[role]
        if role == "bias":
            return bias_of(roles, unit.outputs)
        norm = roles if biased else without_bias(roles)
        if not self.affine:
            return norm[role]
        return affine_scale(norm) if role == "scale" else affine_shift(norm)

    def _shape(self, role: Role, unit: Unit) -> Shape:
        if role != "weight":
            return (unit.outputs,)
        return tuple(unit.shape[axis] for axis in OIHW_TO_HWIO) if self.channels_last else unit.shape

    def _head(self, classes: int) -> tuple[str, str]:
        return self.head_names[0].format(classes), self.head_names[1].format(classes)

    def _heads(self, names: Iterable[str]) -> tuple[str, str] | None:
        """The last layer's two names, where both are there."""
        there = set(names)
        pattern = re.compile(re.escape(self.head_names[0]).replace(r"\{\}", "([0-9]{1,9})"))
        for name in sorted(there):
            match = pattern.fullmatch(name)
            if match is not None:
                bias = self.head_names[1].format(*match.groups())
                if bias in there:
                    return name, bias
        return None

    def _check_depth(self, depth: int) -> None:
        if depth not in self.depths:
            raise RequestError(f"{self.title} has no ResNet-{depth}; it has {listed(list(map(str, self.depths)))}")


def affine_scale(norm: Mapping[Role, LazyArray]) -> LazyArray:
    """scale / sqrt(variance + 1e-5), in float64."""
    scale, variance = norm["scale"], norm["variance"]
    return LazyArray(scale.shape, lambda: scale.wide() / _root(variance))


def affine_shift(norm: Mapping[Role, LazyArray]) -> LazyArray:
    """shift - mean · scale / sqrt(variance + 1e-5), in float64, for a unit without bias."""
    scale, variance, mean, shift = norm["scale"], norm["variance"], norm["mean"], norm["shift"]
    return LazyArray(shift.shape, lambda: shift.wide() - mean.wide() * scale.wide() / _root(variance))


def _root(variance: LazyArray) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    with np.errstate(invalid="ignore"):  # a variance below -1e-5 gives NaN, as it does in Caffe
        return np.sqrt(variance.wide() + EPS)


def _misfits(arrays: Arrays, shapes: Mapping[str, Shape], path: str) -> list[CaffeModelError]:
    return [
        WeightsError(
            f"{name!r} is {format_shape(arrays[name].shape)}; expected {format_shape(shape)}", position=Position(path)
        )
        for name, shape in shapes.items()
        if arrays[name].shape != shape
    ]


def _filled(count: int, value: float | np.float32) -> LazyArray:
    return LazyArray((count,), lambda: np.full(count, value, np.float32))


def norm_names(prefix: str, scale: str, shift: str, mean: str, variance: str) -> dict[Role, str]:
    """The names of a normalisation's four parameters behind `prefix`."""
    return dict(zip(NORM_ROLES, (prefix + mean, prefix + variance, prefix + scale, prefix + shift), strict=True))
