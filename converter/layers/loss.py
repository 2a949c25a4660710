"""The losses that a net is trained to lower, left out of a converted net unless `--outputs` asks for them.

A loss weight scales the training objective, never the top (Caffe: the layer of each name).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from converter.graph import Shape, count, format_shape
from converter.layers.base import (
    BottomsDifferError,
    OnnxOps,
    TorchOps,
    canonical_axis,
    register,
    require,
    shortest,
    unsupported,
)
from converter.layers.shared import labels
from converter.layers.shared.labels import Normalization
from converter.layers.shared.sizes import FLOAT, INT64, float_count
from converter.node import Layer
from prototxt import NetLayer
from prototxt.caffe_pb2 import HingeLossParameter

if TYPE_CHECKING:
    from converter.node import Node

SMALLEST = float(np.finfo(np.float32).tiny)
LOG_THRESHOLD = 1e-20
LARGEST_LOSS = -math.log(SMALLEST)


class _Loss(Layer):
    """A scalar. Its first two bottoms hold as many items; Caffe checks no more than that for all losses alike."""

    role: ClassVar[str] = "loss"
    bottoms: ClassVar[tuple[int, int]] = (2, 2)
    tops: ClassVar[tuple[int, int]] = (0, 1)

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        if not inputs[0] or not inputs[1] or int(inputs[0][0]) != int(inputs[1][0]):
            raise BottomsDifferError("bottoms differ in their number of items")
        return [()]


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
class SoftmaxWithLoss(_SoftmaxLoss):
    """-log of the probability that softmax gives the label, averaged (Caffe: softmax_loss_layer.cpp).

    A probability below the smallest float32 counts as that, so an item loses at most 87.3. With `ignore_label`,
    positions of that label add nothing, and are not counted where the divisor is that of VALID positions.
    """

    types = ("SoftmaxWithLoss",)
    reads_scores = True

    @classmethod
    def read(cls, source: NetLayer) -> SoftmaxWithLoss:
        p = source.param.loss_param
        for name in ("weight_by_label_freqs", "class_weighting"):
            if getattr(p, name):
                raise unsupported(source, f"{name}, SegNet's weights of the classes", "loss_param", name)
        if p.label_smoothing:
            raise unsupported(source, "label_smoothing; expected 0", "loss_param", "label_smoothing")
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
class InfogainLoss(_SoftmaxLoss):
    """-sum over classes of H[label, class] log p(class), p being the bottom's softmax (Caffe: infogain_loss_layer.cpp).

    H is the third bottom, of classes × classes values in any shape. Probabilities below 1e-20 count as that.
    """

    types = ("InfogainLoss",)
    reads_scores = True
    bottoms = (2, 3)

    @classmethod
    def read(cls, source: NetLayer) -> InfogainLoss:
        if len(source.bottoms) < 3:
            message = "a matrix that lies in a file of its own; expected it as the third bottom"
            raise unsupported(source, message, "infogain_loss_param", "source")
        source.without_effect("the third bottom is the matrix", "infogain_loss_param.source")
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
class MultinomialLogisticLoss(_Loss):
    """-log of the label's entry in a blob of probabilities, over the number of items; at most 46 an item.

    An entry below 1e-20 counts as that. A blob of one axis has one entry an item (Caffe:
    multinomial_logistic_loss_layer.cpp).
    """

    types = ("MultinomialLogisticLoss",)
    reads_scores = True

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        super().infer(inputs)
        scores, given = inputs
        require(int(count(given)) == int(scores[0]), f"{format_shape(given)} labels for {scores[0]} items")
        return [()]

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        rows, _ = labels.items_onnx(g, x[0], node.shape)
        column = labels.onnx_items_labels(g, x[1], node.inputs[1].shape, node.shape[0])
        own = g.op("GatherElements", rows, column, axis=1)
        logs = g.op("Log", g.op("Max", own, g.scalar(LOG_THRESHOLD, "smallest")))
        return g.op("Neg", g.reduce("ReduceMean", logs, [0, 1], keepdims=False))

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        own = f"{labels.torch_rows(x[0], node.shape)}.gather(1, {x[1]}.long().reshape(-1, 1))"
        return f"-{own}.clamp_min({LOG_THRESHOLD!r}).log().mean()"

    def torch_in_training(self, t: TorchOps, node: Node, *x: str) -> str:
        rows = labels.torch_rows(x[0], node.shape)
        own = t.let("own", f"{rows}.gather(1, {x[1]}.long().reshape(-1, 1))")
        # A smaller probability counts as 1e-20, in the gradient too, which is not 0 there.
        return f"-({own} + ({LOG_THRESHOLD!r} - {own}).clamp_min(0).detach()).log().mean()"


@register
class HingeLoss(_Loss):
    """max(0, 1 - x) at the label and max(0, 1 + x) elsewhere, summed, over the number of items.

    L2 sums the squares. Scores of one axis are of one class. Of more labels than items the first ones count (Caffe:
    hinge_loss_layer.cpp).
    """

    types = ("HingeLoss",)
    reads_scores = True
    norm: Literal["L1", "L2"] = "L1"

    @classmethod
    def read(cls, source: NetLayer) -> HingeLoss:
        return cls("L1" if source.param.hinge_loss_param.norm == HingeLossParameter.L1 else "L2")

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        rows, (_, classes) = labels.items_onnx(g, x[0], node.shape)
        labels.fixed([classes], "the number of classes")
        every = g.constant(np.arange(int(classes), dtype=np.int64)[None], "classes")
        own = g.op("Equal", labels.onnx_items_labels(g, x[1], node.inputs[1].shape, node.shape[0]), every)
        signed = g.op("Where", own, g.op("Neg", rows), rows)
        margins = g.op("Relu", g.op("Add", signed, g.scalar(1.0, "one")))
        kind = "ReduceSum" if self.norm == "L1" else "ReduceSumSquare"
        return g.op("Div", g.reduce(kind, margins, [0, 1], keepdims=False), float_count(g, x[0], node.shape, [0]))

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        t.helper("hinge_loss", HINGE_LOSS)
        rows = labels.torch_rows(x[0], node.shape)
        return f"hinge_loss({rows}, {x[1]}, power={1 if self.norm == 'L1' else 2})"


@register
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
class ContrastiveLoss(_Loss):
    """Mean over pairs of d² / 2 where the label is not 0, and max(margin - d, 0)² / 2 where it is.

    The legacy version has max(margin - d², 0) / 2 instead (Caffe: contrastive_loss_layer.cpp).
    """

    types = ("ContrastiveLoss",)
    bottoms = (3, 3)
    margin: float = 1.0
    legacy_version: bool = False

    @classmethod
    def read(cls, source: NetLayer) -> ContrastiveLoss:
        p = source.param.contrastive_loss_param
        return cls(shortest(p.margin), p.legacy_version)

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        first, second, given = inputs
        if int(count(first)) != int(count(second)):
            raise BottomsDifferError("the pair's bottoms differ in shape")
        for shape in (first, second):
            flat = int(count(shape[2:])) == 1
            require(flat, f"a pair's bottom is {format_shape(shape)}; expected items × values")
        enough = int(count(given)) >= int(first[0]) and int(count(given[1:])) == 1
        require(enough, f"{format_shape(given)} labels for {first[0]} pairs")
        return [()]

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        first, second, given = (v.shape for v in node.inputs)
        difference = g.op("Sub", labels.items_onnx(g, x[0], first)[0], labels.items_onnx(g, x[1], second)[0])
        squares = g.reduce("ReduceSumSquare", difference, [1], keepdims=False)
        distance = squares if self.legacy_version else g.op("Sqrt", squares)
        apart = g.op("Relu", g.op("Sub", g.scalar(self.margin, "margin"), distance))
        apart = apart if self.legacy_version else g.op("Mul", apart, apart)
        similar = labels.onnx_first(g, x[2], given, first[0])
        losses = g.op("Where", labels.onnx_truth(g, similar), squares, apart)
        return g.op("Mul", g.reduce("ReduceMean", losses, [0], keepdims=False), g.scalar(0.5, "half"))

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        squares = t.let("squares", f"({self._torch_difference(node, *x)}).square().sum(1)")
        margin = f"({self.margin!r} - {squares if self.legacy_version else f'{squares}.sqrt()'}).clamp_min(0)"
        apart = margin if self.legacy_version else f"{margin}.square()"
        return f"torch.where({self._torch_similar(node, x[2])}, {squares}, {apart}).mean() / 2"

    def _torch_difference(self, node: Node, *x: str) -> str:
        first, second = (labels.torch_rows(name, v.shape) for name, v in zip(x[:2], node.inputs[:2], strict=True))
        return f"{first} - {second}"

    def _torch_similar(self, node: Node, given: str) -> str:
        items, labelled = int(node.shape[0]), int(count(node.inputs[2].shape))
        return f"{given}.flatten(){f'[:{items}]' if labelled > items else ''}.long() != 0"

    def torch_in_training(self, t: TorchOps, node: Node, *x: str) -> str:
        if self.legacy_version:
            return self.torch(t, node, *x)
        t.helper("distance", DISTANCE)
        difference = self._torch_difference(node, *x)
        squares = t.let("squares", f"({difference}).square().sum(1)")
        apart = f"({self.margin!r} - distance({difference})).relu().square()"
        return f"torch.where({self._torch_similar(node, x[2])}, {squares}, {apart}).mean() / 2"


@register
class SigmoidCrossEntropyLoss(_Loss):
    """-(t log s + (1 - t) log(1 - s)) with s = sigmoid(x), summed (Caffe: sigmoid_cross_entropy_loss_layer.cpp).

    Targets may lie between 0 and 1. The divisor is the batch size unless `normalization` says otherwise, where
    SoftmaxWithLoss takes the number of positions; FULL and VALID count values, not items. A target is ignored when it
    is `ignore_label` after truncation, so with ignore_label 0 each target below 1 is.
    """

    types = ("SigmoidCrossEntropyLoss",)
    reads_scores = True
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
    own = F.one_hot(labels.flatten()[: len(scores)].long(), scores.shape[1]).bool()
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
