"""Regions that may hold an object, of scores and offsets to fields that stand at every place (MS-CNN, Cascade R-CNN).

A field is a box of one size about the middle of each place of the features. Offsets are first kept within bounds: the
centre moves by at most 1 / field_xyr of the field's size, which grows or shrinks by field_whr at most. Of the boxes
that score enough and are not too small, by falling score, one stays that overlaps none before it by more than a limit.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from converter.graph import FreeDim, Shape, format_shape, is_free
from converter.layers.base import UNLIMITED, OnnxOps, TorchOps, fault, register, require, shortest
from converter.layers.detection.field_overlaps import FIELD_BOXES, LOWEST, overlapping_none, quick
from converter.layers.detection.proposal_boxes import suppressed
from converter.layers.shared.sizes import turned_around
from converter.node import Layer
from prototxt import NetLayer

if TYPE_CHECKING:
    from converter.node import Node

f32 = np.float32
MODES = ("IOMU", "IOFU")
"""By what the common area is divided: the smaller box's, or the better one's; by the union for any other word."""
NOTHING = ((0.0, 1.0, 1.0, 10.0, 10.0), (0.0,) * 6)
"""The one row of each top where no image has a box."""


class Level(NamedTuple):
    """Features of one size: pixels from place to place, and widths and heights of the fields at each."""

    stride: int
    widths: tuple[int, ...]
    heights: tuple[int, ...]


class FieldBoxes(Layer):
    """What the two forks have in common.

    The tops are found×5×1×1, image and corners of each region, and found×6×1×1, the score behind them; regions of the
    first image come first. How many there are is known only when the net runs, so that axis is free.

    Attributes:
        levels: in the order of the bottoms.
        floor: a box counts from this score on.
        limit: share that boxes may overlap.
        mode: one of `MODES`, or IOU.
        reach, growth: field_xyr and field_whr.
        before, after: how many boxes of an image take part in the suppression and how many come out; 0 for all.
        least: a box must be so wide and so high.
        mean, std: the offsets are times `std` plus `mean`; empty for as they are.
        pixels: whether a far corner is a pixel that belongs to the box, so that a box from 0 to 15 is 16 wide.
        last_first: whether of equal scores the later box comes first.
    """

    tops = (1, 2)
    tabulates = True
    pixels: ClassVar[bool] = False
    last_first: ClassVar[bool] = False

    levels: tuple[Level, ...] = ()
    floor: float = 0.0
    limit: float = 0.5
    mode: str = "IOU"
    reach: float = 2.0
    growth: float = 2.0
    before: int = 0
    after: int = 0
    least: float = 15.0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    found: str = "found"

    def sizes(self, inputs: Sequence[Shape]) -> list[tuple[int, int, int]]:
        """Images, rows and columns of each level; NetError for bottoms that Caffe would refuse."""
        raise NotImplementedError

    def flat(
        self, g: OnnxOps, x: Sequence[str], sizes: Sequence[tuple[int, int, int]], shapes: Sequence[Shape]
    ) -> tuple[str, str]:
        """Scores, images × boxes, and offsets, images × boxes × 4, by levels, fields and places."""
        raise NotImplementedError

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        free = any(is_free(size) for shape in inputs for size in (*shape[:1], *shape[2:]))
        require(not free, "the batch and the sizes of the features can't be left free: the fields follow them")
        sizes = self.sizes(inputs)
        require(len({images for images, *_ in sizes}) == 1, "the bottoms differ in how many images they are of")
        count = self._count(sizes)
        require(count > 0, "there are no fields: a bottom or a list of sizes is empty")
        most = sizes[0][0] * min(count, self.before or count, self.after or count)
        found = FreeDim(most, self.found)
        return [(found, 5, 1, 1), (found, 6, 1, 1)]

    def _count(self, sizes: Sequence[tuple[int, int, int]]) -> int:
        """How many boxes an image has."""
        levels = zip(self.levels, sizes, strict=True)
        return sum(rows * columns * len(level.widths) for level, (_, rows, columns) in levels)

    def bounds(self) -> tuple[float, float, float, float]:
        """What the offsets are kept within: of the centre, then of the logarithm of the growth."""
        reach, growth = f32(self.reach), f32(self.growth)
        ends = f32(-1) / reach, f32(1) / reach, np.log(np.float64(f32(1) / growth)), np.log(np.float64(growth))
        low, high, least, most = (float(f32(end)) for end in ends)
        return low, high, least, most

    def _fields(self, sizes: Sequence[tuple[int, int, int]]) -> list[npt.NDArray[np.float32]]:
        """Size, middle and far edge of the image of each field, boxes × 2 each, x before y."""
        tables: list[list[npt.NDArray[Any]]] = [[], [], []]
        for level, (_, rows, columns) in zip(self.levels, sizes, strict=True):
            y, x = np.indices((rows, columns), f32).reshape(2, -1)
            middle = (np.stack([x, y], axis=1) + f32(0.5)) * f32(level.stride)
            for size in zip(level.widths, level.heights, strict=True):
                edge = (columns * level.stride, rows * level.stride)
                for table, values in zip(tables, (size, middle, edge), strict=True):
                    table.append(np.broadcast_to(np.asarray(values, f32), middle.shape))
        return [np.concatenate(table) for table in tables]

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> list[str]:
        shapes = [value.shape for value in node.inputs]
        sizes = self.sizes(shapes)
        scores, offsets = self.flat(g, x, sizes, shapes)
        boxes, fit = self._decoded(g, offsets, self._fields(sizes))
        fit = g.op("And", fit, g.op("GreaterOrEqual", scores, g.scalar(self.floor, "floor")))
        scores = g.op("Where", fit, scores, g.scalar(LOWEST, "lowest"))
        images = [self._of_image(g, n, scores, boxes, sizes) for n in range(sizes[0][0])]
        rows = g.op("Concat", *images, axis=0) if len(images) > 1 else images[0]
        nothing = g.op("Equal", g.slice(g.op("Shape", rows), 0, 0, 1), g.ints([0]))
        tops = []
        for blank, width in zip(NOTHING, (5, 6), strict=False):
            instead = g.pick(g.constant(np.asarray([blank], f32), "blank"), nothing)
            tops.append(g.unsqueeze(g.op("Concat", g.slice(rows, 1, 0, width), instead, axis=0), [2, 3]))
        return tops[: len(node.outputs)]

    def _decoded(self, g: OnnxOps, offsets: str, fields: Sequence[npt.NDArray[np.float32]]) -> tuple[str, str]:
        """Corners, images × boxes × 4, and whether each box is large enough."""
        size, middle, edge = (
            g.constant(table, hint) for table, hint in zip(fields, ("size", "middle", "edge"), strict=True)
        )
        if self.std:
            offsets = g.op("Mul", offsets, g.constant(np.asarray(self.std, f32), "std"))
            offsets = g.op("Add", offsets, g.constant(np.asarray(self.mean, f32), "mean"))
        low, high, least, most = (g.scalar(bound, "bound") for bound in self.bounds())
        move = g.op("Min", g.op("Max", g.slice(offsets, 2, 0, 2), low), high)
        grow = g.op("Min", g.op("Max", g.slice(offsets, 2, 2, 4), least), most)
        extent = g.op("Mul", g.op("Exp", grow), size)
        centre = g.op("Add", g.op("Mul", move, size), middle)
        near = g.op("Sub", centre, g.op("Div", extent, g.scalar(2.0, "two")))
        zero, one = g.scalar(0.0, "zero"), g.scalar(1.0, "one")
        if self.pixels:
            far = g.op("Min", g.op("Sub", g.op("Add", near, extent), one), edge)
            near = g.op("Max", near, zero)
            extent = g.op("Add", g.op("Sub", far, near), one)
        else:
            near = g.op("Max", near, zero)
            extent = g.op("Min", extent, g.op("Sub", edge, near))
            far = g.op("Add", near, extent)
        fits = g.op("GreaterOrEqual", extent, g.scalar(self.least, "least"))
        across, down = (g.op("Squeeze", g.slice(fits, 2, i, i + 1), g.ints([2])) for i in (0, 1))
        return g.op("Concat", near, far, axis=2), g.op("And", across, down)

    def _of_image(self, g: OnnxOps, image: int, scores: str, boxes: str, sizes: Sequence[tuple[int, int, int]]) -> str:
        """The rows of one image: its number, corners and score."""
        if sizes[0][0] > 1:
            scores, boxes = (g.slice(x, 0, image, image + 1) for x in (scores, boxes))
        scores, boxes = (g.op("Squeeze", x, g.ints([0])) for x in (scores, boxes))
        count = self._count(sizes)
        ranks = min(count, self.before or count)
        ordered = turned_around(g, scores, 0) if self.last_first else scores
        best, order = g.multi("TopK", ordered, g.ints([ranks], "ranks"), outputs=2, axis=0)
        if self.last_first:
            order = g.op("Sub", g.constant(np.asarray(count - 1, np.int64), "last"), order)
        boxes = g.op("Gather", boxes, order, axis=0)
        eligible = g.op("Greater", best, g.scalar(LOWEST, "lowest"))
        if quick(self.mode, self.limit, self.least, pixels=self.pixels):
            ends = 1.0 if self.pixels else 0.0
            kept = suppressed(g, boxes, eligible, ranks, self.limit, self.after or None, ends=ends)
        else:
            kept = overlapping_none(g, boxes, eligible, ranks, self.limit, self.mode, pixels=self.pixels)
            kept = g.slice(kept, 0, 0, self.after) if self.after else kept
        corners = g.op("Pad", g.op("Gather", boxes, kept, axis=0), g.ints([0, 1, 0, 0], "pads"), g.scalar(float(image)))
        return g.op("Concat", corners, g.unsqueeze(g.op("Gather", best, kept, axis=0), [1]), axis=1)

    def torch(self, t: TorchOps, node: Node, *x: str) -> list[str]:
        t.helper("field_overlaps", FIELD_BOXES["field_overlaps"])
        t.helper("FieldBoxes", FIELD_BOXES["FieldBoxes"])
        levels = [[level.stride, *map(list, zip(level.widths, level.heights, strict=True))] for level in self.levels]
        words: dict[str, Any] = {
            "floor": self.floor,
            "limit": self.limit,
            "least": self.least,
            "bounds": self.bounds(),
            "mode": self.mode if self.mode in MODES else None,
            "std": self.std or None,
            "mean": self.mean or None,
            "before": self.before or None,
            "after": self.after or None,
            "grouped": self.pixels or None,
        }
        given = {name: value for name, value in words.items() if value is not None}
        regions = t.let("regions", f"{t.module('FieldBoxes', levels, **given)}({', '.join(x)})")
        return [f"{regions}[0]", f"{regions}[1]"][: len(node.outputs)]


@register
class BoxOutput(FieldBoxes):
    """Regions of MS-CNN's detection heads, found×5×1×1 (MS-CNN: box_output_layer.cpp).

    Each bottom N×(classes + 4)×H×W has the scores of its place, of nothing first, then the four offsets, for one field;
    a box's score is the largest of the others less that of nothing. Of equal scores the later box comes first.
    """

    types = ("BoxOutput",)
    bottoms = (1, UNLIMITED)
    last_first = True

    @classmethod
    def read(cls, source: NetLayer) -> BoxOutput:
        p, section = source.param.box_output_param, "box_output_param"
        for name in ("field_w", "field_h", "downsample_rate"):
            given, wanted = len(getattr(p, name)), len(source.bottoms)
            if given != wanted:
                raise fault(source, f"{given} {name} for {wanted} bottoms; expected one for each", section, name)
        levels = [Level(*each) for each in zip(p.downsample_rate, zip(p.field_w), zip(p.field_h), strict=True)]
        return cls(tuple(levels), *_words(source, section))

    def sizes(self, inputs: Sequence[Shape]) -> list[tuple[int, int, int]]:
        for shape in inputs:
            fits = len(shape) == 4 and int(shape[1]) >= 6 and int(shape[1]) == int(inputs[0][1])
            wanted = "4 axes, and the same scores of 2 classes or more and 4 offsets in each bottom"
            require(fits, f"a bottom is {format_shape(shape)}; expected {wanted}")
        return [(int(n), int(h), int(w)) for n, _, h, w in inputs]

    def flat(
        self, g: OnnxOps, x: Sequence[str], sizes: Sequence[tuple[int, int, int]], shapes: Sequence[Shape]
    ) -> tuple[str, str]:
        scores, offsets = [], []
        classes = int(shapes[0][1]) - 4
        for name, (images, rows, columns) in zip(x, sizes, strict=True):
            best = g.reduce("ReduceMax", g.slice(name, 1, 1, classes), [1])
            score = g.op("Sub", best, g.slice(name, 1, 0, 1))
            scores.append(g.op("Reshape", score, g.ints([images, rows * columns], "shape")))
            moved = g.slice(name, 1, classes, classes + 4)
            moved = g.op("Reshape", moved, g.ints([images, 4, rows * columns], "shape"))
            offsets.append(g.op("Transpose", moved, perm=[0, 2, 1]))
        return _joined(g, scores), _joined(g, offsets)


@register
class BoxGroupOutput(FieldBoxes):
    """Regions of a proposal network with several fields at a place (Cascade R-CNN: box_group_output_layer.cpp).

    The bottoms are pairs, one for each box_group_param: probabilities (N · fields)×classes×H×W, of nothing first, and
    offsets (N · fields)×4×H×W. A box's score is 1 less the probability of nothing. The fork leaves open in which order
    equal scores come; here that is the order of bottoms, fields and places. Boxes share nothing that have one row of
    pixels in common.
    """

    types = ("BoxGroupOutput",)
    bottoms = (2, UNLIMITED)
    pixels = True

    @classmethod
    def read(cls, source: NetLayer) -> BoxGroupOutput:
        p, section = source.param.box_group_output_param, "box_group_output_param"
        given, wanted = len(p.box_group_param), len(source.bottoms)
        if wanted != 2 * given:
            message = f"{given} box_group_param for {wanted} bottoms; expected one for each two"
            raise fault(source, message, section, "box_group_param")
        levels = []
        for group in p.box_group_param:
            if len(group.field_w) != len(group.field_h):
                message = f"{len(group.field_w)} field_w and {len(group.field_h)} field_h; expected as many of both"
                raise fault(source, message, section, "box_group_param")
            levels.append(Level(group.stride, tuple(group.field_w), tuple(group.field_h)))
        return cls(tuple(levels), *_words(source, section, positive=True))

    def sizes(self, inputs: Sequence[Shape]) -> list[tuple[int, int, int]]:
        sizes = []
        for level, scores, offsets in zip(self.levels, inputs[::2], inputs[1::2], strict=True):
            pair = f"bottoms are {format_shape(scores)} and {format_shape(offsets)}"
            alike = len(scores) == len(offsets) == 4 and (scores[0], *scores[2:]) == (offsets[0], *offsets[2:])
            require(alike and int(offsets[1]) == 4, f"{pair}; expected M×classes×H×W and M×4×H×W")
            fields = len(level.widths)
            whole = fields > 0 and int(scores[0]) % fields == 0
            require(whole, f"{pair}, for {fields} fields; expected as many for each image")
            sizes.append((int(scores[0]) // fields, int(scores[2]), int(scores[3])))
        return sizes

    def flat(
        self, g: OnnxOps, x: Sequence[str], sizes: Sequence[tuple[int, int, int]], shapes: Sequence[Shape]
    ) -> tuple[str, str]:
        scores, offsets = [], []
        pairs = zip(x[::2], x[1::2], self.levels, sizes, strict=True)
        for nothing, moved, level, (images, rows, columns) in pairs:
            places = rows * columns
            score = g.op("Sub", g.scalar(1.0, "one"), g.slice(nothing, 1, 0, 1))
            scores.append(g.op("Reshape", score, g.ints([images, len(level.widths) * places], "shape")))
            moved = g.op("Reshape", moved, g.ints([images, len(level.widths), 4, places], "shape"))
            moved = g.op("Transpose", moved, perm=[0, 1, 3, 2])
            offsets.append(g.op("Reshape", moved, g.ints([images, len(level.widths) * places, 4], "shape")))
        return _joined(g, scores), _joined(g, offsets)


def _joined(g: OnnxOps, parts: Sequence[str]) -> str:
    return g.op("Concat", *parts, axis=1) if len(parts) > 1 else parts[0]


def _words(source: NetLayer, section: str, *, positive: bool = False) -> tuple[Any, ...]:
    """What both layers say in fields of the same names, in the order of `FieldBoxes`."""
    p = getattr(source.param, section)
    for name in ("field_xyr", "field_whr"):
        if not 0 < getattr(p, name) < np.inf:
            raise fault(source, f"{name} is {getattr(p, name):g}; expected a number above 0", section, name)
    mean, std = normalisation(source, positive=positive)
    return (
        shortest(p.fg_thr),
        shortest(p.iou_thr),
        p.nms_type if p.nms_type in MODES else "IOU",
        shortest(p.field_xyr),
        shortest(p.field_whr),
        p.max_nms_num,
        p.max_post_nms_num,
        shortest(p.min_size),
        mean,
        std,
        re.sub(r"\W", "_", f"regions_of_{source.name}"),
    )


def normalisation(source: NetLayer, *, positive: bool) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """`bbox_mean` and `bbox_std`, four numbers each; both empty where one is."""
    p = source.param.bbox_reg_param
    mean, std = (tuple(map(shortest, getattr(p, name))) for name in ("bbox_mean", "bbox_std"))
    if not (mean and std):
        source.without_effect(
            "bbox_mean and bbox_std count together", "bbox_reg_param.bbox_mean", "bbox_reg_param.bbox_std"
        )
        return (), ()
    for name, values in (("bbox_mean", mean), ("bbox_std", std)):
        if len(values) != 4:
            raise fault(source, f"{len(values)} {name}; expected 4", "bbox_reg_param", name)
    if positive and min(std) <= 0:
        raise fault(source, f"bbox_std is {min(std):g}; expected numbers above 0", "bbox_reg_param", "bbox_std")
    return mean, std
