"""What can be folded into what: layers that sum with weights, and those that change each channel of such a sum.

factor * (W x + b) + summand  =  (factor * W) x + (factor * b + summand)
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt

from converter.node import Layer, Node
from converter.tensor import Array, Tensor

Float64 = npt.NDArray[np.float64]


class WeightedSum(Layer):
    """A layer whose every channel is a sum with weights of its own, tensor `weight`, and perhaps tensor `bias`."""

    @property
    def channel_axis(self) -> int:
        """The axis of its channels, as the prototxt has it."""
        raise NotImplementedError(f"{type(self).__name__} has no axis of channels")

    def matrix(self, node: Node) -> Tensor:
        """The weights as they are used, in the shape that they are stored in."""
        return node.tensors["weight"]

    def times_channels(self, weight: Array, factor: Float64) -> Array:
        """The weights with those of each channel multiplied by its factor."""
        raise NotImplementedError(f"{type(self).__name__} has weights of a form that nobody knows")

    def folded(self) -> Layer:
        """The layer once `matrix` has become its weight, and a summand its bias."""
        raise NotImplementedError(f"{type(self).__name__} takes nothing in")


class PerChannel(Layer):
    """A layer that multiplies each channel by a factor and adds a summand, or whose settings may have it do so.

    Attributes:
        scales: whether the factor is its tensor `weight`, or a second bottom, and the summand its tensor `bias`.
    """

    scales: ClassVar[bool] = False

    def unfoldable(self, node: Node) -> str:
        """Why it does something else here, in words behind its name; empty where it does not."""
        raise NotImplementedError(f"{type(self).__name__} does not say what it works on")

    def factor_and_summand(self, node: Node) -> tuple[Float64, Float64]:
        """Factor and summand of each channel."""
        raise NotImplementedError(f"{type(self).__name__} has no factor")


def times(weight: Array, factor: Float64) -> Array:
    """Multiplied in float64 and rounded once, piece by piece: no float64 copy of the whole weight is made."""
    return np.multiply(weight, factor, out=np.empty(weight.shape, np.float32), dtype=np.float64, casting="same_kind")


__all__ = ["Float64", "PerChannel", "WeightedSum", "times"]
