"""Sums along trailing axes, and softmax along one (Caffe: reduction_layer.cpp, softmax_layer.cpp)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from converter.graph import Shape, count
from converter.layers.base import OnnxOps, TorchOps, canonical_axis, register, shortest
from converter.matching.operation import Operation
from converter.node import Layer
from prototxt import NetLayer
from prototxt.caffe_pb2 import ReductionParameter

if TYPE_CHECKING:
    from converter.node import Node

_ONNX_NAMES = {"SUM": "ReduceSum", "ASUM": "ReduceL1", "SUMSQ": "ReduceSumSquare", "MEAN": "ReduceMean"}
_TORCH_FORMS = {"SUM": "{x}.sum({d})", "ASUM": "{x}.abs().sum({d})", "SUMSQ": "({x} ** 2).sum({d})"}


@register
class Reduction(Layer):
    """`coeff` times the sum, or mean, of all values from `axis` on (Caffe: reduction_layer.cpp).

    ASUM sums magnitudes, SUMSQ squares. Every axis from `axis` on disappears, so axis 0 gives a scalar.
    """

    types = ("Reduction",)
    operation: str = "SUM"
    axis: int = 0
    coeff: float = 1.0

    @classmethod
    def read(cls, source: NetLayer) -> Reduction:
        p = source.param.reduction_param
        return cls(ReductionParameter.ReductionOp.Name(p.operation), p.axis, shortest(p.coeff))

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        return [inputs[0][: canonical_axis(self.axis, len(inputs[0]))]]

    def multiply_adds(self, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:
        return count(inputs[0]) if self.operation == "SUMSQ" else 0

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        rank = len(node.shape)
        axes = range(canonical_axis(self.axis, rank), rank)
        y = g.reduce(_ONNX_NAMES[self.operation], x[0], axes, keepdims=False)
        return g.op("Mul", y, g.scalar(self.coeff, "coeff")) if self.coeff != 1 else y

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        rank = len(node.shape)
        dims = tuple(range(canonical_axis(self.axis, rank), rank))
        text = "" if len(dims) == rank else str(dims[0]) if len(dims) == 1 else str(dims)
        y = _TORCH_FORMS.get(self.operation, "{x}.mean({d})").format(x=x[0], d=text)
        return f"{y} * {self.coeff!r}" if self.coeff != 1 else y


@register
class Softmax(Layer):
    """exp(x) over its sum along an axis (Caffe: softmax_layer.cpp)."""

    types = ("Softmax",)
    acts_on = "channels"
    axis_fields = ("softmax_param", "axis")
    gives_probabilities = True
    reads_first = True
    axis: int = 1

    @classmethod
    def read(cls, source: NetLayer) -> Softmax:
        return cls(source.param.softmax_param.axis)

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        canonical_axis(self.axis, len(inputs[0]))
        return list(inputs)

    def computes(self, node: Node) -> Operation:
        return Operation("softmax", {"axis": canonical_axis(self.axis, len(node.shape))})

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        return g.op("Softmax", x[0], axis=canonical_axis(self.axis, len(node.shape)))

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        return f"torch.softmax({x[0]}, dim={canonical_axis(self.axis, len(node.shape))})"

    @property
    def gradient_reads(self) -> str:
        return "y"

    def caffe_gradient(self, t: TorchOps, node: Node, bottom: str) -> str:
        return f"(dy - (dy * y).sum({canonical_axis(self.axis, len(node.shape))}, keepdim=True)) * y"
