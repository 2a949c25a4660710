"""What DetectionOutput reads, as each fork hands it over: offsets, scores, prior boxes and their variances.

SSD reads three bottoms; RefineDet two more, which move the prior boxes and say where there is anything; Intel's fork
reads regions in pixels where others read prior boxes. Synopsys' is in `detection_levels.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from converter.graph import Shape, count, format_shape, is_free
from converter.layers.base import OnnxOps, TorchOps, require
from converter.layers.detection.box_decoding import CORNER, decoded

if TYPE_CHECKING:
    from converter.node import Node


class Sizes(NamedTuple):
    """How many images, and how many boxes each has."""

    images: int
    boxes: int


class DetectionValues(NamedTuple):
    """Names of values.

    Attributes:
        offsets: images × boxes × values, or images × boxes × classes × values where classes do not share them.
        scores: images × classes × boxes.
        prior: 1 × boxes × 4, or images × boxes × 4; an axis of 1 before the last where classes do not share offsets.
        variance: likewise, for all images; empty where it is in the offsets.
        beside: numbers that stand behind a box's corners as they are, 1 × boxes × numbers; empty for none.
    """

    offsets: str
    scores: str
    prior: str
    variance: str
    beside: str = ""


@dataclass(frozen=True)
class Bottoms:
    """SSD's three: offsets N×(boxes · sets · values), scores N×(boxes · classes), prior boxes 1×2×(4 · boxes).

    Attributes:
        classes: how many.
        sets: of offsets for one box: one, or one a class.
        values: in a set, 4 and what a fork's shape has beside the box.
    """

    classes: int
    sets: int = 1
    values: int = 4

    @property
    def columns(self) -> int:
        """How many numbers of a box come out: its corners and what stands behind them."""
        return self.values

    def infer(self, shapes: Sequence[Shape]) -> Sizes:
        """NetError where the bottoms do not go together."""
        offsets, scores, priors = shapes[:3]
        boxes = boxes_of("third", priors)
        free = is_free(boxes) and is_free(offsets[0])
        require(not free, "images and prior boxes can't both be left free; give one of them a size by --input-shape")
        parts = (("first", offsets, boxes * self.sets * self.values), ("second", scores, boxes * self.classes))
        for name, shape, values in parts:
            fits = len(shape) >= 2 and count(shape[1:]) == values
            require(fits, f"the {name} bottom is {format_shape(shape)}; expected N×{values} for {boxes} prior boxes")
        images = f"the second bottom is of {scores[0]} images, the first of {offsets[0]}"
        require(int(scores[0]) == int(offsets[0]), images)
        return Sizes(offsets[0], boxes)

    def onnx(self, g: OnnxOps, node: Node, *x: str, encoded: bool) -> DetectionValues:
        """Record what brings the bottoms into one form; `encoded`: whether the variances are in the offsets already.

        Prior boxes that are constants stay in the model as they are, though not all of it reads them: they are a blob
        that detections hang on, which a check wants to see.
        """
        boxes = self.infer([v.shape for v in node.inputs]).boxes
        shape = [2, -1 if is_free(boxes) else boxes, *([1] * (self.sets > 1)), 4]
        (table,) = g.multi("Reshape", x[2], g.ints(shape, "shape"), outputs=1)
        known = g.value(x[2])
        if known is None or encoded:
            prior = g.slice(table, 0, 0, 1)
        else:
            prior = g.constant(known.reshape(shape)[:1], "prior")
        return DetectionValues(*self._by_class(g, node, x, boxes), prior, "" if encoded else g.slice(table, 0, 1, 2))

    def _by_class(self, g: OnnxOps, node: Node, x: Sequence[str], boxes: int) -> tuple[str, str]:
        """SSD's first two bottoms as `DetectionValues` has offsets and scores."""
        images, boxes = (int(node.inputs[0].shape[0]), -1) if is_free(boxes) else (-1, boxes)
        split = [images, boxes, self.values] if self.sets == 1 else [images, boxes, self.sets, self.values]
        scores = g.op("Reshape", x[1], g.ints([images, boxes, self.classes], "shape"))
        return g.op("Reshape", x[0], g.ints(split, "shape")), g.op("Transpose", scores, perm=[0, 2, 1])

    def torch(self, t: TorchOps, node: Node, *x: str) -> list[str]:
        """Expressions for SSD's three bottoms."""
        return list(x)


@dataclass(frozen=True)
class Refined(Bottoms):
    """RefineDet: a fourth bottom, N×(2 · boxes), says where there is anything; a fifth, N×(4 · boxes), moves priors.

    A box whose second number there is below `objectness` is of the first class, with a score of 1, and no other.
    """

    objectness: float = 0.0
    code: int = CORNER

    def infer(self, shapes: Sequence[Shape]) -> Sizes:
        sizes = super().infer(shapes)
        require(not is_free(sizes.boxes), "the number of prior boxes can't be left free")
        for name, shape, values in zip(
            ("fourth", "fifth"), shapes[3:], (2 * sizes.boxes, 4 * sizes.boxes), strict=False
        ):
            fits = len(shape) >= 2 and count(shape[1:]) == values and int(shape[0]) == int(sizes.images)
            require(fits, f"the {name} bottom is {format_shape(shape)}; expected {sizes.images}×{values}")
        return sizes

    def onnx(self, g: OnnxOps, node: Node, *x: str, encoded: bool) -> DetectionValues:
        offsets, scores, prior, variance, _ = super().onnx(g, node, *x[:3], encoded=encoded)
        boxes = self.infer([v.shape for v in node.inputs]).boxes
        objects = g.slice(g.op("Reshape", x[3], g.ints([-1, boxes, 2], "shape")), 2, 1, 2)
        poor = g.op("Less", g.op("Transpose", objects, perm=[0, 2, 1]), g.scalar(self.objectness, "objectness"))
        first = np.zeros((1, self.classes, 1), np.float32)
        first[0, 0] = 1
        scores = g.op("Where", poor, g.constant(first, "first_class"), scores)
        if len(x) == 5:
            moves = g.op("Reshape", x[4], g.ints([-1, boxes, 4], "shape"))
            prior = decoded(g, self.code, prior, moves if encoded else g.op("Mul", variance, moves))
        return DetectionValues(offsets, scores, prior, variance)


@dataclass(frozen=True)
class Regions(Bottoms):
    """Intel's fork (`normalized: false`): regions in pixels, image x0 y0 x1 y1 each, where others read prior boxes.

    They are brought to shares of the image; their variances are in the offsets.
    """

    image: tuple[int, int] = (1, 1)

    def infer(self, shapes: Sequence[Shape]) -> Sizes:
        regions = shapes[2]
        fits = len(regions) == 3 and tuple(map(int, regions[:2])) == (1, 1) and int(regions[2]) % 5 == 0
        require(fits, f"the third bottom is {format_shape(regions)}; expected 1×1×(5 · regions)")
        return super().infer([*shapes[:2], (1, 2, regions[2] // 5 * 4)])

    def onnx(self, g: OnnxOps, node: Node, *x: str, encoded: bool) -> DetectionValues:
        table = g.op("Reshape", x[2], g.ints([1, -1, 5] if self.sets == 1 else [1, -1, 1, 5], "shape"))
        sides = g.constant(np.asarray(self.image * 2, np.float32), "image")
        boxes = self.infer([v.shape for v in node.inputs]).boxes
        return DetectionValues(*self._by_class(g, node, x, boxes), g.op("Div", g.slice(table, -1, 1, 5), sides), "")

    def torch(self, t: TorchOps, node: Node, *x: str) -> list[str]:
        t.helper("regions_as_priors", REGIONS_AS_PRIORS)
        return [*x[:2], f"regions_as_priors({x[2]}, {self.image[0]}, {self.image[1]})"]


@dataclass(frozen=True)
class OfPlaces(Bottoms):
    """SSD's three, the offsets N×H×W×(4 · anchors): behind a box's corners stand its anchor, column and row."""

    @property
    def columns(self) -> int:
        return 7

    def infer(self, shapes: Sequence[Shape]) -> Sizes:
        offsets = shapes[0]
        fits = len(offsets) == 4 and int(offsets[3]) % 4 == 0
        require(fits, f"the first bottom is {format_shape(offsets)}; expected N×H×W×(4 · anchors)")
        require(not any(map(is_free, offsets[1:])), "the sizes of the features can't be left free: a row names places")
        return super().infer(shapes)

    def onnx(self, g: OnnxOps, node: Node, *x: str, encoded: bool) -> DetectionValues:
        given = super().onnx(g, node, *x, encoded=encoded)
        rows, columns, values = map(int, node.shape[1:])
        row, column, anchor = np.indices((rows, columns, values // 4), np.float32).reshape(3, 1, -1)
        return given._replace(beside=g.constant(np.stack([anchor, column, row], axis=2), "places"))


def beside(g: OnnxOps, numbers: str, corners: str) -> str:
    """Numbers beside each box, images × boxes × numbers, for corners images × boxes × 4."""
    images = g.slice(g.op("Shape", corners), 0, 0, 1)
    return g.op("Expand", numbers, g.op("Concat", images, g.ints([1, 1], "ones"), axis=0))


def boxes_of(name: str, priors: Shape) -> int:
    """How many prior boxes a bottom of 1×2×(4 · boxes) holds."""
    fits = len(priors) == 3 and tuple(map(int, priors[:2])) == (1, 2) and int(priors[2]) % 4 == 0
    which = f"the {name} bottom" if " " not in name else name
    require(fits, f"{which} is {format_shape(priors)}; expected 1×2×(4 · boxes)")
    return priors[2] // 4


REGIONS_AS_PRIORS = '''
def regions_as_priors(regions, width, height):
    """Prior boxes as shares of the image, with variances of 1, from regions in pixels: image x0 y0 x1 y1 each."""
    boxes = regions.reshape(-1, 5)[:, 1:] / regions.new_tensor([width, height, width, height])
    return torch.stack([boxes, torch.ones_like(boxes)]).reshape(1, 2, -1)
'''
