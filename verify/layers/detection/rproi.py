"""Regions proposed and pooled at once, in float32 as TensorRT's plugin RPROI_TRT has it.

Facts from nvFasterRCNNPlugin.cpp, generateAnchors.cu, bboxDeltas2Proposals.cu, nmsLayer.cu and roiPooling.cu. Where its
__expf is coarser than exp, the exact one counts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from prototxt.words import format_shape
from verify.layers.detection.proposal import SLACK, UNIT, image_info, suppress_regions
from verify.layers.detection.roi import largest_in_bins
from verify.layers.registry import UNBOUNDED, Array, Call, Sensitivity, Wide, register

F = np.float32


@dataclass(frozen=True)
class _Regions:
    """N×R×4 corners, and how far off a right conversion may be: inf where a choice is open."""

    corners: Array
    error: float


def _anchors(call: Call, h: int, w: int) -> tuple[Array, Array]:
    """Centres and sizes of all anchors, by anchor, row and column."""
    p = call.param.region_proposal_param
    counts = p.anchor_ratio_count, p.anchor_scale_count
    call.require(min(counts) > 0, "needs a ratio and a scale")
    call.require(
        len(p.anchor_ratio) >= counts[0] and len(p.anchor_scale) >= counts[1], "lists too few ratios or scales"
    )
    base = F(p.feature_stride)
    sizes = []
    for ratio in map(F, p.anchor_ratio[: counts[0]]):
        width = F(math.floor(np.sqrt(base * base / ratio) + F(0.5)))
        height = F(math.floor(width * ratio + F(0.5)))
        sizes += [[width * F(scale), height * F(scale)] for scale in p.anchor_scale[: counts[1]]]
    y, x = np.indices((h, w), F)
    place = np.stack([x, y], axis=-1).reshape(-1, 2) * base + (base - F(1)) / F(2)
    centre, size = np.broadcast_arrays(place[None], np.array(sizes, F)[:, None])
    return centre.reshape(-1, 2), size.reshape(-1, 2)


def _boxes(call: Call, n: int, info: Array) -> tuple[Array, Wide]:
    """Corners of all boxes of an image, clipped, and by how much rounding may move each."""
    offsets = call.bottoms[1][n]
    h, w = offsets.shape[1:]
    centre, size = _anchors(call, h, w)
    moves = offsets.reshape(-1, 4, h * w).transpose(0, 2, 1).reshape(-1, 4)
    with np.errstate(over="ignore"):
        middle, half = centre + moves[:, :2] * size, np.exp(moves[:, 2:]) * size / F(2)
    free = np.concatenate([middle - half, middle + half], axis=1)
    off = SLACK * UNIT * (np.abs(moves[:, :2] * size) + np.abs(centre) + half).astype(np.float64)
    off = np.concatenate([off, off], axis=1)
    edges = info[[1, 0, 1, 0]] - F(1)
    return np.minimum(np.maximum(free, F(0)), edges), np.where((free > edges + off) | (free < -off), 0.0, off)


def _propose(call: Call) -> _Regions:
    p = call.param.region_proposal_param
    scores, offsets, features, info = call.bottoms
    count = p.anchor_ratio_count * p.anchor_scale_count
    call.require(scores.ndim == offsets.ndim == features.ndim == 4, "needs scores, offsets and features of 4 axes")
    call.require(not call.param.roi_pooling_param.pad_ratio, "pads no regions")
    n, _, h, w = scores.shape
    wanted = (n, 2 * count, h, w), (n, 4 * count, h, w), (n, features.shape[1], h, w)
    for array, shape in zip(call.bottoms[:3], wanted, strict=True):
        call.require(array.shape == shape, f"a bottom is {format_shape(array.shape)}, expected {format_shape(shape)}")
    call.require(info.size == 3 * n, "the fourth bottom needs height, width and scale of each image")
    call.require(min(p.prenms_top, p.nms_max_out) > 0, "prenms_top and nms_max_out must be above 0")
    call.room((n, 1, p.nms_max_out, 4))
    rows, error = np.zeros((n, p.nms_max_out, 4), F), 0.0
    for image in range(n):
        boxes, off = _boxes(call, image, info.reshape(n, 3)[image])
        side = boxes[:, 2:] - boxes[:, :2] + F(1)
        least = F(p.min_box_size) * info.reshape(n, 3)[image, 2]
        close = bool((np.abs(side - least) < off[:, :2] + off[:, 2:]).any())
        ranked = np.where((side < least).any(axis=1), F(-np.inf), scores[image, count:].ravel())
        order = np.argsort(-ranked, kind="stable")[: p.prenms_top]
        kept, open_choice = suppress_regions(boxes[order], off[order], F(p.iou_threshold), p.nms_max_out)
        chosen = order[kept]
        rows[image, : len(chosen)] = boxes[chosen]
        error = math.inf if close or open_choice else max(error, float(off[chosen].max(initial=0.0)))
    return _Regions(rows, error)


def _error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    """Pooling jumps where a corner lies between two features, as near as rounding may move it."""
    own, scale = _propose(call).error, call.param.roi_pooling_param.spatial_scale
    jump = (UNBOUNDED, UNBOUNDED)
    places = tops[0].astype(np.float64) * scale
    between = np.abs(places - np.floor(places) - 0.5).min(initial=0.5)
    clear = between > own * scale + 4 * UNIT * np.abs(places).max(initial=0.0)
    pooled = 0.0 if clear else math.inf
    return [
        Sensitivity(1, (*jump, 0.0, UNBOUNDED), own),
        Sensitivity(1, (*jump, 1.0, UNBOUNDED), pooled),
    ]


@register("RPROI", bottoms=4, error=_error, feeds={3: image_info})
def rproi(call: Call) -> list[Array]:
    """N×1×nms_max_out×4 corners, rows of 0 behind the last; and the largest feature of each bin of each row.

    Boxes that are too small come last, and take part in the suppression.
    """
    corners = _propose(call).corners
    n, most = corners.shape[:2]
    image = np.repeat(np.arange(n, dtype=F), most)[:, None]
    pooled = largest_in_bins(call, call.bottoms[2], np.concatenate([image, corners.reshape(-1, 4)], axis=1))
    return [corners[:, None], pooled]
