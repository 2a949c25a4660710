"""Forks' layers that move values about: shuffles, transposes, reversals, axes added and dropped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from converter.graph import Shape, format_shape, is_free
from converter.layers.base import OnnxOps, TorchOps, at_least_one, canonical_axis, fault, register, require, unsupported
from converter.layers.shared.sizes import turned_around
from converter.node import REFUSED, Layer
from prototxt import NetLayer

if TYPE_CHECKING:
    from converter.node import Node


def fixed_channels(shape: Shape, parts: int, what: str) -> int:
    """The channels of N×C×H×W, a multiple of `parts`."""
    require(len(shape) == 4, f"the bottom is {format_shape(shape)}; expected 4 axes (N×C×H×W)")
    require(not is_free(shape[1]), "the number of channels can't be free")
    require(shape[1] % parts == 0, f"{shape[1]} channels are no multiple of {what}")
    return int(shape[1])


@register
class PixelShuffle(Layer):
    """The r·r planes of a channel as its pixels: N×(C·r·r)×H×W to N×C×(H·r)×(W·r) (forks: pixel_shuffle_layer.cpp)."""

    types = ("PixelShuffle",)
    upscale_factor: int = 1

    @classmethod
    def read(cls, source: NetLayer) -> PixelShuffle:
        at_least_one(source, "pixelshuffle_param", "upscale_factor")
        factor = source.param.pixelshuffle_param.upscale_factor
        return cls(factor)

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        r, shape = self.upscale_factor, inputs[0]
        channels = fixed_channels(shape, r * r, f"upscale_factor {r} squared")
        return [(shape[0], channels // (r * r), shape[2] * r, shape[3] * r)]

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        return g.op("DepthToSpace", x[0], blocksize=self.upscale_factor, mode="CRD")

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        return f"{t.module('nn.PixelShuffle', self.upscale_factor)}({x[0]})"


@register
class ShuffleChannel(Layer):
    """Channels as a table of `group` rows, read by columns (ShuffleNet's fork: shuffle_channel_layer.cpp)."""

    types = ("ShuffleChannel",)
    group: int = 1

    @classmethod
    def read(cls, source: NetLayer) -> ShuffleChannel:
        at_least_one(source, "shuffle_channel_param", "group")
        group = source.param.shuffle_channel_param.group
        return cls(group)

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        fixed_channels(inputs[0], self.group, f"group {self.group}")
        return list(inputs)

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        c, h, w = node.shape[1:]
        columns = int(c) // self.group
        if not is_free(h) and not is_free(w):
            table = g.op("Reshape", x[0], g.ints([0, self.group, columns, int(h) * int(w)], "shape"))
            turned = g.op("Transpose", table, perm=[0, 2, 1, 3])
            return g.op("Reshape", turned, g.ints([0, int(c), int(h), int(w)], "shape"))
        order = [row * columns + column for column in range(columns) for row in range(self.group)]
        return g.op("Gather", x[0], g.ints(order, "order"), axis=1)

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        return f"{t.module('nn.ChannelShuffle', self.group)}({x[0]})"


@register
class Transpose(Layer):
    """Axes in the order that `dim` lists, all of them named (caffe_ocr's fork: transpose_layer.cpp)."""

    types = ("Transpose",)
    dim: tuple[int, ...] = ()

    @classmethod
    def read(cls, source: NetLayer) -> Transpose:
        order = tuple(source.param.transpose_param.dim)
        if not order:
            raise unsupported(source, "no dim, another fork's Transpose; expected one for each axis", "transpose_param")
        if sorted(order) != list(range(len(order))):
            raise fault(source, f"dim {order} is no order of the axes", "transpose_param", "dim")
        return cls(order)

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        shape = inputs[0]
        require(len(self.dim) == len(shape), f"{len(self.dim)} dim for a blob of {len(shape)} axes")
        return [tuple(shape[a] for a in self.dim)]

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        return g.op("Transpose", x[0], perm=self.dim)

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        return f"{x[0]}.permute({', '.join(map(str, self.dim))})"


@register
class Reverse(Layer):
    """An axis from its end to its start (caffe_ocr's fork: reverse_layer.cpp)."""

    types = ("Reverse",)
    axis: int = 0

    @classmethod
    def read(cls, source: NetLayer) -> Reverse:
        return cls(source.param.reverse_param.axis)

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        canonical_axis(self.axis, len(inputs[0]))
        return list(inputs)

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        return turned_around(g, x[0], canonical_axis(self.axis, len(node.shape)))

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        return f"{x[0]}.flip({canonical_axis(self.axis, len(node.shape))})"


@register
class Squeeze(Layer):
    """The blob without the axes that `axis` lists, each of size 1; all of size 1 when it lists none (Synopsys' fork:
    squeeze_layer.cpp).
    """

    types = ("Squeeze",)
    acts_on = "shape"
    axes: tuple[int, ...] = ()

    @classmethod
    def read(cls, source: NetLayer) -> Squeeze:
        return cls(tuple(source.param.squeeze_param.axis))

    @property
    def in_place(self) -> str:
        return REFUSED

    @classmethod
    def memory(cls, source: NetLayer) -> Sequence[int]:
        return [0]

    def _dropped(self, shape: Shape) -> list[int]:
        if not self.axes:
            return [i for i, d in enumerate(shape) if not is_free(d) and d == 1]
        axes = sorted({canonical_axis(a, len(shape)) for a in self.axes})
        for axis in axes:
            require(not is_free(shape[axis]), f"axis {axis} is dropped; it can't be left free")
            require(shape[axis] == 1, f"axis {axis} holds {shape[axis]} values; only an axis of 1 can be dropped")
        return axes

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        dropped = self._dropped(inputs[0])
        return [tuple(d for i, d in enumerate(inputs[0]) if i not in dropped)]

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        dropped = self._dropped(node.shape)
        return g.op("Squeeze", x[0], g.ints(dropped)) if dropped else x[0]

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        dropped = self._dropped(node.shape)
        if not dropped:
            return x[0]
        return f"{x[0]}.squeeze({dropped[0] if len(dropped) == 1 else tuple(dropped)})"


@register
class Unsqueeze(Layer):
    """The blob with an axis of 1 put in at `dim`, which counts the axes of the top from the end where it is negative.

    Of inisis' fork (unsqueeze.cpp).
    """

    types = ("Unsqueeze",)
    acts_on = "shape"
    dim: int = 0

    @classmethod
    def read(cls, source: NetLayer) -> Unsqueeze:
        p = source.param.unsqueeze_param
        if not p.HasField("dim"):
            raise fault(source, "no dim; expected the place of the new axis", "unsqueeze_param")
        return cls(p.dim)

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        (shape,) = inputs
        axis = canonical_axis(self.dim, len(shape) + 1)
        return [(*shape[:axis], 1, *shape[axis:])]

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        return g.unsqueeze(x[0], [canonical_axis(self.dim, len(node.shape) + 1)])

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        return f"{x[0]}.unsqueeze({canonical_axis(self.dim, len(node.shape) + 1)})"
