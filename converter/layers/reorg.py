"""Darknet's reorg, which YOLOv2 nets have to bring a fine plane beside a coarse one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from converter.graph import Shape, format_shape, is_free
from converter.layers.base import OnnxOps, TorchOps, at_least_one, fault, register, require
from converter.node import Layer
from prototxt import NetLayer

if TYPE_CHECKING:
    from converter.node import Node


@register
class Reorg(Layer):
    """N×C×H×W to N×(C·s²)×(H/s)×(W/s), in darknet's order (forks: reorg_layer.hpp, reorg_cpu; darknet: blas.c).

    That order is no space to depth of the bottom. The bottom's values, read on as if they were the larger blob
    N×(C/s²)×(H·s)×(W·s), have their s·s squares sorted into channels, the place in the square before the channel, and
    what comes of it is read on as the top. So C must divide by s², though the top has more channels.

    Without a stride it is 2: so choasup's fork has it, and all others refuse such a layer.

    With `reverse` nothing is reread: a plain depth to space, to N×(C/s²)×(H·s)×(W·s), which does not undo the other.
    """

    types = ("Reorg",)
    stride: int = 2
    reverse: bool = False

    @classmethod
    def read(cls, source: NetLayer) -> Reorg:
        p = source.param.reorg_param
        at_least_one(source, "reorg_param", "stride")
        if set(source.bottoms) & set(source.tops):
            raise fault(source, "Reorg can't work in place")
        return cls(p.stride, p.reverse)

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        shape, s = inputs[0], self.stride
        require(len(shape) == 4, f"the bottom is {format_shape(shape)}; expected 4 axes (N×C×H×W)")
        n, c, h, w = shape
        require(not is_free(c), "the number of channels can't be left free")
        require(c % (s * s) == 0, f"{c} channels are no multiple of stride {s} squared")
        if self.reverse:
            return [(n, c // (s * s), h * s, w * s)]
        for size in (h, w):
            require(is_free(size) or size % s == 0, f"the bottom is {format_shape(shape)}; {size} isn't divided by {s}")
        return [(n, c * s * s, h // s, w // s)]

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        s = self.stride
        if self.reverse:
            return g.op("DepthToSpace", x[0], blocksize=s, mode="DCR")
        n, c, h, w = before = node.inputs[0].shape
        large = (n, c // (s * s), h * s, w * s)
        if any(map(is_free, (h, w))):
            sizes = g.op("Shape", x[0])
            channels, sides = g.ints([1, s * s, 1, 1], "channels"), g.ints([1, 1, s, s], "sides")
            target = g.op("Div", g.op("Mul", sizes, sides), channels)
            squares = g.op("SpaceToDepth", g.op("Reshape", x[0], target), blocksize=s)
            return g.op("Reshape", squares, g.op("Div", g.op("Mul", sizes, channels), sides))
        squares = g.op("SpaceToDepth", g.reshape(x[0], before, large), blocksize=s)
        return g.reshape(squares, before, node.outputs[0].shape)

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        if self.reverse:
            return f"{t.helper('reverse_reorg', REVERSE_REORG)}({x[0]}, {self.stride})"
        return f"{t.helper('reorg', REORG)}({x[0]}, {self.stride})"


@register
class DarknetReorg(Reorg):
    """Reorg of stride 2, as a layer in Python (Synopsys' fork: yolov2.py)."""

    types = ("Python yolov2.darknet_reorg",)

    @classmethod
    def read(cls, source: NetLayer) -> DarknetReorg:
        return cls(2)


REORG = '''
def reorg(x, stride):
    """Squares of the values, read on as a larger blob of fewer channels, as channels (darknet's reorg)."""
    n, c, h, w = x.shape
    squares = x.reshape(n, c // stride**2, h, stride, w, stride).permute(0, 3, 5, 1, 2, 4)
    return squares.reshape(n, c * stride**2, h // stride, w // stride)
'''

REVERSE_REORG = '''
def reverse_reorg(x, stride):
    """Channels as squares, the place in the square before the channel (darknet's reorg, in reverse)."""
    n, c, h, w = x.shape
    squares = x.reshape(n, stride, stride, c // stride**2, h, w).permute(0, 3, 4, 1, 5, 2)
    return squares.reshape(n, c // stride**2, h * stride, w * stride)
'''
