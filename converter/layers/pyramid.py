"""Pyramids of pooled images, added up at the image's own size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from converter.graph import Shape, format_shape, is_free
from converter.layers.base import OnnxOps, TorchOps, register, require
from converter.layers.resize import interpolated_onnx
from converter.node import Layer

if TYPE_CHECKING:
    from converter.node import Node

LEVELS = (((33, 65), (33, 65)), ((17, 33), (16, 32)), ((13, 25), (10, 20)), ((8, 15), (5, 10)))
"""Windows and steps of ICNet's four averages, for the 33×65 pixels that a Cityscapes image of 1025×2049 comes to."""


@register
class ICNetSubgraph(Layer):
    """ICNet's pyramid as one layer: an image plus four averages of it, each interpolated back to its size.

    Corners fall on corners (Synopsys' fork: icnet_subgraph_layer.cpp). The windows are fixed numbers there; here an
    image has to be such that they fill it, as 33×65 is.
    """

    types = ("ICNetSubgraph",)

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        shape = inputs[0]
        require(len(shape) == 4, f"the bottom is {format_shape(shape)}; expected 4 axes (N×C×H×W)")
        require(not any(map(is_free, shape[2:])), "the image's height and width can't be left free")
        for kernels, strides in LEVELS:
            for size, kernel, stride in zip(shape[2:], kernels, strides, strict=True):
                fits = size >= kernel and (size - kernel) % stride == 0
                require(fits, f"windows of {kernel} in steps of {stride} don't fill {size}; expected an image of 33×65")
        return list(inputs)

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        height, width = map(int, node.shape[2:])
        total = x[0]
        for kernel, stride in LEVELS:
            small = g.op("AveragePool", x[0], kernel_shape=list(kernel), strides=list(stride))
            if any(map(is_free, node.shape)):
                batch = g.op("Slice", g.op("Shape", x[0]), g.ints([0], "start"), g.ints([2], "stop"))
                whole = g.op("Concat", batch, g.ints([height, width], "sizes"), axis=0)
            else:
                whole = g.ints([int(d) for d in node.shape], "sizes")
            windows = tuple(
                (size - k) // step + 1 for size, k, step in zip((height, width), kernel, stride, strict=True)
            )
            total = g.op("Add", total, interpolated_onnx(g, small, windows, (height, width), whole, "align_corners"))
        return total

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        t.helper("add_pyramid", ADD_PYRAMID)
        return f"add_pyramid({x[0]}, {LEVELS})"


ADD_PYRAMID = '''
def add_pyramid(x, levels):
    """An image plus averages of its windows, interpolated to its size (Synopsys' ICNetSubgraph layer)."""
    total = x
    for kernel, stride in levels:
        small = F.avg_pool2d(x, kernel, stride)
        total = total + F.interpolate(small, size=x.shape[2:], mode='bilinear', align_corners=True)
    return total
'''
