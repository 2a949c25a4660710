"""Fully connected layers, and the table that stands for one on indices (inner_product_layer.cpp, embed_layer.cpp)."""

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
from converter.layers.sizes import INT64
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
        # OpenCV 5 multiplies no vector by a matrix.
        flat = g.reshape(x[0], node.shape, (*(node.shape[:axis] or (1,)), terms))
        weight = tensors["weight"]
        if not self.transpose:
            weight = weight.map(lambda w: w.T, (terms, self.num_output))
        y = g.op("MatMul", flat, g.weight(weight))
        y = g.op("Add", y, *bias) if bias else y
        return y if axis else g.reshape(y, (1, self.num_output), (self.num_output,))

    def torch_in_training(self, t: TorchOps, node: Node, *x: str) -> str:
        if not self.transpose:
            return self.torch(t, node, *x)
        # The blob as Caffe has it, for a solver's state and a snapshot.
        t.helper("TransposedLinear", TRANSPOSED_LINEAR)
        axis = canonical_axis(self.axis, len(node.shape))
        keywords = {} if self.bias_term else {"bias": False}
        terms = int(count(node.shape[axis:]))
        module = t.module("TransposedLinear", terms, self.num_output, state=dict(node.tensors), **keywords)
        flat = x[0] if len(node.shape) == axis + 1 else f"torch.flatten({x[0]}, {axis})"
        return f"{module}({flat})"

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


TRANSPOSED_LINEAR = '''
class TransposedLinear(nn.Module):
    """A linear layer whose matrix is inputs × outputs (Caffe's InnerProduct with `transpose`)."""

    def __init__(self, inputs, outputs, bias=True):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(inputs, outputs))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None

    def forward(self, x):
        y = x @ self.weight
        return y if self.bias is None else y + self.bias
'''


@register
@dataclass(frozen=True)
class Embed(Layer):
    """Row x of a table of `input_dim` rows, plus a bias (Caffe: embed_layer.cpp).

    Indices are floats, truncated. The table is inputs × num_output, the other way round than InnerProduct's matrix.
    """

    types = ("Embed",)
    num_output: int = 0
    input_dim: int = 0
    bias_term: bool = True
    fillers: tuple[FillerParameter | None, FillerParameter | None] = field(default=(None, None), repr=False)

    @classmethod
    def read(cls, source: NetLayer) -> Embed:
        p = source.param.embed_param
        for name, value in (("num_output", p.num_output), ("input_dim", p.input_dim)):
            if value < 1:
                raise fault(source, f"{name} is {value}; expected at least 1", "embed_param", name)
        return cls(p.num_output, p.input_dim, p.bias_term, (filler(p, "weight_filler"), filler(p, "bias_filler")))

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        return [(*inputs[0], self.num_output)]

    def parameters(self, inputs: Sequence[Shape]) -> tuple[Parameter, ...]:
        weight = Parameter("weight", (self.input_dim, self.num_output), self.fillers[0])
        return (weight, Parameter("bias", (self.num_output,), self.fillers[1])) if self.bias_term else (weight,)

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        y = g.op("Gather", g.weight(node.tensors["weight"]), g.op("Cast", x[0], to=INT64), axis=0)
        return g.op("Add", y, g.weight(node.tensors["bias"])) if self.bias_term else y

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        if not self.bias_term:
            table = t.module("nn.Embedding", self.input_dim, self.num_output, state=dict(node.tensors))
            return f"{table}({x[0]}.long())"
        t.helper("Embed", EMBED)
        return f"{t.module('Embed', self.input_dim, self.num_output, state=dict(node.tensors))}({x[0]})"


EMBED = '''
class Embed(nn.Module):
    """A row of a table by its index, plus a bias (Caffe's Embed layer)."""

    def __init__(self, rows, columns):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(rows, columns))
        self.bias = nn.Parameter(torch.zeros(columns))

    def forward(self, x):
        return F.embedding(x.long(), self.weight) + self.bias
'''
