"""Detections of SSD nets: boxes decoded, suppressed class by class, the best kept (SSD: detection_output_layer.cpp)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from converter.emission import Source
from converter.graph import FreeDim, Shape, count, format_shape, is_free
from converter.layers.base import Layer, OnnxOps, TorchOps, fault, register, require, shortest, unsupported
from converter.layers.sizes import FLOAT, int_size
from prototxt import NetLayer
from prototxt.caffe_pb2 import DetectionOutputParameter

if TYPE_CHECKING:
    from converter.graph import Node

_LOWEST = float(np.finfo(np.float32).min)  # SSD's threshold where none is given: -FLT_MAX
_CORNER, _CENTER_SIZE, _CORNER_SIZE = 1, 2, 3
_FOREIGN = (
    "normalized_bbox clip use_polygon objectness_score no_permute nbottom input_width input_height normalized "
    "nms_threshold top_k"
).split()
_FOREIGN_NMS = ("soft_nms", "theta")


@register
@dataclass(frozen=True)
class DetectionOutput(Layer):
    """What a net finds: 1×1×found×7, of image, class, score and corners x0 y0 x1 y1 (SSD: detection_output_layer.cpp).

    Bottoms are offsets N×(boxes · 4), or N×(boxes · classes · 4) where classes do not share them, scores
    N×(boxes · classes), and prior boxes with their variances, 1×2×(boxes · 4). For each image and class: of the boxes
    whose score is above `floor`, the `top_k` best take part; by falling score, one stays that overlaps none before it
    by more than `limit`. Of what stays in an image, the `keep_top_k` best of all classes are given. Equal scores keep
    the boxes' order. Rows go by image, class, falling score; if there are none, each image gives one of its number
    and six -1.

    How many are found is known only when the net runs, so that axis is free.
    """

    types = ("DetectionOutput",)
    bottoms = (3, 3)
    classes: int = 0
    labels: tuple[int, ...] = ()
    shared: bool = True
    code: int = _CORNER
    encoded: bool = False
    floor: float = _LOWEST
    limit: float = 0.3
    top_k: int | None = None
    keep_top_k: int | None = None
    found: str = "found"

    @classmethod
    def read(cls, source: NetLayer) -> DetectionOutput:
        p, section = source.param.detection_output_param, "detection_output_param"
        _refuse_forks(source, p)
        if p.num_classes < 1:
            raise fault(source, f"num_classes is {p.num_classes}; expected at least 1", section, "num_classes")
        labels = tuple(c for c in range(p.num_classes) if c != p.background_label_id)
        if not labels:
            raise unsupported(source, "no class but the background", section, "num_classes")
        top_k = p.nms_param.top_k if p.nms_param.HasField("top_k") else -1
        if top_k == 0 or p.keep_top_k == 0:
            field = ("keep_top_k",) if p.keep_top_k == 0 else ("nms_param", "top_k")
            raise unsupported(source, f"{field[-1]} 0, with which nothing is found", section, *field)
        return cls(
            p.num_classes,
            labels,
            p.share_location,
            p.code_type,
            p.variance_encoded_in_target,
            shortest(p.confidence_threshold) if p.HasField("confidence_threshold") else _LOWEST,
            _limit(source, p),
            top_k if top_k > 0 else None,
            p.keep_top_k if p.keep_top_k > 0 else None,
            re.sub(r"\W", "_", f"detections_of_{source.name}"),
        )

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        offsets, scores, priors = inputs
        fits = len(priors) == 3 and tuple(map(int, priors[:2])) == (1, 2) and int(priors[2]) % 4 == 0
        require(fits, f"the third bottom is {format_shape(priors)}; expected 1×2×(4 · boxes)")
        require(not is_free(priors[2]), "the number of prior boxes can't be left free")
        boxes = int(priors[2]) // 4
        parts = ("first", offsets, boxes * self._sets() * 4), ("second", scores, boxes * self.classes)
        for name, shape, values in parts:
            fits = len(shape) >= 2 and count(shape[1:]) == values
            require(fits, f"the {name} bottom is {format_shape(shape)}; expected N×{values} for {boxes} prior boxes")
        images = f"the second bottom is of {scores[0]} images, the first of {offsets[0]}"
        require(int(scores[0]) == int(offsets[0]), images)
        most = len(self.labels) * self._candidates(boxes)
        return [(1, 1, FreeDim(int(offsets[0]) * min(most, self.keep_top_k or most), self.found), 7)]

    def _sets(self) -> int:
        """How many sets of offsets there are for one prior box."""
        return 1 if self.shared else self.classes

    def _candidates(self, boxes: int) -> int:
        """How many boxes of a class take part at most."""
        return min(boxes, self.top_k or boxes)

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        """Scores stay dense, images × (classes · ranks): what is dropped gets the lowest, so NonZero gives the rows.

        No order of NonMaximumSuppression's own is relied on.
        """
        ranks = self._candidates(int(node.inputs[2].shape[2]) // 4)
        width = len(self.labels) * ranks
        corners, scores = self._ranked(g, node, *x)
        scores = g.op("Reshape", self._suppressed(g, corners, scores, ranks), g.ints([-1, width], "shape"))
        if self.keep_top_k is not None and self.keep_top_k < width:
            best, place = g.multi("TopK", scores, g.ints([self.keep_top_k], "keep"), outputs=2, axis=1)
            scores = g.op("ScatterElements", _lowest_like(g, scores), place, best, axis=1)
        kept = g.op("Greater", scores, g.scalar(_LOWEST, "lowest"))
        found = g.op("Transpose", g.op("NonZero", kept), perm=[1, 0])
        place = g.op("Div", g.slice(found, 1, 1, 2), g.ints([ranks], "ranks"))
        rows = g.op(
            "Concat",
            g.op("Cast", g.slice(found, 1, 0, 1), to=FLOAT),
            g.op("Gather", g.constant(np.asarray(self.labels, np.float32), "labels"), place, axis=0),
            g.unsqueeze(g.op("GatherND", scores, found), [1]),
            g.op("GatherND", g.op("Reshape", corners, g.ints([-1, width, 4], "shape")), found),
            axis=1,
        )
        images = int_size(g, x[0], node.inputs[0].shape, 0)
        return g.unsqueeze(g.op("Concat", rows, _blanks(g, images, found), axis=0), [0, 1])

    def _ranked(self, g: OnnxOps, node: Node, *x: str) -> tuple[str, str]:
        """Corners, images × classes × ranks × 4, and scores, images × classes × ranks, by falling score."""
        boxes = int(node.inputs[2].shape[2]) // 4
        labels = g.ints(self.labels, "labels")
        table = g.op("Reshape", x[2], g.ints([2, boxes, 4] if self.shared else [2, boxes, 1, 4], "shape"))
        split = [-1, boxes, 4] if self.shared else [-1, boxes, self.classes, 4]
        offsets = g.op("Reshape", x[0], g.ints(split, "shape"))
        corners = self._decoded(g, g.slice(table, 0, 0, 1), g.slice(table, 0, 1, 2), offsets)
        if not self.shared:
            corners = g.op("Gather", g.op("Transpose", corners, perm=[0, 2, 1, 3]), labels, axis=1)
        scores = g.op("Reshape", x[1], g.ints([-1, boxes, self.classes], "shape"))
        scores = g.op("Gather", g.op("Transpose", scores, perm=[0, 2, 1]), labels, axis=1)
        scores, order = g.multi("TopK", scores, g.ints([self._candidates(boxes)], "ranks"), outputs=2, axis=2)
        corners = g.op("GatherND", corners, g.unsqueeze(order, [3]), batch_dims=1 if self.shared else 2)
        return corners, scores

    def _decoded(self, g: OnnxOps, prior: str, variance: str, offsets: str) -> str:
        """Corners from offsets; the operations in SSD's order, for its roundings."""
        if not self.encoded:
            offsets = g.op("Mul", variance, offsets)
        if self.code == _CORNER:
            return g.op("Add", prior, offsets)
        low, high = g.slice(prior, -1, 0, 2), g.slice(prior, -1, 2, 4)
        size = g.op("Sub", high, low)
        if self.code == _CORNER_SIZE:
            return g.op("Add", prior, g.op("Mul", offsets, g.op("Concat", size, size, axis=-1)))
        two = g.scalar(2.0)
        centre = g.op("Div", g.op("Add", low, high), two)
        centre = g.op("Add", g.op("Mul", g.slice(offsets, -1, 0, 2), size), centre)
        half = g.op("Div", g.op("Mul", g.op("Exp", g.slice(offsets, -1, 2, 4)), size), two)
        return g.op("Concat", g.op("Sub", centre, half), g.op("Add", centre, half), axis=-1)

    def _suppressed(self, g: OnnxOps, corners: str, scores: str, ranks: int) -> str:
        """Scores, (images · classes) × 1 × ranks, the lowest where a box is suppressed or not above the floor.

        NonMaximumSuppression sorts the corners of a box, where SSD has a box with a corner on the wrong side overlap
        nothing: so that corner is pulled back, which leaves no area.
        """
        low, high = g.slice(corners, -1, 0, 2), g.slice(corners, -1, 2, 4)
        upright = g.op("Concat", low, g.op("Max", low, high), axis=-1)
        boxes = g.op("Reshape", upright, g.ints([-1, ranks, 4], "shape"))
        scores = g.op("Reshape", scores, g.ints([-1, 1, ranks], "shape"))
        most = g.constant(np.asarray(ranks, np.int64), "most")
        limit, floor = g.scalar(min(self.limit, 1.0), "limit"), g.scalar(self.floor, "floor")
        kept = g.op("NonMaxSuppression", boxes, scores, most, limit, floor)
        return g.op("ScatterND", _lowest_like(g, scores), kept, g.op("GatherND", scores, kept))

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        decode, source = _DECODERS[self.code]
        t.helper(decode, source)
        t.helper("box_overlaps", OVERLAPS)
        t.helper("DetectionOutput", DETECTION_OUTPUT)
        words: dict[str, Any] = {
            "floor": self.floor if self.floor != _LOWEST else None,
            "limit": self.limit,
            "top_k": self.top_k,
            "keep_top_k": self.keep_top_k,
            "encoded": self.encoded or None,
        }
        given = {name: value for name, value in words.items() if value is not None}
        detect = t.module("DetectionOutput", Source(decode), _span(self.labels), **given)
        return f"{detect}({', '.join(x)})"


def _refuse_forks(source: NetLayer, p: DetectionOutputParameter) -> None:
    section = "detection_output_param"
    for part, names, path in ((p, _FOREIGN, ()), (p.nms_param, _FOREIGN_NMS, ("nms_param",))):
        for name in names:
            if getattr(part, name) != getattr(type(part)(), name):
                raise unsupported(source, f"{name}, of another fork than SSD's", section, *path, name)


def _limit(source: NetLayer, p: DetectionOutputParameter) -> float:
    """The share that boxes may overlap; an eta that would lower it is refused (up to a half, SSD leaves it alone)."""
    nms, place = p.nms_param, ("detection_output_param", "nms_param")
    if nms.nms_threshold < 0:
        raise fault(source, f"nms_threshold is {nms.nms_threshold:g}; expected at least 0", *place, "nms_threshold")
    if not 0 < nms.eta <= 1:
        raise fault(source, f"eta is {nms.eta:g}; expected above 0, at most 1", *place, "eta")
    if nms.eta < 1 and nms.nms_threshold > 0.5:
        raise unsupported(source, "eta below 1, a threshold that shrinks with every box", *place, "eta")
    return shortest(nms.nms_threshold)


def _lowest_like(g: OnnxOps, scores: str) -> str:
    return g.op("Expand", g.scalar(_LOWEST, "lowest"), g.op("Shape", scores))


def _blanks(g: OnnxOps, images: str, found: str) -> str:
    """A row of its number and six -1 for each image if nothing is found, else no rows."""
    numbers = g.op("Range", g.constant(np.asarray(0, np.int64)), images, g.constant(np.asarray(1, np.int64)))
    numbers = g.unsqueeze(g.op("Cast", numbers, to=FLOAT), [1])
    rows = g.op("Pad", numbers, g.ints([0, 0, 0, 6], "pads"), g.scalar(-1.0))
    nothing = g.op("Equal", g.slice(g.op("Shape", found), 0, 0, 1), g.ints([0]))
    count = g.unsqueeze(images, [0])
    return g.op("Compress", rows, g.op("Expand", nothing, count), axis=0)


def _span(labels: tuple[int, ...]) -> range | tuple[int, ...]:
    """`range(…)` for three labels or more without a gap."""
    span = range(labels[0], labels[-1] + 1)
    return span if 2 < len(span) == len(labels) else labels


FROM_CORNERS = '''
def from_corners(prior, offset):
    """Offsets are added to the prior's corners."""
    return prior + offset
'''

FROM_CENTERS = '''
def from_centers(prior, offset):
    """Offsets move the centre by shares of the prior's size, and scale the size by their exponential."""
    (low, high), (move, scale) = prior.split(2, dim=-1), offset.split(2, dim=-1)
    size = high - low
    centre = move * size + (low + high) / 2
    half = scale.exp() * size / 2
    return torch.cat([centre - half, centre + half], dim=-1)
'''

FROM_CORNER_SIZES = '''
def from_corner_sizes(prior, offset):
    """Offsets of the corners are shares of the prior's size."""
    low, high = prior.split(2, dim=-1)
    return prior + offset * torch.cat([high - low, high - low], dim=-1)
'''

_DECODERS = {
    _CORNER: ("from_corners", FROM_CORNERS),
    _CENTER_SIZE: ("from_centers", FROM_CENTERS),
    _CORNER_SIZE: ("from_corner_sizes", FROM_CORNER_SIZES),
}

OVERLAPS = '''
def box_overlaps(box, others):
    """Intersection over union of one box with each of the others; 0 for a box with a corner on the wrong side."""
    size = torch.minimum(box[2:], others[:, 2:]) - torch.maximum(box[:2], others[:, :2])
    common = torch.where((size > 0).all(dim=1), size[:, 0] * size[:, 1], 0)
    union = (box[2:] - box[:2]).prod() + (others[:, 2:] - others[:, :2]).prod(dim=1) - common
    return torch.where(common > 0, common / union, 0)
'''

DETECTION_OUTPUT = '''
class DetectionOutput(nn.Module):
    """Rows of image, class, score and corners; one of -1 for each image if there are none (Caffe's SSD branch)."""

    def __init__(self, decode, labels, floor=None, limit=0.3, top_k=None, keep_top_k=None, encoded=False):
        super().__init__()
        self.decode, self.labels, self.encoded = decode, labels, encoded
        self.floor = torch.finfo(torch.float32).min if floor is None else floor
        self.limit, self.top_k, self.keep_top_k = limit, top_k, keep_top_k

    def forward(self, offsets, scores, priors):
        images, count = len(offsets), priors.shape[2] // 4
        prior, variance = priors.reshape(2, count, 1, 4)
        scores = scores.reshape(images, count, -1)
        offsets = offsets.reshape(images, count, -1, 4)  # one set for each class, or for all
        boxes = self.decode(prior, offsets if self.encoded else variance * offsets)
        boxes = boxes.expand(-1, -1, scores.shape[2], -1)
        rows = [self.of_image(image, boxes[image], scores[image]) for image in range(images)]
        if not any(map(len, rows)):
            rows = [torch.tensor([[image] + [-1] * 6]).to(scores) for image in range(images)]
        return torch.cat(rows)[None, None]

    def of_image(self, image, boxes, scores):
        rows = [boxes.new_empty(0, 7)]
        for label in self.labels:
            kept = self.suppress(boxes[:, label], scores[:, label])
            head = boxes.new_tensor([image, label]).expand(len(kept), 2)
            rows.append(torch.cat([head, scores[kept, label, None], boxes[kept, label]], dim=1))
        rows = torch.cat(rows)
        best = rows[:, 2].argsort(descending=True, stable=True)[: self.keep_top_k]
        return rows[best.sort().values]

    def suppress(self, boxes, scores):
        order = scores.argsort(descending=True, stable=True)[: self.top_k]
        order = order[scores[order] > self.floor]
        kept = [order[:0]]
        while len(order):
            first, order = order[:1], order[1:]
            kept.append(first)
            order = order[~(box_overlaps(boxes[first[0]], boxes[order]) > self.limit)]
        return torch.cat(kept)
'''
