"""Softmax, and the losses and measures that are left out of a deployed net unless they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from converter.graph import Shape, count, format_shape
from converter.layers.base import (
    Layer,
    OnnxOps,
    TorchOps,
    canonical_axis,
    register,
    require,
    unsupported,
)
from prototxt import NetLayer
from prototxt.caffe_pb2 import LossParameter

if TYPE_CHECKING:
    from converter.graph import Node

SMALLEST = float(np.finfo(np.float32).tiny)


@register
@dataclass(frozen=True)
class Softmax(Layer):
    """exp(x) over its sum along an axis (Caffe: softmax_layer.cpp)."""

    types = ("Softmax",)
    axis: int = 1

    @classmethod
    def read(cls, source: NetLayer) -> Softmax:
        return cls(source.param.softmax_param.axis)

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        canonical_axis(self.axis, len(inputs[0]))
        return list(inputs)

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        return g.op("Softmax", x[0], axis=canonical_axis(self.axis, len(node.shape)))

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        return f"torch.softmax({x[0]}, dim={canonical_axis(self.axis, len(node.shape))})"


@dataclass(frozen=True)
class _Loss(Layer):
    """A scalar that a net is trained to lower. Its top is not multiplied by `loss_weight`: Caffe keeps that apart."""

    role: ClassVar[str] = "loss"
    bottoms: ClassVar[tuple[int, int]] = (2, 2)
    tops: ClassVar[tuple[int, int]] = (0, 1)

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        return [()]


@register
@dataclass(frozen=True)
class EuclideanLoss(_Loss):
    """Sum of squared differences over twice the batch size (Caffe: euclidean_loss_layer.cpp)."""

    types = ("EuclideanLoss",)

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        sizes = [int(count(s[1:])) for s in inputs]
        require(sizes[0] == sizes[1], f"bottoms hold {sizes[0]} and {sizes[1]} values an item")
        return [()]

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        first, second = (v.shape for v in node.inputs)
        d = g.op("Sub", x[0], g.reshape(x[1], second, first))
        total = g.reduce("ReduceSum", g.op("Mul", d, d), range(len(first)), keepdims=False)
        return g.op("Mul", total, g.scalar(0.5 / first[0], "half_over_batch"))

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        second = x[1] if node.inputs[1].shape == node.shape else f"{x[1]}.reshape({x[0]}.shape)"
        return f"(({x[0]} - {second}) ** 2).sum() / (2 * {x[0]}.shape[0])"


Normalization = Literal["FULL", "VALID", "BATCH_SIZE", "NONE"]


def read_normalization(p: LossParameter, default: Normalization = "VALID") -> Normalization:
    """`normalization`, or what the old `normalize` flag says where only that is given."""
    if not p.HasField("normalization") and p.HasField("normalize"):
        return "VALID" if p.normalize else "BATCH_SIZE"
    if not p.HasField("normalization"):
        return default
    name = LossParameter.NormalizationMode.Name(p.normalization)
    return "FULL" if name == "FULL" else "VALID" if name == "VALID" else "NONE" if name == "NONE" else "BATCH_SIZE"


@register
@dataclass(frozen=True)
class SoftmaxWithLoss(_Loss):
    """-log of the probability that softmax gives the label, averaged (Caffe: softmax_loss_layer.cpp).

    A probability below the smallest float32 counts as that, so an item loses at most 87.3. With `ignore_label`,
    positions of that label add nothing, and are not counted where the divisor is that of VALID positions.
    """

    types = ("SoftmaxWithLoss",)
    tops = (0, 2)
    axis: int = 1
    ignore_label: int | None = None
    normalization: Normalization = "VALID"

    @classmethod
    def read(cls, source: NetLayer) -> SoftmaxWithLoss:
        p = source.param.loss_param
        if len(source.tops) > 1:
            raise unsupported(source, "a second top (the probabilities); ask a Softmax layer for them")
        ignore = p.ignore_label if p.HasField("ignore_label") else None
        return cls(source.param.softmax_param.axis, ignore, read_normalization(p))

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        scores, labels = inputs
        axis = canonical_axis(self.axis, len(scores))
        positions = int(count(scores)) // int(scores[axis])
        require(
            int(count(labels)) == positions,
            f"{format_shape(labels)} labels for scores of {format_shape(scores)}; expected {positions}",
        )
        return [()]

    def _divisor_is_constant(self) -> bool:
        return self.normalization != "VALID" or self.ignore_label is None

    def _constant_divisor(self, shape: Shape, axis: int) -> int:
        positions = int(count(shape)) // int(shape[axis])
        outer = int(count(shape[:axis]))
        return {"FULL": positions, "VALID": positions, "BATCH_SIZE": outer, "NONE": 1}[self.normalization]

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        scores = node.shape
        axis = canonical_axis(self.axis, len(scores))
        probability = g.op("Max", g.op("Softmax", x[0], axis=axis), g.scalar(SMALLEST, "smallest"))
        column = (*scores[:axis], 1, *scores[axis + 1 :])
        labels = g.op("Cast", g.reshape(x[1], node.inputs[1].shape, column), to=7)
        counted = None
        if self.ignore_label is not None:
            counted = g.op("Not", g.op("Equal", labels, g.constant(np.asarray(self.ignore_label, np.int64), "ignored")))
            labels = g.op("Where", counted, labels, g.constant(np.asarray(0, np.int64), "zero"))
        loss = g.op("Neg", g.op("Log", g.op("GatherElements", probability, labels, axis=axis)))
        axes = range(len(scores))
        if counted is None:
            total = g.reduce("ReduceSum", loss, axes, keepdims=False)
            return g.op("Div", total, g.scalar(self._constant_divisor(scores, axis), "divisor"))
        weight = g.op("Cast", counted, to=1)
        total = g.reduce("ReduceSum", g.op("Mul", loss, weight), axes, keepdims=False)
        if self._divisor_is_constant():
            return g.op("Div", total, g.scalar(self._constant_divisor(scores, axis), "divisor"))
        divisor = g.op("Max", g.reduce("ReduceSum", weight, axes, keepdims=False), g.scalar(1.0, "one"))
        return g.op("Div", total, divisor)

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        axis = canonical_axis(self.axis, len(node.shape))
        t.helper("softmax_loss", SOFTMAX_LOSS)
        return f"softmax_loss({x[0]}, {x[1]}, {axis}, {self.ignore_label}, {self.normalization!r})"


SOFTMAX_LOSS = f'''
def softmax_loss(scores, labels, axis, ignore_label, normalization):
    """Mean of -log softmax at the labels; the divisor is that of Caffe's `normalization`."""
    column = list(scores.shape)
    column[axis] = 1
    labels = labels.reshape(column).long()
    counted = torch.ones_like(labels, dtype=torch.bool) if ignore_label is None else labels != ignore_label
    probability = torch.softmax(scores, axis).gather(axis, labels.where(counted, 0)).clamp_min({SMALLEST!r})
    total = -(probability.log() * counted).sum()
    if normalization == "VALID":
        return total / counted.sum().clamp_min(1)
    return total / {{"FULL": labels.numel(), "BATCH_SIZE": scores.shape[:axis].numel(), "NONE": 1}}[normalization]
'''
