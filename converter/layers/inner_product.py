"""Fully connected layers, and the table that stands for one on indices (inner_product_layer.cpp, embed_layer.cpp)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from converter.folding import Float64, WeightedSum, times
from converter.graph import Shape, count, format_shape, is_free
from converter.layers.base import (
    OnnxOps,
    TorchOps,
    at_least_one,
    canonical_axis,
    fault,
    filler,
    register,
    require,
    unsupported,
)
from converter.layers.shared.fused import fused_relu
from converter.layers.shared.sizes import INT64
from converter.matching.operation import Operation
from converter.node import Layer, Parameter, by_message_alone
from converter.tensor import Array, Tensor
from prototxt import NetLayer
from prototxt.caffe_pb2 import FillerParameter, LayerParameter
from prototxt.errors import UnsupportedError

if TYPE_CHECKING:
    from converter.node import Node


class ProductOfBottoms(Layer):
    """The axes of the first bottom from `axis` on as one vector, times the second, plus the third where there is one.

    Of OpenVINO's training toolbox for Caffe (inner_product_layer.cpp). There are as many outputs as the second bottom
    has items, whatever `num_output` says; with `transpose` its values are taken as inputs × outputs all the same. The
    third counts with `bias_term` alone.
    """

    bottoms = (2, 3)
    axis: int = 1
    bias_term: bool = True
    transpose: bool = False

    @property
    def untrainable(self) -> str:
        return "its fork adds the gradient of a bottom's weights to that of the step before"

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        axis = canonical_axis(self.axis, len(inputs[0]))
        terms, weight = count(inputs[0][axis:]), inputs[1]
        require(not is_free(terms) and not any(map(is_free, weight)), "the sizes of its weights can't be left free")
        fits = 1 <= len(weight) <= 4 and int(count(weight[1:])) == int(terms)
        require(fits, f"the second bottom is {format_shape(weight)}; expected outputs × {terms}")
        if len(inputs) == 3:
            fits = int(count(inputs[2])) == int(weight[0])
            require(fits, f"the third bottom is {format_shape(inputs[2])}; expected {weight[0]} values")
        return [(*inputs[0][:axis], weight[0])]

    def multiply_adds(self, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:
        return count(inputs[0]) * count(outputs[0][-1:])

    def _sizes(self, node: Node) -> tuple[int, int, int]:
        """The axis, and how many inputs and outputs."""
        axis = canonical_axis(self.axis, len(node.shape))
        return axis, int(count(node.shape[axis:])), int(node.inputs[1].shape[0])

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        axis, terms, outputs = self._sizes(node)
        flat = g.reshape(x[0], node.shape, (*(node.shape[:axis] or (1,)), terms))
        wanted = (terms, outputs) if self.transpose else (outputs, terms)
        weight = g.reshape(x[1], node.inputs[1].shape, wanted)
        y = g.op("MatMul", flat, weight if self.transpose else g.op("Transpose", weight, perm=[1, 0]))
        if len(x) == 3 and self.bias_term:
            y = g.op("Add", y, g.reshape(x[2], node.inputs[2].shape, (outputs,)))
        return y if axis else g.reshape(y, (1, outputs), (outputs,))

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        axis, terms, outputs = self._sizes(node)
        flat = x[0] if len(node.shape) == axis + 1 else f"torch.flatten({x[0]}, {axis})"
        weight = f"{x[1]}.reshape({terms}, {outputs}).T" if self.transpose else f"{x[1]}.reshape({outputs}, {terms})"
        bias = [f"{x[2]}.flatten()"] if len(x) == 3 and self.bias_term else []
        return f"F.linear({', '.join([flat, weight, *bias])})"


@register
class InnerProduct(WeightedSum):
    """The axes from `axis` on as one vector, times a matrix, plus a bias.

    The matrix is num_output × inputs, with `transpose` inputs × num_output. `normalize` (happynear's Caffe for Windows)
    divides each output's row by sqrt(sum of squares + 1e-6) before each use, in the blob itself; under `transpose` it
    takes rows of as many values as there are inputs all the same, whatever they belong to. Further bottoms are the
    weights (`ProductOfBottoms`).
    """

    types = ("InnerProduct",)
    bottoms = (1, 3)
    read_as: ClassVar[tuple[type[Layer], ...]] = (ProductOfBottoms,)
    num_output: int = 0
    bias_term: bool = True
    axis: int = 1
    transpose: bool = False
    normalize: bool = False
    fillers: tuple[FillerParameter | None, FillerParameter | None] = field(default=(None, None), repr=False)
    relu: LayerParameter | None = field(default=None, repr=False)

    @classmethod
    @by_message_alone
    def read(cls, source: NetLayer) -> InnerProduct | ProductOfBottoms:
        p = source.param.inner_product_param
        if len(source.bottoms) > 1:
            return _of_bottoms(source)
        at_least_one(source, "inner_product_param", "num_output")
        fillers = (filler(p, "weight_filler"), filler(p, "bias_filler"))
        relu = fused_relu(source, "inner_product_param")
        return cls(p.num_output, p.bias_term, p.axis, p.transpose, p.normalize, fillers, relu)

    @property
    def follower(self) -> LayerParameter | None:
        return self.relu

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

    @property
    def channel_axis(self) -> int:
        return self.axis

    def folded(self) -> Layer:
        return replace(self, bias_term=True, normalize=False)

    def times_channels(self, weight: Array, factor: Float64) -> Array:
        return times(weight, factor[None, :] if self.transpose else factor[:, None])

    def computes(self, node: Node) -> Operation:
        if canonical_axis(self.axis, len(node.shape)) != 1 or self.normalize:
            return super().computes(node)
        transposed = {"stored": "inputs first"} if self.transpose else {}
        return Operation("weighted sum", {"features": self.num_output, **transposed})

    @property
    def sums_from(self) -> int | None:
        return self.axis

    def as_convolution(
        self, node: Node, source: NetLayer, param: LayerParameter, window: tuple[int, int, int]
    ) -> list[Tensor]:
        if canonical_axis(self.axis, len(node.shape)) != 1:
            raise unsupported(source, f"axis is {self.axis}; expected 1", "inner_product_param", "axis")
        param.type = "Convolution"
        param.ClearField("inner_product_param")
        for spec in param.param:  # A layer that shares this one's weights may have them in another shape.
            spec.ClearField("name")
        p = param.convolution_param
        p.num_output, p.bias_term = self.num_output, self.bias_term
        p.kernel_h, p.kernel_w = window[1:]
        if self.relu is not None:
            p.relu, p.negative_slope = True, self.relu.relu_param.negative_slope
        bias = [node.tensors["bias"]] if self.bias_term else []
        shape = (self.num_output, *window)
        return [self.matrix(node).map(lambda values: values.T if self.transpose else values, shape), *bias]

    def make_plain(self, param: LayerParameter) -> None:
        if not self.normalize:  # A fold has the weights as they are used.
            param.inner_product_param.ClearField("normalize")

    def matrix(self, node: Node) -> Tensor:
        return node.tensors["weight"].map(self._unit_rows) if self.normalize else node.tensors["weight"]

    def _unit_rows(self, weight: Array) -> Array:
        rows = weight.reshape(self.num_output, -1)
        norm = np.sqrt(np.square(rows, dtype=np.float64).sum(1, keepdims=True) + 1e-6)
        unit: Array = (rows / norm).astype(np.float32)
        return unit.reshape(weight.shape)

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        axis = canonical_axis(self.axis, len(node.shape))
        bias = [g.weight(node.tensors["bias"])] if "bias" in node.tensors else []
        weight = self.matrix(node)
        if axis == 1:
            flat = x[0] if len(node.shape) == 2 else g.op("Flatten", x[0], axis=1)
            return g.op("Gemm", flat, g.weight(weight), *bias, transB=int(not self.transpose))
        terms = count(node.shape[axis:])
        # OpenCV 5 multiplies no vector by a matrix.
        flat = g.reshape(x[0], node.shape, (*(node.shape[:axis] or (1,)), terms))
        if not self.transpose:
            weight = weight.map(lambda w: w.T, (terms, self.num_output))
        y = g.op("MatMul", flat, g.weight(weight))
        y = g.op("Add", y, *bias) if bias else y
        return y if axis else g.reshape(y, (1, self.num_output), (self.num_output,))

    def torch_in_training(self, t: TorchOps, node: Node, *x: str) -> str:
        if not self.transpose and not self.normalize:
            return self.torch(t, node, *x)
        # The blob as Caffe has it, for a solver's state and a snapshot.
        name, source = ("UnitLinear", UNIT_LINEAR) if self.normalize else ("TransposedLinear", TRANSPOSED_LINEAR)
        t.helper(name, source)
        axis = canonical_axis(self.axis, len(node.shape))
        keywords: dict[str, bool] = {} if self.bias_term else {"bias": False}
        if self.normalize and self.transpose:
            keywords["transpose"] = True
        terms = int(count(node.shape[axis:]))
        module = t.module(name, terms, self.num_output, state=dict(node.tensors), **keywords)
        flat = x[0] if len(node.shape) == axis + 1 else f"torch.flatten({x[0]}, {axis})"
        return f"{module}({flat})"

    @property
    def rereads(self) -> bool:
        return not self.normalize

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        axis = canonical_axis(self.axis, len(node.shape))
        terms = int(count(node.shape[axis:]))
        state = {**node.tensors, "weight": self.matrix(node)}
        if self.transpose:
            state["weight"] = state["weight"].map(lambda w: w.T, (self.num_output, terms))
        keywords = {} if "bias" in state else {"bias": False}
        module = t.module("nn.Linear", terms, self.num_output, state=dict(state), **keywords)
        flat = x[0] if len(node.shape) == axis + 1 else f"torch.flatten({x[0]}, {axis})"
        return f"{module}({flat})"


def _of_bottoms(source: NetLayer) -> ProductOfBottoms:
    p, section = source.param.inner_product_param, "inner_product_param"
    unread = ("num_output", "normalize", "weight_filler", "bias_filler")
    source.without_effect("the bottoms are its weights", *(f"{section}.{name}" for name in unread))
    if p.bias_term and len(source.bottoms) == 2:
        message = "bias_term with two bottoms, for which the fork's code reads a blob that it does not have"
        raise fault(source, message, section, "bias_term")
    return ProductOfBottoms(p.axis, p.bias_term, p.transpose)


UNIT_LINEAR = '''
class UnitLinear(nn.Module):
    """A linear layer that makes each row of its matrix a unit vector in place before it is used, as happynear's Caffe.

    The gradient is that of the matrix as it is then. With `transpose` the matrix is inputs × outputs, but what is made
    a unit vector are rows of as many values as there are inputs still.
    """

    def __init__(self, inputs, outputs, bias=True, transpose=False):
        super().__init__()
        self.outputs, self.transpose = outputs, transpose
        self.weight = nn.Parameter(torch.zeros((inputs, outputs) if transpose else (outputs, inputs)))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None

    def forward(self, x):
        rows = self.weight.data.view(self.outputs, -1)
        rows /= (rows.square().sum(1, keepdim=True) + 1e-6).sqrt()
        return F.linear(x, self.weight.T if self.transpose else self.weight, self.bias)
'''

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
class Embed(Layer):
    """Row x of a table of `input_dim` rows, plus a bias (Caffe: embed_layer.cpp).

    Indices are floats, truncated. The table is inputs × num_output, the other way round than InnerProduct's matrix.

    Attributes:
        replaces_axis: a last axis of size 1 becomes that of num_output, where Caffe's layer adds one (the
            embed_layer.cpp of bottom-up-attention).
    """

    types = ("Embed",)
    num_output: int = 0
    input_dim: int = 0
    bias_term: bool = True
    replaces_axis: bool = False
    fillers: tuple[FillerParameter | None, FillerParameter | None] = field(default=(None, None), repr=False)

    @classmethod
    def read(cls, source: NetLayer) -> Embed:
        p = source.param.embed_param
        at_least_one(source, "embed_param", "num_output", "input_dim")
        replaces_axis = source.dialect == "bottom_up_attention"
        fillers = filler(p, "weight_filler"), filler(p, "bias_filler")
        return cls(p.num_output, p.input_dim, p.bias_term, replaces_axis, fillers)

    def _drops_last(self, shape: Shape) -> bool:
        """Whether the index's last axis is none of the top's."""
        if not self.replaces_axis:
            return False
        require(len(shape) > 0, "bottom 0 has no axes; expected one at least")
        if is_free(shape[-1]):
            raise UnsupportedError(f"whether {shape[-1]}, which is not fixed, is 1 decides how many axes the top has")
        return shape[-1] == 1

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        kept = inputs[0][:-1] if self._drops_last(inputs[0]) else inputs[0]
        return [(*kept, self.num_output)]

    def parameters(self, inputs: Sequence[Shape]) -> tuple[Parameter, ...]:
        weight = Parameter("weight", (self.input_dim, self.num_output), self.fillers[0])
        return (weight, Parameter("bias", (self.num_output,), self.fillers[1])) if self.bias_term else (weight,)

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        index = g.op("Cast", x[0], to=INT64)
        if self._drops_last(node.shape):
            index = g.op("Squeeze", index, g.ints([len(node.shape) - 1]))
        y = g.op("Gather", g.weight(node.tensors["weight"]), index, axis=0)
        return g.op("Add", y, g.weight(node.tensors["bias"])) if self.bias_term else y

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        index = f"{x[0]}.squeeze(-1)" if self._drops_last(node.shape) else x[0]
        if not self.bias_term:
            table = t.module("nn.Embedding", self.input_dim, self.num_output, state=dict(node.tensors))
            return f"{table}({index}.long())"
        t.helper("Embed", EMBED)
        return f"{t.module('Embed', self.input_dim, self.num_output, state=dict(node.tensors))}({index})"


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
