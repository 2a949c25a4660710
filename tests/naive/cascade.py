"""MS-CNN's and Cascade R-CNN's regions, box by box as in box_output_layer.cpp and others."""

from __future__ import annotations

import math

import numpy as np

from tests.drawn.base import layer
from tests.naive.base import Array, Naive, case, random

Box = list[float]
"""x0, y0, x1, y1."""


def field_of(
    offset: Array, field: tuple[int, int], place: tuple[int, int], stride: int, bounds: tuple[float, float]
) -> Box:
    """x, y, width, height of a field that was moved and scaled; `bounds` are field_xyr and field_whr."""
    made = []
    for axis in (0, 1):
        move = min(max(float(offset[axis]), -1 / bounds[0]), 1 / bounds[0])
        grow = min(max(float(offset[2 + axis]), -math.log(bounds[1])), math.log(bounds[1]))
        size = field[axis] * math.exp(grow)
        made.append((move * field[axis] + (place[axis] + 0.5) * stride - size / 2, size))
    return [made[0][0], made[1][0], made[0][1], made[1][1]]


def share(kept: Box, other: Box, mode: str, pixel: int) -> float:
    """BoxIOU and, with a pixel of 1, JaccardOverlap, which wants more than one row of pixels in common."""
    width = min(kept[2], other[2]) - max(kept[0], other[0])
    height = min(kept[3], other[3]) - max(kept[1], other[1])
    if (width < 0 if pixel else width <= 0) or height <= 0:
        return 0.0
    common = (width + pixel) * (height + pixel)
    areas = [(b[2] - b[0] + pixel) * (b[3] - b[1] + pixel) for b in (kept, other)]
    return common / {"IOMU": min(areas), "IOFU": areas[0]}.get(mode, sum(areas) - common)


def left(boxes: list[tuple[float, Box]], before: int, after: int, limit: float, mode: str, pixel: int) -> list[Box]:
    """Corners and score of those that suppression leaves; the boxes by falling score already."""
    kept: list[Box] = []
    for score, box in boxes[:before]:
        if len(kept) < after and all(share(other, box, mode, pixel) <= limit for other in kept):
            kept.append([*box, score])
    return kept


def rows_of(images: list[list[Box]]) -> dict[tuple[str, str], Array]:
    """Both tops."""
    rows = np.asarray([[n, *box] for n, boxes in enumerate(images) for box in boxes], np.float32)[:, :, None, None]
    return {("it", "rois"): np.ascontiguousarray(rows[:, :5]), ("it", "scored"): rows}


@case("box_output")
def heads() -> Naive:
    """Two heads of two images, three classes; IOMU; some boxes that the edge cuts are too narrow."""
    feeds = {"near": random(51, 2, 7, 4, 6), "far": random(52, 2, 7, 2, 3)}
    levels = [("near", (20, 14), 8), ("far", (41, 33), 16)]
    mean, std = [0.1, -0.1, 0.0, 0.2], [0.5, 0.75, 1.5, 1.25]
    images = []
    for n in range(2):
        found = []
        for name, field, stride in levels:
            x = feeds[name][n]
            rows, columns = x.shape[1:]
            for y, column in np.ndindex(rows, columns):
                score = max(float(x[1, y, column]), float(x[2, y, column])) - float(x[0, y, column])
                offset = x[3:, y, column] * std + np.asarray(mean)
                box = field_of(offset, field, (column, y), stride, (2, 1.5))
                left_edge, top = max(box[0], 0), max(box[1], 0)
                width, height = min(box[2], columns * stride - left_edge), min(box[3], rows * stride - top)
                if score >= -1.5 and width >= 13 and height >= 13:
                    found.append((score, [left_edge, top, left_edge + width, top + height]))
        found.sort(key=lambda pair: -pair[0])
        images.append(left(found, 24, 9, 0.7, "IOMU", 0))
        assert 2 < len(images[n]) < len(found)
    params = (
        "box_output_param { fg_thr: -1.5 iou_thr: 0.7 nms_type: 'IOMU' field_w: 20 field_w: 41 "
        "field_h: 14 field_h: 33 "
        "downsample_rate: 8 downsample_rate: 16 field_whr: 1.5 max_nms_num: 24 max_post_nms_num: 9 min_size: 13 } "
        "bbox_reg_param { bbox_mean: 0.1 bbox_mean: -0.1 bbox_mean: 0 bbox_mean: 0.2 "
        "bbox_std: 0.5 bbox_std: 0.75 bbox_std: 1.5 bbox_std: 1.25 }"
    )
    return Naive(layer("BoxOutput", params, " ".join(feeds), "rois scored"), feeds, rows_of(images))


@case("box_output_of_nothing")
def nothing() -> Naive:
    """No score is high enough: a row of 0 1 1 10 10, and one of zeros."""
    feeds = {"head": random(53, 1, 6, 3, 2)}
    params = "box_output_param { fg_thr: 50 field_w: 20 field_h: 14 downsample_rate: 8 }"
    answers = {
        ("it", "rois"): np.asarray([0, 1, 1, 10, 10], np.float32).reshape(1, 5, 1, 1),
        ("it", "scored"): np.zeros((1, 6, 1, 1), np.float32),
    }
    return Naive(layer("BoxOutput", params, "head", "rois scored"), feeds, answers)


@case("box_output_of_equal_scores")
def equal() -> Naive:
    """std::greater on pairs of score and number: of equal scores the box made last comes first."""
    head = np.zeros((1, 6, 2, 3), np.float32)
    head[0, 1] = [[1, 2, 1], [2, 1, 2]]
    order = [5, 3, 1, 4, 2, 0]
    rows = [[0, 8 * (i % 3), 8 * (i // 3), 8 * (i % 3) + 8, 8 * (i // 3) + 8, head[0, 1].ravel()[i]] for i in order]
    table = np.asarray(rows, np.float32)[:, :, None, None]
    params = "box_output_param { field_w: 8 field_h: 8 downsample_rate: 8 min_size: 4 }"
    answers = {("it", "rois"): np.ascontiguousarray(table[:, :5]), ("it", "scored"): table}
    return Naive(layer("BoxOutput", params, "head", "rois scored"), {"head": head}, answers)


@case("box_group_output")
def groups() -> Naive:
    """Groups of two and three fields, for two images; far corners are pixels, cut at the image's size itself."""
    shapes = [((2, 5), 2), ((3, 2), 3)]
    feeds: dict[str, Array] = {}
    for i, ((rows, columns), count) in enumerate(shapes):
        feeds[f"prob{i}"] = (
            np.random.default_rng(60 + i).uniform(0, 1, (2 * count, 2, rows, columns)).astype(np.float32)
        )
        feeds[f"box{i}"] = random(70 + i, 2 * count, 4, rows, columns)
    fields = [[(20, 14), (9, 31)], [(24, 24), (40, 16), (16, 40)]]
    images = []
    for n in range(2):
        found = []
        for i, ((rows, columns), count) in enumerate(shapes):
            stride = (8, 16)[i]
            for k in range(count):
                for y, x in np.ndindex(rows, columns):
                    score = 1 - float(feeds[f"prob{i}"][n * count + k, 0, y, x])
                    offset = feeds[f"box{i}"][n * count + k, :, y, x]
                    x0, y0, width, height = field_of(offset, fields[i][k], (x, y), stride, (1, 4))
                    x1, y1 = min(x0 + width - 1, columns * stride), min(y0 + height - 1, rows * stride)
                    x0, y0 = max(x0, 0), max(y0, 0)
                    if score >= 0.2 and x1 - x0 + 1 >= 4 and y1 - y0 + 1 >= 4:
                        found.append((score, [x0, y0, x1, y1]))
        found.sort(key=lambda pair: -pair[0])
        images.append(left(found, 30, 12, 0.4, "IOU", 1))
        assert 3 < len(images[n]) < len(found), [len(images[n]), len(found)]
    text = (
        "box_group_output_param { fg_thr: 0.2 iou_thr: 0.4 field_whr: 4 field_xyr: 1 max_nms_num: 30 "
        "max_post_nms_num: 12 min_size: 4 "
        "box_group_param { field_w: 20 field_w: 9 field_h: 14 field_h: 31 stride: 8 } "
        "box_group_param { field_w: 24 field_w: 40 field_w: 16 field_h: 24 field_h: 16 field_h: 40 stride: 16 } }"
    )
    return Naive(layer("BoxGroupOutput", text, " ".join(feeds), "rois scored"), feeds, rows_of(images))


@case("decode_bbox")
def moved() -> Naive:
    """DecodeBBoxesWithPrior: the last four of eight offsets, a region of 3 to 5 being 3 wide."""
    offsets = random(81, 4, 8)
    regions = np.asarray([[0, 3, 4, 5, 20], [1, 10, 0, 59.5, 33], [0, 7, 9, 7, 9], [1, 40, 30, 20, 50]], np.float32)
    mean, std = [0.0, 0.1, 0.2, -0.1], [0.1, 0.1, 0.2, 0.3]
    rows = []
    for offset, (image, *box) in zip(offsets, regions.tolist(), strict=True):
        low, high = [], []
        for axis in (0, 1):
            size = box[2 + axis] - box[axis] + 1
            move, grow = (float(offset[4 + axis + at]) * std[axis + at] + mean[axis + at] for at in (0, 2))
            centre, size = move * size + 0.5 * (box[2 + axis] + box[axis]), size * math.exp(grow)
            low.append(centre - (size - 1) / 2)
            high.append(low[-1] + size - 1)
        rows.append([image, *low, *high])
    params = (
        "bbox_reg_param { bbox_mean: 0 bbox_mean: 0.1 bbox_mean: 0.2 bbox_mean: -0.1 "
        "bbox_std: 0.1 bbox_std: 0.1 bbox_std: 0.2 bbox_std: 0.3 }"
    )
    answer = np.asarray(rows, np.float32)[:, :, None, None]
    feeds = {"offsets": offsets, "regions": regions[:, :, None, None]}
    return Naive(layer("DecodeBBox", params, "offsets regions"), feeds, {("it", "out"): answer})


def routed(params: str, kept: list[int]) -> Naive:
    """Regions of 10, 20, 40, 80 and, inside out, 0 pixels a side, with three numbers beside each."""
    regions = np.asarray([[0, 5, 5, 5 + side - 1, 4 + side] for side in (10, 20, 40, 80, -3)], np.float32)
    beside = random(91, 5, 3)
    answers = {
        ("it", "some"): regions[kept][:, :, None, None],
        ("it", "with"): beside[kept][:, :, None, None],
    }
    return Naive(
        layer("ScaleRoute", params, "regions beside", "some with"), {"regions": regions, "beside": beside}, answers
    )


@case("scale_route")
def between() -> Naive:
    """From 20, which counts, to 80, which does not."""
    return routed("scale_route_param { low_scale: 20 high_scale: 80 }", [1, 2])


@case("scale_route_to_the_closest")
def closest() -> Naive:
    """None lies from 24 to 30: 20 is closer by its ratio to 26.8 than 40."""
    return routed("scale_route_param { low_scale: 24 high_scale: 30 }", [1])


@case("scale_route_of_all")
def everything() -> Naive:
    """Without bounds all rows come, that without an area as well."""
    return routed("", [0, 1, 2, 3, 4])
