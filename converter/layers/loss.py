"""The losses that a net is trained to lower, left out of a converted net unless `--outputs` asks for them.

A loss weight scales the training objective, never the top (Caffe: the layer of each name).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from converter.graph import Shape, count, format_shape
from converter.layers import labels
from converter.layers.base import (
    BottomsDifferError,
    Layer,
    OnnxOps,
    TorchOps,
    canonical_axis,
    register,
    require,
    shortest,
    unsupported,
)
from converter.layers.labels import Normalization
from converter.layers.sizes import FLOAT, INT64, float_count
from prototxt import NetLayer
from prototxt.caffe_pb2 import HingeLossParameter

if TYPE_CHECKING:
    from converter.graph import Node

SMALLEST = float(np.finfo(np.float32).tiny)
LOG_THRESHOLD = 1e-20
LARGEST_LOSS = -math.log(SMALLEST)


@dataclass(frozen=True)
class _Loss(Layer):
    """A scalar. Its first two bottoms hold as many items; Caffe checks no more than that for all losses alike."""

    role: ClassVar[str] = "loss"
    bottoms: ClassVar[tuple[int, int]] = (2, 2)
    tops: ClassVar[tuple[int, int]] = (0, 1)

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        if not inputs[0] or not inputs[1] or int(inputs[0][0]) != int(inputs[1][0]):
            raise BottomsDifferError("bottoms differ in their number of items")
        return [()]


@dataclass(frozen=True)
class _ItemLoss(_Loss):
    """A loss over one label an item; its sum is divided by the number of items."""

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        super().infer(inputs)
        scores, given = inputs
        require(len(scores) >= 2, f"scores are {format_shape(scores)}; expected items × classes")
        require(int(count(given)) == int(scores[0]), f"{format_shape(given)} labels for {scores[0]} items")
        return [()]


@dataclass(frozen=True)
class _SoftmaxLoss(_Loss):
    """A loss over the softmax of its first bottom along an axis; a second top is that softmax."""

    tops: ClassVar[tuple[int, int]] = (0, 2)
    axis: int = 1
    ignore_label: int | None = None
    normalization: Normalization = "VALID"

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        super().infer(inputs)
        labels.check_labels(self.axis, inputs[0], inputs[1])
        return [(), inputs[0]]

    def _axis(self, node: Node) -> int:
        return canonical_axis(self.axis, len(node.shape))

    def _torch_labels(self, t: TorchOps, node: Node, scores: str, given: str) -> tuple[str, str]:
        t.helper("label_column", labels.TORCH_LABELS)
        t.helper("normalized", labels.TORCH_NORMALIZED)
        both = t.let("labels", f"label_column({scores}, {given}, {self._axis(node)}, {self.ignore_label})")
        return f"{both}[0]", f"{both}[1]"


@register
@dataclass(frozen=True)
class SoftmaxWithLoss(_SoftmaxLoss):
    """-log of the probability that softmax gives the label, averaged (Caffe: softmax_loss_layer.cpp).

    A probability below the smallest float32 counts as that, so an item loses at most 87.3. With `ignore_label`,
    positions of that label add nothing, and are not counted where the divisor is that of VALID positions.
    """

    types = ("SoftmaxWithLoss",)

    @classmethod
    def read(cls, source: NetLayer) -> SoftmaxWithLoss:
        p = source.param.loss_param
        for name in ("weight_by_label_freqs", "class_weighting"):
            if getattr(p, name):
                raise unsupported(source, f"{name}, SegNet's weights of the classes", "loss_param", name)
        axis = source.param.softmax_param.axis
        return cls(axis, labels.read_ignore_label(source), labels.read_normalization(source))

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> list[str]:
        labelled = labels.onnx_labels(g, node, x[1], self.axis, self.ignore_label)
        softmax = g.op("Softmax", x[0], axis=labelled.axis)
        own = g.op("GatherElements", softmax, labelled.column, axis=labelled.axis)
        loss = g.op("Neg", g.op("Log", g.op("Max", own, g.scalar(SMALLEST, "smallest"))))
        loss = labels.onnx_normalized(g, node, x[0], loss, labelled, self.normalization)
        return [loss, softmax][: len(node.outputs)]

    def torch(self, t: TorchOps, node: Node, *x: str) -> list[str]:
        axis = self._axis(node)
        column, counted = self._torch_labels(t, node, x[0], x[1])
        softmax = t.let("softmax", f"torch.softmax({x[0]}, dim={axis})")
        losses = t.let("losses", f"-{softmax}.gather({axis}, {column}).clamp_min({SMALLEST!r}).log()")
        return [f"normalized({losses}, {counted}, {axis}, {self.normalization!r})", softmax][: len(node.outputs)]

    def torch_in_training(self, t: TorchOps, node: Node, *x: str) -> list[str]:
        axis = self._axis(node)
        column, counted = self._torch_labels(t, node, x[0], x[1])
        # The loss stops at 87.3, its gradient p - 1 does not.
        losses = t.let("free", f"-F.log_softmax({x[0]}, dim={axis}).gather({axis}, {column})")
        losses = t.let("losses", f"{losses} - ({losses} - {LARGEST_LOSS!r}).clamp_min(0).detach()")
        loss = f"normalized({losses}, {counted}, {axis}, {self.normalization!r})"
        return [loss, f"torch.softmax({x[0]}, dim={axis})"][: len(node.outputs)]


@register
@dataclass(frozen=True)
class InfogainLoss(_SoftmaxLoss):
    """-sum over classes of H[label, class] log p(class), p being the bottom's softmax (Caffe: infogain_loss_layer.cpp).

    H is the third bottom, of classes × classes values in any shape. Probabilities below 1e-20 count as that.
    """

    types = ("InfogainLoss",)
    bottoms = (2, 3)

    @classmethod
    def read(cls, source: NetLayer) -> InfogainLoss:
        if len(source.bottoms) < 3:
            message = "a matrix that lies in a file of its own; expected it as the third bottom"
            raise unsupported(source, message, "infogain_loss_param", "source")
        axis = source.param.infogain_loss_param.axis
        return cls(axis, labels.read_ignore_label(source), labels.read_normalization(source))

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        classes = inputs[0][canonical_axis(self.axis, len(inputs[0]))]
        shapes = super().infer(inputs)
        labels.fixed([classes], "the number of classes")
        matrix = int(count(inputs[2]))
        require(matrix == classes**2, f"the matrix holds {matrix} values; expected {classes}×{classes}")
        return shapes

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> list[str]:
        labelled = labels.onnx_labels(g, node, x[1], self.axis, self.ignore_label)
        axis, classes = labelled.axis, int(node.shape[labelled.axis])
        softmax = g.op("Softmax", x[0], axis=axis)
        logs = g.op("Log", g.op("Max", softmax, g.scalar(LOG_THRESHOLD, "smallest")))
        matrix = g.reshape(x[2], node.inputs[2].shape, (classes, classes))
        # Rows of the matrix by label: … × 1 × … × classes, turned so that the classes take their axis.
        rows = g.op("Gather", matrix, g.op("Squeeze", labelled.column, g.ints([axis])), axis=0)
        rank = len(node.shape)
        weights = g.op("Transpose", rows, perm=[*range(axis), rank - 1, *range(axis, rank - 1)])
        losses = g.op("Neg", g.reduce("ReduceSum", g.op("Mul", weights, logs), [axis]))
        loss = labels.onnx_normalized(g, node, x[0], losses, labelled, self.normalization)
        return [loss, softmax][: len(node.outputs)]

    def torch(self, t: TorchOps, node: Node, *x: str) -> list[str]:
        axis = self._axis(node)
        classes = int(node.shape[axis])
        column, counted = self._torch_labels(t, node, x[0], x[1])
        softmax = t.let("softmax", f"torch.softmax({x[0]}, dim={axis})")
        weights = f"{x[2]}.reshape({classes}, {classes})[{column}.squeeze({axis})].movedim(-1, {axis})"
        logs = f"{softmax}.clamp_min({LOG_THRESHOLD!r}).log()"
        losses = t.let("losses", f"-({weights} * {logs}).sum({axis}, keepdim=True)")
        return [f"normalized({losses}, {counted}, {axis}, {self.normalization!r})", softmax][: len(node.outputs)]

    def torch_in_training(self, t: TorchOps, node: Node, *x: str) -> list[str]:
        axis, classes = self._axis(node), int(node.shape[self._axis(node)])
        column, counted = self._torch_labels(t, node, x[0], x[1])
        weights = f"{x[2]}.detach().reshape({classes}, {classes})[{column}.squeeze({axis})].movedim(-1, {axis})"
        logs = t.let("logs", f"F.log_softmax({x[0]}, dim={axis})")
        # The logarithm stops at that of 1e-20, its gradient does not.
        logs = f"{logs} + ({math.log(LOG_THRESHOLD)!r} - {logs}).clamp_min(0).detach()"
        losses = t.let("losses", f"-({weights} * ({logs})).sum({axis}, keepdim=True)")
        loss = f"normalized({losses}, {counted}, {axis}, {self.normalization!r})"
        return [loss, f"torch.softmax({x[0]}, dim={axis})"][: len(node.outputs)]


@register
@dataclass(frozen=True)
class MultinomialLogisticLoss(_ItemLoss):
    """-log of the label's entry in a blob of probabilities, over the number of items; at most 46 an item.

    An entry below 1e-20 counts as that (Caffe: multinomial_logistic_loss_layer.cpp).
    """

    types = ("MultinomialLogisticLoss",)

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        rows, _ = labels.items_onnx(g, x[0], node.shape)
        own = g.op("GatherElements", rows, labels.onnx_items_labels(g, x[1], node.inputs[1].shape), axis=1)
        logs = g.op("Log", g.op("Max", own, g.scalar(LOG_THRESHOLD, "smallest")))
        return g.op("Neg", g.reduce("ReduceMean", logs, [0, 1], keepdims=False))

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        own = f"{x[0]}.flatten(1).gather(1, {x[1]}.long().reshape(-1, 1))"
        return f"-{own}.clamp_min({LOG_THRESHOLD!r}).log().mean()"

    def torch_in_training(self, t: TorchOps, node: Node, *x: str) -> str:
        own = t.let("own", f"{x[0]}.flatten(1).gather(1, {x[1]}.long().reshape(-1, 1))")
        # A smaller probability counts as 1e-20, in the gradient too, which is not 0 there.
        return f"-({own} + ({LOG_THRESHOLD!r} - {own}).clamp_min(0).detach()).log().mean()"


@register
@dataclass(frozen=True)
class HingeLoss(_ItemLoss):
    """max(0, 1 - x) at the label and max(0, 1 + x) elsewhere, summed, over the number of items.

    L2 sums the squares (Caffe: hinge_loss_layer.cpp).
    """

    types = ("HingeLoss",)
    norm: Literal["L1", "L2"] = "L1"

    @classmethod
    def read(cls, source: NetLayer) -> HingeLoss:
        return cls("L1" if source.param.hinge_loss_param.norm == HingeLossParameter.L1 else "L2")

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        rows, (_, classes) = labels.items_onnx(g, x[0], node.shape)
        labels.fixed([classes], "the number of classes")
        every = g.constant(np.arange(int(classes), dtype=np.int64)[None], "classes")
        own = g.op("Equal", labels.onnx_items_labels(g, x[1], node.inputs[1].shape), every)
        signed = g.op("Where", own, g.op("Neg", rows), rows)
        margins = g.op("Relu", g.op("Add", signed, g.scalar(1.0, "one")))
        kind = "ReduceSum" if self.norm == "L1" else "ReduceSumSquare"
        return g.op("Div", g.reduce(kind, margins, [0, 1], keepdims=False), float_count(g, x[0], node.shape, [0]))

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        t.helper("hinge_loss", HINGE_LOSS)
        return f"hinge_loss({x[0]}, {x[1]}, power={1 if self.norm == 'L1' else 2})"


@register
@dataclass(frozen=True)
class EuclideanLoss(_Loss):
    """Sum of squared differences over twice the batch size (Caffe: euclidean_loss_layer.cpp)."""

    types = ("EuclideanLoss",)

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        super().infer(inputs)
        sizes = [int(count(s[1:])) for s in inputs]
        require(sizes[0] == sizes[1], f"bottoms hold {sizes[0]} and {sizes[1]} values an item")
        return [()]

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        first, second = (v.shape for v in node.inputs)
        same = list(map(str, first)) == list(map(str, second))
        difference = g.op("Sub", x[0], x[1] if same else g.reshape(x[1], second, first))
        total = g.reduce("ReduceSumSquare", difference, range(len(first)), keepdims=False)
        return g.op("Div", g.op("Mul", total, g.scalar(0.5, "half")), float_count(g, x[0], first, [0]))

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        second = x[1] if node.inputs[1].shape == node.shape else f"{x[1]}.reshape({x[0]}.shape)"
        return f"(({x[0]} - {second}) ** 2).sum() / (2 * {x[0]}.shape[0])"


@register
@dataclass(frozen=True)
class ContrastiveLoss(_Loss):
    """Mean over pairs of d² / 2 where the label is not 0, and max(margin - d, 0)² / 2 where it is.

    The legacy version has max(margin - d², 0) / 2 instead (Caffe: contrastive_loss_layer.cpp).
    """

    types = ("ContrastiveLoss",)
    bottoms = (3, 3)
    margin: float = 1.0
    legacy: bool = False

    @classmethod
    def read(cls, source: NetLayer) -> ContrastiveLoss:
        p = source.param.contrastive_loss_param
        return cls(shortest(p.margin), p.legacy_version)

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        first, second, given = inputs
        if tuple(map(int, first)) != tuple(map(int, second)):
            raise BottomsDifferError("the pair's bottoms differ in shape")
        flat = len(first) >= 2 and count(map(int, first[2:])) == 1
        require(flat, f"a pair's bottom is {format_shape(first)}; expected items × values")
        require(int(count(given)) == int(first[0]), f"{format_shape(given)} labels for {first[0]} pairs")
        return [()]

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        shape, given = node.shape, node.inputs[2].shape
        difference = g.op("Sub", x[0], x[1])
        squares = g.reduce("ReduceSumSquare", difference, range(1, len(shape)), keepdims=False)
        distance = squares if self.legacy else g.op("Sqrt", squares)
        apart = g.op("Relu", g.op("Sub", g.scalar(self.margin, "margin"), distance))
        apart = apart if self.legacy else g.op("Mul", apart, apart)
        similar = x[2] if len(given) == 1 else g.op("Reshape", x[2], g.ints([-1], "shape"))
        losses = g.op("Where", labels.onnx_truth(g, similar), squares, apart)
        return g.op("Mul", g.reduce("ReduceMean", losses, [0], keepdims=False), g.scalar(0.5, "half"))

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        squares = t.let("squares", f"({x[0]} - {x[1]}).flatten(1).square().sum(1)")
        margin = f"({self.margin!r} - {squares if self.legacy else f'{squares}.sqrt()'}).clamp_min(0)"
        apart = margin if self.legacy else f"{margin}.square()"
        return f"torch.where({x[2]}.flatten().long() != 0, {squares}, {apart}).mean() / 2"

    def torch_in_training(self, t: TorchOps, node: Node, *x: str) -> str:
        if self.legacy:
            return self.torch(t, node, *x)
        t.helper("distance", DISTANCE)
        squares = t.let("squares", f"({x[0]} - {x[1]}).flatten(1).square().sum(1)")
        apart = f"({self.margin!r} - distance({x[0]} - {x[1]})).relu().square()"
        return f"torch.where({x[2]}.flatten().long() != 0, {squares}, {apart}).mean() / 2"


@register
@dataclass(frozen=True)
class SigmoidCrossEntropyLoss(_Loss):
    """-(t log s + (1 - t) log(1 - s)) with s = sigmoid(x), summed (Caffe: sigmoid_cross_entropy_loss_layer.cpp).

    Targets may lie between 0 and 1. The divisor is the batch size unless `normalization` says otherwise, where
    SoftmaxWithLoss takes the number of positions; FULL and VALID count values, not items. A target is ignored when it
    is `ignore_label` after truncation, so with ignore_label 0 each target below 1 is.
    """

    types = ("SigmoidCrossEntropyLoss",)
    ignore_label: int | None = None
    normalization: Normalization = "BATCH_SIZE"

    @classmethod
    def read(cls, source: NetLayer) -> SigmoidCrossEntropyLoss:
        return cls(labels.read_ignore_label(source), labels.read_normalization(source, "BATCH_SIZE"))

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        super().infer(inputs)
        if int(count(inputs[0])) != int(count(inputs[1])):
            raise BottomsDifferError("bottoms differ in their number of values")
        return [()]

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        first, second = (v.shape for v in node.inputs)
        same = list(map(str, first)) == list(map(str, second))
        target = x[1] if same else g.reshape(x[1], second, first)
        # Softplus(x) - x * target would take two large numbers from each other where x is large; Caffe doesn't either.
        above = g.op("Cast", g.op("GreaterOrEqual", x[0], g.scalar(0.0, "zero")), to=FLOAT)
        tail = g.op("Softplus", g.op("Neg", g.op("Abs", x[0])))
        losses = g.op("Add", g.op("Mul", x[0], g.op("Sub", above, target)), tail)
        axes = range(len(first))
        counted = None
        if self.ignore_label is not None:
            ignored = g.constant(np.asarray(self.ignore_label, np.int64), "ignored")
            counted = g.op("Cast", g.op("Not", g.op("Equal", g.op("Cast", target, to=INT64), ignored)), to=FLOAT)
            losses = g.op("Mul", losses, counted)
        total = g.reduce("ReduceSum", losses, axes, keepdims=False)
        if self.normalization == "NONE":
            return total
        if self.normalization == "VALID" and counted is not None:
            valid = g.reduce("ReduceSum", counted, axes, keepdims=False)
            return g.op("Div", total, g.op("Max", valid, g.scalar(1.0, "one")))
        over = [0] if self.normalization == "BATCH_SIZE" else list(axes)
        return g.op("Div", total, float_count(g, x[0], first, over))

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        t.helper("normalized", labels.TORCH_NORMALIZED)
        target = x[1] if node.inputs[1].shape == node.shape else f"{x[1]}.reshape({x[0]}.shape)"
        losses = t.let("losses", f"F.binary_cross_entropy_with_logits({x[0]}, {target}, reduction='none')")
        ignored = f"{target}.long() != {self.ignore_label}"
        every = f"torch.ones_like({x[0]}, dtype=torch.bool)"
        return f"normalized({losses}, {every if self.ignore_label is None else ignored}, 1, {self.normalization!r})"


HINGE_LOSS = '''
def hinge_loss(scores, labels, power):
    """The margins by which items miss their label, or any other class comes too close, to a power; over the items."""
    scores = scores.flatten(1)
    own = F.one_hot(labels.flatten().long(), scores.shape[1]).bool()
    return (1 + torch.where(own, -scores, scores)).relu().pow(power).sum() / scores.shape[0]
'''

DISTANCE = '''
class Distance(torch.autograd.Function):
    """The length of each item; its gradient divides by the length and 1e-4 (Caffe's ContrastiveLoss)."""

    @staticmethod
    def forward(ctx, x):
        length = x.flatten(1).square().sum(1).sqrt()
        ctx.save_for_backward(x, length)
        return length

    @staticmethod
    def backward(ctx, gradient):
        x, length = ctx.saved_tensors
        return (gradient / (length + 1e-4)).reshape(-1, *[1] * (x.dim() - 1)) * x


distance = Distance.apply
'''
