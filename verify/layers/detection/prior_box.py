"""Prior boxes, which detections are offsets to: SSD's, and those of the forks that changed its prior_box_layer.cpp.

Facts from the layers of SSD, TextBoxes, TextBoxes++, FaceBoxes, Synopsys and Intel (prior_box_clustered_layer.cpp), and
from OpenCV's reader of such nets (dnn's prior_box_layer.cpp), which alone knows `width` and `offset_h` in a PriorBox.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from verify.layers.registry import Array, Call, Sensitivity, register

LISTED = 64  # places are listed one by one, each as long in memory as so many numbers
EXACT = [Sensitivity(1, (0.0, 0.0))]
"""Prior boxes depend on the bottoms' shapes alone."""

f32 = np.float32


@dataclass(frozen=True)
class _Grid:
    """Where the boxes stand: how many rows and columns of places, the image, the step between places."""

    rows: int
    columns: int
    high: float
    wide: float
    down: float
    across: float

    def centre(self, row: int, column: int, offset: tuple[float, float]) -> tuple[float, float]:
        """x and y, float32 as the layer's own variables; `offset` down and across, in places."""
        x = (f32(column) + f32(offset[1])) * f32(self.across)
        y = (f32(row) + f32(offset[0])) * f32(self.down)
        return float(x), float(y)

    def corners(self, x: float, y: float, width: float, height: float) -> tuple[float, float, float, float]:
        """x0 y0 x1 y1 as shares of the image."""
        half_width, half_height = float(f32(width)) / 2, float(f32(height)) / 2
        return (
            (x - half_width) / self.wide,
            (y - half_height) / self.high,
            (x + half_width) / self.wide,
            (y + half_height) / self.high,
        )


def _grid(call: Call) -> _Grid:
    """Image size and step from the second bottom where the layer doesn't say."""
    p = call.param.prior_box_param
    call.require(call.x.ndim == call.bottoms[1].ndim == 4, "needs bottoms of 4 axes")
    rows, columns = call.x.shape[2:4]
    call.room((rows, columns, LISTED))
    high, wide = (p.img_h, p.img_w) if p.img_h or p.img_w else (p.img_size, p.img_size)
    if not (high and wide):
        high, wide = call.bottoms[1].shape[2:4]
    down, across = (p.step_h, p.step_w) if p.step_h or p.step_w else (p.step, p.step)
    if not (down and across):
        down, across = high / rows, wide / columns
    return _Grid(rows, columns, high, wide, down, across)


def _ratios(call: Call) -> list[float]:
    """Aspect ratios but 1, none twice; with `flip` each is followed by its inverse."""
    p = call.param.prior_box_param
    ratios, flip = [1.0], p.flip
    for ratio in p.aspect_ratio:
        if not any(abs(ratio - seen) < 1e-6 for seen in ratios):
            ratios.append(ratio)
            if flip:
                ratios.append(float(f32(1.0 / ratio)))
    return [ratio for ratio in ratios if not abs(ratio - 1) < 1e-6]


def _top(call: Call, corners: list[tuple[float, ...]], *, clip: bool) -> list[Array]:
    variance = list(call.param.prior_box_param.variance) or [0.1]
    call.require(len(variance) in (1, 4), f"has {len(variance)} variance, expected 1 or 4")
    boxes = np.array(corners, f32)
    boxes = np.clip(boxes, f32(0), f32(1)) if clip else boxes
    variances = np.tile(np.array(variance, f32), (len(boxes), 4 // len(variance)))
    return [np.stack([boxes.ravel(), variances.ravel()])[None]]


@register("PriorBoxClustered", bottoms=2, error=lambda call, tops: EXACT)
def prior_box_clustered(call: Call) -> list[Array]:
    """1×2×(4 · boxes): at each place one box for each `width` and `height`, its centre `offset` of a step in."""
    p = call.param.prior_box_param
    grid = _grid(call)
    call.require(len(p.width) == len(p.height) > 0, f"has {len(p.width)} width and {len(p.height)} height")
    corners: list[tuple[float, ...]] = []
    for row, column in np.ndindex(grid.rows, grid.columns):
        x, y = grid.centre(row, column, (p.offset, p.offset))
        corners += [grid.corners(x, y, wide, high) for wide, high in zip(p.width, p.height, strict=True)]
    return _top(call, corners, clip=p.clip)


@register("PriorBox", bottoms=2, error=lambda call, tops: EXACT)
def prior_box(call: Call) -> list[Array]:
    """1×2×(4 · boxes): corners as shares of the image, then variances; row by row, the boxes of a place together.

    For each min_size: its square, the square of sqrt(min · max) where a max_size is given, then one box an aspect
    ratio. SSD keeps min_size and max_size as integers, 450.6 counts as 450; Intel's training_toolbox_caffe has floats.
    """
    p = call.param.prior_box_param
    grid = _grid(call)
    listed_by_opencv = len(p.width) > 0 or len(p.offset_h) > 0
    ratios, dense = _ratios(call), p.faceboxes or call.layer.dialect == "faceboxes"
    corners: list[tuple[float, ...]] = []
    for row, column in np.ndindex(grid.rows, grid.columns):
        if p.box_width:
            call.require(len(p.box_width) == len(p.box_height), "needs as many box_height as box_width")
            x, y = grid.centre(row, column, (p.offset, p.offset))
            sizes = zip(p.box_width, p.box_height, strict=True)
            corners += [_ordered(call, grid.corners(x, y, wide, high)) for wide, high in sizes]
        elif listed_by_opencv:
            corners += _opencv(call, grid, row, column, ratios)
        else:
            corners += _at_place(call, grid, row, column, ratios, dense=dense)
    clips = listed_by_opencv or call.layer.dialect == "textboxes1"
    clip = p.clip if p.HasField("clip") or not clips else True
    return _top(call, corners, clip=clip)


def _ordered(call: Call, box: tuple[float, float, float, float]) -> tuple[float, ...]:
    """Synopsys' `yx_order`: y0 x0 y1 x1."""
    x0, y0, x1, y1 = box
    return (y0, x0, y1, x1) if call.param.prior_box_param.yx_order else box


def _at_place(
    call: Call, grid: _Grid, row: int, column: int, ratios: list[float], *, dense: bool
) -> Iterator[tuple[float, ...]]:
    """The boxes of one place, in SSD's order or, with `tf`, with the square of sqrt(min · max) last."""
    p = call.param.prior_box_param
    call.require(len(p.min_size) > 0 and all(s > 0 for s in p.min_size), "needs a min_size above 0")
    call.require(len(p.max_size) in (0, len(p.min_size)), "needs one max_size for each min_size")
    x, y = grid.centre(row, column, (p.offset, p.offset))
    lower = grid.centre(row, column, (1.0, p.offset))[1]
    textboxes = call.layer.dialect == "textboxes1"
    fractions = textboxes or call.layer.dialect == "intel"

    def box(width: float, height: float) -> Iterator[tuple[float, ...]]:
        yield _ordered(call, grid.corners(x, y, width, height))
        if p.denser_prior_boxes or textboxes:
            yield _ordered(call, grid.corners(x, lower, width, height))

    for index, given in enumerate(p.min_size):
        least = given if fractions else int(given)
        larger: list[float] = []
        if p.max_size:
            call.require(p.max_size[index] > given, f"max_size {p.max_size[index]} is not above min_size {given}")
            larger = [math.sqrt(least * (p.max_size[index] if fractions else int(p.max_size[index])))]
        if dense:
            yield from _dense(grid, x, y, int(least))
        elif p.tf and least == 60:
            x0, y0, x1, y1 = grid.corners(x, y, least, least)
            yield _ordered(call, (x0 + 0.05, y0 + 0.05, x1 - 0.05, y1 - 0.05))
        else:
            yield from box(least, least)
        for side in larger if not p.tf else []:
            yield from box(side, side)
        for ratio in ratios:
            yield from box(least * math.sqrt(ratio), least / math.sqrt(ratio))
        for side in larger if p.tf else []:
            yield from box(side, side)


def _dense(grid: _Grid, x: float, y: float, size: int) -> Iterator[tuple[float, ...]]:
    """FaceBoxes: squares of one pixel less, of 32 at 16 centres 8 pixels apart, of 64 at 4 centres 16 apart."""
    shifts = {32: (-16, -8, 0, 8), 64: (-16, 0)}.get(size, (0,))
    for down in shifts:
        for right in shifts:
            yield grid.corners(float(f32(x) + f32(right)), float(f32(y) + f32(down)), size - 1, size - 1)


def _opencv(call: Call, grid: _Grid, row: int, column: int, ratios: list[float]) -> Iterator[tuple[float, ...]]:
    """Boxes of `width` and `height`, or of SSD's sizes with their fractions, each at every `offset_h`, `offset_w`."""
    p = call.param.prior_box_param
    call.require(len(p.offset_h) == len(p.offset_w), f"has {len(p.offset_h)} offset_h and {len(p.offset_w)} offset_w")
    sizes = list(zip(p.width, p.height, strict=True)) if p.width else []
    for index, least in enumerate(p.min_size):
        sizes.append((least, least))
        if p.max_size:
            side = math.sqrt(least * p.max_size[index])
            sizes.append((side, side))
        sizes += [(least * math.sqrt(ratio), least / math.sqrt(ratio)) for ratio in ratios]
    offsets = list(zip(p.offset_h, p.offset_w, strict=True)) or [(p.offset, p.offset)]
    for wide, high in sizes:
        for offset in offsets:
            yield grid.corners(*grid.centre(row, column, offset), wide, high)
