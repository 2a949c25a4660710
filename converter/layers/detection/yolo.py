"""What YOLOv2 and YOLOv3 nets of eric612's forks find: MobileNet-YOLO and Caffe-YOLOv3-Windows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from converter.emission import Verbatim
from converter.graph import FreeDim, Shape, format_shape, is_free
from converter.layers.base import UNLIMITED, OnnxOps, TorchOps, fault, register, require, shortest, unsupported
from converter.layers.detection.boxes import above, blank_rows, kept_rows
from converter.layers.detection.suppression import LOWEST, OVERLAPS
from converter.layers.shared.sizes import FLOAT, int_size
from converter.node import Layer
from prototxt import NetLayer

if TYPE_CHECKING:
    from converter.node import Node

Anchors = tuple[tuple[float, float], ...]
DOUBLE = 11
"""TensorProto's number of the type."""


class YoloHead(Layer):
    """1×1×found×7: image, class from 1, score and corners as shares of the image (MobileNet-YOLO's fork).

    Bottoms are N×(boxes · (5 + classes))×S×S: for each box at a place the offset of its centre, the logarithm of its
    size as a share of an anchor's, objectness, and the classes. All boxes of all bottoms, and of all images, go into
    one list by falling score; one stays that overlaps none before it by `nms_threshold` or more, *whatever class or
    image*. So rows are of image 0 in every batch. If nothing is found, each image gives a row of its number and six -1.

    How many are found is known only when the net runs, so that axis is free. Equal scores, which the fork leaves in any
    order, keep that of bottoms, images, rows and columns.
    """

    bottoms = (1, UNLIMITED)
    section: ClassVar[str] = ""
    num_classes: int = 20
    anchors: tuple[Anchors, ...] = ()
    anchors_scale: tuple[int, ...] = ()
    confidence_threshold: float = 0.0
    nms_threshold: float = 0.45
    found: str = "found"

    @property
    def box_classes(self) -> Sequence[int]:
        return range(1, self.num_classes + 1)

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        boxes: int = 0
        for place, (shape, anchors) in enumerate(zip(inputs, self.anchors, strict=True), 1):
            require(len(shape) == 4, f"bottom {place} is {format_shape(shape)}; expected 4 axes (N×C×S×S)")
            require(not any(map(is_free, shape[1:])), f"only the batch can be left free; bottom {place} has other axes")
            n, c, h, w = shape
            require(h == w, f"bottom {place} is {format_shape(shape)}; the fork reads squares only")
            wanted = len(anchors) * (5 + self.num_classes)
            wants = f"{wanted} for {len(anchors)} boxes of {self.num_classes} classes"
            require(c == wanted, f"bottom {place} has {c} channels; expected {wants}")
            require(int(n) == int(inputs[0][0]), f"bottom {place} is of {n} images, the first of {inputs[0][0]}")
            boxes += len(anchors) * int(h) * int(w)
        return [(1, 1, FreeDim(int(inputs[0][0]) * boxes, self.found), 7)]

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        """A table of what counts, with a row's class, score and corners; what stays of it gets the image in front.

        Behind the rows of each bottom stands one that nothing was found for, with the lowest score: OpenCV 5 dies of a
        table without rows.
        """
        shapes = [value.shape for value in node.inputs]
        parts = zip(x, shapes, self.anchors, self.anchors_scale, strict=True)
        tables = zip(*(self._table(g, *part) for part in parts), strict=True)
        table, specks = (g.op("Concat", *some, axis=0) if len(some) > 1 else some[0] for some in tables)
        rows = kept_rows(g, table, specks, 1, above(self.nms_threshold))
        rows = g.op("Pad", rows, g.ints([0, 1, 0, 0], "pads"), g.scalar(0.0, "image"))
        rows = g.slice(rows, 0, 0, -len(x))
        blanks = blank_rows(g, int_size(g, x[0], shapes[0], 0), rows)
        return g.unsqueeze(g.op("Concat", rows, blanks, axis=0), [0, 1])

    def _table(self, g: OnnxOps, x: str, shape: Shape, anchors: Anchors, scale: int) -> tuple[str, str]:
        """Class, score and corners of what counts of a bottom, by image, place, anchor and class; which are specks."""
        side, width = int(shape[2]), 5 + self.num_classes
        batch = -1 if is_free(shape[0]) else int(shape[0])
        x = g.op("Reshape", x, g.ints([batch, len(anchors), width, side * side], "shape"))
        x = g.op("Cast", g.op("Transpose", x, perm=[0, 3, 1, 2]), to=DOUBLE)
        centre, size = self._boxes(g, x, side, anchors, scale)
        half = g.op("Div", size, g.scalar(2.0))
        low, high = (g.op(way, centre, half) for way in ("Sub", "Add"))
        objectness, classes = _sigmoid(g, g.slice(x, 3, 4, 5)), g.slice(x, 3, 5, width)
        specks = self._specks(g, size, g.op("Sub", high, low))
        scores, counts = self._scores(g, objectness, classes, specks)
        found = g.op("Transpose", g.op("NonZero", counts), perm=[1, 0])
        found = g.op("Concat", found, g.constant(np.zeros((1, 4), np.int64), "none"), axis=0)
        label = g.op("Cast", g.slice(found, 1, 3, 4), to=FLOAT)
        boxes = g.slice(found, 1, 0, 3)
        lowest = g.constant(np.asarray([LOWEST], np.float32), "lowest")
        score = g.op("Concat", g.slice(g.op("GatherND", scores, found), 0, 0, -1), lowest, axis=0)
        table = g.op(
            "Concat",
            g.op("Add", label, g.scalar(1.0, "first")),
            g.unsqueeze(score, [1]),
            g.op("GatherND", g.op("Concat", low, high, axis=3), boxes),
            axis=1,
        )
        # As numbers, the only ones that OpenCV 5 gathers.
        marks = g.op("GatherND", g.op("Cast", g.op("Squeeze", specks, g.ints([3])), to=FLOAT), boxes)
        marks = g.op("Greater", marks, g.scalar(0.0, "zero"))
        return table, g.op("Or", marks, g.op("Equal", score, lowest))

    def _boxes(self, g: OnnxOps, x: str, side: int, anchors: Anchors, scale: int) -> tuple[str, str]:
        """Centres and sizes as shares of the image, images × places × boxes × 2, from doubles; in the fork's order."""
        row, column = np.divmod(np.arange(side * side), side)
        cells = g.constant(np.stack([column, row], 1).astype(np.float32)[:, None], "cells")
        centre = g.op("Div", g.op("Add", cells, _sigmoid(g, g.slice(x, 3, 0, 2))), g.scalar(side, "side"))
        sizes = g.constant(np.asarray(anchors, np.float32), "anchors")
        size = g.op("Mul", g.op("Exp", g.slice(x, 3, 2, 4)), g.op("Cast", sizes, to=DOUBLE))
        size = g.op("Div", size, g.op("Cast", g.scalar(side * scale, "image"), to=DOUBLE))
        return centre, g.op("Cast", size, to=FLOAT)

    def _specks(self, g: OnnxOps, size: str, between: str) -> str:
        """Which boxes' overlap with themselves is below the limit: lost in rounding, or in an area without end.

        They neither suppress nor are suppressed: only another as small, in the same place, could be near enough.
        """
        area, common = _product(g, size), _product(g, between)
        share = g.op("Div", common, g.op("Sub", g.op("Add", area, area), common))
        return g.op("Not", g.op("GreaterOrEqual", share, g.scalar(self.nms_threshold, "limit")))

    def _scores(self, g: OnnxOps, objectness: str, classes: str, specks: str) -> tuple[str, str]:
        """Scores of all classes of all boxes, and which of them count; the classes are doubles."""
        raise NotImplementedError

    def _is_best(self, g: OnnxOps, scores: str) -> str:
        """Whether a class is a box's best, the first of equals."""
        numbers = g.constant(np.arange(self.num_classes, dtype=np.int64), "numbers")
        return g.op("Equal", numbers, g.op("ArgMax", scores, axis=3, keepdims=1))

    in_torch: ClassVar[tuple[str, str]] = ("", "")
    """`_scores` as a Python function: its name and source."""

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        t.helper("box_overlaps", OVERLAPS)
        scores = t.helper(*self.in_torch)
        t.helper("YoloDetections", YOLO_DETECTIONS)
        anchors, scales = [list(a) for a in self.anchors], list(self.anchors_scale)
        words: dict[str, Any] = {"scales": scales, "floor": self.confidence_threshold, "limit": self.nms_threshold}
        return f"{t.module('YoloDetections', Verbatim(scores), anchors, **words)}({', '.join(x)})"


@register
class Yolov3DetectionOutput(YoloHead):
    """What YOLOv3 finds, as YoloHead says (MobileNet-YOLO's fork: yolov3_detection_output_layer.cpp).

    A class's score is its sigmoid times the objectness', and counts above `confidence_threshold`. A box's best class
    suppresses its others, which are therefore left out at once: all but those of a box so small, a ten-millionth of the
    image, that its overlap with itself is lost in rounding. `biases` are anchors in pixels, `mask` lists those of each
    bottom, and `anchors_scale` is how many pixels a place is wide.
    """

    types = ("Yolov3DetectionOutput",)
    tabulates = True
    section = "yolov3_detection_output_param"

    @classmethod
    def read(cls, source: NetLayer) -> Yolov3DetectionOutput:
        p = source.param.yolov3_detection_output_param
        boxes = _checked(source, cls.section, p.num_classes, p.num_box, p.biases)
        bottoms = len(source.bottoms)
        if p.mask_group_num != bottoms:
            message = f"mask_group_num is {p.mask_group_num}; expected {bottoms}, the number of bottoms"
            raise fault(source, message, cls.section, "mask_group_num")
        each = len(p.mask) // bottoms
        needed = (bottoms - 1) * each + p.num_box
        if not p.mask or len(p.mask) < needed:
            expected = f"expected {p.num_box} for each of {bottoms} bottoms"
            raise fault(source, f"{len(p.mask)} mask; {expected}", cls.section, "mask")
        wrong = next((m for m in p.mask if m >= len(boxes)), None)
        if wrong is not None:
            raise fault(source, f"mask {wrong} is none of {len(boxes)} anchors", cls.section, "mask")
        if len(p.anchors_scale) < bottoms or 0 in p.anchors_scale:
            message = f"anchors_scale is {list(p.anchors_scale)}; expected a size above 0 for each of {bottoms} bottoms"
            raise fault(source, message, cls.section, "anchors_scale")
        anchors = [tuple(boxes[m] for m in p.mask[i * each : i * each + p.num_box]) for i in range(bottoms)]
        floor, limit = shortest(p.confidence_threshold), _limit(source, cls.section, p.nms_threshold)
        scales = tuple(p.anchors_scale[:bottoms])
        return cls(p.num_classes, tuple(anchors), scales, floor, limit, _axis(source))

    def _scores(self, g: OnnxOps, objectness: str, classes: str, specks: str) -> tuple[str, str]:
        scores = g.op("Mul", _sigmoid(g, classes), objectness)
        high = g.op("Greater", scores, g.scalar(self.confidence_threshold, "floor"))
        return scores, g.op("And", high, g.op("Or", self._is_best(g, scores), specks))

    in_torch = (
        "sigmoid_scores",
        '''
def sigmoid_scores(objectness, classes, floor, specks):
    """Scores, and which count: those of a box's best class above the floor, of a speck those of all classes."""
    scores = classes.sigmoid().float() * objectness
    best = torch.arange(classes.shape[-1], device=classes.device) == scores.argmax(dim=-1, keepdim=True)
    return scores, (scores > floor) & (best | specks)
''',
    )


@register
class YoloDetectionOutput(YoloHead):
    """What YOLOv2 finds, as YoloHead says (MobileNet-YOLO's fork: yolo_detection_output_layer.cpp).

    A box's class is the one with the largest softmax, and its score, that times the objectness' sigmoid, counts from
    `confidence_threshold` on. `biases` are the anchors of every bottom, in places. The fork ignores `side`, `coords`
    and the label map.
    """

    types = ("YoloDetectionOutput",)
    tabulates = True
    section = "yolo_detection_output_param"
    bottoms = (1, 2)

    @classmethod
    def read(cls, source: NetLayer) -> YoloDetectionOutput:
        p = source.param.yolo_detection_output_param
        ignored = (f"{cls.section}.{name}" for name in ("side", "coords", "label_map_file"))
        source.without_effect("the fork's layer ignores it", *ignored)
        boxes = _checked(source, cls.section, p.num_classes, p.num_box, p.biases)
        if len(boxes) < p.num_box:
            message = f"{len(p.biases)} biases; expected {2 * p.num_box}, a width and a height for each box"
            raise fault(source, message, cls.section, "biases")
        bottoms = len(source.bottoms)
        floor, limit = shortest(p.confidence_threshold), _limit(source, cls.section, p.nms_threshold)
        anchors = (boxes[: p.num_box],) * bottoms
        return cls(p.num_classes, anchors, (1,) * bottoms, floor, limit, _axis(source))

    def _scores(self, g: OnnxOps, objectness: str, classes: str, specks: str) -> tuple[str, str]:
        # Softmax of doubles, which OpenCV 5 has not; a division by the sum it would take for one.
        powers = g.op("Exp", g.op("Sub", classes, g.reduce("ReduceMax", classes, [3])))
        part = g.op("Reciprocal", g.reduce("ReduceSum", powers, [3]))
        shares = g.op("Cast", g.op("Mul", powers, part), to=FLOAT)
        scores = g.op("Mul", objectness, shares)
        high = g.op("GreaterOrEqual", scores, g.scalar(self.confidence_threshold, "floor"))
        return scores, g.op("And", high, self._is_best(g, shares))

    in_torch = (
        "softmax_scores",
        '''
def softmax_scores(objectness, classes, floor, specks):
    """Scores, and which count: those of a box's best class from the floor on, of a speck as well."""
    shares = classes.softmax(dim=-1).float()
    scores = objectness * shares
    best = torch.arange(classes.shape[-1], device=classes.device) == shares.argmax(dim=-1, keepdim=True)
    return scores, (scores >= floor) & best
''',
    )


def _sigmoid(g: OnnxOps, x: str) -> str:
    """Of doubles, rounded once, as the fork has it: else scores tie, or come apart, where its do not."""
    one = g.op("Cast", g.scalar(1.0, "one"), to=DOUBLE)
    return g.op("Cast", g.op("Div", one, g.op("Add", one, g.op("Exp", g.op("Neg", x)))), to=FLOAT)


def _product(g: OnnxOps, pairs: str) -> str:
    return g.op("Mul", g.slice(pairs, 3, 0, 1), g.slice(pairs, 3, 1, 2))


def _checked(source: NetLayer, section: str, classes: int, boxes: int, biases: Sequence[float]) -> Anchors:
    """The anchors that `biases` lists, after what both heads ask of their numbers."""
    if not getattr(source.param, section).HasField("num_classes"):
        raise fault(source, "no num_classes, which the fork insists on", section)
    for name, value in (("num_classes", classes), ("num_box", boxes)):
        if value < 1:
            raise fault(source, f"{name} is {value}; expected at least 1", section, name)
    if not biases or len(biases) % 2:
        message = f"{len(biases)} biases; expected a width and a height for each anchor"
        raise fault(source, message, section, "biases")
    numbers = [shortest(value) for value in biases]
    return tuple(zip(numbers[::2], numbers[1::2], strict=True))


def _limit(source: NetLayer, section: str, value: float) -> float:
    if not 0 < value < 1:
        raise unsupported(source, f"nms_threshold is {value:g}; expected above 0, below 1", section, "nms_threshold")
    return shortest(value)


def _axis(source: NetLayer) -> str:
    return re.sub(r"\W", "_", f"detections_of_{source.name}")


YOLO_DETECTIONS = '''
class YoloDetections(nn.Module):
    """Rows of 0, class, score and corners; one of -1 for each image if there are none (MobileNet-YOLO's fork)."""

    def __init__(self, scores, anchors, scales, floor, limit):
        super().__init__()
        self.scores, self.floor, self.limit = scores, floor, limit
        self.anchors, self.scales = anchors, scales

    def forward(self, *features):
        found = [self.found(*each) for each in zip(features, self.anchors, self.scales)]
        rows = self.suppress(*map(torch.cat, zip(*found)))
        rows = torch.cat([rows.new_zeros(len(rows), 1), rows], dim=1)
        if not len(rows):
            rows = torch.tensor([[image] + [-1] * 6 for image in range(len(features[0]))]).to(rows)
        return rows[None, None]

    def found(self, x, anchors, scale):
        """Class from 1, score and corners of what counts, by image, place, anchor and class; which are specks."""
        side = x.shape[3]
        x = x.reshape(len(x), len(anchors), -1, side * side).permute(0, 3, 1, 2)
        # In doubles, rounded once: else scores tie, or come apart, where Caffe's do not.
        move, stretch, objectness, classes = x.double().split([2, 2, 1, x.shape[3] - 5], dim=3)
        place = torch.arange(side * side, device=x.device)
        cells = torch.stack([place % side, place // side], dim=1)[:, None]
        centre = (cells + move.sigmoid().float()) / side
        size = (stretch.exp() * torch.tensor(anchors).to(x) / (side * scale)).float()
        low, high = centre - size / 2, centre + size / 2
        area, common = size.prod(dim=3, keepdim=True), (high - low).prod(dim=3, keepdim=True)
        specks = ~(common / (area + area - common) >= self.limit)  # too small to overlap themselves
        scores, counts = self.scores(objectness.sigmoid().float(), classes, self.floor, specks)
        image, place, anchor, label = counts.nonzero(as_tuple=True)
        corners = torch.cat([low, high], dim=3)[image, place, anchor]
        rows = torch.cat([label[:, None] + 1, scores[counts][:, None], corners], dim=1)
        return rows, specks[image, place, anchor, 0]

    def suppress(self, rows, stays):
        order = rows[:, 1].argsort(descending=True, stable=True)
        rows, stays = rows[order], stays[order]
        order = (~stays).nonzero()[:, 0]
        while len(order):
            first, order = order[0], order[1:]
            stays[first] = True
            order = order[~(box_overlaps(rows[first, 2:], rows[order, 2:]) >= self.limit)]
        return rows[stays]
'''
