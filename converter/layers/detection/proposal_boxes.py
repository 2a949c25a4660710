"""Boxes of region proposals: anchors, their decoding and suppression as ONNX operators, and the module for PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from converter.emission import OnnxOps
from converter.graph import Shape, is_free
from converter.layers.detection.suppression import falling_ranks, marks_of
from converter.layers.shared.sizes import FLOAT, int_size

DOUBLE = 11
"""TensorProto's number of float64."""

Round = Callable[[npt.NDArray[Any]], npt.NDArray[Any]]


def anchors_of(
    ratios: Sequence[float], scales: Sequence[float], base: float, dtype: type[Any], rounded: Round
) -> npt.NDArray[Any]:
    """Corners x0 y0 x1 y1 of each ratio's scales, about the middle of a square of `base` pixels."""
    ratio, scale = np.asarray(ratios, dtype)[:, None], np.asarray(scales, dtype)
    width = rounded(np.sqrt(dtype(base * base) / ratio))
    height = rounded(width * ratio)
    centre, half = dtype((base - 1) / 2), dtype(0.5)
    across, down = half * (width * scale - dtype(1)), half * (height * scale - dtype(1))
    corners = [centre - across, centre - down, centre + across, centre + down]
    return np.stack(corners, axis=-1).reshape(-1, 4).astype(dtype)


def decoded(g: OnnxOps, x: Sequence[str], shape: Shape, anchors: npt.NDArray[Any], stride: float) -> str:
    """Corners of all boxes, by rows, columns and anchors; the operations in the order of Faster R-CNN.

    But for the half, which is taken of the anchors: they may be constants, and halving rounds nothing.
    """
    centre, size = _centres_and_sizes(g, x[0], shape, anchors, stride)
    offsets = g.op("Transpose", x[1], perm=[0, 2, 3, 1])
    offsets = g.op("Reshape", offsets, g.ints([-1, 4], "shape"))
    centre = g.op("Add", g.op("Mul", g.slice(offsets, 1, 0, 2), size), centre)
    half = g.op("Mul", g.op("Exp", g.slice(offsets, 1, 2, 4)), g.op("Mul", size, g.scalar(0.5, "half")))
    return g.op("Concat", g.op("Sub", centre, half), g.op("Add", centre, half), axis=1)


def _centres_and_sizes(
    g: OnnxOps, scores: str, shape: Shape, anchors: npt.NDArray[Any], stride: float
) -> tuple[str, str]:
    """Centre and size of the anchors at all places: constants, or operators where the features' size is left free."""
    one, half = np.float32(1), np.float32(0.5)
    if not any(map(is_free, shape[2:])):
        rows, columns = int(shape[2]), int(shape[3])
        y, x = np.meshgrid(np.arange(rows) * stride, np.arange(columns) * stride, indexing="ij")
        steps = np.stack([x, y, x, y], axis=-1).reshape(-1, 1, 4).astype(anchors.dtype)
        corners = (steps + anchors).reshape(-1, 4).astype(np.float32)
        size = corners[:, 2:] - corners[:, :2] + one
        return g.constant(corners[:, :2] + half * size, "centres"), g.constant(size, "sizes")
    corners = _placed(g, scores, shape, anchors, stride)
    low, high = g.slice(corners, 1, 0, 2), g.slice(corners, 1, 2, 4)
    sizes = g.op("Add", g.op("Sub", high, low), g.scalar(1.0, "one"))
    return g.op("Add", low, g.op("Mul", sizes, g.scalar(0.5, "half"))), sizes


def _placed(g: OnnxOps, scores: str, shape: Shape, anchors: npt.NDArray[Any], stride: float) -> str:
    """Corners of the anchors at all places of features whose size is left free."""
    kind = FLOAT if anchors.dtype == np.float32 else DOUBLE
    zero, one = g.constant(np.asarray(0, np.int64), "zero"), g.constant(np.asarray(1, np.int64), "step")
    steps = []
    for axis in (2, 3):
        numbers = g.op("Cast", g.op("Range", zero, int_size(g, scores, shape, axis), one), to=kind)
        steps.append(g.op("Mul", numbers, g.constant(np.asarray(stride, anchors.dtype), "stride")))
    down, across = g.unsqueeze(steps[0], [1, 2, 3]), g.unsqueeze(steps[1], [0, 2, 3])
    sides = [np.asarray(mask, anchors.dtype) for mask in ((1, 0, 1, 0), (0, 1, 0, 1))]
    moved = g.op("Add", g.op("Mul", across, g.constant(sides[0], "x")), g.op("Mul", down, g.constant(sides[1], "y")))
    corners = g.op("Reshape", g.op("Add", moved, g.constant(anchors, "anchors")), g.ints([-1, 4], "shape"))
    return corners if kind == FLOAT else g.op("Cast", corners, to=FLOAT)


def fitting(g: OnnxOps, boxes: str, image: str, least: float, sides: Sequence[int]) -> tuple[str, str]:
    """Boxes clipped to the image, and which of them are not too small.

    Args:
        image: height, width, scale and perhaps more.
        least: size of a box in the unscaled image.
        sides: which of the image's numbers scale the width and the height.
    """
    one = g.scalar(1.0, "one")
    edges = g.op("Sub", g.op("Gather", image, g.ints([1, 0, 1, 0], "edges"), axis=0), one)
    boxes = g.op("Max", g.op("Min", boxes, edges), g.scalar(0.0, "zero"))
    sizes = g.op("Add", g.op("Sub", g.slice(boxes, 1, 2, 4), g.slice(boxes, 1, 0, 2)), one)
    scale = g.op("Gather", image, g.ints(sides, "sides"), axis=0)
    fits = g.op("GreaterOrEqual", sizes, g.op("Mul", scale, g.scalar(least, "least")))
    width, height = (g.op("Squeeze", g.slice(fits, 1, i, i + 1), g.ints([1])) for i in (0, 1))
    return boxes, g.op("And", width, height)


def suppressed(
    g: OnnxOps,
    boxes: str,
    eligible: str | None,
    ranks: int | None,
    limit: float,
    most: int | None,
    *,
    ends: float = 1.0,
) -> str:
    """Places of the boxes that stay, in their order.

    NonMaxSuppression sorts by scores and leaves open what happens between equal ones and in which order it answers: it
    is given the ranks in place of scores, and the boxes that it names are marked. It measures from corner to corner, so
    the far corners are moved to where their pixel ends, by `ends`.
    """
    far = g.op("Add", boxes, g.constant(np.asarray([0, 0, ends, ends], np.float32), "ends")) if ends else boxes
    if ranks is not None:
        count = g.constant(np.asarray(ranks, np.int64), "count")
    else:
        count = g.op("Squeeze", g.slice(g.op("Shape", boxes), 0, 0, 1), g.ints([0]))
    rank, floor = falling_ranks(g, count), g.scalar(0.0, "floor")
    rank = g.op("Where", eligible, rank, floor) if eligible is not None else rank
    out = g.constant(np.asarray(most or np.iinfo(np.int32).max, np.int64), "most")
    scores, share = g.unsqueeze(rank, [0, 1]), g.scalar(limit, "limit")
    kept = g.op("NonMaxSuppression", g.unsqueeze(far, [0]), scores, out, share, floor)
    marks = marks_of(g, kept, scores, None if ranks is None else (1, 1, ranks))
    return g.places(g.op("Reshape", marks, g.ints([-1], "shape")))


REGION_PROPOSALS = {
    "pixel_overlaps": '''
def pixel_overlaps(box, others):
    """Intersection over union of one box with each of the others; the pixels of all corners belong to a box."""
    common = (torch.minimum(box[2:], others[:, 2:]) - torch.maximum(box[:2], others[:, :2]) + 1).clamp(min=0)
    common = common[:, 0] * common[:, 1]
    area = (box[2:] - box[:2] + 1).prod()
    areas = (others[:, 2:] - others[:, :2] + 1).prod(dim=1)
    return common / (area + areas - common)
''',
    "RegionProposals": '''
class RegionProposals(nn.Module):
    """Rows of 0 and corners of what may be an object, best first, and their scores (Faster R-CNN)."""

    def __init__(
        self, anchors, stride, least, limit, before=None, after=None, drop_small=False, own_scales=False
    ):
        super().__init__()
        self.register_buffer("anchors", torch.zeros(anchors, 4))
        self.stride, self.least, self.limit = stride, least, limit
        self.before, self.after, self.drop_small = before, after, drop_small
        self.scales = [3, 2] if own_scales else [2, 2]  # of width and height

    def forward(self, scores, offsets, image):
        scores = scores[0, len(self.anchors) :].permute(1, 2, 0)
        boxes = self.decode(*scores.shape[:2], offsets[0].permute(1, 2, 0).reshape(-1, 4))
        scores, image = scores.flatten(), image[0]
        boxes = boxes.minimum(image[[1, 0, 1, 0]] - 1).clamp(min=0)
        fits = (boxes[:, 2:] - boxes[:, :2] + 1 >= self.least * image[self.scales]).all(dim=1)
        if self.drop_small:
            boxes, scores = boxes[fits], scores[fits]
        else:
            scores = scores * fits
        order = scores.argsort(descending=True, stable=True)[: self.before]
        order = order[self.suppress(boxes[order])]
        return F.pad(boxes[order], (1, 0)), scores[order]

    def decode(self, rows, columns, offsets):
        rows, columns = (torch.arange(n).to(self.anchors) * self.stride for n in (rows, columns))
        y, x = torch.meshgrid(rows, columns, indexing="ij")
        boxes = (torch.stack([x, y, x, y], dim=-1)[:, :, None] + self.anchors).reshape(-1, 4).to(offsets)
        size = boxes[:, 2:] - boxes[:, :2] + 1
        centre = offsets[:, :2] * size + (boxes[:, :2] + 0.5 * size)
        half = 0.5 * (offsets[:, 2:].exp() * size)
        return torch.cat([centre - half, centre + half], dim=1)

    def suppress(self, boxes):
        left = torch.arange(len(boxes), device=boxes.device)
        kept = [left[:0]]
        while len(left) and len(kept) != (self.after or -1) + 1:
            first, left = left[:1], left[1:]
            kept.append(first)
            left = left[~(pixel_overlaps(boxes[first[0]], boxes[left]) > self.limit)]
        return torch.cat(kept)
''',
}
