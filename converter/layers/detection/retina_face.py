"""Faces and their landmarks that RetinaFace nets of Sophgo's fork find."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from converter.graph import Shape, format_shape, is_free
from converter.layers.base import OnnxOps, TorchOps, at_least_one, register, require, shortest
from converter.layers.shared.sizes import FLOAT
from converter.node import Layer
from prototxt import NetLayer

if TYPE_CHECKING:
    from converter.node import Node

SECTION = "retinaface_detection_param"
LEVELS = ((8, (2, 1)), (16, (8, 4)), (32, (32, 16)))
"""Stride and the scales of the two anchors of each level, in the order of the bottoms."""
BASE = 17
"""Side of an anchor of scale 1; each is one pixel larger than its scale makes it, and stands about pixel 8.5."""
WIDTH = 15
"""Numbers in a row."""


@register
class RetinaFaceDetection(Layer):
    """1×1×keep_topk×15: corners, score, and x and y of five landmarks (Sophgo: retinaface_detection_layer.hpp, .cpp).

    Bottoms are, for the strides 8, 16 and 32, the scores 1×4×H×W (no face for each of two anchors, then face), offsets
    1×8×H×W and landmarks 1×20×H×W. Anchors are written into the fork. A face counts from `confidence_threshold` on.

    The suppression is the fork's own, in its layer as in its runtime: by falling score, a face that is kept drops those
    behind it whose common area *with the face next to it*, as a share of the two areas its own and theirs, is above
    `nms_threshold`. Equal scores, whose order the fork leaves open, keep that of strides from 32 down, anchors, places.
    """

    types = ("RetinaFaceDetection",)
    tabulates = True
    bottoms = (9, 9)
    confidence_threshold: float = 0.0
    nms_threshold: float = 0.0
    keep_topk: int = 1

    @property
    def caution(self) -> str:
        return (
            "the fork's layer leaves four of the five landmarks and the rows behind the last face unset; all landmarks "
            "are given and rows of 0, as its runtime does"
        )

    @classmethod
    def read(cls, source: NetLayer) -> RetinaFaceDetection:
        p = source.param.retinaface_detection_param
        at_least_one(source, SECTION, "keep_topk")
        return cls(shortest(p.confidence_threshold), shortest(p.nms_threshold), p.keep_topk)

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        for place, shape in enumerate(inputs):
            channels = (4, 8, 20)[place % 3]
            height_and_width = inputs[place - place % 3][2:]
            fits = len(shape) == 4 and not any(map(is_free, shape)) and (shape[0], shape[1]) == (1, channels)
            require(fits, f"bottom {place + 1} is {format_shape(shape)}; expected 1×{channels}×H×W")
            alike = f"bottom {place + 1} is {format_shape(shape)}, its level's scores {format_shape(height_and_width)}"
            require(shape[2:] == height_and_width, alike)
        return [(1, 1, self.keep_topk, WIDTH)]

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        levels = [self._table(g, x[3 * i : 3 * i + 3], node.inputs[3 * i].shape, *LEVELS[i]) for i in (2, 1, 0)]
        table = g.op("Concat", *levels, axis=0)
        scores = g.op("Squeeze", g.slice(table, 1, 4, 5), g.ints([1]))
        counts = g.op("GreaterOrEqual", scores, g.scalar(self.confidence_threshold, "floor"))
        # OpenCV 5 refuses Compress; with Gather, as elsewhere, it would get as far as the Loop and die of that.
        table, scores = (g.op("Compress", value, counts, axis=0) for value in (table, scores))
        _, order = g.multi("TopK", scores, g.op("Shape", scores), outputs=2, axis=0)
        table = g.op("Gather", table, order, axis=0)
        kept = g.op("Greater", self._kept(g, table), g.scalar(0.0, "zero"))
        nothing = g.constant(np.zeros((self.keep_topk, WIDTH), np.float32), "nothing")
        rows = g.op("Concat", g.op("Compress", table, kept, axis=0), nothing, axis=0)
        return g.unsqueeze(g.slice(rows, 0, 0, self.keep_topk), [0, 1])

    def _table(self, g: OnnxOps, x: Sequence[str], shape: Shape, stride: int, scales: tuple[int, ...]) -> str:
        """Rows of a level, by anchors and places."""
        h, w = int(shape[2]), int(shape[3])
        size = g.constant(np.asarray([BASE * s + 1 for s in scales], np.float32)[:, None, None], "anchors")
        row, column = np.divmod(np.arange(h * w), w)
        middle = np.stack([column, row], axis=1).astype(np.float32) * stride + np.float32(BASE / 2)
        centres = g.constant(middle, "centres")
        score = g.op("Reshape", g.slice(x[0], 1, 2, 4), g.ints([-1, 1], "shape"))
        offsets, marks = (
            g.op("Transpose", g.op("Reshape", v, g.ints([2, n, h * w], "shape")), perm=[0, 2, 1])
            for v, n in ((x[1], 4), (x[2], 10))
        )
        centre = g.op("Add", g.op("Mul", g.slice(offsets, 2, 0, 2), size), centres)
        extent = g.op("Mul", g.op("Exp", g.slice(offsets, 2, 2, 4)), size)
        half = g.op("Mul", g.op("Sub", extent, g.scalar(1.0, "one")), g.scalar(0.5, "half"))
        points = g.op("Add", g.op("Mul", marks, size), g.constant(np.tile(middle, 5), "centres"))
        rows = [
            g.op("Reshape", v, g.ints([-1, n], "shape"))
            for v, n in ((g.op("Sub", centre, half), 2), (g.op("Add", centre, half), 2), (points, 10))
        ]
        return g.op("Concat", rows[0], rows[1], score, rows[2], axis=1)

    def _kept(self, g: OnnxOps, table: str) -> str:
        """1 for each row that is kept, 0 for the others. A round drops what a kept row drops."""
        one = g.scalar(1.0, "one")
        low, high = g.slice(table, 1, 0, 2), g.slice(table, 1, 2, 4)
        area = g.reduce("ReduceProd", g.op("Add", g.op("Sub", high, low), one), [1], keepdims=False)
        count = g.op("Squeeze", g.op("Shape", area), g.ints([0]))
        first, step = (g.constant(np.asarray(v, np.int64)) for v in (0, 1))
        rank = g.op("Range", first, count, step)
        last = g.op("Sub", count, step)
        start = g.op("Cast", g.op("GreaterOrEqual", rank, first), to=FLOAT)

        def drop(inner: OnnxOps, number: str, kept: str) -> str:
            beside = inner.op("Min", inner.op("Add", number, step), last)
            ends = inner.op("Min", high, inner.op("Gather", high, beside, axis=0))
            size = inner.op("Sub", ends, inner.op("Max", low, inner.op("Gather", low, beside, axis=0)))
            size = inner.op("Add", size, one)
            meet = inner.op("Greater", inner.reduce("ReduceMin", size, [1], keepdims=False), inner.scalar(0.0))
            common = inner.reduce("ReduceProd", size, [1], keepdims=False)
            union = inner.op("Sub", inner.op("Add", inner.op("Gather", area, number, axis=0), area), common)
            near = inner.op("Greater", inner.op("Div", common, union), inner.scalar(self.nms_threshold, "limit"))
            near = inner.op("And", inner.op("And", near, meet), inner.op("Greater", rank, number))
            mine = inner.op("Greater", inner.op("Gather", kept, number, axis=0), inner.scalar(0.0))
            return inner.op("Where", inner.op("And", near, mine), inner.scalar(0.0), kept)

        return g.carry(count, start, drop)

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        t.helper("RetinaFaces", RETINA_FACES)
        levels = [[stride, [BASE * s + 1 for s in scales]] for stride, scales in LEVELS]
        words: dict[str, Any] = {
            "middle": BASE / 2,
            "floor": self.confidence_threshold,
            "limit": self.nms_threshold,
            "rows": self.keep_topk,
        }
        return f"{t.module('RetinaFaces', levels, **words)}({', '.join(x)})"


RETINA_FACES = '''
class RetinaFaces(nn.Module):
    """Rows of corners, score and five landmarks, by falling score; then rows of 0 (Sophgo's RetinaFaceDetection)."""

    def __init__(self, levels, middle, floor, limit, rows):
        super().__init__()
        self.levels, self.middle, self.floor, self.limit, self.rows = levels, middle, floor, limit, rows

    def forward(self, *x):
        table = torch.cat([self.table(*x[3 * i : 3 * i + 3], *self.levels[i]) for i in (2, 1, 0)])
        table = table[table[:, 4] >= self.floor]
        table = table[table[:, 4].argsort(descending=True, stable=True)]
        rows = table[self.kept(table)][: self.rows]
        return F.pad(rows, (0, 0, 0, self.rows - len(rows)))[None, None]

    def table(self, scores, offsets, marks, stride, sizes):
        """Rows of a level, by anchors and places."""
        h, w = scores.shape[2:]
        place = torch.arange(h * w, device=scores.device)
        centres = torch.stack([place % w, place // w], dim=1) * float(stride) + self.middle
        size = torch.tensor(sizes).to(scores)[:, None, None]
        offsets, marks = (v.reshape(2, n, -1).transpose(1, 2) for v, n in ((offsets, 4), (marks, 10)))
        centre, half = offsets[..., :2] * size + centres, (offsets[..., 2:].exp() * size - 1) * 0.5
        points = marks * size + centres.repeat(1, 5)
        score = scores[0, 2:].reshape(2, -1, 1)
        return torch.cat([centre - half, centre + half, score, points], dim=2).flatten(0, 1)

    def kept(self, table):
        """Whether a row stays: each that does drops those that overlap the row next to it too much."""
        stays = torch.ones(len(table), dtype=torch.bool, device=table.device)
        area = (table[:, 2:4] - table[:, :2] + 1).prod(dim=1)
        for i in range(len(table) - 1):
            if stays[i]:
                beside, others = table[i + 1], table[i + 1 :]
                ends = torch.minimum(beside[2:4], others[:, 2:4])
                size = ends - torch.maximum(beside[:2], others[:, :2]) + 1
                common = size[:, 0] * size[:, 1]
                near = (size > 0).all(dim=1) & (common / (area[i] + area[i + 1 :] - common) > self.limit)
                stays[i + 1 :] &= ~near
        return stays
'''
