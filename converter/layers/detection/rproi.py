"""Regions proposed and pooled at once: TensorRT's plugin for Faster R-CNN nets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from converter.graph import Shape, count, format_shape, is_free
from converter.layers.base import OnnxOps, TorchOps, at_least_one, fault, register, require, shortest
from converter.layers.detection.proposal_boxes import REGION_PROPOSALS, suppressed
from converter.layers.detection.roi import LARGEST_IN_BINS, ROI_POOLING, ROUND_HALF_AWAY, read_pooled, read_scale
from converter.layers.detection.roi_bins import largest_of_bins
from converter.node import Layer
from prototxt import NetLayer

if TYPE_CHECKING:
    from converter.node import Node

SECTION = "region_proposal_param"
LARGEST_ANCHOR = 1e6


@register
class RPROI(Layer):
    """Regions and what is pooled of them (TensorRT's plugin RPROI_TRT: nvFasterRCNN, proposalsForward, roiPooling).

    Bottoms are scores N×2A×H×W (background for each of A anchors, then object), offsets N×4A×H×W, features N×C×H×W and
    each image's height, width and scale. An anchor's centre is half of feature_stride - 1 behind its place, its size
    that of Faster R-CNN; unlike there an offset is a share of that centre, and corners are centre ± half the size.
    Boxes smaller than `min_box_size` times the scale come after all others, and are not left out. Of the best
    `prenms_top`, anchor by anchor, then rows, then columns where scores are equal, up to `nms_max_out` stay that
    overlap none before them by more than `iou_threshold`, pixels of both corners counted.

    The tops are corners, N×1×nms_max_out×4 with rows of 0 behind the last, and the largest feature of each bin of each
    row, of 0 too: (N · nms_max_out)×C×pooled_h×pooled_w, as ROIPooling has it. TensorRT holds the batch apart, so that
    its InnerProduct takes each region by itself; so does Caffe's of this shape.
    """

    types = ("RPROI",)
    tabulates = True
    bottoms = (4, 4)
    tops = (2, 2)
    anchor_ratio: tuple[float, ...] = (0.5, 1, 2)
    anchor_scale: tuple[float, ...] = (8, 16, 32)
    feature_stride: int = 16
    min_box_size: float = 16
    prenms_top: int = 6000
    nms_max_out: int = 300
    iou_threshold: float = 0.7
    pooled: tuple[int, int] = (7, 7)
    spatial_scale: float = 0.0625

    @classmethod
    def read(cls, source: NetLayer) -> RPROI:
        p = source.param.region_proposal_param
        at_least_one(
            source, SECTION, "feature_stride", "prenms_top", "nms_max_out", "anchor_ratio_count", "anchor_scale_count"
        )
        for name, wanted in (("anchor_ratio", p.anchor_ratio_count), ("anchor_scale", p.anchor_scale_count)):
            values = getattr(p, name)
            if len(values) < wanted or not all(0 < value < LARGEST_ANCHOR for value in values):
                given = ", ".join(f"{value:g}" for value in values) or "none"
                raise fault(
                    source,
                    f"{name} is {given}; expected {wanted} numbers above 0, below {LARGEST_ANCHOR:g}",
                    SECTION,
                    name,
                )
        if not 0 <= p.iou_threshold <= 1:
            message = f"iou_threshold is {p.iou_threshold:g}; expected a share from 0 to 1"
            raise fault(source, message, SECTION, "iou_threshold")
        return cls(
            tuple(map(shortest, p.anchor_ratio[: p.anchor_ratio_count])),
            tuple(map(shortest, p.anchor_scale[: p.anchor_scale_count])),
            p.feature_stride,
            shortest(p.min_box_size),
            p.prenms_top,
            p.nms_max_out,
            shortest(p.iou_threshold),
            read_pooled(source, "roi_pooling_param"),
            read_scale(source, "roi_pooling_param"),
        )

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        scores, _, features, image = inputs
        anchors = len(self.anchor_ratio) * len(self.anchor_scale)
        for place, channels in enumerate((2 * anchors, 4 * anchors, None)):
            shape = inputs[place]
            fits = len(shape) == 4 and not any(map(is_free, shape)) and channels in (None, int(shape[1]))
            wanted = f"N×{channels or 'C'}×H×W" + (f" for {anchors} anchors" if channels else "")
            require(fits, f"bottom {place + 1} is {format_shape(shape)}; expected {wanted}, all of them fixed")
            alike = (shape[0], *shape[2:]) == (scores[0], *scores[2:])
            message = f"bottom {place + 1} is {format_shape(shape)}, the first {format_shape(scores)}"
            require(alike, f"{message}; expected as many images, rows and columns")
        numbers = f"the fourth bottom is {format_shape(image)}; expected height, width and scale of {scores[0]} images"
        require(not any(map(is_free, image)) and int(count(image)) == 3 * int(scores[0]), numbers)
        images = int(scores[0])
        return [(images, 1, self.nms_max_out, 4), (images * self.nms_max_out, int(features[1]), *self.pooled)]

    def _sizes(self) -> npt.NDArray[np.float32]:
        """Width and height of each anchor: generateAnchors_cpu."""
        side = np.float32(self.feature_stride)
        sizes = []
        for ratio in map(np.float32, self.anchor_ratio):
            width = np.floor(np.sqrt(side * side / ratio) + np.float32(0.5))
            height = np.floor(width * ratio + np.float32(0.5))
            sizes += [(width * scale, height * scale) for scale in map(np.float32, self.anchor_scale)]
        return np.asarray(sizes, np.float32)

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> list[str]:
        shape = node.inputs[0].shape
        images = range(int(shape[0]))
        info = g.op("Reshape", x[3], g.ints([-1, 3], "shape"))
        found = [self._regions(g, n, x, g.slice(info, 0, n, n + 1), shape) for n in images]
        rows = found[0] if len(found) == 1 else g.op("Concat", *found, axis=0)
        image = np.repeat(np.arange(len(images), dtype=np.float32), self.nms_max_out)[:, None]
        regions = g.op("Concat", g.constant(image, "images"), rows, axis=1)
        pooled = largest_of_bins(g, x[2], node.inputs[2].shape, regions, self.pooled, self.spatial_scale)
        return [g.op("Reshape", rows, g.ints([len(images), 1, self.nms_max_out, 4], "shape")), pooled]

    def _regions(self, g: OnnxOps, n: int, x: Sequence[str], info: str, shape: Shape) -> str:
        """The rows of one image, nms_max_out × 4."""
        sizes, places = self._sizes(), int(shape[2]) * int(shape[3])
        total = len(sizes) * places
        row, column = np.divmod(np.arange(places), int(shape[3]))
        middle = np.stack([column, row], axis=1).astype(np.float32) * np.float32(self.feature_stride)
        centres = g.constant(middle + np.float32((self.feature_stride - 1) / 2), "centres")
        extents = g.constant(sizes[:, None], "extents")
        one, half = g.scalar(1.0, "one"), g.scalar(0.5, "half")
        scores = g.slice(g.slice(x[0], 0, n, n + 1), 1, len(sizes), 2 * len(sizes))
        scores = g.op("Reshape", scores, g.ints([total], "shape"))
        offsets = g.op("Reshape", g.slice(x[1], 0, n, n + 1), g.ints([len(sizes), 4, places], "shape"))
        offsets = g.op("Transpose", offsets, perm=[0, 2, 1])
        centre = g.op("Add", centres, g.op("Mul", g.slice(offsets, 2, 0, 2), extents))
        reach = g.op("Mul", g.op("Mul", g.op("Exp", g.slice(offsets, 2, 2, 4)), extents), half)
        corners = g.op("Concat", g.op("Sub", centre, reach), g.op("Add", centre, reach), axis=2)
        edges = g.op("Sub", g.op("Gather", info, g.ints([1, 0, 1, 0], "edges"), axis=1), one)
        boxes = g.op("Reshape", corners, g.ints([total, 4], "shape"))
        boxes = g.op("Min", g.op("Max", boxes, g.scalar(0.0, "zero")), edges)
        sides = g.op("Add", g.op("Sub", g.slice(boxes, 1, 2, 4), g.slice(boxes, 1, 0, 2)), one)
        least = g.op("Mul", g.slice(info, 1, 2, 3), g.scalar(self.min_box_size, "least"))
        small = g.op("Less", g.reduce("ReduceMin", sides, [1]), least)
        scores = g.op("Where", g.op("Squeeze", small, g.ints([1])), g.scalar(-np.inf, "last"), scores)
        ranks = min(total, self.prenms_top)
        _, order = g.multi("TopK", scores, g.ints([ranks], "ranks"), outputs=2, axis=0)
        boxes = g.op("Gather", boxes, order, axis=0)
        kept = g.op("Gather", boxes, suppressed(g, boxes, None, ranks, self.iou_threshold, self.nms_max_out), axis=0)
        padded = g.op("Concat", kept, g.constant(np.zeros((self.nms_max_out, 4), np.float32), "nothing"), axis=0)
        return g.slice(padded, 0, 0, self.nms_max_out)

    def torch(self, t: TorchOps, node: Node, *x: str) -> list[str]:
        for name, source in (("round_half_away", ROUND_HALF_AWAY), ("largest_in_bins", LARGEST_IN_BINS)):
            t.helper(name, source)
        t.helper("pixel_overlaps", REGION_PROPOSALS["pixel_overlaps"])
        t.helper("FusedRegions", FUSED_REGIONS)
        sizes = [[float(v) for v in size] for size in self._sizes()]
        limits = self.prenms_top, self.nms_max_out, self.iou_threshold
        propose = t.module("FusedRegions", sizes, self.feature_stride, self.min_box_size, *limits)
        rows = t.let("regions", f"{propose}({x[0]}, {x[1]}, {x[3]})")
        pool = t.helper("roi_pooling", ROI_POOLING)
        bins = f"{pool}({x[2]}, {rows}.flatten(0, 1), {self.pooled}, {self.spatial_scale!r})"
        return [f"{rows}[:, None, :, 1:]", bins]


FUSED_REGIONS = '''
class FusedRegions(nn.Module):
    """Images × regions × 5 of image and corners of what may be an object, best first, then zeros (TensorRT's RPROI)."""

    def __init__(self, sizes, stride, least, before, after, limit):
        super().__init__()
        self.sizes, self.stride, self.least = sizes, stride, least
        self.before, self.after, self.limit = before, after, limit

    def forward(self, scores, offsets, info):
        found = zip(scores, offsets, info.reshape(-1, 3))
        return torch.stack([F.pad(self.propose(*each), (1, 0), value=n) for n, each in enumerate(found)])

    def propose(self, scores, offsets, info):
        """Rows of one image."""
        h, w = scores.shape[1:]
        place = torch.arange(h * w, device=scores.device)
        centres = torch.stack([place % w, place // w], dim=1) * float(self.stride) + (self.stride - 1) / 2
        sizes = torch.tensor(self.sizes).to(scores)[:, None]
        offsets = offsets.reshape(len(sizes), 4, -1).transpose(1, 2)
        centre, half = centres + offsets[..., :2] * sizes, offsets[..., 2:].exp() * sizes * 0.5
        boxes = torch.cat([centre - half, centre + half], dim=2).flatten(0, 1)
        boxes = boxes.clamp(min=0).minimum(info[[1, 0, 1, 0]] - 1)
        small = (boxes[:, 2:] - boxes[:, :2] + 1).amin(dim=1) < self.least * info[2]
        ranked = scores[len(sizes) :].flatten().masked_fill(small, -torch.inf)
        boxes = boxes[ranked.argsort(descending=True, stable=True)[: self.before]]
        rows = boxes[self.suppress(boxes)]
        return F.pad(rows, (0, 0, 0, self.after - len(rows)))

    def suppress(self, boxes):
        left = torch.arange(len(boxes), device=boxes.device)
        kept = [left[:0]]
        while len(left) and len(kept) <= self.after:
            first, left = left[:1], left[1:]
            kept.append(first)
            left = left[~(pixel_overlaps(boxes[first[0]], boxes[left]) > self.limit)]
        return torch.cat(kept)
'''
