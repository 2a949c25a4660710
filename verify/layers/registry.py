"""What a layer of the interpreter is: a function from one `Call` to its tops, registered under Caffe's type names.

    @register("Power", bottoms=1, error=power_error)
    def power(call: Call) -> list[Array]: ...

Blobs are float32 arrays in C order; a layer that sums, divides or takes a root does so in float64 and rounds once,
at the end. Nothing here knows how a model is converted: that independence is what makes the comparison worth something.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from prototxt import NetLayer
from prototxt.errors import NetError
from prototxt.families import FAMILY_OF, NOT_CHECKED
from prototxt.recording import Record
from prototxt.words import format_shape, plural
from verify.layers.parameters import Parameters
from verify.machine import room_for

if TYPE_CHECKING:
    from prototxt import caffe_pb2

Array = npt.NDArray[np.float32]
Wide = npt.NDArray[np.float64]

UNBOUNDED = math.inf
"""Gain of a layer whose top jumps: an index, a count, a comparison. Any error at a tie changes it altogether."""


@dataclass(frozen=True)
class Sensitivity:
    """How rounding errors grow in one top of a layer; see `verify.interpreter.steps.Step`."""

    fan_in: int = 1
    gains: tuple[float, ...] = ()
    own: float = 0.0


@dataclass(frozen=True)
class Call:
    """One layer at work: its record in the net, what it reads, its learned blobs.

    Attributes:
        layer: the layer, with its parameters in `layer.param` (`param` for short).
        bottoms: its bottoms in order, float32.
        parameters: its learned blobs, checked against the shape that the layer gives them when taken.
        train: phase TRAIN, where BatchNorm normalises with the batch's own statistics.
    """

    layer: NetLayer
    bottoms: tuple[Array, ...]
    parameters: Parameters
    train: bool = False

    @property
    def param(self) -> caffe_pb2.LayerParameter:
        """The layer's own message."""
        return self.layer.param

    @property
    def record(self) -> Record:
        """What was read of the layer so far."""
        return self.layer.record or Record()

    def ignores(self, why: str, *paths: str) -> None:
        """Say that fields of the layer, `section.field`, change nothing here though they may be stated."""
        self.layer.without_effect(why, *paths)

    @property
    def x(self) -> Array:
        """The first bottom."""
        return self.bottoms[0]

    def fail(self, message: str) -> NetError:
        """The error to raise for this layer, with its name, type and line."""
        return NetError(message, position=self.layer.position, layer=self.layer.name, layer_type=self.layer.type)

    def require(self, holds: bool, message: str) -> None:
        """Raise `fail(message)` unless `holds`."""
        if not holds:
            raise self.fail(message)

    def axis(self, axis: int, ndim: int | None = None) -> int:
        """Caffe's CanonicalAxisIndex: `axis` counted from the end where negative, refused outside the first bottom."""
        n = self.x.ndim if ndim is None else ndim
        self.require(-n <= axis < n, f"axis {axis} is outside a blob of {n} axes")
        return axis % n

    def room(self, shape: Sequence[int]) -> None:
        """Refuse a top of more values than Caffe's blobs can count or memory can hold, before any is allocated."""
        values = math.prod(map(int, shape))
        self.require(values < 1 << 31, f"a top of {format_shape(shape)} has more values than a blob can hold")
        self.require(room_for(values), f"a top of {format_shape(shape)} does not fit into this machine's memory")

    def same_shapes(self) -> None:
        """Refuse bottoms that differ in shape."""
        names = self.layer.bottoms
        for name, array in zip(names[1:], self.bottoms[1:], strict=True):
            if array.shape != self.x.shape:
                seen = f"{names[0]} is {format_shape(self.x.shape)}, {name} is {format_shape(array.shape)}"
                raise self.fail(f"bottoms differ in shape: {seen}")


Forward = Callable[[Call], Sequence[npt.NDArray[Any]]]
Leaves = Callable[[Call], Sequence[Array]]


@dataclass(frozen=True)
class Feeding:
    """A bottom of a layer that the caller has to feed with numbers of a special sort: labels, indices, boxes.

    Attributes:
        layer: which reads it.
        shape: of the blob to make.
        shapes: of the net's inputs by name, as far as they are known.
        rng: the source of chance.
        classes: as many as the scores beside it are known to have at least.
    """

    layer: NetLayer
    shape: tuple[int, ...]
    shapes: Mapping[str, tuple[int, ...]]
    rng: np.random.Generator
    classes: int = 2

    def whole(self, limit: int) -> Array:
        """Whole numbers from 0 to below `limit`."""
        return np.asarray(self.rng.integers(0, max(1, limit), self.shape), np.float32)


Feeder = Callable[[Feeding], Array]


def labels(feeding: Feeding) -> Array:
    """0 or 1, as nearly every net has two classes."""
    return feeding.whole(feeding.classes)


def marks(feeding: Feeding) -> Array:
    """Sequence marks: 0 for the first step and 1 after."""
    values = np.ones(feeding.shape, np.float32)
    values[:1] = 0
    return values


Shares = Callable[[NetLayer], Mapping[int, int]]


def whole(layer: NetLayer) -> dict[int, int]:
    """Every top is the first bottom's memory (Caffe: `top[i]->ShareData(*bottom[0])`)."""
    return dict.fromkeys(range(len(layer.tops)), 0)


StatedShape = Callable[[NetLayer, int], "tuple[int, ...] | None"]
Scores = Callable[[NetLayer], int]
Beside = Callable[[Call, Sequence[Array]], list[Array]]
Classes = Callable[[NetLayer, tuple[int, ...]], int]


def classes_along(axis: Callable[[caffe_pb2.LayerParameter], int]) -> Classes:
    """The rule of a layer that takes scores of a class along an axis that its message tells; 2 where there is none."""

    def classes(layer: NetLayer, shape: tuple[int, ...]) -> int:
        place = axis(layer.param)
        return shape[place] if -len(shape) <= place < len(shape) else 2

    return classes


ALONG_SOFTMAX = classes_along(lambda param: param.softmax_param.axis)
ErrorRule = Callable[[Call, Sequence[Array]], list[Sensitivity]]


@dataclass(frozen=True)
class Rule:
    """A registered layer; the attributes are the arguments of `register`."""

    types: tuple[str, ...]
    forward: Forward
    least: int
    most: int | None
    error: ErrorRule
    always_fed: bool = False
    never_fed: bool = False
    gives_blob: bool = False
    keeps_shape: bool = False
    keeps_values: bool = False
    resizes: bool = False
    feeds: Mapping[int, Feeder] = field(default_factory=dict)
    shares: Shares | None = None
    leaves: Leaves | None = None
    shape: StatedShape | None = None
    scores: Scores | None = None
    classes: Classes = ALONG_SOFTMAX
    beside: Beside | None = None

    @property
    def jumps(self) -> bool:
        """Whether its tops are indices, counts or comparisons whatever it reads."""
        return self.error is jumps

    @property
    def module(self) -> str:
        """Dotted name of the module that the layer stands in."""
        return self.forward.__module__

    def shared(self, layer: NetLayer) -> dict[int, int]:
        """For each top in memory that Caffe has already, its place among the bottoms and, behind them, the tops."""
        return {} if self.shares is None else dict(self.shares(layer))

    def passed_on(self, layer: NetLayer) -> list[str]:
        """The tops that have the first bottom's values in their order, perhaps in another shape."""
        if self.keeps_values:
            return list(layer.tops)
        if self.resizes:
            return []
        return [layer.tops[top] for top, place in self.shared(layer).items() if place == 0]

    def feeder(self, layer: NetLayer, place: int) -> Feeder | None:
        """What makes the numbers of one bottom where it is an input of the net; None for ordinary numbers."""
        return self.feeds.get(place, self.feeds.get(place - len(layer.bottoms)))

    def faults(self, layer: NetLayer) -> list[NetError]:
        """An error for a layer with too few or too many bottoms, naming the count seen and the count expected."""
        count = len(layer.bottoms)
        if self.least <= count and (self.most is None or count <= self.most):
            return []
        wants = f"{self.least}" if self.least == self.most else f"{self.least} to {self.most}"
        wants = f"{self.least} or more" if self.most is None else wants
        message = f"has {plural(count, 'bottom')}, expected {wants}"
        return [NetError(message, position=layer.position, layer=layer.name, layer_type=layer.type)]


_rules: dict[str, Rule] = {}


def elementwise(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    """One operation a value and no enlargement: the rule of a layer that registers none."""
    return [Sensitivity(1, (1.0,) * len(call.bottoms)) for _ in tops]


def jumps(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    """Tops are indices, counts or comparisons."""
    return [Sensitivity(1, (UNBOUNDED,) * len(call.bottoms)) for _ in tops]


def register(
    *types: str,
    bottoms: int | tuple[int, int | None] = 1,
    error: ErrorRule = elementwise,
    always_fed: bool = False,
    never_fed: bool = False,
    gives_blob: bool = False,
    keeps_shape: bool = False,
    keeps_values: bool = False,
    resizes: bool = False,
    feeds: Mapping[int, Feeder] | None = None,
    shares: Shares | None = None,
    leaves: Leaves | None = None,
    shape: StatedShape | None = None,
    scores: Scores | None = None,
    classes: Classes | None = None,
    beside: Beside | None = None,
) -> Callable[[Forward], Forward]:
    """Register a layer under Caffe's type names.

    Args:
        types: names as in `layer { type: }`; none may be taken already.
        bottoms: how many it takes, or the least and the most (None: no upper limit).
        error: gives the `Sensitivity` of each top.
        always_fed: a data layer, whose tops nothing in the net can compute.
        never_fed: of a layer without bottoms, whether it makes its tops all the same.
        gives_blob: whether its top is a learned blob itself, which other layers may share.
        keeps_shape: whether each top has the first bottom's shape.
        keeps_values: whether each top has the first bottom's values in their order, though not in its memory.
        resizes: whether its tops share a bottom's memory only where they have its size, and else hold other values.
        feeds: what makes the numbers of a bottom that the caller feeds and that takes no ordinary ones, by the bottom's
            place; from -1 down counted from the last.
        shares: which tops lie in memory that a bottom or an earlier top has, where sizes agree; see `Rule.shared`.
        leaves: of a layer that writes over its bottoms before it reads them, what it leaves in each; nothing where it
            leaves them alone after all.
        shape: of a layer that is fed, the shape of a top, by its place, as far as the net says it.
        scores: of a layer that gives each item as many scores as its message tells, how many.
        classes: of a layer that reads scores first, of how many classes scores of a shape are.
        beside: of a layer that takes long over its learned blobs, its top of its only bottom, and of other bottoms of
            that shape, which other runs of the net give it. They may be worked out by how far they are from the first.
    """
    least, most = (bottoms, bottoms) if isinstance(bottoms, int) else bottoms

    def add(forward: Forward) -> Forward:
        rule = Rule(
            types=types,
            forward=forward,
            least=least,
            most=most,
            error=error,
            always_fed=always_fed,
            never_fed=never_fed,
            gives_blob=gives_blob,
            keeps_shape=keeps_shape,
            keeps_values=keeps_values,
            resizes=resizes,
            feeds=feeds or {},
            shares=shares,
            leaves=leaves,
            shape=shape,
            scores=scores,
            classes=classes or ALONG_SOFTMAX,
            beside=beside,
        )
        for name in types:
            if find(name) is not None:  # a built-in rule is loaded first, so that a plugin is told of it
                raise ValueError(f"two layers want the type {name!r}")
            _rules[name] = rule
        return forward

    return add


def find(kind: str) -> Rule | None:
    """The rule for a layer's `kind`, or None; a built-in one is loaded with its family when it is asked for."""
    family = FAMILY_OF.get(kind)
    if kind not in _rules and family is not None and family not in NOT_CHECKED:
        import_module(f"verify.layers.{family}")
    return _rules.get(kind)


def known_types() -> tuple[str, ...]:
    """Every layer type that the interpreter runs, sorted."""
    checked = (kind for kind, family in FAMILY_OF.items() if family not in NOT_CHECKED)
    return tuple(sorted({*checked, *_rules}))


def wide(array: npt.NDArray[Any]) -> Wide:
    """The same values in float64."""
    return array.astype(np.float64)


def narrow(array: npt.NDArray[Any]) -> Array:
    """Rounded to float32, in C order."""
    return np.ascontiguousarray(array, dtype=np.float32).reshape(array.shape)


def largest(array: npt.NDArray[Any]) -> float:
    """Largest finite magnitude in `array`, 0 when it has none."""
    with np.errstate(all="ignore"):
        peak = float(max(array.max(), -array.min())) if array.size and array.dtype.kind == "f" else math.nan
    if math.isfinite(peak):
        return peak
    magnitude = np.abs(array)
    return float(np.max(magnitude, initial=0.0, where=np.isfinite(magnitude)))


def rounded(operation: np.ufunc, a: npt.NDArray[Any], b: npt.NDArray[Any], shape: Sequence[int]) -> Array:
    """An operation between two arrays in float64, its result rounded to float32 on the way into memory."""
    out: Array = np.empty(tuple(shape), np.float32)
    operation(a, b, out=out, dtype=np.float64, casting="same_kind")
    return out


def blocks(total: int, size: int) -> Iterator[slice]:
    """`range(total)` cut into slices of at most `size`."""
    step = max(1, size)
    for start in range(0, total, step):
        yield slice(start, min(total, start + step))
