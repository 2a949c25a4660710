"""What a layer says of itself to those who don't know its type: how it acts, what it may be made, what it keeps.

No module outside the layers asks for a layer's type or class; it asks for one of these. Each has a default that holds
for most layers and that is safe where nobody thought of it, so that a new layer, a plugin's as well, states what is
true of it in its own class and works wherever that is wanted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, NamedTuple

from converter.dims import Shape
from prototxt import NetLayer
from prototxt.caffe_pb2 import LayerParameter

ActsOn = Literal["values", "channels", "shape", "map"]
GradientMemory = Literal["own", "taken", "joined", "inside"]


class KeptStatistics(NamedTuple):
    """A mean and a spread a channel that a layer keeps of what it saw in training.

    Attributes:
        mean, spread: keys of the node's tensors; the spread is a variance, or an inverse deviation.
        module: of a layer that normalises in several places, the module inside of it whose input is meant; empty for
            the layer's own bottom.
        eps: added to the variance.
        behind: added to the root of that (Synopsys' fork).
        inverse: whether the spread is 1 / sqrt(variance + eps).
        unbiased: whether the variance of m values is stored times m / (m - 1).
        factor_of_none: what a stored scale factor of 0 stands for.
    """

    mean: str = "mean"
    spread: str = "variance"
    module: str = ""
    eps: float = 0.0
    behind: float = 0.0
    inverse: bool = False
    unbiased: bool = False
    factor_of_none: float = 0.0


class Traits:
    """The traits of a layer, with what holds where a class says nothing.

    Attributes:
        acts_on: what a value of a top comes from.
            `values`: the values in its own place, one of each bottom.
            `channels`: the values of all channels in its place.
            `shape`: it is a value of the bottom; they get another shape and stay in their order.
            `map`: anything else.
        joins: whether it puts its bottoms one behind another along an axis.
        axis_fields: of a layer that works along an axis, where the prototxt has that: the section and its fields, of
            which one is stated at most.
        normalises: whether it takes each channel's mean from it and divides it by its deviation, with tensors `mean`,
            `variance`, `gamma` and `beta` as far as it has them.
        gives_blob: whether its top is a learned blob itself, which other layers may share.
        gives_probabilities: whether its top has the scores of its bottom as probabilities.
        reads_scores: whether its first bottom is a net's scores, which it measures.
        keeps_signs: whether in place it leaves the sign of whatever a gradient comes through.
        keeps_statistics: whether some layers of the class keep `statistics`.
        gradient_memory: where the gradient of its first top lies.
            `own`: in memory of its own.
            `taken`: of a top in the bottom's memory, where the backward pass then has the bottom's.
            `joined`: of a top in the bottom's memory, where the bottom's lies from before the forward pass on.
            `inside`: where that of something inside of the layer lies from before the forward pass on.
    """

    acts_on: ClassVar[ActsOn] = "map"
    joins: ClassVar[bool] = False
    axis_fields: ClassVar[tuple[str, ...]] = ()
    normalises: ClassVar[bool] = False
    gives_blob: ClassVar[bool] = False
    gives_probabilities: ClassVar[bool] = False
    reads_scores: ClassVar[bool] = False
    keeps_signs: ClassVar[bool] = False
    keeps_statistics: ClassVar[bool] = False
    gradient_memory: ClassVar[GradientMemory] = "own"

    @property
    def statistics(self) -> Sequence[KeptStatistics]:
        """The statistics that it keeps and normalises by."""
        return ()

    @property
    def batch_field(self) -> tuple[str, ...] | None:
        """Of a layer that normalises by the batch at hand, the field that has it do so; empty where none can change it.

        None for a layer that does not.
        """
        return None

    @property
    def box_classes(self) -> Sequence[int] | None:
        """Of a layer whose top has rows of image, class, score and corners as shares of the input, the classes.

        A row begins with these seven numbers, with -1 for its class where nothing was found. None for any other layer.
        """
        return None

    @property
    def takes_scale_in(self) -> bool:
        """Whether Intel's Caffe may have dropped a Scale behind it, whose factor it holds."""
        return False

    @property
    def sums_from(self) -> int | None:
        """Of a layer that sums all values with weights, the axis from which on it does; None for any other."""
        return None

    def fixed_rate(self, role: str) -> float | None:
        """The learning rate that Caffe gives a blob whatever the net says; None where the net says it."""
        return None

    def learns(self, role: str) -> bool:
        """Whether training moves a blob by its gradient; else it is a record of what the layer saw."""
        return True

    def fed_shapes(self, asked: Sequence[Shape | None]) -> Sequence[Shape | None]:
        """Of a layer that brings data in, the shape of each top: the one asked for, or as far as the net says."""
        return asked

    def check_any_size(self, source: NetLayer) -> None:
        """Nothing of a layer that does the same on maps of all sizes; UnsupportedError where no runtime follows it."""

    def apart_from_rounding(self) -> Traits:
        """The layer without the way in which it rounds its tops' sizes, which those show."""
        return self

    def make_plain(self, param: LayerParameter) -> None:
        """Take out of its message what is done in the tensors by now, and what only a fork writes otherwise."""

    def scale_apart(self, param: LayerParameter) -> LayerParameter | None:
        """The Scale in place behind it that BVLC's Caffe has for a factor and summand inside; None without those.

        What is said of these moves there from the layer's own message.
        """
        return None


__all__ = ["ActsOn", "KeptStatistics", "Traits"]
