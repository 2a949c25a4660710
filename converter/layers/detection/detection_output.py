"""Detections of SSD nets: boxes decoded, suppressed class by class, the best kept (SSD: detection_output_layer.cpp)."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Any

import numpy as np

from converter.emission import Verbatim
from converter.graph import FreeDim, Shape, is_free
from converter.layers.base import UNLIMITED, OnnxOps, TorchOps, at_least_one, fault, register, shortest, unsupported
from converter.layers.detection.box_decoding import (
    CENTER_SIZE,
    CORNER,
    DECODERS,
    POLYGON,
    ROTATED,
    SHAPES,
    decoded,
    decoded_shape,
)
from converter.layers.detection.boxes import above
from converter.layers.detection.detection_bottoms import Bottoms, DetectionValues, Refined, Regions, beside
from converter.layers.detection.detection_levels import Levels
from converter.layers.detection.detection_modules import (
    CLIPPED_ROWS,
    DETECTION_OUTPUT,
    NOTHING_FOUND,
    PLACED,
    REFINED,
    SHAPED,
)
from converter.layers.detection.suppression import (
    LOWEST,
    MOST_LIMITS,
    OVERLAPS,
    SUPPRESS,
    SUPPRESS_LOWERING,
    limits,
    suppressed,
)
from converter.layers.shared.sizes import FLOAT, filled, int_size
from converter.node import Layer
from prototxt import NetLayer
from prototxt.caffe_pb2 import DetectionOutputParameter

if TYPE_CHECKING:
    from converter.node import Node

SECTION = "detection_output_param"
_LEVELS = 6
MOST_CLASSES = 100_000
"""How many levels Synopsys' fork reads unless `nbottom` says."""


@register
class DetectionOutput(Layer):
    """What a net finds: 1×1×found×7, of image, class, score and corners x0 y0 x1 y1 (SSD: detection_output_layer.cpp).

    Bottoms are offsets N×(boxes · 4), or N×(boxes · classes · 4) where classes do not share them, scores
    N×(boxes · classes), and prior boxes with their variances, 1×2×(boxes · 4). For each image and class: of the boxes
    whose score is above `confidence_threshold`, the `top_k` best take part; by falling score, one stays that overlaps
    none before it by more than its limit. Of what stays in an image, the `keep_top_k` best of all classes are given.
    Equal scores keep the boxes' order. Rows go by image, class, falling score; if there are none, each image gives one
    of its number and six -1.

    How many are found is known only when the net runs, so that axis is free. Forks hand over other bottoms (`reads`:
    detection_bottoms.py, detection_levels.py). TextBoxes++ has a shape beside each box, decoded with it and given
    behind its corners: four points (`use_polygon`), or two points and a height (`use_polygon: false`). TextBoxes clips
    the corners of what it gives to the image, and has one row of -1 alone if there are none.
    """

    types = ("DetectionOutput",)
    tabulates = True
    bottoms = (3, UNLIMITED)
    labels: tuple[int, ...] = ()
    reads: Bottoms = field(default_factory=lambda: Bottoms(1))
    code_type: int = CORNER
    variance_encoded_in_target: bool = False
    confidence_threshold: float = LOWEST
    limits: tuple[float, ...] = (0.3,)
    top_k: int | None = None
    keep_top_k: int | None = None
    found: str = "found"
    clips: bool = False

    @classmethod
    def read(cls, source: NetLayer) -> DetectionOutput:
        p = source.param.detection_output_param
        at_least_one(source, SECTION, "num_classes")
        if p.num_classes > MOST_CLASSES:
            message = f"num_classes is {p.num_classes}; expected at most {MOST_CLASSES}"
            raise unsupported(source, message, SECTION, "num_classes")
        top_k = p.nms_param.top_k if p.nms_param.HasField("top_k") else -1
        return cls(
            tuple(c for c in range(p.num_classes) if c != p.background_label_id),
            _bottoms(source, p),
            p.code_type,
            p.variance_encoded_in_target,
            shortest(p.confidence_threshold) if p.HasField("confidence_threshold") else LOWEST,
            overlap_limits(source, p),
            top_k if top_k >= 0 else None,
            p.keep_top_k if p.keep_top_k >= 0 else None,
            re.sub(r"\W", "_", f"detections_of_{source.name}"),
            source.dialect == "textboxes1",
        )

    @property
    def box_classes(self) -> Sequence[int]:
        return self.labels

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        images, boxes = self.reads.infer(self._read(inputs))
        most = len(self.labels) * self._candidates(boxes)
        if self.keep_top_k is not None:
            most = min(most, self.keep_top_k)
        columns = 3 + self.reads.columns
        if self._finds_nothing():
            return [(1, 1, 1 if self.clips else images, columns)]
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
        given = self.reads.onnx(g, node, *self._read(x), encoded=self.variance_encoded_in_target)
        scores, corners = self._ranked(g, sizes.boxes, given)
        classes, count = len(self.labels), self._candidates(sizes.boxes)
        if is_free(sizes.boxes):
            ranks, groups, alone, width = g.slice(g.op("Shape", scores), 0, 2, 3), classes * int(sizes.images), -1, None
        else:
            ranks, groups, alone, width = g.ints([count], "ranks"), -1, count, classes * count
        of_images = -1 if groups == -1 else int(sizes.images)
        table = [images, classes, count] if width and isinstance(images, int) else None
        boxes = g.op("Reshape", g.slice(corners, -1, 0, 4), g.ints([groups, alone, 4], "shape"))
        kept = scores if classes == 1 else g.op("Reshape", scores, g.ints([groups, 1, alone], "shape"))
        kept = self._suppressed(g, boxes, kept, ranks, table)
        kept = self._best(g, g.op("Reshape", kept, g.ints([of_images, width or -1], "shape")), width, table)
        if self.clips:
            corners = g.op("Min", g.op("Max", corners, g.scalar(0.0, "zero")), g.scalar(1.0, "one"))
        return g.unsqueeze(self._rows(g, images, kept, corners, table), [0, 1])

    def _suppressed(self, g: OnnxOps, boxes: str, scores: str, ranks: str, table: Sequence[int] | None) -> str:
        """Of a class no more than an image is given need to stay: they are its best."""
        most = ranks if self.keep_top_k is None else g.ints([self.keep_top_k], "most")
        shape = None if table is None else [table[0] * table[1], 1, table[2]]
        return suppressed(g, boxes, scores, ranks, self.confidence_threshold, self.limits, most=most, shape=shape)

    def _ranked(self, g: OnnxOps, boxes: int, given: DetectionValues) -> tuple[str, str]:
        """Scores, images × classes × ranks, falling, and beside them corners, images × classes × ranks × values."""
        labels, shared = g.ints(self.labels, "labels"), self.reads.sets == 1
        corners = self._decoded(g, given)
        if not shared:
            corners = g.op("Gather", g.op("Transpose", corners, perm=[0, 2, 1, 3]), labels, axis=1)
        scores = self._levelled(g, g.op("Gather", given.scores, labels, axis=1))
        if is_free(boxes):
            most = g.slice(g.op("Shape", scores), 0, 2, 3)
            most = most if self.top_k is None else g.op("Min", most, g.ints([self.top_k], "ranks"))
        else:
            most = g.ints([self._candidates(boxes)], "ranks")
        scores, order = g.multi("TopK", scores, most, outputs=2, axis=2)
        return scores, g.op("GatherND", corners, g.unsqueeze(order, [3]), batch_dims=1 if shared else 2)

    def _levelled(self, g: OnnxOps, scores: str) -> str:
        """Scores that are not above the threshold made one that is below it: a TopK is fast over equal ones.

        In a trained net they are nearly all.
        """
        if self.confidence_threshold == LOWEST:
            return scores
        return g.op("Max", scores, g.scalar(above(self.confidence_threshold), "below"))

    def _decoded(self, g: OnnxOps, given: DetectionValues) -> str:
        offsets = g.slice(given.offsets, -1, 0, 4) if self._shape() else given.offsets
        scaled = offsets if self.variance_encoded_in_target else g.op("Mul", given.variance, offsets)
        corners = decoded(g, self.code_type, given.prior, scaled)
        if given.beside:
            corners = g.op("Concat", corners, beside(g, given.beside, corners), axis=-1)
        if not self._shape():
            return corners
        shape = g.slice(given.offsets, -1, 4, self.reads.values)
        return g.op("Concat", corners, decoded_shape(g, given.prior, given.variance, shape, self._shape()), axis=-1)

    def _best(self, g: OnnxOps, scores: str, width: int | None, table: Sequence[int] | None) -> str:
        """Scores, images × (classes · ranks), the lowest for all but the `keep_top_k` best of an image."""
        if self.keep_top_k is None or (width is not None and self.keep_top_k >= width):
            return scores
        keep = g.ints([self.keep_top_k], "keep")
        if width is None:
            keep = g.op("Min", keep, g.slice(g.op("Shape", scores), 0, 1, 2))
        best, place = g.multi("TopK", scores, keep, outputs=2, axis=1)
        shape = None if table is None else [table[0], table[1] * table[2]]
        return g.op("ScatterElements", filled(g, g.scalar(LOWEST, "lowest"), scores, shape), place, best, axis=1)

    def _rows(self, g: OnnxOps, images: int | str, scores: str, corners: str, table: Sequence[int] | None) -> str:
        """Of all rows, and the rows of -1 behind them, those that count.

        What has a part of their columns is gathered from by itself: few rows of many count.
        """
        flat = g.op("Reshape", scores, g.ints([-1], "shape"))
        kept = g.op("Cast", g.op("Greater", flat, g.scalar(LOWEST, "lowest")), to=FLOAT)
        nothing = g.op("Sub", g.scalar(1.0), g.reduce("ReduceMax", kept, [0]))
        if images != 1 and not self.clips:
            many = g.ints([images], "images") if isinstance(images, int) else g.unsqueeze(images, [0])
            nothing = g.op("Expand", nothing, many)
        found = g.places(g.op("Concat", kept, nothing, axis=0))
        values = self.reads.columns
        columns = [
            (self._owners(g, images, corners, table), 2),
            (g.op("Reshape", scores, g.ints([-1, 1], "shape")), 1),
            (g.op("Reshape", corners, g.ints([-1, values], "shape")), values),
        ]
        parts, start, blanks = [], 0, self._blanks(g, images)
        for column, width in columns:
            whole = g.op("Concat", column, g.slice(blanks, 1, start, start + width), axis=0)
            parts.append(g.op("Gather", whole, found, axis=0))
            start += width
        return g.op("Concat", *parts, axis=1)

    def _owners(self, g: OnnxOps, images: int | str, corners: str, table: Sequence[int] | None) -> str:
        """The image and the class of each row."""
        numbers = g.op("Reshape", _numbers(g, images), g.ints([-1, 1, 1, 1], "shape"))
        labels = g.constant(np.asarray(self.labels, np.float32).reshape(1, -1, 1, 1), "labels")
        if table is None:
            size = g.op("Concat", g.slice(g.op("Shape", corners), 0, 0, 3), g.ints([1], "one"), axis=0)
        else:
            size = g.ints([*table, 1], "size")
        pairs = g.op("Concat", g.op("Expand", numbers, size), g.op("Expand", labels, size), axis=3)
        return g.op("Reshape", pairs, g.ints([-1, 2], "shape"))

    def _blanks(self, g: OnnxOps, images: int | str) -> str:
        """A row of its number and -1 for each image; TextBoxes has one of -1 alone."""
        if self.clips:
            return g.constant(np.full((1, 3 + self.reads.columns), -1, np.float32), "blank")
        pads = g.ints([0, 0, 0, 2 + self.reads.columns], "pads")
        return g.op("Pad", g.unsqueeze(_numbers(g, images), [1]), pads, g.scalar(-1.0))

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        bottoms = self.reads.torch(t, node, *self._read(x))
        if self._finds_nothing():
            t.helper("nothing_found", NOTHING_FOUND)
            return self._torch_rows(t, f"nothing_found(len({x[0]}), {3 + self.reads.columns}).to({x[0]})")
        decode, source = DECODERS[self.code_type]
        t.helper(decode, source)
        t.helper("box_overlaps", OVERLAPS)
        t.helper("suppress", SUPPRESS if len(self.limits) == 1 else SUPPRESS_LOWERING)
        cls = t.helper("DetectionOutput", DETECTION_OUTPUT)
        if self.reads.columns > self.reads.values:
            cls = t.helper("PlacedDetectionOutput", PLACED)
        words: dict[str, Any] = {
            "floor": self.confidence_threshold if self.confidence_threshold != LOWEST else None,
            "limit": self.limits[0] if len(self.limits) == 1 else self.limits,
            "top_k": self.top_k,
            "keep_top_k": self.keep_top_k,
            "encoded": self.variance_encoded_in_target or None,
        }
        if isinstance(self.reads, Refined):
            cls = t.helper("RefinedDetectionOutput", REFINED)
            words["objectness"] = self.reads.objectness
        elif self._shape():
            shape, shape_source = SHAPES[self._shape()]
            t.helper(shape, shape_source)
            cls = t.helper("ShapeDetectionOutput", SHAPED)
            words.update(shape=Verbatim(shape), values=self.reads.values)
        given = {name: value for name, value in words.items() if value is not None}
        module = t.module(cls, Verbatim(decode), _span(self.labels), **given)
        return self._torch_rows(t, f"{module}({', '.join(bottoms)})")

    def _torch_rows(self, t: TorchOps, rows: str) -> str:
        return f"{t.helper('clipped_rows', CLIPPED_ROWS)}({rows})" if self.clips else rows


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
        if not p.share_location:
            raise fault(source, "share_location false; RefineDet moves the boxes of all classes alike", SECTION)
        score = shortest(p.objectness_score)
        return Refined(p.num_classes, 1, 4, score, p.code_type)
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


def overlap_limits(source: NetLayer, p: DetectionOutputParameter) -> tuple[float, ...]:
    """The share that boxes may overlap; with an eta below 1 it falls as long as it is above a half."""
    nms, place = p.nms_param, (SECTION, "nms_param")
    if not 0 <= nms.nms_threshold < math.inf:
        raise fault(source, f"nms_threshold is {nms.nms_threshold:g}; expected at least 0", *place, "nms_threshold")
    if not 0 < nms.eta <= 1:
        raise fault(source, f"eta is {nms.eta:g}; expected above 0, at most 1", *place, "eta")
    falling = limits(nms.nms_threshold, nms.eta)
    if falling is None:
        raise unsupported(
            source, f"eta is {shortest(nms.eta)}: the limit falls more than {MOST_LIMITS} times", *place, "eta"
        )
    return falling


def _span(labels: tuple[int, ...]) -> range | tuple[int, ...]:
    """`range(…)` for three labels or more without a gap."""
    span = range(labels[0], labels[-1] + 1)
    return span if 2 < len(span) == len(labels) else labels
