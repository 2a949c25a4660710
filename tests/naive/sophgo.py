"""Detection layers of Sophgo's fork, box by box."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tests.drawn.base import layer
from tests.naive.base import Array, Naive, case, random

F = np.float32
Rows = list[list[np.float32]]


def sigmoid(x: np.float32) -> np.float32:
    return F(1.0 / (1.0 + math.exp(-float(x))))


def best_class(scores: Array) -> tuple[int, np.float32]:
    """_softmax: scores below -100 are squeezed before."""
    largest, least = max(scores), min(scores)
    powers = []
    for s in scores:
        x = s - largest
        if least < F(-100):
            x = x / least * F(-100)
        powers.append(math.exp(float(x)))
    shares = [F(p / sum(powers)) for p in powers]
    return shares.index(max(shares)), max(shares)


def boxes_of(x: Array, anchors: Sequence[float], size: tuple[int, int], classes: int, floor: float) -> Rows:
    """process_feature for one image."""
    rows = []
    h, w = x.shape[1:]
    for place in range(h * w):
        y, column = divmod(place, w)
        for j in range(3):
            v = x[j * (5 + classes) : (j + 1) * (5 + classes), y, column]
            objectness = sigmoid(v[4])
            if objectness < F(floor):
                continue
            label, share = best_class(v[5:])
            score = objectness * share
            if score < F(floor):
                continue
            centre = [(sigmoid(v[0]) + F(column)) / F(w), (sigmoid(v[1]) + F(y)) / F(h)]
            extent = [F(math.exp(v[2 + k])) * F(anchors[2 * j + k]) / F(size[k]) for k in (0, 1)]
            rows.append([*centre, *extent, F(label), score])
    return rows


def iou(a: list[np.float32], b: list[np.float32]) -> np.float32:
    extents = []
    for k in (0, 1):
        left = max(a[k] - a[k + 2] / F(2), b[k] - b[k + 2] / F(2))
        right = min(a[k] + a[k + 2] / F(2), b[k] + b[k + 2] / F(2))
        extents.append(right - left)
    common = F(0) if min(extents) < 0 else extents[0] * extents[1]
    return common / (a[2] * a[3] + b[2] * b[3] - common)


def struck(rows: Rows, limit: float) -> Rows:
    """nms of yolo_detection_layer.cpp, pair by pair."""
    for i in range(len(rows)):
        for j in range(i + 1, len(rows)):
            if rows[i][5] == 0 or rows[j][5] == 0 or rows[i][4] != rows[j][4]:
                continue
            if iou(rows[i], rows[j]) > F(limit):
                lower = i if rows[i][5] < rows[j][5] else j
                rows[lower][5] = F(0)
    return [row for row in rows if row[5] > 0]


def table_of(per_image: list[Rows], keep: int, width: int) -> Array:
    top = np.zeros((len(per_image), 1, keep, width), np.float32)
    for n, rows in enumerate(per_image):
        for place, row in enumerate(rows[:keep]):
            top[n, 0, place] = row
    return top


def feature(seed: int, images: int, classes: int, h: int, w: int) -> Array:
    x = np.random.default_rng(seed).standard_normal((images, 3, 5 + classes, h, w))
    x[:, :, 2:4] *= 0.4
    x[:, :, 5:] *= 3
    return x.reshape(images, -1, h, w).astype(np.float32)


def yolo_answer(
    feeds: dict[str, Array], anchors: list[float], size: tuple[int, int], classes: int, floor: float, keep: int
) -> tuple[Array, list[int], list[int]]:
    """The top, and how many boxes were before and after the suppression."""
    made, before, after = [], [], []
    for n in range(len(next(iter(feeds.values())))):
        rows: Rows = []
        for i, x in enumerate(feeds.values()):
            rows += boxes_of(x[n], anchors[6 * i : 6 * i + 6], size, classes, floor)
        before.append(len(rows))
        made.append(struck(rows, 0.3))
        after.append(len(made[-1]))
    return table_of(made, keep, 6), before, after


@case("yolo_detection_sophgo")
def yolo_of_two() -> Naive:
    """Anchors from the net, an image that is not square, more rows than are found; two images."""
    feeds = {"coarse": feature(1, 2, 3, 3, 4), "fine": feature(2, 2, 3, 6, 8)}
    anchors = [30.0, 41, 60, 30, 52, 75, 20.5, 33, 12, 9, 25, 24]
    top, before, after = yolo_answer(feeds, anchors, (128, 96), 3, 0.45, 70)
    assert all(b > a + 3 and a < 70 for b, a in zip(before, after, strict=True)), (before, after)
    params = (
        "yolo_detection_param { net_input_h: 96 net_input_w: 128 nms_threshold: 0.3 obj_threshold: 0.45 keep_topk: 70 "
        f"class_num: 3 anchors: '{','.join(map(str, anchors))}' }}"
    )
    return Naive(layer("YoloDetection", params, "coarse fine"), feeds, {("it", "out"): top})


@case("yolo_detection_sophgo_tiny")
def yolo_tiny() -> Naive:
    """The fork's own anchors, fewer rows than are found, a class far below the others."""
    feeds = {"fine": feature(3, 1, 4, 6, 5), "coarse": feature(4, 1, 4, 3, 2)}
    feeds["fine"][:, 6::9] -= 160
    anchors = [10.0, 14, 23, 27, 37, 58, 81, 82, 135, 169, 344, 319]
    top, before, after = yolo_answer(feeds, anchors, (80, 96), 4, 0.4, 9)
    assert before[0] > after[0] > 9, (before, after)
    params = (
        "yolo_detection_param { net_input_h: 96 net_input_w: 80 nms_threshold: 0.3 obj_threshold: 0.4 keep_topk: 9 "
        "class_num: 4 tiny: true }"
    )
    return Naive(layer("YoloDetection", params, "fine coarse"), feeds, {("it", "out"): top})


def faces(scores: Array, offsets: Array, marks: Array, stride: int, scales: tuple[int, int], floor: float) -> Rows:
    """One level: anchors are squares of 17 · scale whose corners are 17 · scale apart."""
    rows = []
    h, w = scores.shape[2:]
    for a, scale in enumerate(scales):
        for place in range(h * w):
            y, x = divmod(place, w)
            score = scores[0, 2 + a, y, x]
            if score < F(floor):
                continue
            half = 0.5 * (17 * scale - 1)
            corner = [F(8 - half + stride * v) for v in (x, y)]
            size = F(8 + 0.5 * (17 * scale + 1)) - F(8 - half) + F(1)
            centre = [c + F(0.5) * (size - F(1)) for c in corner]
            d = offsets[0, 4 * a : 4 * a + 4, y, x]
            middle = [d[k] * size + centre[k] for k in (0, 1)]
            extent = [F(math.exp(d[2 + k])) * size for k in (0, 1)]
            low = [middle[k] - F(0.5) * (extent[k] - F(1)) for k in (0, 1)]
            high = [middle[k] + F(0.5) * (extent[k] - F(1)) for k in (0, 1)]
            points = [marks[0, 10 * a + i, y, x] * size + centre[i % 2] for i in range(10)]
            rows.append([*low, *high, score, *points])
    return rows


def kept_faces(rows: Rows, limit: float) -> Rows:
    """nms of retinaface_detection_layer.hpp: intersections are those with the face next to the one that is kept."""
    rows = sorted(rows, key=lambda row: -row[4])
    gone, kept, selected = [False] * len(rows), [], 0
    while True:
        while selected < len(rows) and gone[selected]:
            selected += 1
        if selected == len(rows):
            return kept
        mine = rows[selected]
        kept.append(mine)
        selected += 1
        for i in range(selected, len(rows)):
            beside, other = rows[selected], rows[i]
            w = min(beside[2], other[2]) - max(beside[0], other[0]) + F(1)
            h = min(beside[3], other[3]) - max(beside[1], other[1]) + F(1)
            areas = [(r[2] - r[0] + F(1)) * (r[3] - r[1] + F(1)) for r in (mine, other)]
            if w > 0 and h > 0 and w * h / (sum(areas) - w * h) > F(limit):
                gone[i] = True


def face_feeds(seed: int, h: int, w: int) -> dict[str, Array]:
    """Bottoms of an image of 32 h × 32 w."""
    feeds = {}
    for i, stride in enumerate((8, 16, 32)):
        size = (32 // stride * h, 32 // stride * w)
        feeds[f"score{stride}"] = 1 / (1 + np.exp(-2 * random(seed + 3 * i, 1, 4, *size)))
        feeds[f"box{stride}"] = random(seed + 3 * i + 1, 1, 8, *size) * F(0.4)
        feeds[f"mark{stride}"] = random(seed + 3 * i + 2, 1, 20, *size) * F(0.3)
    return feeds


def face_case(seed: int, floor: float, limit: float, keep: int) -> tuple[Naive, int, int]:
    feeds = face_feeds(seed, 2, 3)
    rows: Rows = []
    for stride, scales in ((32, (32, 16)), (16, (8, 4)), (8, (2, 1))):
        rows += faces(feeds[f"score{stride}"], feeds[f"box{stride}"], feeds[f"mark{stride}"], stride, scales, floor)
    kept = kept_faces(rows, limit)
    params = f"nms_threshold: {limit} confidence_threshold: {floor} keep_topk: {keep}"
    text = layer("RetinaFaceDetection", f"retinaface_detection_param {{ {params} }}", " ".join(feeds))
    return Naive(text, feeds, {("it", "out"): table_of([kept], keep, 15)}), len(rows), len(kept)


@case("retinaface_detection")
def retina_face() -> Naive:
    """More rows than faces."""
    made, before, after = face_case(50, 0.6, 0.4, 40)
    assert 8 < after < 40 < before, (before, after)
    return made


@case("retinaface_detection_best")
def best_faces() -> Naive:
    """Fewer rows than faces."""
    made, _, after = face_case(70, 0.5, 0.5, 7)
    assert after > 7
    return made
