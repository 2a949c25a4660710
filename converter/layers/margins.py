"""What nets for faces add to the score of the right class while they are trained (happynear's Caffe for Windows)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from converter.graph import Shape, count, format_shape
from converter.layers.base import OnnxOps, TorchOps, register, require, shortest, unsupported
from converter.node import Layer
from prototxt import NetLayer

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
