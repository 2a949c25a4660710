"""What losses and measures over class labels share: one label a position, labels to ignore, the divisor.

    scores  … × classes × …      labels  one for each position, in any shape of as many values

Labels are floats in Caffe, truncated to whole numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from converter.graph import Shape, count, format_shape, is_free
from converter.layers.base import OnnxOps, canonical_axis, require, unsupported
from converter.layers.shared.sizes import BOOL, FLOAT, INT64, float_count
from prototxt import NetLayer
from prototxt.caffe_pb2 import LossParameter

if TYPE_CHECKING:
    from converter.node import Node

Normalization = Literal["FULL", "VALID", "BATCH_SIZE", "NONE"]
_MODES: dict[int, Normalization] = {
    LossParameter.FULL: "FULL",
    LossParameter.VALID: "VALID",
    LossParameter.BATCH_SIZE: "BATCH_SIZE",
    LossParameter.NONE: "NONE",
}


def read_normalization(source: NetLayer, default: Normalization = "VALID") -> Normalization:
    """`normalization`, or what the old `normalize` flag says where only that is given."""
    p = source.param.loss_param
    if not p.HasField("normalization"):
        return ("VALID" if p.normalize else "BATCH_SIZE") if p.HasField("normalize") else default
    source.without_effect("normalization outweighs it", "loss_param.normalize")
    if p.normalization not in _MODES:
        name = LossParameter.NormalizationMode.Name(p.normalization)
        message = f"normalization {name}; expected {', '.join(_MODES.values())}"
        raise unsupported(source, message, "loss_param", "normalization")
    return _MODES[p.normalization]


def read_ignore_label(source: NetLayer) -> int | None:
    """`ignore_label` of the loss_param, None where it is absent."""
    p = source.param.loss_param
    return p.ignore_label if p.HasField("ignore_label") else None


@dataclass(frozen=True)
class Labelled:
    """Values of the ONNX graph about the labels of a node whose first two bottoms are scores and labels.

    Attributes:
        axis: that of the classes.
        column: the labels as int64, in the shape of the scores with one class; 0 where ignored.
        counted: 1.0 where a label counts and 0.0 where it is ignored, in the same shape; None if all count.
    """

    axis: int
    column: str
    counted: str | None


def check_labels(axis: int, scores: Shape, labels: Shape) -> None:
    """NetError unless there is one label for each position of the scores."""
    place = canonical_axis(axis, len(scores))
    positions = int(count(scores)) // int(scores[place])
    require(
        int(count(labels)) == positions,
        f"{format_shape(labels)} labels for scores of {format_shape(scores)}; expected {positions}",
    )


def onnx_labels(g: OnnxOps, node: Node, labels: str, axis: int, ignored: int | None) -> Labelled:
    """Record how labels become indices along `axis` of the scores."""
    scores, given = (v.shape for v in node.inputs[:2])
    axis = canonical_axis(axis, len(scores))
    if [str(d) for d in given] == [str(d) for d in (*scores[:axis], *scores[axis + 1 :])]:
        shaped = g.unsqueeze(labels, [axis])
    else:
        shaped = g.reshape(labels, given, (*scores[:axis], 1, *scores[axis + 1 :]))
    column = g.op("Cast", shaped, to=INT64)
    if ignored is None:
        return Labelled(axis, column, None)
    counts = g.op("Not", g.op("Equal", column, g.constant(np.asarray(ignored, np.int64), "ignored")))
    column = g.op("Where", counts, column, g.constant(np.asarray(0, np.int64), "zero"))
    return Labelled(axis, column, g.op("Cast", counts, to=FLOAT))


def onnx_normalized(
    g: OnnxOps, node: Node, scores: str, losses: str, labelled: Labelled, normalization: Normalization
) -> str:
    """The sum of the losses that count over Caffe's divisor, which is never below 1."""
    shape, axis = node.shape, labelled.axis
    axes = range(len(shape))
    if labelled.counted is not None:
        losses = g.op("Mul", losses, labelled.counted)
    total = g.reduce("ReduceSum", losses, axes, keepdims=False)
    if normalization == "NONE":
        return total
    if normalization == "VALID" and labelled.counted is not None:
        valid = g.reduce("ReduceSum", labelled.counted, axes, keepdims=False)
        return g.op("Div", total, g.op("Max", valid, g.scalar(1.0, "one")))
    before = range(axis)
    over = before if normalization == "BATCH_SIZE" else [a for a in axes if a != axis]
    return g.op("Div", total, float_count(g, scores, shape, list(over)))


def items_onnx(g: OnnxOps, x: str, shape: Shape) -> tuple[str, Shape]:
    """Rows of items × values, as Caffe's losses on flat vectors see a blob."""
    rows = (shape[0], count(shape[1:]))
    return (x, rows) if len(shape) == 2 else (g.op("Flatten", x, axis=1), rows)


def torch_rows(x: str, shape: Shape) -> str:
    """The same rows as an expression."""
    return f"{x}.flatten(1)" if len(shape) > 1 else f"{x}.unsqueeze(1)"


def onnx_items_labels(g: OnnxOps, x: str, shape: Shape, items: int) -> str:
    """One label an item, an int64 column; of more labels than items the first ones."""
    if int(count(shape)) != int(items):
        column = g.unsqueeze(onnx_first(g, x, shape, items), [1])
    else:
        column = x if tuple(shape[1:]) == (1,) else g.op("Reshape", x, g.ints([-1, 1], "shape"))
    return g.op("Cast", column, to=INT64)


def onnx_first(g: OnnxOps, x: str, shape: Shape, items: int) -> str:
    """As a vector the values of a blob, those for the items where it has more."""
    flat = x if len(shape) == 1 else g.op("Reshape", x, g.ints([-1], "shape"))
    if int(count(shape)) == int(items):
        return flat
    fixed([items], "with more labels than items, the number of items")
    return g.slice(flat, 0, 0, int(items))


def onnx_truth(g: OnnxOps, x: str) -> str:
    """Whether a float label, truncated, is not 0."""
    return g.op("Cast", g.op("Cast", x, to=INT64), to=BOOL)


def fixed(sizes: Sequence[int], what: str) -> None:
    """NetError if one of these sizes is left free."""
    require(not any(map(is_free, sizes)), f"{what} can't be left free")


TORCH_LABELS = '''
def label_column(scores, labels, axis, ignore_label):
    """Labels as indices along `axis` of the scores, 0 where ignored, and which of them count."""
    column = list(scores.shape)
    column[axis] = 1
    labels = labels.reshape(column).long()
    counted = torch.ones_like(labels, dtype=torch.bool) if ignore_label is None else labels != ignore_label
    return labels.where(counted, 0), counted
'''

TORCH_NORMALIZED = '''
def normalized(losses, counted, axis, normalization):
    """The sum of the losses that count, over the divisor of Caffe's `normalization`."""
    total = (losses * counted).sum()
    if normalization == "VALID":
        return total / counted.sum().clamp_min(1)
    return total / {"FULL": counted.numel(), "BATCH_SIZE": counted.shape[:axis].numel(), "NONE": 1}[normalization]
'''
