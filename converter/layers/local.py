"""Convolution whose weights are not shared: each place of the top has its own (BVLC's pull request 1271)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from converter.graph import Shape, count, format_shape, is_free
from converter.layers.base import OnnxOps, TorchOps, at_least_one, filler, register, require
from converter.node import Layer, Parameter
from prototxt import NetLayer
from prototxt.caffe_pb2 import FillerParameter

if TYPE_CHECKING:
    from converter.node import Node

Windows = npt.NDArray[np.int64]


@register
class Local(Layer):
    """A weight for each output, value of the window and place, and a bias for each output and place (local_layer.cpp).

    Sizes are a convolution's. Blobs are outputs × 1 × (channels · kernel²) × places and 1 × 1 × outputs × places.
    """

    types = ("Local",)
    num_output: int
    kernel: int
    stride: int = 1
    pad: int = 0
    bias_term: bool = True
    fillers: tuple[FillerParameter | None, FillerParameter | None] = field(default=(None, None), repr=False)

    @classmethod
    def read(cls, source: NetLayer) -> Local:
        p, section = source.param.local_param, "local_param"
        at_least_one(source, section, "num_output", "kernel_size", "stride")
        fillers = (filler(p, "weight_filler"), filler(p, "bias_filler"))
        return cls(p.num_output, p.kernel_size, p.stride, p.pad, p.bias_term, fillers)

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        x = inputs[0]
        require(len(x) == 4, f"the bottom is {format_shape(x)}; expected 4 axes (N×C×H×W)")
        require(not any(map(is_free, x[1:])), "its weights fix the size of the image; only the number can be left free")
        fits = min(map(int, x[2:])) >= self.kernel
        require(fits, f"the kernel {self.kernel}×{self.kernel} does not fit the bottom {format_shape(x)}")
        sizes = [(int(n) + 2 * self.pad - self.kernel) // self.stride + 1 for n in x[2:]]
        return [(x[0], self.num_output, *sizes)]

    def _terms(self, inputs: Sequence[Shape]) -> tuple[int, int]:
        """Values of a window, and places."""
        return int(inputs[0][1]) * self.kernel**2, int(count(self.infer(inputs)[0][2:]))

    def tabulated(self, inputs: Sequence[Shape], tops: Sequence[Shape]) -> Sequence[Shape]:
        return [(self.kernel, self.kernel, *tops[0][2:])]

    def parameters(self, inputs: Sequence[Shape]) -> tuple[Parameter, ...]:
        terms, places = self._terms(inputs)
        weight = Parameter("weight", (self.num_output, 1, terms, places), self.fillers[0])
        bias = Parameter("bias", (1, 1, self.num_output, places), self.fillers[1])
        return (weight, bias) if self.bias_term else (weight,)

    def multiply_adds(self, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:
        return count(outputs[0]) * self._terms(inputs)[0]

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        shapes = [node.shape]
        terms, places = self._terms(shapes)
        out = tuple(map(int, node.outputs[0].shape[2:]))
        pads = g.ints((0, 0, self.pad, self.pad) * 2, "pads")
        image = g.op("Pad", x[0], pads) if self.pad else x[0]
        height, width = (int(n) + 2 * self.pad for n in node.shape[2:])
        flat = g.op("Reshape", image, g.ints([0, int(node.shape[1]), height * width], "shape"))
        columns = g.op("Gather", flat, g.constant(self._windows(out, width), "windows"), axis=2)
        columns = g.op("Reshape", columns, g.ints([0, terms, places], "shape"))
        weight = node.tensors["weight"].map(lambda w: w[:, 0].transpose(2, 1, 0), (places, terms, self.num_output))
        y = g.op("MatMul", g.op("Transpose", columns, perm=[2, 0, 1]), g.weight(weight))
        y = g.op("Transpose", y, perm=[1, 2, 0])
        if self.bias_term:
            y = g.op("Add", y, g.weight(node.tensors["bias"].reshaped((1, self.num_output, places))))
        return g.op("Reshape", y, g.ints([0, self.num_output, *out], "shape"))

    def _windows(self, out: Sequence[int], width: int) -> Windows:
        """Kernel × places: which pixel of the padded image each value of each window is."""
        down, along = (i.ravel() for i in np.indices((self.kernel, self.kernel)))
        row, column = (i.ravel() * self.stride for i in np.indices(tuple(out)))
        windows: Windows = np.add.outer(down * width + along, row * width + column).astype(np.int64)
        return windows

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        t.helper("Local", LOCAL)
        terms, places = self._terms([node.shape])
        keywords = {"stride": self.stride, "padding": self.pad} | ({} if self.bias_term else {"bias": False})
        sizes = (terms, places, self.num_output, self.kernel)
        return f"{t.module('Local', *sizes, state=dict(node.tensors), **keywords)}({x[0]})"


LOCAL = '''
class Local(nn.Module):
    """A convolution with weights and a bias of their own for each place of the result."""

    def __init__(self, terms, places, outputs, kernel, stride, padding, bias=True):
        super().__init__()
        self.kernel, self.stride, self.padding = kernel, stride, padding
        self.weight = nn.Parameter(torch.zeros(outputs, 1, terms, places))
        self.bias = nn.Parameter(torch.zeros(1, 1, outputs, places)) if bias else None

    def forward(self, x):
        height, width = ((n + 2 * self.padding - self.kernel) // self.stride + 1 for n in x.shape[2:])
        columns = F.unfold(x, self.kernel, padding=self.padding, stride=self.stride)
        y = torch.einsum("nkp,mkp->nmp", columns, self.weight[:, 0])
        if self.bias is not None:
            y = y + self.bias[0]
        return y.unflatten(2, (height, width))
'''
