"""Detections of SSD nets: boxes decoded, suppressed class by class, the best kept (SSD: detection_output_layer.cpp)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from converter.emission import Source
from converter.graph import FreeDim, Shape, is_free
from converter.layers.base import UNLIMITED, Layer, OnnxOps, TorchOps, fault, register, shortest, unsupported
from converter.layers.box_decoding import (
    CENTER_SIZE,
    CORNER,
    DECODERS,
    POLYGON,
    ROTATED,
    SHAPES,
    decoded,
    decoded_shape,
)
from converter.layers.detection_bottoms import Arrays, Bottoms, Refined, Regions
from converter.layers.detection_levels import Levels
from converter.layers.detection_modules import DETECTION_OUTPUT, NOTHING_FOUND, REFINED, SHAPED
from converter.layers.sizes import FLOAT, int_size
from converter.layers.suppression import LOWEST, OVERLAPS, SUPPRESS, SUPPRESS_LOWERING, limits, suppressed
from prototxt import NetLayer
from prototxt.caffe_pb2 import DetectionOutputParameter

if TYPE_CHECKING:
    from converter.graph import Node

SECTION = "detection_output_param"
_FOREIGN = ("normalized_bbox", "clip", "nms_threshold", "top_k")
_FOREIGN_NMS = ("soft_nms",)
_LEVELS = 6
"""How many levels Synopsys' fork reads unless `nbottom` says."""


@register
@dataclass(frozen=True)
class DetectionOutput(Layer):
    """What a net finds: 1×1×found×7, of image, class, score and corners x0 y0 x1 y1 (SSD: detection_output_layer.cpp).

    Bottoms are offsets N×(boxes · 4), or N×(boxes · classes · 4) where classes do not share them, scores
    N×(boxes · classes), and prior boxes with their variances, 1×2×(boxes · 4). For each image and class: of the boxes
    whose score is above `floor`, the `top_k` best take part; by falling score, one stays that overlaps none before it
    by more than its limit. Of what stays in an image, the `keep_top_k` best of all classes are given. Equal scores keep
    the boxes' order. Rows go by image, class, falling score; if there are none, each image gives one of its number
    and six -1.

    How many are found is known only when the net runs, so that axis is free. Forks hand over other bottoms (`reads`:
    detection_bottoms.py, detection_levels.py). TextBoxes++ has a shape beside each box, decoded with it and given
    behind its corners: four points (`use_polygon`), or two points and a height (`use_polygon: false`).
    """

    types = ("DetectionOutput",)
    bottoms = (3, UNLIMITED)
    labels: tuple[int, ...] = ()
    reads: Bottoms = field(default_factory=lambda: Bottoms(1))
    code: int = CORNER
    encoded: bool = False
    floor: float = LOWEST
    limits: tuple[float, ...] = (0.3,)
    top_k: int | None = None
    keep_top_k: int | None = None
    found: str = "found"

    @classmethod
    def read(cls, source: NetLayer) -> DetectionOutput:
        p = source.param.detection_output_param
        _refuse_forks(source, p)
        if p.num_classes < 1:
            raise fault(source, f"num_classes is {p.num_classes}; expected at least 1", SECTION, "num_classes")
        top_k = p.nms_param.top_k if p.nms_param.HasField("top_k") else -1
        return cls(
            tuple(c for c in range(p.num_classes) if c != p.background_label_id),
            _bottoms(source, p),
            p.code_type,
            p.variance_encoded_in_target,
            shortest(p.confidence_threshold) if p.HasField("confidence_threshold") else LOWEST,
            _limits(source, p),
            top_k if top_k >= 0 else None,
            p.keep_top_k if p.keep_top_k >= 0 else None,
            re.sub(r"\W", "_", f"detections_of_{source.name}"),
        )

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        images, boxes = self.reads.infer(self._read(inputs))
        most = len(self.labels) * self._candidates(boxes)
        if self.keep_top_k is not None:
            most = min(most, self.keep_top_k)
        columns = 3 + self.reads.values
        if self._finds_nothing():
            return [(1, 1, images, columns)]
        return [(1, 1, FreeDim(int(images) * most, self.found), columns)]

    def _read(self, bottoms: Sequence[Any]) -> Sequence[Any]:
        """The bottoms without the picture that SSD takes as a fourth to draw into."""
        return bottoms[:3] if type(self.reads) is Bottoms else bottoms

    def _candidates(self, boxes: int) -> int:
        """How many boxes of a class take part at most."""
        return int(boxes) if self.top_k is None else min(int(boxes), self.top_k)

    def _finds_nothing(self) -> bool:
        return not self.labels or self.top_k == 0 or self.keep_top_k == 0

    def _shape(self) -> int:
        """How many numbers stand beside a box."""
        return self.reads.values - 4

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        """Scores stay dense, images × classes × ranks: what is dropped gets the lowest, so NonZero gives the rows.

        No order of NonMaximumSuppression's own is relied on. The rows of -1 lie behind all others.
        """
        sizes = self.reads.infer(self._read([v.shape for v in node.inputs]))
        images: int | str = int(sizes.images)
        if is_free(sizes.images):
            images = int_size(g, x[0], node.inputs[0].shape, 0)
        if self._finds_nothing():
            return g.unsqueeze(self._blanks(g, images), [0, 1])
        scores, corners = self._ranked(g, sizes.boxes, self.reads.onnx(g, node, *self._read(x)))
        classes, count = len(self.labels), self._candidates(sizes.boxes)
        if is_free(sizes.boxes):
            ranks, groups, alone, width = g.slice(g.op("Shape", scores), 0, 2, 3), classes * int(sizes.images), -1, None
        else:
            ranks, groups, alone, width = g.ints([count], "ranks"), -1, count, classes * count
        of_images = -1 if groups == -1 else int(sizes.images)
        boxes = g.op("Reshape", g.slice(corners, -1, 0, 4), g.ints([groups, alone, 4], "shape"))
        kept = g.op("Reshape", scores, g.ints([groups, 1, alone], "shape"))
        kept = suppressed(g, boxes, kept, ranks, self.floor, self.limits)
        kept = self._best(g, g.op("Reshape", kept, g.ints([of_images, width or -1], "shape")), width)
        kept = g.op("Reshape", kept, g.ints([of_images, classes, alone], "shape"))
        return g.unsqueeze(self._rows(g, images, kept, corners), [0, 1])

    def _ranked(self, g: OnnxOps, boxes: int, given: Arrays) -> tuple[str, str]:
        """Scores, images × classes × ranks, falling, and beside them corners, images × classes × ranks × values."""
        labels, shared = g.ints(self.labels, "labels"), self.reads.sets == 1
        corners = self._decoded(g, given)
        if not shared:
            corners = g.op("Gather", g.op("Transpose", corners, perm=[0, 2, 1, 3]), labels, axis=1)
        scores = g.op("Gather", given.scores, labels, axis=1)
        if is_free(boxes):
            most = g.slice(g.op("Shape", scores), 0, 2, 3)
            most = most if self.top_k is None else g.op("Min", most, g.ints([self.top_k], "ranks"))
        else:
            most = g.ints([self._candidates(boxes)], "ranks")
        scores, order = g.multi("TopK", scores, most, outputs=2, axis=2)
        return scores, g.op("GatherND", corners, g.unsqueeze(order, [3]), batch_dims=1 if shared else 2)

    def _decoded(self, g: OnnxOps, given: Arrays) -> str:
        offsets = g.slice(given.offsets, -1, 0, 4) if self._shape() else given.offsets
        scaled = offsets if self.encoded else g.op("Mul", given.variance, offsets)
        corners = decoded(g, self.code, given.prior, scaled)
        if not self._shape():
            return corners
        shape = g.slice(given.offsets, -1, 4, self.reads.values)
        return g.op("Concat", corners, decoded_shape(g, given.prior, given.variance, shape, self._shape()), axis=-1)

    def _best(self, g: OnnxOps, scores: str, width: int | None) -> str:
        """Scores, images × (classes · ranks), the lowest for all but the `keep_top_k` best of an image."""
        if self.keep_top_k is None or (width is not None and self.keep_top_k >= width):
            return scores
        keep = g.ints([self.keep_top_k], "keep")
        if width is None:
            keep = g.op("Min", keep, g.slice(g.op("Shape", scores), 0, 1, 2))
        best, place = g.multi("TopK", scores, keep, outputs=2, axis=1)
        lowest = g.op("Expand", g.scalar(LOWEST, "lowest"), g.op("Shape", scores))
        return g.op("ScatterElements", lowest, place, best, axis=1)

    def _rows(self, g: OnnxOps, images: int | str, scores: str, corners: str) -> str:
        """Of the dense table of all rows, and the rows of -1 behind it, those that count."""
        score = g.unsqueeze(scores, [3])
        size = g.op("Shape", score)
        labels = g.constant(np.asarray(self.labels, np.float32).reshape(1, -1, 1, 1), "labels")
        numbers = g.op("Reshape", _numbers(g, images), g.ints([-1, 1, 1, 1], "shape"))
        columns = [g.op("Expand", column, size) for column in (numbers, labels)]
        table = g.op("Concat", *columns, score, corners, axis=3)
        table = g.op("Reshape", table, g.ints([-1, 3 + self.reads.values], "shape"))
        kept = g.op("Greater", g.op("Reshape", scores, g.ints([-1], "shape")), g.scalar(LOWEST, "lowest"))
        kept = g.op("Cast", kept, to=FLOAT)
        nothing = g.op("Sub", g.scalar(1.0), g.reduce("ReduceMax", kept, [0]))
        blank = g.op("Expand", nothing, g.ints([images]) if isinstance(images, int) else g.unsqueeze(images, [0]))
        found = g.op("Squeeze", g.op("NonZero", g.op("Concat", kept, blank, axis=0)), g.ints([0]))
        return g.op("Gather", g.op("Concat", table, self._blanks(g, images), axis=0), found, axis=0)

    def _blanks(self, g: OnnxOps, images: int | str) -> str:
        """A row of its number and -1 for each image."""
        columns = 2 + self.reads.values
        if isinstance(images, int):
            rows = np.full((images, 1 + columns), -1, np.float32)
            rows[:, 0] = np.arange(images)
            return g.constant(rows, "blanks")
        numbers = g.unsqueeze(_numbers(g, images), [1])
        return g.op("Pad", numbers, g.ints([0, 0, 0, columns], "pads"), g.scalar(-1.0))

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        bottoms = self.reads.torch(t, node, *self._read(x))
        if self._finds_nothing():
            t.helper("nothing_found", NOTHING_FOUND)
            return f"nothing_found(len({x[0]}), {3 + self.reads.values}).to({x[0]})"
        decode, source = DECODERS[self.code]
        t.helper(decode, source)
        t.helper("box_overlaps", OVERLAPS)
        t.helper("suppress", SUPPRESS if len(self.limits) == 1 else SUPPRESS_LOWERING)
        cls = t.helper("DetectionOutput", DETECTION_OUTPUT)
        words: dict[str, Any] = {
            "floor": self.floor if self.floor != LOWEST else None,
            "limit": self.limits[0] if len(self.limits) == 1 else self.limits,
            "top_k": self.top_k,
            "keep_top_k": self.keep_top_k,
            "encoded": self.encoded or None,
        }
        if isinstance(self.reads, Refined):
            cls = t.helper("RefinedDetectionOutput", REFINED)
            words["objectness"] = self.reads.objectness
        elif self._shape():
            shape, shape_source = SHAPES[self._shape()]
            t.helper(shape, shape_source)
            cls = t.helper("ShapeDetectionOutput", SHAPED)
            words.update(shape=Source(shape), values=self.reads.values)
        given = {name: value for name, value in words.items() if value is not None}
        return f"{t.module(cls, Source(decode), _span(self.labels), **given)}({', '.join(bottoms)})"


def _numbers(g: OnnxOps, images: int | str) -> str:
    """0, 1, 2 … for the images."""
    if isinstance(images, int):
        return g.constant(np.arange(images, dtype=np.float32), "numbers")
    return g.op("Cast", g.op("Range", g.constant(np.asarray(0)), images, g.constant(np.asarray(1))), to=FLOAT)


def _bottoms(source: NetLayer, p: DetectionOutputParameter) -> Bottoms:
    """Whose bottoms they are, told by the fields that only one fork has, and by their number."""
    sets, count = 1 if p.share_location else p.num_classes, len(source.bottoms)
    levels = p.no_permute or p.HasField("nbottom") or count > 5
    forks = {
        "no_permute": levels,
        "use_polygon": p.HasField("use_polygon"),
        "objectness_score": not levels and (count == 5 or (count == 4 and p.HasField("objectness_score"))),
        "normalized": p.HasField("normalized") and not p.normalized,
    }
    told = [name for name, holds in forks.items() if holds]
    if len(told) > 1:
        raise unsupported(source, f"{told[0]} with {told[1]}, of another fork", SECTION, told[1])
    if "no_permute" in told:
        return _levels(source, p, sets)
    if "use_polygon" in told:
        if p.code_type != CENTER_SIZE or p.variance_encoded_in_target:
            message = "a shape beside the box, which the fork decodes by CENTER_SIZE and with variances alone"
            raise fault(source, message, SECTION, "use_polygon")
        return Bottoms(p.num_classes, sets, 4 + (POLYGON if p.use_polygon else ROTATED))
    if "objectness_score" in told:
        if not p.HasField("objectness_score"):
            raise fault(source, "5 bottoms and no objectness_score, which RefineDet has", SECTION)
        if not p.share_location:
            raise fault(source, "share_location false; RefineDet moves the boxes of all classes alike", SECTION)
        score = shortest(p.objectness_score)
        return Refined(p.num_classes, 1, 4, score, p.code_type, p.variance_encoded_in_target)
    if "normalized" in told:
        if p.input_width < 1 or p.input_height < 1:
            message = f"input_width {p.input_width}, input_height {p.input_height}; expected both above 0"
            raise fault(source, message, SECTION, "normalized")
        if not p.variance_encoded_in_target:
            raise unsupported(source, "normalized false without variance_encoded_in_target", SECTION, "normalized")
        return Regions(p.num_classes, sets, 4, (p.input_width, p.input_height))
    return Bottoms(p.num_classes, sets)


def _levels(source: NetLayer, p: DetectionOutputParameter, sets: int) -> Levels:
    levels, count = p.nbottom if p.HasField("nbottom") else _LEVELS, len(source.bottoms)
    if levels < 1 or count not in (2 * levels + 1, 3 * levels):
        message = f"{count} bottoms; expected {2 * levels + 1} or {3 * levels} for {levels} levels (nbottom)"
        raise fault(source, message, SECTION)
    if p.no_permute and count == 3 * levels:
        raise unsupported(source, "no_permute with prior boxes of each level", SECTION, "no_permute")
    return Levels(p.num_classes, sets, 4, levels, p.no_permute)


def _refuse_forks(source: NetLayer, p: DetectionOutputParameter) -> None:
    for part, names, path in ((p, _FOREIGN, ()), (p.nms_param, _FOREIGN_NMS, ("nms_param",))):
        for name in names:
            if getattr(part, name) != getattr(type(part)(), name):
                raise unsupported(source, f"{name}, of another fork than SSD's", SECTION, *path, name)


def _limits(source: NetLayer, p: DetectionOutputParameter) -> tuple[float, ...]:
    """The share that boxes may overlap; with an eta below 1 it falls as long as it is above a half."""
    nms, place = p.nms_param, (SECTION, "nms_param")
    if nms.nms_threshold < 0:
        raise fault(source, f"nms_threshold is {nms.nms_threshold:g}; expected at least 0", *place, "nms_threshold")
    if not 0 < nms.eta <= 1:
        raise fault(source, f"eta is {nms.eta:g}; expected above 0, at most 1", *place, "eta")
    return limits(nms.nms_threshold, nms.eta)


def _span(labels: tuple[int, ...]) -> range | tuple[int, ...]:
    """`range(…)` for three labels or more without a gap."""
    span = range(labels[0], labels[-1] + 1)
    return span if 2 < len(span) == len(labels) else labels
