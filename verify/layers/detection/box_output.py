"""Regions of fields at every place, in float32 as in the forks, since comparisons decide what is found.

Facts from MS-CNN (box_output_layer.cpp, math_functions.cpp) and Cascade R-CNN (box_group_output_layer.cpp,
bbox_util.cpp). Where Cascade R-CNN leaves the order of equal scores to std::partial_sort, the box made first comes
first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from prototxt.words import format_shape
from verify.layers.registry import UNBOUNDED, Array, Call, Sensitivity, Wide, register

F = np.float32
UNIT = 2.0**-24
SLACK = 8.0
"""Units in the last place by which another exp and the operations after it may differ."""


@dataclass(frozen=True)
class _Rules:
    """What both layers' sections say under the same names, and whether a far corner is a pixel of its box."""

    floor: np.float32
    limit: np.float32
    mode: str
    bounds: tuple[np.float32, np.float32, np.float32, np.float32]
    before: int
    after: int
    least: np.float32
    pixels: bool


@dataclass
class _Boxes:
    """Boxes of one image: corners, by how much rounding may move each, widths and heights, scores, the size's doubt."""

    corners: Array
    off: Wide
    extent: Array
    scores: Array


def _rules(call: Call) -> _Rules:
    pixels = call.layer.kind == "BoxGroupOutput"
    p = call.param.box_group_output_param if pixels else call.param.box_output_param
    reach, growth = F(p.field_xyr), F(p.field_whr)
    call.require(p.field_xyr > 0 and p.field_whr > 0, "needs field_xyr and field_whr above 0")
    bounds = (
        F(-1) / reach, F(1) / reach, F(math.log(F(1) / growth)), F(math.log(growth))
    )  # fmt: skip
    counts = p.max_nms_num, p.max_post_nms_num
    return _Rules(F(p.fg_thr), F(p.iou_thr), p.nms_type, bounds, *counts, F(p.min_size), pixels)


def normalised(call: Call, offsets: Array) -> Array:
    """Offsets … × 4, times bbox_std plus bbox_mean where both are given."""
    p = call.param.bbox_reg_param
    mean, std = np.array(p.bbox_mean, F), np.array(p.bbox_std, F)
    if not (len(mean) and len(std)):
        call.ignores("one of bbox_mean and bbox_std alone", "bbox_reg_param.bbox_mean", "bbox_reg_param.bbox_std")
        return offsets
    call.require(len(mean) == len(std) == 4, f"has {len(mean)} bbox_mean and {len(std)} bbox_std, expected 4 of each")
    moved: Array = offsets * std + mean
    return moved


def _level(call: Call, rules: _Rules, scores: Array, offsets: Array, field: tuple[int, int], stride: int) -> _Boxes:
    """The boxes of one field: scores H×W, offsets 4×H×W."""
    rows, columns = scores.shape
    moves = normalised(call, offsets.reshape(4, -1).T)
    row, column = np.divmod(np.arange(rows * columns), columns)
    low, high, least, most = rules.bounds
    size = np.array(field, F)
    place = (np.stack([column, row], axis=1).astype(F) + F(0.5)) * F(stride)
    with np.errstate(over="ignore", invalid="ignore"):
        centre = np.minimum(np.maximum(moves[:, :2], low), high) * size + place
        extent = np.exp(np.minimum(np.maximum(moves[:, 2:], least), most)) * size
    edge = np.array([columns * stride, rows * stride], F)
    near = centre - extent / F(2)
    off = SLACK * UNIT * (np.abs(centre) + place + extent).astype(np.float64)
    far = near + extent - F(1) if rules.pixels else near
    near = np.maximum(near, F(0))
    if rules.pixels:
        far = np.minimum(far, edge)
        extent = far - near + F(1)
    else:
        extent = np.minimum(extent, edge - near)
        far = near + extent
    corners = np.concatenate([near, far], axis=1)
    return _Boxes(corners, np.concatenate([off, off], axis=1), extent, scores.ravel())


def _fields(call: Call, rules: _Rules) -> list[list[_Boxes]]:
    """For each image the boxes of each field, in the fork's order."""
    return _of_groups(call, rules) if rules.pixels else _of_heads(call, rules)


def _of_heads(call: Call, rules: _Rules) -> list[list[_Boxes]]:
    p = call.param.box_output_param
    lists = len(p.field_w), len(p.field_h), len(p.downsample_rate)
    call.require(set(lists) == {len(call.bottoms)}, f"has {lists} sizes and rates for {len(call.bottoms)} bottoms")
    images: list[list[_Boxes]] = [[] for _ in range(len(call.x))]
    for bottom, width, height, rate in zip(call.bottoms, p.field_w, p.field_h, p.downsample_rate, strict=True):
        call.require(bottom.ndim == 4, "needs bottoms of 4 axes")
        alike = bottom.shape[:2] == call.x.shape[:2] and bottom.shape[1] >= 6
        call.require(alike, f"a bottom is {format_shape(bottom.shape)}, expected 2 scores or more and 4 offsets")
        for boxes, item in zip(images, bottom, strict=True):
            score = item[1:-4].max(axis=0) - item[0]
            boxes.append(_level(call, rules, score, item[-4:], (width, height), rate))
    return images


def _of_groups(call: Call, rules: _Rules) -> list[list[_Boxes]]:
    groups = call.param.box_group_output_param.box_group_param
    call.require(2 * len(groups) == len(call.bottoms), f"has {len(groups)} groups for {len(call.bottoms)} bottoms")
    fields = [list(zip(group.field_w, group.field_h, strict=False)) for group in groups]
    call.require(all(fields), "needs fields in each group")
    images: list[list[_Boxes]] = [[] for _ in range(len(call.x) // len(fields[0]))]
    for i, (group, sizes) in enumerate(zip(groups, fields, strict=True)):
        nothing, offsets = call.bottoms[2 * i : 2 * i + 2]
        call.require(len(group.field_w) == len(group.field_h), "needs as many field_w as field_h")
        wanted = (len(images) * len(sizes), 4, *nothing.shape[2:])
        call.require(nothing.ndim == 4 and len(nothing) == wanted[0], f"needs {wanted[0]} items of 4 axes")
        call.require(offsets.shape == wanted, f"offsets are {format_shape(offsets.shape)}, not {format_shape(wanted)}")
        for n, k in np.ndindex(len(images), len(sizes)):
            item = n * len(sizes) + k
            score = F(1) - nothing[item, 0]
            images[n].append(_level(call, rules, score, offsets[item], sizes[k], group.stride))
    return images


def _find(call: Call) -> tuple[Array, float]:
    """Rows of image, corners and score; and how far off a right conversion may be, inf where a choice is open."""
    rules = _rules(call)
    found, error = [np.zeros((0, 6), F)], 0.0
    for n, fields in enumerate(_fields(call, rules)):
        names = ("corners", "off", "extent", "scores")
        corners, off, extent, scores = (np.concatenate([getattr(each, name) for each in fields]) for name in names)
        counts = scores >= rules.floor
        doubts = counts & (np.abs(extent - rules.least) <= 2 * (off[:, :2] + off[:, 2:])).any(axis=1)
        counts &= (extent >= rules.least).all(axis=1)
        order = np.flatnonzero(counts)
        if not rules.pixels:
            order = order[::-1]
        order = order[np.argsort(-scores[order], kind="stable")]
        order = order[: rules.before or None]
        kept, close = suppress_fields(corners[order], off[order], rules.limit, rules.mode, pixels=rules.pixels)
        chosen = order[kept][: rules.after or None]
        image = np.full((len(chosen), 1), n, F)
        found.append(np.concatenate([image, corners[chosen], scores[chosen, None]], axis=1))
        error = math.inf if close or bool(doubts.any()) else max(error, float(off[chosen].max(initial=0.0)))
    return np.concatenate(found), error


def suppress_fields(boxes: Array, off: Wide, limit: np.float32, mode: str, *, pixels: bool) -> tuple[list[int], bool]:
    """Places of the boxes that share no more than the limit with any kept before them, and whether that was close.

    Args:
        boxes: corners, best first.
        off: by how much rounding may move each corner.
        limit: of the share.
        mode: by what the common area is divided, IOMU, IOFU or any other word for the union.
        pixels: whether a far corner belongs to its box.
    """
    kept: list[int] = []
    close = False
    for place in range(len(boxes)):
        share, least, most = _shares(boxes, off, place, kept, mode, pixels=pixels)
        if (least > limit).any():
            continue
        close = close or bool((most > limit).any())
        if not (share > limit).any():
            kept.append(place)
    return kept, close


def _shares(
    boxes: Array, off: Wide, place: int, kept: Sequence[int], mode: str, *, pixels: bool
) -> tuple[Array, Wide, Wide]:
    """What a box shares with each kept one, and the least and most that other roundings might make of it."""
    mine, others = boxes[place], boxes[kept]
    one = F(1 if pixels else 0)
    common = np.minimum(mine[2:], others[:, 2:]) - np.maximum(mine[:2], others[:, :2])
    size, sizes = mine[2:] - mine[:2], others[:, 2:] - others[:, :2]
    blur = 2 * (off[place, :2] + off[kept, :2])
    real = ((sizes >= 0).all(axis=1) & (size >= 0).all()) if pixels else ((sizes > 0).all(axis=1) & (size > 0).all())
    area, areas = (size + one).prod(), (sizes + one).prod(axis=1)

    def share(extent: Array) -> Array:
        meet = (extent[:, 0] >= 0 if pixels else extent[:, 0] > 0) & (extent[:, 1] > 0) & real
        inside = (extent[:, 0] + one) * (extent[:, 1] + one)
        whole = {"IOMU": np.minimum(area, areas), "IOFU": areas}.get(mode, area + areas - inside)
        part: Array = np.divide(inside, whole, out=np.zeros_like(inside), where=meet & (whole > 0))
        return part

    slack = 1 + 16 * UNIT + 2 * (blur / np.maximum(np.minimum(size, sizes) + one, UNIT)).sum(axis=1)
    return share(common), share(common - blur) / slack, share(common + blur) * slack


def _error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    return [Sensitivity(1, (UNBOUNDED,) * len(call.bottoms), _find(call)[1]) for _ in tops]


@register("BoxOutput", "BoxGroupOutput", bottoms=(1, None), error=_error)
def box_output(call: Call) -> list[Array]:
    """found×5×1×1 of image and corners, found×6×1×1 with the score behind them, image by image, best first.

    Without any box, one row of 0 1 1 10 10 and one of zeros.
    """
    rows, _ = _find(call)
    if not len(rows):
        return [np.array([0, 1, 1, 10, 10], F).reshape(1, 5, 1, 1), np.zeros((1, 6, 1, 1), F)]
    rows = rows[:, :, None, None]
    return [np.ascontiguousarray(rows[:, :5]), rows]
