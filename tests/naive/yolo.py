"""YOLO heads of eric612's forks, box by box."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from tests.drawn.base import layer
from tests.naive.base import Array, Naive, case

F = np.float32
Box = tuple[np.float32, ...]
Score = Callable[[np.float32, Array], list[tuple[int, np.float32]]]
BIASES = (30.0, 41.0, 60.0, 30.0, 52.0, 75.0, 20.0, 33.0)


def sigmoid(x: np.float32) -> np.float32:
    return F(1.0 / (1.0 + math.exp(-float(x))))


def iou(a: Box, b: Box) -> np.float32:
    """Of boxes x, y, w, h."""
    extents = []
    for axis in (0, 1):
        left = max(a[axis] - a[axis + 2] / F(2), b[axis] - b[axis + 2] / F(2))
        right = min(a[axis] + a[axis + 2] / F(2), b[axis] + b[axis + 2] / F(2))
        extents.append(right - left)
    common = F(0) if min(extents) < 0 else extents[0] * extents[1]
    return common / (a[2] * a[3] + b[2] * b[3] - common)


def predictions(x: Array, anchors: Sequence[tuple[float, float]], scale: int, score: Score) -> list:
    """Of one bottom: (score, class, box), by image, place and anchor."""
    found = []
    images, channels, side = x.shape[:3]
    length = channels // len(anchors)
    for b, s, n in np.ndindex(images, side * side, len(anchors)):
        row, column = divmod(s, side)
        values = x[b, n * length : (n + 1) * length, row, column]
        box = (
            (F(column) + sigmoid(values[0])) / F(side),
            (F(row) + sigmoid(values[1])) / F(side),
            F(math.exp(values[2])) * F(anchors[n][0]) / F(side * scale),
            F(math.exp(values[3])) * F(anchors[n][1]) / F(side * scale),
        )
        found += [(confidence, label, box) for label, confidence in score(sigmoid(values[4]), values[5:])]
    return found


def rows(found: list, limit: float) -> Array:
    """All predictions against each other, by falling score."""
    found = sorted(found, key=lambda one: -one[0])
    gone: set[int] = set()
    for i, (_, _, box) in enumerate(found):
        if i not in gone:
            gone |= {j for j in range(i + 1, len(found)) if iou(box, found[j][2]) >= F(limit)}
    table = []
    for confidence, label, (x, y, w, h) in (one for i, one in enumerate(found) if i not in gone):
        table.append([0, label + 1, confidence, x - w / F(2), y - h / F(2), x + w / F(2), y + h / F(2)])
    assert 1 < len(table) < len(found) > 8, (len(table), len(found))
    return np.array(table, np.float32)[None, None]


def feature(seed: int, images: int, boxes: int, classes: int, side: int) -> Array:
    """Objectness of either sort and boxes about as large as their anchors."""
    x = np.random.default_rng(seed).standard_normal((images, boxes, 5 + classes, side, side))
    x[:, :, 2:4] *= 0.3
    x[:, :, 4:] *= 1.5
    return x.reshape(images, -1, side, side).astype(np.float32)


def text_of(kind: str, section: str, params: str, bottoms: str) -> str:
    biases = " ".join(f"biases: {b}" for b in BIASES)
    return layer(kind, f"{section} {{ {biases} {params} }}", bottoms)


@case("yolov3_detection_output")
def v3() -> Naive:
    """Each class above the threshold is a prediction; two images share the list."""
    feeds = {"coarse": feature(1, 2, 2, 3, 4), "fine": feature(2, 2, 2, 3, 5)}
    params = "num_classes: 3 num_box: 2 confidence_threshold: 0.35 nms_threshold: 0.3 mask_group_num: 2 "
    params += "mask: 2 mask: 1 mask: 0 mask: 3 anchors_scale: 32 anchors_scale: 16"

    def score(objectness: np.float32, classes: Array) -> list[tuple[int, np.float32]]:
        scores = [sigmoid(c) * objectness for c in classes]
        return [(i, s) for i, s in enumerate(scores) if s > F(0.35)]

    anchors = list(zip(BIASES[::2], BIASES[1::2], strict=True))
    found = predictions(feeds["coarse"], [anchors[2], anchors[1]], 32, score)
    found += predictions(feeds["fine"], [anchors[0], anchors[3]], 16, score)
    text = text_of("Yolov3DetectionOutput", "yolov3_detection_output_param", params, "coarse fine")
    return Naive(text, feeds, {("it", "out"): rows(found, 0.3)})


@case("yolov3_detection_output_of_nothing")
def nothing() -> Naive:
    """A row for each image if no class is above the threshold."""
    feeds = {"x": feature(3, 3, 1, 2, 4)}
    params = "num_classes: 2 num_box: 1 confidence_threshold: 0.99 mask_group_num: 1 mask: 3 anchors_scale: 32"
    table = np.full((1, 1, 3, 7), -1, np.float32)
    table[0, 0, :, 0] = [0, 1, 2]
    text = text_of("Yolov3DetectionOutput", "yolov3_detection_output_param", params, "x")
    return Naive(text, feeds, {("it", "out"): table})


@case("yolo_detection_output")
def v2() -> Naive:
    """The class of the largest softmax, from the threshold on; anchors in places."""
    feeds = {"first": feature(4, 2, 3, 4, 5), "second": feature(5, 2, 3, 4, 6)}
    params = "num_classes: 4 num_box: 3 confidence_threshold: 0.4 nms_threshold: 0.25"
    anchors = [(0.9, 1.3), (2.0, 1.0), (1.7, 2.4)]

    def score(objectness: np.float32, classes: Array) -> list[tuple[int, np.float32]]:
        powers = [math.exp(float(c) - float(max(classes))) for c in classes]
        shares = [F(p / sum(powers)) for p in powers]
        best = shares.index(max(shares))
        confidence = objectness * shares[best]
        return [(best, confidence)] if confidence >= F(0.4) else []

    found = predictions(feeds["first"], anchors, 1, score) + predictions(feeds["second"], anchors, 1, score)
    biases = " ".join(f"biases: {b}" for pair in anchors for b in pair)
    text = layer("YoloDetectionOutput", f"yolo_detection_output_param {{ {biases} {params} }}", "first second")
    return Naive(text, feeds, {("it", "out"): rows(found, 0.25)})
