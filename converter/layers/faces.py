"""What nets for faces do to images and feature vectors, in happynear's Caffe for Windows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from converter.graph import Shape, count, format_shape, is_free
from converter.layers.base import OnnxOps, TorchOps, register, require, unsupported
from converter.node import Layer
from prototxt import NetLayer

if TYPE_CHECKING:
    from converter.node import Node

BACKWARDS = -(1 << 63) + 1
"""An end of a slice before every first value."""


@register
class FlipPixels(Layer):
    """Mirrored along the columns, and with `flip_height` along the rows (flip_layer.cpp)."""

    types = ("Flip",)
    flip_width: bool = True
    flip_height: bool = False

    @classmethod
    def read(cls, source: NetLayer) -> FlipPixels:
        p = source.param.flip_param
        return cls(p.flip_width, p.flip_height)

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        require(len(inputs[0]) <= 4, f"the bottom is {format_shape(inputs[0])}; expected at most 4 axes (N×C×H×W)")
        return [inputs[0]]

    def _axes(self, shape: Shape) -> list[int]:
        return [axis for axis, flips in ((2, self.flip_height), (3, self.flip_width)) if flips and axis < len(shape)]

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        axes = self._axes(node.shape)
        if not axes:
            return x[0]
        ends, steps = g.ints([BACKWARDS] * len(axes), "ends"), g.ints([-1] * len(axes), "steps")
        return g.op("Slice", x[0], g.ints([-1] * len(axes), "starts"), ends, g.ints(axes, "axes"), steps)

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        axes = self._axes(node.shape)
        return f"{x[0]}.flip({', '.join(map(str, axes))})" if axes else x[0]


@register
class ChannelScale(Layer):
    """All channels of a place times its factor in the second bottom (channel_scale_layer.cpp).

    There is a factor for each place of each item, in any shape with as many items. Without `do_forward` it is a copy.
    """

    types = ("ChannelScale",)
    bottoms = (2, 2)
    do_forward: bool = True
    derives: bool = True

    @classmethod
    def read(cls, source: NetLayer) -> ChannelScale:
        p, section = source.param.channel_scale_param, "channel_scale_param"
        if p.global_scale:
            message = "global_scale, which the fork's CPU and GPU compute differently; expected false"
            raise unsupported(source, message, section, "global_scale")
        unused = [f"{section}.{name}_global_scale" for name in ("max", "min", "init")]
        source.without_effect("global_scale is false", *unused)
        return cls(p.do_forward, p.do_forward and p.do_backward_feature and p.do_backward_scale)

    @property
    def untrainable(self) -> str:
        return "" if self.derives else "its gradient is not the derivative: one of do_forward, do_backward_… is false"

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        x, factors = inputs
        require(2 <= len(x) <= 4, f"the first bottom is {format_shape(x)}; expected 2 to 4 axes (N×C×H×W)")
        require(len(factors) > 0 and int(factors[0]) == int(x[0]), "bottoms differ in their number of items")
        places = (int(x[0]), int(count(x[2:])))
        fits = int(count(factors)) == places[0] * places[1]
        require(fits, f"{format_shape(factors)} factors for {places[0]} items of {places[1]} places")
        require(self._lie_along(inputs) or not any(map(is_free, (*x[2:], *factors[1:]))), "places can't be left free")
        return [x]

    def _lie_along(self, inputs: Sequence[Shape]) -> bool:
        """Whether the factors are N×1×H×W already."""
        x, factors = (list(map(str, shape)) for shape in inputs)
        return factors == [x[0], "1", *x[2:]]

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        if not self.do_forward:
            return x[0]
        shapes = [v.shape for v in node.inputs]
        along = self._lie_along(shapes)
        factors = x[1] if along else g.reshape(x[1], shapes[1], (shapes[0][0], 1, *shapes[0][2:]))
        return g.op("Mul", x[0], factors)

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        if not self.do_forward:
            return x[0]
        along = self._lie_along([v.shape for v in node.inputs])
        return f"{x[0]} * {x[1] if along else f'{x[1]}.reshape({x[0]}[:, :1].shape)'}"
