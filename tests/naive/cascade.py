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


def jaccard(better: Box, other: Box, mode: str) -> float:
    """JaccardOverlap of bbox_util.cpp, corner by corner."""
    if any(box[axis + 2] < box[axis] for box in (better, other) for axis in (0, 1)):
        return 0.0
    left_edge, top, right, bottom = (f(better[i], other[i]) for i, f in enumerate((max, max, min, min)))
    if left_edge > right or top >= bottom:
        return 0.0
    common = (right - left_edge + 1) * (bottom - top + 1)
    mine, theirs = ((box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (better, other))
    return common / {"IOMU": min(mine, theirs), "IOFU": mine}.get(mode, mine + theirs - common)


def detected(
    feeds: dict[str, Array], *, by_class: bool, floor: float, limit: float, mode: str, most: int, mean: Box, std: Box
) -> Array:
    """The rows of frcnn_output_layer.cpp."""
    scores, offsets, regions = (feeds[name].reshape(len(feeds[name]), -1) for name in ("prob", "moves", "regions"))
    height, width = feeds["size"].ravel().tolist()
    of_classes: list[list[Box]] = []
    for label in range(1, scores.shape[1]):
        boxes: list[Box] = []
        for i, (_, *corners) in enumerate(regions[:, :5].tolist()):
            if scores[i, label] < floor:
                continue
            first = 4 * label if by_class else 4
            box = [0.0] * 4
            for axis, far_edge in enumerate((width, height)):
                size = corners[axis + 2] - corners[axis] + 1
                middle = (corners[axis + 2] + corners[axis]) / 2
                move, grow = (float(offsets[i, first + k]) * std[k] + mean[k] for k in (axis, axis + 2))
                middle, size = middle + move * size, size * math.exp(grow)
                box[axis] = max(0.0, middle - (size - 1) / 2)
                box[axis + 2] = min(far_edge, middle - (size - 1) / 2 + size - 1)
            boxes.append([*box, float(scores[i, label])])
        boxes.sort(key=lambda box: -box[4])
        kept: list[Box] = []
        for box in boxes:
            if not any(jaccard(better, box, mode) > limit for better in kept):
                kept.append(box)
        of_classes.append([[0, *box[:4], label, box[4]] for box in kept])
    lowest = -math.inf
    if 0 < most < sum(map(len, of_classes)):
        lowest = sorted((row[6] for rows in of_classes for row in rows), reverse=True)[most - 1]
    rows = [[0.0, -1, -1, -1, -1, -1, -1], *(row for rows in of_classes for row in rows if row[6] >= lowest)]
    return np.asarray(rows, np.float32)[:, :, None, None]


def head_of(count: int, classes: int, sets: int, seed: int) -> dict[str, Array]:
    """Regions in an image of 60×80, some of them beyond its edges, with scores behind them."""
    rng = np.random.default_rng(seed)
    low = rng.uniform(-10, 70, (count, 2))
    corners = np.concatenate([low, low + rng.uniform(10, 40, (count, 2)), rng.uniform(0, 1, (count, 1))], axis=1)
    return {
        "prob": rng.uniform(0, 1, (count, classes)).astype(np.float32),
        "moves": random(seed + 1, count, 4 * sets, 1, 1),
        "regions": np.concatenate([np.zeros((count, 1)), corners], axis=1).astype(np.float32)[:, :, None, None],
        "size": np.asarray([[60, 80]], np.float32)[:, :, None, None],
    }


@case("frcnn_output")
def found_in_regions() -> Naive:
    """Moves of all classes alike; those boxes that lie beyond the image overlap none; the ten best of all classes."""
    feeds = head_of(24, 3, 2, 95)
    mean, std = [0.0, 0.1, 0.2, -0.1], [0.1, 0.1, 0.2, 0.3]
    every = detected(feeds, by_class=False, floor=0.2, limit=0.25, mode="IOU", most=0, mean=mean, std=std)
    rows = detected(feeds, by_class=False, floor=0.2, limit=0.25, mode="IOU", most=10, mean=mean, std=std)
    assert len(rows) == 11 < len(every) < (feeds["prob"][:, 1:] >= 0.2).sum()
    assert (every[1:, 3:5] < every[1:, 1:3]).any()
    params = (
        "frcnn_output_param { conf_thr: 0.2 iou_thr: 0.25 max_det_num: 10 } bbox_reg_param { cls_aware: false "
        "bbox_mean: 0 bbox_mean: 0.1 bbox_mean: 0.2 bbox_mean: -0.1 "
        "bbox_std: 0.1 bbox_std: 0.1 bbox_std: 0.2 bbox_std: 0.3 }"
    )
    return Naive(layer("FrcnnOutput", params, " ".join(feeds)), feeds, {("it", "out"): rows})


@case("frcnn_output_by_class")
def found_by_class() -> Naive:
    """Moves of each class, as they are; a share of the better box."""
    feeds = head_of(15, 4, 4, 97)
    feeds["moves"] *= np.float32(0.3)
    feeds["regions"] = feeds["regions"][:, :5]
    rows = detected(feeds, by_class=True, floor=0.0, limit=0.5, mode="IOFU", most=0, mean=[0] * 4, std=[1] * 4)
    assert 20 < len(rows) < 45
    text = layer("FrcnnOutput", "frcnn_output_param { nms_type: 'IOFU' }", " ".join(feeds))
    return Naive(text, feeds, {("it", "out"): rows})


@case("frcnn_output_of_nothing")
def nothing_in_regions() -> Naive:
    """No score is high enough: the row that stands before all others."""
    feeds = head_of(5, 3, 3, 99)
    rows = np.asarray([0, -1, -1, -1, -1, -1, -1], np.float32).reshape(1, 7, 1, 1)
    text = layer("FrcnnOutput", "frcnn_output_param { conf_thr: 1.5 max_det_num: 3 }", " ".join(feeds))
    return Naive(text, feeds, {("it", "out"): rows})
