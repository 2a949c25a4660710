"""What is read off a net's scores: Accuracy, also of each pixel, and ArgMax (Caffe: *_layer.cpp of each name)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from converter.graph import Shape, count, format_shape
from converter.layers.base import OnnxOps, TorchOps, at_least_one, canonical_axis, register, require, unsupported
from converter.layers.shared import labels
from converter.layers.shared.sizes import FLOAT, INT64, int_size, turned_around
from converter.node import Layer
from prototxt import NetLayer

if TYPE_CHECKING:
    from converter.node import Node


_MEASURES = re.compile(r"(Loss|Accuracy|Evaluate)(?![a-z])|WarpCTC$")


def sounds_like_a_measure(name: str) -> bool:
    """Whether the name of a type that nobody registered is one of a layer that only measures: EuclideanLossHeatmap."""
    return _MEASURES.search(name.rpartition(".")[2]) is not None


@register
class Accuracy(Layer):
    """Share of positions whose label is among the `top_k` best scores; a second top has the share of each class.

    A label ranks behind every other class that scores at least as high, so a tie counts against it. Where no label
    counts, and for a class that no label names, the share is 0 (Caffe: accuracy_layer.cpp).
    """

    types = ("Accuracy",)
    reads_scores = True
    bottoms = (2, 2)
    tops = (0, 2)
    role = "loss"
    top_k: int = 1
    axis: int = 1
    ignore_label: int | None = None

    @classmethod
    def read(cls, source: NetLayer) -> Accuracy:
        p = source.param.accuracy_param
        return cls(p.top_k, p.axis, p.ignore_label if p.HasField("ignore_label") else None)

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        scores = inputs[0]
        labels.check_labels(self.axis, *inputs)
        classes = scores[canonical_axis(self.axis, len(scores))]
        require(self.top_k <= int(classes), f"top_k is {self.top_k}, but there are {classes} classes")
        return [(), (classes,)]

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> list[str]:
        labelled = labels.onnx_labels(g, node, x[1], self.axis, self.ignore_label)
        own = g.op("GatherElements", x[0], labelled.column, axis=labelled.axis)
        better = g.op("Cast", g.op("GreaterOrEqual", x[0], own), to=FLOAT)
        rank = g.reduce("ReduceSum", better, [labelled.axis])
        right = g.op("Cast", g.op("LessOrEqual", rank, g.scalar(float(self.top_k), "top_k")), to=FLOAT)
        axes = range(len(node.shape))
        if labelled.counted is None:
            share = g.reduce("ReduceMean", right, axes, keepdims=False)
        else:
            right = g.op("Mul", right, labelled.counted)
            share = _onnx_share(g, right, labelled.counted, list(axes))
        return [share] if len(node.outputs) < 2 else [share, self._onnx_by_class(g, node, labelled, right)]

    def _onnx_by_class(self, g: OnnxOps, node: Node, labelled: labels.Labelled, right: str) -> str:
        classes = node.shape[labelled.axis]
        labels.fixed([classes], "the number of classes")
        every = g.constant(np.arange(int(classes), dtype=np.int64)[None], "classes")
        column = g.ints([-1, 1], "shape")
        member = g.op("Cast", g.op("Equal", g.op("Reshape", labelled.column, column), every), to=FLOAT)
        hits = g.op("Mul", member, g.op("Reshape", right, column))
        if labelled.counted is not None:
            member = g.op("Mul", member, g.op("Reshape", labelled.counted, column))
        return _onnx_share(g, hits, member, [0])

    def torch(self, t: TorchOps, node: Node, *x: str) -> list[str]:
        axis = canonical_axis(self.axis, len(node.shape))
        t.helper("label_column", labels.TORCH_LABELS)
        t.helper("accuracy", ACCURACY)
        both = t.let("shares", f"accuracy({x[0]}, {x[1]}, {axis}, {self.top_k}, {self.ignore_label})")
        return [f"{both}[0]", f"{both}[1]"][: len(node.outputs)]


def _onnx_share(g: OnnxOps, part: str, whole: str, axes: list[int]) -> str:
    """The sum of a part over that of the whole, 0 where the whole is nothing."""
    total = g.op("Max", g.reduce("ReduceSum", whole, axes, keepdims=False), g.scalar(1.0, "one"))
    return g.op("Div", g.reduce("ReduceSum", part, axes, keepdims=False), total)


@register
class ArgMax(Layer):
    """Positions of the `top_k` largest values, the largest first; among equal ones the last position comes first.

    Along `axis`, where `out_max_val` gives the values instead. Without axis, over everything but the first axis: N×1×k
    positions, or with `out_max_val` N×2×k, positions and values; axes of 1 follow up to the bottom's rank (Caffe:
    argmax_layer.cpp, which sorts pairs of value and position downwards).
    """

    types = ("ArgMax",)
    top_k: int = 1
    axis: int | None = None
    out_max_val: bool = False

    @classmethod
    def read(cls, source: NetLayer) -> ArgMax:
        p = source.param.argmax_param
        if p.min_first:
            raise unsupported(source, "min_first, of a fork; expected false", "argmax_param", "min_first")
        at_least_one(source, "argmax_param", "top_k")
        return cls(p.top_k, p.axis if p.HasField("axis") else None, p.out_max_val)

    def _lanes(self, shape: Shape) -> Shape:
        """The shape in which the values stand along the axis that is searched."""
        return shape if self.axis is not None else (shape[0], count(shape[1:]))

    def _along(self, shape: Shape) -> int:
        return 1 if self.axis is None else canonical_axis(self.axis, len(shape))

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        shape = inputs[0]
        require(len(shape) >= 1, "the bottom is a scalar; expected at least one axis")
        axis = self._along(shape)
        size = self._lanes(shape)[axis]
        require(self.top_k <= int(size), f"top_k is {self.top_k}, but there are {size} values")
        if self.axis is not None:
            return [(*shape[:axis], self.top_k, *shape[axis + 1 :])]
        return [(shape[0], 2 if self.out_max_val else 1, self.top_k, *[1] * (len(shape) - 3))]

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        axis, lanes = self._along(node.shape), self._lanes(node.shape)
        flat = x[0] if len(lanes) == len(node.shape) else g.op("Flatten", x[0], axis=1)
        if self.top_k == 1 and not self.out_max_val:
            places = g.op("Cast", g.op("ArgMax", flat, axis=axis, keepdims=1, select_last_index=1), to=FLOAT)
            return places if self.axis is not None else self._onnx_shaped(g, node, [places])
        # TopK prefers the first of equal values, so it works on the lanes turned around.
        top = g.ints([self.top_k], "top_k")
        values, turned = g.multi("TopK", turned_around(g, flat, axis), top, outputs=2, axis=axis)
        if self.axis is not None and self.out_max_val:
            return values
        last = g.op("Sub", int_size(g, flat, lanes, axis), g.constant(np.asarray(1, np.int64), "one"))
        places = g.op("Cast", g.op("Sub", last, turned), to=FLOAT)
        if self.axis is not None:
            return places
        return self._onnx_shaped(g, node, [places, values] if self.out_max_val else [places])

    def _onnx_shaped(self, g: OnnxOps, node: Node, parts: list[str]) -> str:
        """N×k parts as N×1×k or N×2×k, with axes of 1 up to the bottom's rank."""
        rows = [g.unsqueeze(part, [1]) for part in parts]
        y = rows[0] if len(rows) == 1 else g.op("Concat", *rows, axis=1)
        rank = len(node.shape)
        return g.unsqueeze(y, list(range(3, rank))) if rank > 3 else y

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        t.helper("argmax", ARGMAX)
        axis = self._along(node.shape)
        rows = f"{x[0]}.flatten(1)" if len(node.shape) > 1 else f"{x[0]}.unsqueeze(1)"
        flat = x[0] if self.axis is not None or len(node.shape) == 2 else rows
        top = t.let("top", f"argmax({flat}, {axis}, {self.top_k})")
        if self.axis is not None:
            return f"{top}[{0 if self.out_max_val else 1}]"
        y = f"torch.stack({top}[::-1], dim=1)" if self.out_max_val else f"{top}[1].unsqueeze(1)"
        rank = len(node.shape)
        return f"{y}[{', '.join(['...', *['None'] * (rank - 3)])}]" if rank > 3 else y


@register
class EltwiseAccuracy(Layer):
    """Share of pixels whose label is among the `top_k` best scores (DeconvNet's fork: eltwise_accuracy_layer.cpp).

    Of scores that are equal the last counts as the best; a label that is no class is a wrong one; and where every label
    is `ignore_label` the share is NaN. In all three Accuracy differs.
    """

    types = ("EltwiseAccuracy",)
    reads_scores = True
    bottoms = (2, 2)
    role = "loss"
    top_k: int = 1
    ignore_label: int | None = None

    @classmethod
    def read(cls, source: NetLayer) -> EltwiseAccuracy:
        p = source.param.eltwise_accuracy_param
        at_least_one(source, "eltwise_accuracy_param", "top_k")
        return cls(p.top_k, p.ignore_label if p.HasField("ignore_label") else None)

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        scores, given = inputs
        require(len(scores) == 4, f"the scores are {format_shape(scores)}; expected 4 axes (N×C×H×W)")
        wanted = (scores[0], 1, *scores[2:])
        same = tuple(map(int, given)) == tuple(map(int, wanted))
        require(same, f"the labels are {format_shape(given)}; expected {format_shape(wanted)}")
        require(self.top_k <= int(scores[1]), f"top_k is {self.top_k}, but there are {scores[1]} classes")
        return [(1, 1, 1, 1)]

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        best = g.op("Cast", ArgMax(self.top_k, 1).onnx(g, node, x[0]), to=INT64)
        label = g.op("Cast", x[1], to=INT64)
        right = g.reduce("ReduceMax", g.op("Cast", g.op("Equal", best, label), to=FLOAT), [1])
        if self.ignore_label is None:
            return g.reduce("ReduceMean", right, [0, 1, 2, 3])
        other = g.op("Equal", label, g.constant(np.asarray(self.ignore_label, np.int64), "ignored"))
        counted = g.op("Cast", g.op("Not", other), to=FLOAT)
        sums = [g.reduce("ReduceSum", part, [0, 1, 2, 3]) for part in (g.op("Mul", right, counted), counted)]
        return g.op("Div", *sums)

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        t.helper("argmax", ARGMAX)
        t.helper("pixel_accuracy", PIXEL_ACCURACY)
        return f"pixel_accuracy({x[0]}, {x[1]}, {self.top_k}, {self.ignore_label})"


ACCURACY = '''
def accuracy(scores, labels, axis, top_k, ignore_label):
    """Share of labels among the `top_k` best scores, of all and of each class; a tie counts against the label."""
    labels, counted = label_column(scores, labels, axis, ignore_label)
    rank = (scores >= scores.gather(axis, labels)).sum(axis, keepdim=True)
    right = (rank <= top_k) & counted
    member = F.one_hot(labels.flatten(), scores.shape[axis])
    seen, hits = ((member * mask.flatten()[:, None]).sum(0) for mask in (counted, right))
    return right.sum() / counted.sum().clamp_min(1), hits / seen.clamp_min(1)
'''

PIXEL_ACCURACY = '''
def pixel_accuracy(scores, labels, top_k, ignore_label):
    """Share of pixels whose label is among the `top_k` best scores; of equal scores the last is the best."""
    labels = labels.long()
    right = (argmax(scores, 1, top_k)[1].long() == labels).any(1, keepdim=True)
    if ignore_label is not None:
        right = right[labels != ignore_label]
    return right.to(scores.dtype).mean().reshape(1, 1, 1, 1)
'''

ARGMAX = '''
def argmax(x, axis, top_k):
    """The `top_k` largest values along an axis and their positions; of equal values the last comes first."""
    values, places = torch.sort(x.flip(axis), dim=axis, descending=True, stable=True)
    places = x.shape[axis] - 1 - places
    return values.narrow(axis, 0, top_k), places.narrow(axis, 0, top_k).to(x.dtype)
'''
