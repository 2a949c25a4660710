"""What nets for faces do to the score of the right class while they are trained (happynear's, L-Softmax)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from typing import TYPE_CHECKING

import numpy as np

from converter.graph import Shape, count, format_shape, is_free
from converter.layers.base import (
    OnnxOps,
    TorchOps,
    at_least_one,
    canonical_axis,
    filler,
    register,
    require,
    shortest,
    unsupported,
)
from converter.node import Layer, Parameter
from prototxt import NetLayer
from prototxt.caffe_pb2 import FillerParameter, MarginInnerProductParameter

if TYPE_CHECKING:
    from converter.node import Node


@register
class LabelSpecificAdd(Layer):
    """Nothing at test time; in training `bias` more for the label's score where that is above -bias.

    Its source, label_specific_add.cpp, asks for phase TRAIN twice, so `transform_test` has no effect. The gradient
    passes as it is. A bias that moves with the iterations (`bias_base`) is no part of a net's own state.
    """

    types = ("LabelSpecificAdd",)
    bottoms = (2, 2)
    bias: float = 0.0
    anneals: bool = False

    @classmethod
    def read(cls, source: NetLayer) -> LabelSpecificAdd:
        p = source.param.label_specific_add_param
        if len(source.tops) > 1:
            raise unsupported(source, "2 tops; its second, the bias, is not written at test time")
        return cls(shortest(p.bias), p.HasField("bias_base"))

    @property
    def untrainable(self) -> str:
        return "bias_base: its bias moves with the iterations; expected bias" if self.anneals else ""

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        scores, labels = inputs
        require(len(scores) >= 1, "the first bottom is a single value; expected an axis of items")
        same = str(count(labels)) == str(scores[0])
        require(same, f"{format_shape(labels)} labels for {scores[0]} items; expected one for each")
        return [scores]

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        return x[0]

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        return x[0]

    def torch_in_training(self, t: TorchOps, node: Node, *x: str) -> str:
        t.helper("LabelSpecificAdd", LABEL_SPECIFIC_ADD)
        return f"{t.module('LabelSpecificAdd', self.bias)}({x[0]}, {x[1]})"


@register
class LargeMarginInnerProduct(Layer):
    """The axes from `axis` on as one vector, times a matrix (L-Softmax: largemargin_inner_product_layer.cpp).

    With type DOUBLE, TRIPLE or QUADRUPLE the label's score, |x| |w| cos t, has a margin:

        |x| |w| (psi(t) + lambda cos t) / (1 + lambda)    psi(t) = (-1)^k cos(m t) - 2 k where k pi <= m t <= (k + 1) pi

    The second top is lambda, max(base (1 + gamma i)^-power, lambda_min); i counts the calls from `iteration` on. Only
    SINGLE is converted, whose first top lambda does not enter; nets have it at test time.
    """

    types = ("LargeMarginInnerProduct",)
    bottoms = (2, 2)
    tops = (2, 2)
    num_output: int = 0
    axis: int = 1
    decay: float = 0.0
    moves: bool = False
    filler: FillerParameter | None = field(default=None, repr=False)

    @classmethod
    def read(cls, source: NetLayer) -> LargeMarginInnerProduct:
        p, section = source.param.largemargin_inner_product_param, "largemargin_inner_product_param"
        at_least_one(source, section, "num_output")
        if p.type != p.SINGLE:
            name = MarginInnerProductParameter.MarginType.Name(p.type)
            raise unsupported(source, f"type {name}, a margin for training; expected SINGLE", section, "type")
        if p.gamma < 0 or p.iteration < 0:
            raise unsupported(source, "gamma or iteration below 0", section)
        first = max(p.base * (1 + p.gamma * (p.iteration + 1)) ** -p.power, p.lambda_min)
        later = max(p.base * (1 + p.gamma * (p.iteration + 2)) ** -p.power, p.lambda_min)
        return cls(p.num_output, p.axis, float(np.float32(first)), first != later, filler(p, "weight_filler"))

    @property
    def caution(self) -> str:
        return "its second top, lambda, is the first call's, from which Caffe's goes on" if self.moves else ""

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        x, labels = inputs
        axis = canonical_axis(self.axis, len(x))
        same = len(x) > 0 and len(labels) > 0 and str(labels[0]) == str(x[0])
        require(same, f"the labels are {format_shape(labels)} for {format_shape(x)}; expected as many items")
        return [(*x[:axis], self.num_output), (1,)]

    def parameters(self, inputs: Sequence[Shape]) -> tuple[Parameter, ...]:
        terms = count(inputs[0][canonical_axis(self.axis, len(inputs[0])) :])
        require(not is_free(terms), f"its weights fix the size of the axes from {self.axis} on; they can't be free")
        return (Parameter("weight", (self.num_output, terms), self.filler),)

    def multiply_adds(self, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:
        return count(inputs[0]) * self.num_output

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> list[str]:
        axis = canonical_axis(self.axis, len(node.shape))
        terms = count(node.shape[axis:])
        flat = g.reshape(x[0], node.shape, (*(node.shape[:axis] or (1,)), terms))
        weight = node.tensors["weight"].map(lambda w: w.T, (terms, self.num_output))
        y = g.op("MatMul", flat, g.weight(weight))
        y = y if axis else g.reshape(y, (1, self.num_output), (self.num_output,))
        return [y, g.constant(np.full(1, self.decay, np.float32), "lambda")]

    def torch(self, t: TorchOps, node: Node, *x: str) -> list[str]:
        axis = canonical_axis(self.axis, len(node.shape))
        terms = int(count(node.shape[axis:]))
        module = t.module("nn.Linear", terms, self.num_output, bias=False, state=dict(node.tensors))
        flat = x[0] if len(node.shape) == axis + 1 else f"torch.flatten({x[0]}, {axis})"
        return [f"{module}({flat})", f"{x[0]}.new_full((1,), {self.decay!r})"]


LABEL_SPECIFIC_ADD = '''
class LabelSpecificAdd(nn.Module):
    """`bias` more for the label's score where that is above -bias, while training."""

    def __init__(self, bias):
        super().__init__()
        self.bias = bias

    def forward(self, x, label):
        if not self.training:
            return x
        scores = x.flatten(1) if x.dim() > 1 else x[:, None]
        index = label.reshape(-1, 1).long()
        more = torch.where(scores.detach().gather(1, index) > -self.bias, self.bias, 0.0)
        return scores.scatter_add(1, index, more.to(x.dtype)).view_as(x)
'''
