"""What a head finds in regions, in float32 as in Cascade R-CNN, since comparisons decide it.

Facts from frcnn_output_layer.cpp and bbox_util.cpp. Where std::sort leaves the order of equal scores open, the earlier
class and the earlier region come first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from prototxt.words import format_shape
from verify.layers.detection.box_output import SLACK, UNIT, normalised
from verify.layers.registry import UNBOUNDED, Array, Call, Feeding, Sensitivity, Wide, register, wide

F = np.float32
ONE = F(1)
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class _Moved:
    """Corners regions × sets × 4, clipped to the image, and by how much rounding may move each."""

    corners: Array
    off: Wide


def _table(call: Call, place: int, *widths: int) -> Array:
    bottom = call.bottoms[place]
    fits = bottom.ndim >= 2 and bottom.shape[1] == math.prod(bottom.shape[1:])
    fits = fits and (not widths or bottom.shape[1] in widths)
    wanted = f"rows of {' or '.join(map(str, widths))}" if widths else "rows"
    call.require(fits, f"bottom {place} is {format_shape(bottom.shape)}, expected {wanted}")
    return bottom.reshape(len(bottom), -1)


def _moved(call: Call, scores: Array) -> _Moved:
    """DecodeBBoxesWithPrior and ClipBBox; the sets are the classes but the first, or one for all.

    The fork stops at a region with a corner on the wrong side, as DecodeBBox may make some; here it is decoded, too.
    """
    by_class, std = call.param.bbox_reg_param.cls_aware, call.param.bbox_reg_param.bbox_std
    call.require(min(std, default=1.0) > 0 or not call.param.bbox_reg_param.bbox_mean, "needs bbox_std above 0")
    offsets = _table(call, 1, 4 * scores.shape[1] if by_class else 8)
    regions, image = _table(call, 2, 5, 6), _table(call, 3, 2)
    call.require(len(image) == 1, f"has the sizes of {len(image)} images, expected one")
    same = len(offsets) == len(regions) == len(scores)
    call.require(same, f"has {len(scores)} scores, {len(offsets)} offsets and {len(regions)} regions, expected as many")
    call.require(not regions[:, 0].any(), "a region names another image than 0")
    x0, y0, x1, y1 = (regions[:, i, None] for i in (1, 2, 3, 4))
    moves = normalised(call, offsets.reshape(len(offsets), -1, 4)[:, 1:])
    ends, offs = [], []
    for axis, (low, high) in enumerate(((x0, x1), (y0, y1))):
        extent, middle = high - low + ONE, F(0.5) * (high + low)
        move, growth = moves[:, :, axis], moves[:, :, 2 + axis]
        with np.errstate(over="ignore", invalid="ignore"):
            centre, size = move * extent + middle, extent * np.exp(growth)
            near = centre - (size - ONE) / F(2)
            far = near + size - ONE
            reach = np.abs(middle) + np.abs(wide(extent)) * (1 + np.abs(move))
            blur = reach + np.abs(wide(size)) * (2 + np.abs(growth))
        near, far = np.maximum(F(0), near), np.minimum(image[0, 1 - axis], far)
        ends.append((near, far))
        offs.append(SLACK * UNIT * np.where(np.isfinite(blur), blur, math.inf))
    corners = np.stack([ends[0][0], ends[1][0], ends[0][1], ends[1][1]], axis=2)
    return _Moved(corners, np.stack([offs[0], offs[1], offs[0], offs[1]], axis=2))


def _overlaps(corners: Array, off: Wide, mode: str, towards: int) -> Wide:
    """JaccardOverlap of every two boxes, or the least (-1) and most (1) that other roundings might make of it."""
    blur = towards * 2 * off
    size = corners[:, 2:] - corners[:, :2]
    upright: Flags = size + (blur[:, 2:] + blur[:, :2] if towards else F(0)) >= 0
    real = upright[:, 0] & upright[:, 1]
    area = (size + ONE).prod(axis=1)
    extents = []
    slack: Wide = np.ones((len(corners), len(corners)))
    for axis in (0, 1):
        low = np.maximum(corners[:, None, axis], corners[None, :, axis])
        high = np.minimum(corners[:, None, 2 + axis], corners[None, :, 2 + axis])
        extent = high - low
        if towards:
            mixed = blur[:, None, axis] + blur[None, :, axis]
            extent = extent + mixed
            smaller = np.minimum(size[:, None, axis], size[None, :, axis]) + ONE
            slack += 2 * np.abs(mixed) / np.maximum(smaller, UNIT)
        extents.append(extent)
    meet = (extents[0] >= 0) & (extents[1] > 0) & real[:, None] & real[None, :]
    inside = (extents[0] + ONE) * (extents[1] + ONE)
    if mode == "IOMU":
        whole = np.minimum(area[:, None], area[None, :])
    elif mode == "IOFU":
        whole = np.broadcast_to(area[:, None], inside.shape)
    else:
        whole = area[:, None] + area[None, :] - inside
    share = np.divide(inside, whole, out=np.zeros_like(inside), where=meet & (whole > 0))
    if towards:
        share = share * (slack + 16 * UNIT) ** towards
    answer: Wide = share
    return answer


class _Drops:
    """Whether each box, of rows, drops each other, of columns, that scores less; surely, by these numbers, perhaps."""

    def __init__(self, corners: Array, off: Wide, limit: np.float32, mode: str) -> None:
        with np.errstate(invalid="ignore", over="ignore"):
            self.tables: list[Flags] = [_overlaps(corners, off, mode, towards) > limit for towards in (-1, 0, 1)]
        self.open = not np.isfinite(off).all()

    def left(self, order: npt.NDArray[np.intp]) -> tuple[list[int], bool]:
        """ApplyNMS: of boxes, best first, those that none before them drops which is kept; and whether it was close."""
        gone = [np.zeros(len(table), bool) for table in self.tables]
        kept: list[int] = []
        close = self.open
        for box in order:
            surely, drops, perhaps = (bool(flags[box]) for flags in gone)
            if surely:
                continue
            close = close or perhaps
            if not drops:
                kept.append(int(box))
                for flags, table in zip(gone, self.tables, strict=True):
                    flags |= table[box]
        return kept, close


def _find(call: Call) -> tuple[Array, float]:
    """Rows behind the first one, and how far off a right conversion may be, inf where a choice is open."""
    p = call.param.frcnn_output_param
    scores = _table(call, 0)
    call.require(scores.shape[1] >= 2, f"has scores of {scores.shape[1]} classes, expected 2 or more")
    moved = _moved(call, scores)
    found, offs, close = [np.zeros((0, 7), F)], [np.zeros(0)], False
    sets = moved.corners.shape[1]
    counts = scores >= F(p.conf_thr)
    for own in range(sets):
        labels = range(1, scores.shape[1]) if sets == 1 else (own + 1,)
        some = np.flatnonzero(counts[:, labels].any(axis=1))
        corners, off = moved.corners[some, own], moved.off[some, own]
        drops = _Drops(corners, off, F(p.iou_thr), p.nms_type)
        for label in labels:
            mine = scores[some, label]
            order = np.flatnonzero(counts[some, label])
            kept, open_choice = drops.left(order[np.argsort(-mine[order], kind="stable")])
            close = close or open_choice
            rows = np.zeros((len(kept), 7), F)
            rows[:, 1:5], rows[:, 5], rows[:, 6] = corners[kept], label, mine[kept]
            found.append(rows)
            offs.append(off[kept].max(axis=1, initial=0.0))
    table, error = np.concatenate(found), np.concatenate(offs)
    if 0 < p.max_det_num < len(table):
        best = np.sort(np.argsort(-table[:, 6], kind="stable")[: p.max_det_num])
        table, error = table[best], error[best]
    return table, math.inf if close else float(error.max(initial=0.0))


def _error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    return [Sensitivity(1, (UNBOUNDED,) * len(call.bottoms), _find(call)[1]) for _ in tops]


def _fed_regions(feeding: Feeding) -> Array:
    """Regions of image 0 with their corners in order, inside of the image."""
    height, width = _image(feeding)
    count = feeding.shape[0]
    corners = np.sort(feeding.rng.uniform(0, (width - 1, height - 1), (2, count, 2)), axis=0)
    rows = np.zeros((count, math.prod(feeding.shape[1:])), F)
    rows[:, 1:5] = np.concatenate([corners[0], corners[1]], axis=1)
    rows[:, 5:] = feeding.rng.uniform(0, 1, rows[:, 5:].shape)
    return rows.reshape(feeding.shape)


def _fed_size(feeding: Feeding) -> Array:
    return np.array(_image(feeding), F).reshape(feeding.shape)


def _image(feeding: Feeding) -> tuple[int, int]:
    """Height and width of the largest image that the net is fed."""
    images = [shape[2:] for shape in feeding.shapes.values() if len(shape) == 4 and math.prod(shape[2:]) > 1]
    height, width = max(images, key=math.prod, default=(600, 800))
    return height, width


@register("FrcnnOutput", bottoms=4, error=_error, feeds={2: _fed_regions, 3: _fed_size})
def frcnn_output(call: Call) -> list[Array]:
    """(1 + found)×7×1×1: 0 and six -1; then, by class and falling score, 0, corners, class and score."""
    rows, _ = _find(call)
    blank = np.full((1, 7), -1, F)
    blank[0, 0] = 0
    return [np.concatenate([blank, rows])[:, :, None, None]]
