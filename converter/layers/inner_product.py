"""Fully connected layers (Caffe: inner_product_layer.cpp)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from converter.graph import Shape, count, is_free
from converter.layers.base import (
    Layer,
    OnnxOps,
    Parameter,
    TorchOps,
    canonical_axis,
    fault,
    filler,
    register,
    require,
)
from prototxt import NetLayer
from prototxt.caffe_pb2 import FillerParameter

if TYPE_CHECKING:
    from converter.graph import Node


@register
@dataclass(frozen=True)
class InnerProduct(Layer):
    """The axes from `axis` on as one vector, times a matrix, plus a bias.

    The matrix is num_output × inputs, with `transpose` inputs × num_output.
    """

    types = ("InnerProduct",)
    num_output: int = 0
    bias_term: bool = True
    axis: int = 1
    transpose: bool = False
    fillers: tuple[FillerParameter | None, FillerParameter | None] = field(default=(None, None), repr=False)

    @classmethod
    def read(cls, source: NetLayer) -> InnerProduct:
        p = source.param.inner_product_param
        if p.num_output < 1:
            raise fault(
                source, f"num_output is {p.num_output}; expected at least 1", "inner_product_param", "num_output"
            )
        fillers = (filler(p, "weight_filler"), filler(p, "bias_filler"))
        return cls(p.num_output, p.bias_term, p.axis, p.transpose, fillers)

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        axis = canonical_axis(self.axis, len(inputs[0]))
        return [(*inputs[0][:axis], self.num_output)]

    def parameters(self, inputs: Sequence[Shape]) -> tuple[Parameter, ...]:
        terms = count(inputs[0][canonical_axis(self.axis, len(inputs[0])) :])
        require(
            not is_free(terms), f"its weights fix the size of the axes from {self.axis} on; they can't be left free"
        )
        shape = (terms, self.num_output) if self.transpose else (self.num_output, terms)
        weight = Parameter("weight", shape, self.fillers[0])
        return (weight, Parameter("bias", (self.num_output,), self.fillers[1])) if self.bias_term else (weight,)

    def multiply_adds(self, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:
        return count(inputs[0]) * self.num_output

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        axis = canonical_axis(self.axis, len(node.shape))
        tensors = dict(node.tensors)
        bias = [g.weight(tensors["bias"])] if "bias" in tensors else []
        if axis == 1:
            flat = x[0] if len(node.shape) == 2 else g.op("Flatten", x[0], axis=1)
            return g.op("Gemm", flat, g.weight(tensors["weight"]), *bias, transB=int(not self.transpose))
        terms = count(node.shape[axis:])
        flat = g.reshape(x[0], node.shape, (*node.shape[:axis], terms))
        weight = tensors["weight"]
        if not self.transpose:
            weight = weight.map(lambda w: w.T, (terms, self.num_output))
        y = g.op("MatMul", flat, g.weight(weight))
        return g.op("Add", y, *bias) if bias else y

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        axis = canonical_axis(self.axis, len(node.shape))
        terms = int(count(node.shape[axis:]))
        state = dict(node.tensors)
        if self.transpose:
            state["weight"] = state["weight"].map(lambda w: w.T, (self.num_output, terms))
        keywords = {} if "bias" in state else {"bias": False}
        module = t.module("nn.Linear", terms, self.num_output, state=dict(state), **keywords)
        flat = x[0] if len(node.shape) == axis + 1 else f"torch.flatten({x[0]}, {axis})"
        return f"{module}({flat})"
