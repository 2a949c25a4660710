"""Detections of a head that scores regions: boxes decoded, suppressed class by class, the best kept (Cascade R-CNN)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from converter.graph import FreeDim, Shape, count, format_shape
from converter.layers.base import OnnxOps, TorchOps, register, require, shortest
from converter.layers.detection.box_output import MODES, normalisation
from converter.layers.detection.field_overlaps import FIELD_BOXES, LOWEST, overlapping_none_of_class
from converter.layers.detection.roi import torch_rows
from converter.layers.shared.sizes import FLOAT, filled
from converter.node import Layer
from prototxt import NetLayer

if TYPE_CHECKING:
    from converter.node import Node

INT64 = 7
BLANK = (0.0, *(-1.0,) * 6)
"""The row that stands before all others."""


@register
class FrcnnOutput(Layer):
    """What a head finds: (1 + found)×7×1×1, of image, corners, class and score (Cascade R-CNN: frcnn_output_layer.cpp).

    Bottoms are probabilities R×classes, of nothing first, offsets R×(4 · classes), or R×8 of which the last four go for
    all classes, the regions R×5 of one image, perhaps with a score behind them, and that image's height and width. Of
    each class but the first the boxes that score `floor` at least take part; by falling score, one stays that overlaps
    none before it by more than `limit`. Of what stays, the `most` best of all classes are given. The fork leaves open
    in which order equal scores come; here that is the order of classes and regions. Rows go by class and falling score;
    before them stands one of image 0 and six -1, always.

    A box is decoded as DecodeBBox has it and then clipped to the image; one that lies outside of it is upside down, and
    overlaps none. Nor do boxes that have one row of pixels in common. Where Caffe stops, at a region that is upside
    down, it is decoded like others here.
    """

    types = ("FrcnnOutput",)
    bottoms = (4, 4)
    floor: float = 0.0
    limit: float = 0.5
    mode: str = "IOU"
    most: int = 0
    by_class: bool = True
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    found: str = "found"

    @classmethod
    def read(cls, source: NetLayer) -> FrcnnOutput:
        p = source.param.frcnn_output_param
        mean, std = normalisation(source, positive=True)
        return cls(
            shortest(p.conf_thr),
            shortest(p.iou_thr),
            p.nms_type if p.nms_type in MODES else "IOU",
            p.max_det_num,
            source.param.bbox_reg_param.cls_aware,
            mean,
            std,
            re.sub(r"\W", "_", f"detections_of_{source.name}"),
        )

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        scores, offsets, regions, image = inputs
        for place, shape in zip(("first", "second", "third", "fourth"), inputs, strict=True):
            fits = len(shape) >= 2 and int(shape[1]) == int(count(shape[1:]))
            require(fits, f"the {place} bottom is {format_shape(shape)}; expected rows")
        classes = int(scores[1])
        require(classes >= 2, f"the first bottom is {format_shape(scores)}; expected scores of 2 classes or more")
        wanted = 4 * classes if self.by_class else 8
        require(int(offsets[1]) == wanted, f"the second bottom is {format_shape(offsets)}; expected rows of {wanted}")
        require(int(regions[1]) in (5, 6), f"the third bottom is {format_shape(regions)}; expected rows of 5 or 6")
        fits = (int(image[0]), int(image[1])) == (1, 2)
        require(fits, f"the fourth bottom is {format_shape(image)}; expected the height and width of one image")
        for name, shape in (("offsets", offsets), ("regions", regions)):
            require(int(shape[0]) == int(scores[0]), f"{shape[0]} {name} for {scores[0]} rows of scores")
        most = int(scores[0]) * (classes - 1)
        return [(FreeDim(1 + min(most, self.most or most), self.found), 7, 1, 1)]

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        shapes = [value.shape for value in node.inputs]
        classes = int(shapes[0][1])
        scores, offsets, regions, image = (
            name if len(shape) == 2 else g.op("Reshape", name, g.ints([-1, int(shape[1])], "shape"))
            for name, shape in zip(x, shapes, strict=True)
        )
        scores = g.op("Transpose", g.slice(scores, 1, 1, classes), perm=[1, 0])
        boxes = self._boxes(g, offsets, regions, image, classes - 1 if self.by_class else 1)
        scores, boxes = self._ranked(g, scores, boxes)
        scores = overlapping_none_of_class(g, boxes, scores, self.limit, self.mode)
        if self.most:
            flat = g.op("Reshape", scores, g.ints([-1], "shape"))
            most = g.op("Min", g.ints([self.most], "most"), g.op("Shape", flat))
            best, place = g.multi("TopK", flat, most, outputs=2, axis=0)
            lowest = filled(g, g.scalar(LOWEST, "lowest"), flat, None)
            scores = g.op("Reshape", g.op("ScatterElements", lowest, place, best, axis=0), g.op("Shape", scores))
        places = g.op("NonZero", g.op("Greater", scores, g.scalar(LOWEST, "lowest")))
        places = g.op("Transpose", places, perm=[1, 0])
        label = g.op("Add", g.op("Cast", g.slice(places, 1, 0, 1), to=FLOAT), g.scalar(1.0, "one"))
        corners = g.op("Pad", g.op("GatherND", boxes, places), g.ints([0, 1, 0, 0], "pads"), g.scalar(0.0, "zero"))
        rows = g.op("Concat", corners, label, g.unsqueeze(g.op("GatherND", scores, places), [1]), axis=1)
        rows = g.op("Concat", g.constant(np.asarray([BLANK], np.float32), "blank"), rows, axis=0)
        return g.unsqueeze(rows, [2, 3])

    def _boxes(self, g: OnnxOps, offsets: str, regions: str, image: str, sets: int) -> str:
        """Corners clipped to the image, R × 4, or classes × R × 4 where each class has its own."""
        offsets = g.op("Reshape", g.slice(offsets, 1, 4, 4 + 4 * sets), g.ints([-1, sets, 4], "shape"))
        if self.std:
            offsets = g.op("Mul", offsets, g.constant(np.asarray(self.std, np.float32), "std"))
            offsets = g.op("Add", offsets, g.constant(np.asarray(self.mean, np.float32), "mean"))
        one, half = g.scalar(1.0, "one"), g.scalar(0.5, "half")
        low, high = (g.unsqueeze(g.slice(regions, 1, start, start + 2), [1]) for start in (1, 3))
        size = g.op("Add", g.op("Sub", high, low), one)
        centre = g.op("Mul", g.op("Add", high, low), half)
        centre = g.op("Add", g.op("Mul", g.slice(offsets, 2, 0, 2), size), centre)
        size = g.op("Mul", size, g.op("Exp", g.slice(offsets, 2, 2, 4)))
        low = g.op("Sub", centre, g.op("Mul", g.op("Sub", size, one), half))
        high = g.op("Sub", g.op("Add", low, size), one)
        edge = g.op("Gather", image, g.ints([1, 0], "edges"), axis=1)
        boxes = g.op("Concat", g.op("Max", low, g.scalar(0.0, "zero")), g.op("Min", high, edge), axis=2)
        return g.op("Transpose", boxes, perm=[1, 0, 2]) if self.by_class else g.op("Squeeze", boxes, g.ints([1]))

    def _ranked(self, g: OnnxOps, scores: str, boxes: str) -> tuple[str, str]:
        """Scores by falling order, classes × ranks, the lowest for what does not count, and the corners beside them.

        There are as many ranks as the class has boxes that most of them count in, and one at least.
        """
        counts = g.op("GreaterOrEqual", scores, g.scalar(self.floor, "floor"))
        scores = g.op("Where", counts, scores, g.scalar(LOWEST, "lowest"))
        sums = g.reduce("ReduceSum", g.op("Cast", counts, to=FLOAT), [1])
        most = g.op("Max", g.reduce("ReduceMax", sums, [0, 1]), g.scalar(1.0, "one"))
        ranks = g.op("Cast", g.op("Reshape", most, g.ints([1], "shape")), to=INT64)
        scores, order = g.multi("TopK", scores, ranks, outputs=2, axis=1)
        if self.by_class:
            return scores, g.op("GatherND", boxes, g.unsqueeze(order, [2]), batch_dims=1)
        return scores, g.op("Gather", boxes, order, axis=0)

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        t.helper("field_overlaps", FIELD_BOXES["field_overlaps"])
        words: dict[str, Any] = {
            "mode": self.mode if self.mode in MODES else None,
            "most": self.most or None,
            "std": self.std or None,
            "mean": self.mean or None,
        }
        given = "".join(f", {name}={value!r}" for name, value in words.items() if value is not None)
        rows = ", ".join(torch_rows(name, value.shape) for name, value in zip(x, node.inputs, strict=True))
        function = t.helper("class_detections", CLASS_DETECTIONS)
        return f"{function}({rows}, {self.floor!r}, {self.limit!r}{given})"


CLASS_DETECTIONS = '''
def class_detections(scores, offsets, regions, image, floor, limit, mode="IOU", most=None, std=None, mean=None):
    """Rows of 0, corners, class and score, behind one of -1, of regions scored and moved by a head (Cascade R-CNN)."""
    offsets, scores = offsets.unflatten(1, (-1, 4))[:, 1:], scores[:, 1:].T
    if std is not None:
        offsets = offsets * offsets.new_tensor(std) + offsets.new_tensor(mean)
    low, high = regions[:, None, 1:3], regions[:, None, 3:5]
    size = high - low + 1
    centre = offsets[..., :2] * size + 0.5 * (high + low)
    size = size * offsets[..., 2:].exp()
    low = centre - (size - 1) / 2
    boxes = torch.cat([low.clamp(min=0), (low + size - 1).minimum(image[0, [1, 0]])], dim=2)
    boxes = boxes.transpose(0, 1).expand(len(scores), -1, -1)
    scores, order = scores.masked_fill(~(scores >= floor), -torch.inf).sort(dim=1, descending=True, stable=True)
    stays = scores >= floor
    ranks = int(stays.sum(dim=1).max())
    scores, order, stays = scores[:, :ranks], order[:, :ranks], stays[:, :ranks]
    boxes = boxes.gather(1, order[..., None].expand(-1, -1, 4))
    for rank in range(ranks):
        first, behind = slice(rank, rank + 1), slice(rank + 1, None)
        shares = field_overlaps(boxes[:, first], boxes[:, behind], mode, 1)
        stays[:, behind] &= ~((shares > limit) & stays[:, first])
    if most is not None:
        order = scores.masked_fill(~stays, -torch.inf).flatten().argsort(descending=True, stable=True)
        stays = stays.flatten().index_fill(0, order[most:], False).view_as(stays)
    label, rank = stays.nonzero().T
    rows = [boxes[label, rank], label[:, None] + 1, scores[label, rank, None]]
    rows = F.pad(torch.cat(rows, dim=1), (1, 0))
    blank = rows.new_tensor([[0, -1, -1, -1, -1, -1, -1]])
    return torch.cat([blank, rows])[..., None, None]
'''
