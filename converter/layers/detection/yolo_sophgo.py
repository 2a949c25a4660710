"""What YOLOv3 and v4 nets of Sophgo's fork find: rows of centre, size, class and score, as many as the net states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from converter.graph import Shape, format_shape, is_free
from converter.layers.base import UNLIMITED, OnnxOps, TorchOps, at_least_one, fault, register, require, shortest
from converter.layers.shared.sizes import FLOAT
from converter.node import Layer
from prototxt import NetLayer

if TYPE_CHECKING:
    from converter.node import Node

Anchors = tuple[tuple[float, float], ...]
SECTION = "yolo_detection_param"
EACH = 3
"""Anchors of a bottom."""
DOUBLE = 11
"""TensorProto's number of the type."""
TINY = "10,14,23,27,37,58,81,82,135,169,344,319"
YOLOV4 = "142,110,192,243,459,401,36,75,76,55,72,146,12,16,19,36,40,28"
YOLOV3 = "10,13,16,30,33,23,30,61,62,45,59,119,116,90,156,198,373,326"


@register
class YoloDetection(Layer):
    """N×1×keep_topk×6: centre and size as shares of the image, class from 0, score (Sophgo: yolo_detection_layer.cpp).

    Bottoms are N×(3 · (5 + classes))×H×W, each with three of the `anchors`, in pixels of net_input_w × net_input_h. A
    box counts if its objectness' sigmoid, and that times the largest softmax of its classes, are `obj_threshold` or
    more. Scores below -100 are squeezed first, so that the least of a box's classes is -100 below nothing.

    The suppression is the fork's own: boxes are not sorted but met in the order of bottoms, rows, columns and anchors.
    A box strikes out every later one of its class that it overlaps by more than `nms_threshold` and that scores no
    higher, until one that scores higher strikes it out; what it struck before that stays out. Rows keep that order;
    those behind the last are 0.

    The fork counts the rows it gives down, so that no image of a batch has more than one before it, nor a second run
    more than the first; here each image is by itself. It keeps 500 boxes at most before the suppression and 200 after
    it, without a check in a release build; here there is no limit.
    """

    types = ("YoloDetection",)
    tabulates = True
    bottoms = (1, UNLIMITED)
    class_num: int = 80
    anchors: tuple[Anchors, ...] = ()
    net_input: tuple[int, int] = (1, 1)
    obj_threshold: float = 0.0
    nms_threshold: float = 0.0
    keep_topk: int = 1

    @classmethod
    def read(cls, source: NetLayer) -> YoloDetection:
        p = source.param.yolo_detection_param
        at_least_one(source, SECTION, "net_input_w", "net_input_h", "keep_topk", "class_num")
        tiny, v4 = p.tiny, p.yolo_v4
        known = TINY if tiny else YOLOV4 if v4 else YOLOV3
        numbers = _numbers(source, p.anchors or known)
        wanted = 2 * EACH * len(source.bottoms)
        if len(numbers) < wanted:
            pairs = f"a width and a height for {EACH} boxes of each of {len(source.bottoms)} bottoms"
            raise fault(source, f"{len(numbers)} anchors; expected {wanted}: {pairs}", SECTION, "anchors")
        pairs_of = tuple(zip(numbers[:wanted:2], numbers[1:wanted:2], strict=True))
        anchors = tuple(pairs_of[i : i + EACH] for i in range(0, len(pairs_of), EACH))
        size = (p.net_input_w, p.net_input_h)
        return cls(p.class_num, anchors, size, shortest(p.obj_threshold), shortest(p.nms_threshold), p.keep_topk)

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        for place, shape in enumerate(inputs, 1):
            require(len(shape) == 4, f"bottom {place} is {format_shape(shape)}; expected 4 axes (N×C×H×W)")
            require(not any(map(is_free, shape[1:])), f"only the batch can be left free; bottom {place} has other axes")
            wanted = EACH * (5 + self.class_num)
            wants = f"{wanted} for {EACH} boxes of {self.class_num} classes"
            require(shape[1] == wanted, f"bottom {place} has {shape[1]} channels; expected {wants}")
            images = f"bottom {place} is of {shape[0]} images, the first of {inputs[0][0]}"
            require(int(shape[0]) == int(inputs[0][0]), images)
        return [(inputs[0][0], 1, self.keep_topk, 6)]

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        shapes = [value.shape for value in node.inputs]
        parts = [self._table(g, *part) for part in zip(x, shapes, self.anchors, strict=True)]
        table, counted = (
            some[0] if len(x) == 1 else g.op("Concat", *some, axis=1) for some in zip(*parts, strict=True)
        )
        found = g.op("Transpose", g.op("NonZero", counted), perm=[1, 0])
        left = self._struck(g, g.op("GatherND", table, found), g.op("Cast", g.slice(found, 1, 0, 1), to=FLOAT))
        boxes = sum(EACH * int(shape[2]) * int(shape[3]) for shape in shapes)
        falling = g.constant(np.arange(boxes, 0, -1, dtype=np.float32), "falling")
        stays = g.op("Greater", left, g.scalar(0.0, "zero"))
        nowhere = g.op("Expand", g.scalar(0.0, "zero"), g.op("Shape", counted))
        marks = g.op("ScatterND", nowhere, found, g.op("Cast", stays, to=FLOAT))
        most = min(self.keep_topk, boxes)
        best, places = g.multi("TopK", g.op("Mul", marks, falling), g.ints([most], "rows"), outputs=2, axis=1)
        rows = g.op("GatherND", table, g.unsqueeze(places, [2]), batch_dims=1)
        rows = g.op("Where", g.op("Greater", g.unsqueeze(best, [2]), g.scalar(0.0)), rows, g.scalar(0.0))
        if most < self.keep_topk:
            rows = g.op("Pad", rows, g.ints([0, 0, 0, 0, self.keep_topk - most, 0], "pads"), g.scalar(0.0))
        return g.unsqueeze(rows, [1])

    def _table(self, g: OnnxOps, x: str, shape: Shape, anchors: Anchors) -> tuple[str, str]:
        """Rows of all boxes of a bottom, N × boxes × 6, and which of them count, N × boxes."""
        h, w, width = int(shape[2]), int(shape[3]), 5 + self.class_num
        batch = -1 if is_free(shape[0]) else int(shape[0])
        cells = g.op("Reshape", x, g.ints([batch, EACH, width, h * w], "shape"))
        cells = g.op("Transpose", cells, perm=[0, 3, 1, 2])
        row, column = np.divmod(np.arange(h * w, dtype=np.float32), np.float32(w))
        corner = g.constant(np.stack([column, row], axis=1)[:, None], "cells")
        centre = g.op("Add", _sigmoid(g, g.slice(cells, 3, 0, 2)), corner)
        centre = g.op("Div", centre, g.constant(np.asarray([w, h], np.float32), "plane"))
        growth = g.op("Cast", g.op("Exp", g.op("Cast", g.slice(cells, 3, 2, 4), to=DOUBLE)), to=FLOAT)
        size = g.op("Mul", growth, g.constant(np.asarray(anchors, np.float32), "anchors"))
        size = g.op("Div", size, g.constant(np.asarray(self.net_input, np.float32), "image"))
        objectness, shares = _sigmoid(g, g.slice(cells, 3, 4, 5)), _shares(g, g.slice(cells, 3, 5, width))
        score = g.op("Mul", objectness, g.reduce("ReduceMax", shares, [3]))
        label = g.op("Cast", g.op("ArgMax", shares, axis=3, keepdims=1), to=FLOAT)
        floor = g.scalar(self.obj_threshold, "floor")
        counts = g.op("And", *(g.op("GreaterOrEqual", value, floor) for value in (objectness, score)))
        rows = g.op("Concat", centre, size, label, score, axis=3)
        target = [batch, h * w * EACH]
        return g.op("Reshape", rows, g.ints([*target, 6], "shape")), g.op("Reshape", counts, g.ints(target, "shape"))

    def _struck(self, g: OnnxOps, table: str, image: str) -> str:
        """Scores of rows, 0 of those that were struck out. A round is a box's, with all that come behind it."""
        scores = g.op("Squeeze", g.slice(table, 1, 5, 6), g.ints([1]))
        count = g.op("Squeeze", g.op("Shape", scores), g.ints([0]))
        first, step = (g.constant(np.asarray(v, np.int64)) for v in (0, 1))
        rank = g.op("Range", first, count, step)
        same = g.op("Concat", image, g.slice(table, 1, 4, 5), axis=1)
        half = g.op("Div", g.slice(table, 1, 2, 4), g.scalar(2.0, "two"))
        low, high = (g.op(way, g.slice(table, 1, 0, 2), half) for way in ("Sub", "Add"))
        area = g.reduce("ReduceProd", g.slice(table, 1, 2, 4), [1], keepdims=False)

        def strike(inner: OnnxOps, number: str, left: str) -> str:
            mine, group = inner.op("Gather", left, number, axis=0), inner.op("Gather", same, number, axis=0)
            kin = inner.op("Cast", inner.op("Equal", same, group), to=FLOAT)
            kin = inner.op("Greater", inner.reduce("ReduceMin", kin, [1], keepdims=False), inner.scalar(0.0))
            ends = inner.op("Min", high, inner.op("Gather", high, number, axis=0))
            size = inner.op("Sub", ends, inner.op("Max", low, inner.op("Gather", low, number, axis=0)))
            apart = inner.op("Less", inner.reduce("ReduceMin", size, [1], keepdims=False), inner.scalar(0.0))
            common = inner.reduce("ReduceProd", size, [1], keepdims=False)
            common = inner.op("Where", apart, inner.scalar(0.0), common)
            union = inner.op("Sub", inner.op("Add", area, inner.op("Gather", area, number, axis=0)), common)
            near = inner.op("Greater", inner.op("Div", common, union), inner.scalar(self.nms_threshold, "limit"))
            there = inner.op("And", *(inner.op("Greater", s, inner.scalar(0.0)) for s in (left, mine)))
            near = inner.op(
                "And", inner.op("And", near, kin), inner.op("And", there, inner.op("Greater", rank, number))
            )
            beaten = inner.op("And", near, inner.op("Greater", left, mine))
            until = inner.reduce("ReduceMin", inner.op("Where", beaten, rank, count), [0], keepdims=False)
            struck = inner.op("And", near, inner.op("Less", rank, until))
            itself = inner.op("And", inner.op("Equal", rank, number), inner.op("Less", until, count))
            return inner.op("Where", inner.op("Or", struck, itself), inner.scalar(0.0), left)

        return g.carry(count, scores, strike)

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        t.helper("YoloRows", YOLO_ROWS)
        anchors = [list(map(list, some)) for some in self.anchors]
        words: dict[str, Any] = {
            "size": list(self.net_input),
            "floor": self.obj_threshold,
            "limit": self.nms_threshold,
            "rows": self.keep_topk,
        }
        return f"{t.module('YoloRows', anchors, **words)}({', '.join(x)})"


def _numbers(source: NetLayer, text: str) -> list[float]:
    """C's atof of each part between commas: what cannot be read is 0, as there."""
    try:
        return [float(np.float32(float(part))) for part in text.split(",")]
    except ValueError:
        message = f"anchors is {text!r}; expected numbers separated by commas"
        raise fault(source, message, SECTION, "anchors") from None


def _sigmoid(g: OnnxOps, x: str) -> str:
    """Computed in doubles and rounded once, as the fork has it."""
    one, x = g.op("Cast", g.scalar(1.0, "one"), to=DOUBLE), g.op("Cast", x, to=DOUBLE)
    return g.op("Cast", g.op("Div", one, g.op("Add", one, g.op("Exp", g.op("Neg", x)))), to=FLOAT)


def _shares(g: OnnxOps, classes: str) -> str:
    """The fork's softmax: where the least score is below -100, distances from the largest shrink to 100 of it."""
    least, largest = (g.reduce(kind, classes, [3]) for kind in ("ReduceMin", "ReduceMax"))
    low = g.scalar(-100.0, "low")
    below = g.op("Sub", classes, largest)
    squeezed = g.op("Mul", g.op("Div", below, g.op("Min", least, low)), low)
    below = g.op("Where", g.op("Less", least, low), squeezed, below)
    return g.op("Cast", g.op("Softmax", g.op("Cast", below, to=DOUBLE), axis=3), to=FLOAT)


YOLO_ROWS = '''
class YoloRows(nn.Module):
    """Rows of centre, size, class and score, in the order of bottoms, places and anchors; then rows of 0 (Sophgo)."""

    def __init__(self, anchors, size, floor, limit, rows):
        super().__init__()
        self.anchors, self.size, self.floor, self.limit, self.rows = anchors, size, floor, limit, rows

    def forward(self, *features):
        tables = torch.cat([self.table(*each) for each in zip(features, self.anchors)], dim=1)
        return torch.stack([self.found(table) for table in tables])[:, None]

    def table(self, x, anchors):
        """All boxes of a bottom, images × boxes × 7: a row, and its objectness."""
        h, w = x.shape[2:]
        x = x.reshape(len(x), len(anchors), -1, h * w).permute(0, 3, 1, 2)
        move, stretch, objectness, classes = x.split([2, 2, 1, x.shape[3] - 5], dim=3)
        place = torch.arange(h * w, device=x.device)
        cells = torch.stack([place % w, place // w], dim=1)[:, None]
        centre = (move.double().sigmoid().float() + cells) / torch.tensor([w, h]).to(x)
        size = stretch.double().exp().float() * torch.tensor(anchors).to(x) / torch.tensor(self.size).to(x)
        objectness = objectness.double().sigmoid().float()
        least, below = classes.amin(dim=3, keepdim=True), classes - classes.amax(dim=3, keepdim=True)
        below = torch.where(least < -100, below / least.clamp(max=-100) * -100, below)
        share, label = below.double().softmax(dim=3).float().max(dim=3, keepdim=True)
        return torch.cat([centre, size, label.to(x), objectness * share, objectness], dim=3).flatten(1, 2)

    def found(self, table):
        table = table[(table[:, 5:] >= self.floor).all(dim=1)][:, :6]
        rows = table[self.unstruck(table)][: self.rows]
        return F.pad(rows, (0, 0, 0, self.rows - len(rows)))

    def unstruck(self, table):
        """Whether a box is left when each has struck out what it meets, until a higher score struck it out."""
        left = table[:, 5].clone()
        low, high = table[:, :2] - table[:, 2:4] / 2, table[:, :2] + table[:, 2:4] / 2
        area = table[:, 2] * table[:, 3]
        for i in range(len(table)):
            size = torch.minimum(high[i], high[i + 1 :]) - torch.maximum(low[i], low[i + 1 :])
            common = torch.where((size < 0).any(dim=1), 0, size[:, 0] * size[:, 1])
            near = common / (area[i] + area[i + 1 :] - common) > self.limit
            near &= (table[i + 1 :, 4] == table[i, 4]) & (left[i + 1 :] > 0) & (left[i] > 0)
            beaten = (near & (left[i + 1 :] > left[i])).nonzero()[:, 0]
            end = int(beaten[0]) if len(beaten) else len(near)
            left[i + 1 : i + 1 + end][near[:end]] = 0
            left[i] = torch.where(near[end : end + 1].any(), 0, left[i])
        return left > 0
'''
