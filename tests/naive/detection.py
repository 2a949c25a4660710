"""Prior boxes and detections of SSD's forks, box by box."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from tests.drawn.base import layer
from tests.naive.base import Array, Naive, case, random

Box = Sequence[float]
f32 = np.float32
VARIANCE = "variance: 0.1 variance: 0.15 variance: 0.2 variance: 0.25"


def table(boxes: list[float]) -> Array:
    """1×2×N of corners, with the variances of VARIANCE for each box."""
    return np.array([[boxes, [0.1, 0.15, 0.2, 0.25] * (len(boxes) // 4)]], f32)


def corners(x: float, y: float, width: float, height: float, wide: float, high: float) -> list[float]:
    return [(x - width / 2) / wide, (y - height / 2) / high, (x + width / 2) / wide, (y + height / 2) / high]


FEATURES = {"x": random(1, 2, 5, 3, 4), "image": random(2, 2, 3, 31, 45)}


@case("prior_box_clustered")
def clustered() -> Naive:
    """Intel's prior_box_clustered_layer.cpp: at each place each width with its height, fractions kept."""
    params = f"width: 9.4 width: 25.1 height: 15.7 height: 3.3 step_h: 9 step_w: 11 offset: 0.25 {VARIANCE}"
    boxes: list[float] = []
    for h in range(3):
        for w in range(4):
            for width, height in ((9.4, 15.7), (25.1, 3.3)):
                boxes += corners((w + 0.25) * 11, (h + 0.25) * 9, width, height, 45, 31)
    text = layer("PriorBoxClustered", f"prior_box_param {{ {params} }}", "x image")
    return Naive(text, FEATURES, {("it", "out"): table(boxes)})


@case("prior_box_faceboxes")
def faceboxes() -> Naive:
    """FaceBoxes' prior_box_layer.cpp: min_size 32 stands 8 pixels apart, 64 stands 16 apart, each a pixel smaller."""
    first, second = [], []
    for h in range(3):
        for w in range(4):
            x, y = (w + 0.5) * 32, (h + 0.5) * 32
            for i in range(-2, 2):
                for j in range(-2, 2):
                    first += corners(x + j * 8, y + i * 8, 31, 31, 45, 31)
            for i in range(-1, 1):
                for j in range(-1, 1):
                    first += corners(x + j * 16, y + i * 16, 63, 63, 45, 31)
            first += corners(x, y, 127, 127, 45, 31)
            second += corners((w + 0.5) * 64, (h + 0.5) * 64, 255, 255, 45, 31)
    params = f"prior_box_param {{ min_size: 32 min_size: 64 min_size: 128 step: 32 {VARIANCE} }}"
    text = layer("PriorBox", params, "x image") + layer(
        "PriorBox", f"prior_box_param {{ min_size: 256 step: 64 {VARIANCE} }}", "x image", "other"
    ).replace('"it"', '"larger"')
    return Naive(text, FEATURES, {("it", "out"): table(first), ("larger", "other"): table(second)})


@case("prior_box_offsets")
def offsets() -> Naive:
    """OpenCV's dnn (prior_box_layer.cpp): each box at every offset in turn; sizes keep their fractions."""
    params = "min_size: 10.5 max_size: 14.25 aspect_ratio: 2 flip: false clip: false "
    params += f"offset_h: 0.5 offset_w: 0.25 offset_h: 1.0 offset_w: 0.75 {VARIANCE}"
    side = math.sqrt(10.5 * 14.25)
    boxes: list[float] = []
    for h in range(3):
        for w in range(4):
            for width, height in ((10.5, 10.5), (side, side), (10.5 * math.sqrt(2), 10.5 / math.sqrt(2))):
                for down, right in ((0.5, 0.25), (1.0, 0.75)):
                    boxes += corners((w + right) * 45 / 4, (h + down) * 31 / 3, width, height, 45, 31)
    return Naive(
        layer("PriorBox", f"prior_box_param {{ {params} }}", "x image"), FEATURES, {("it", "out"): table(boxes)}
    )


def overlap(a: Box, b: Box) -> float:
    """JaccardOverlap of bbox_util.cpp."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    common = width * height
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)


def from_center(prior: Box, variance: Box, offset: Box) -> list[float]:
    """DecodeBBox of bbox_util.cpp for CENTER_SIZE."""
    width, height = prior[2] - prior[0], prior[3] - prior[1]
    x = variance[0] * offset[0] * width + (prior[0] + prior[2]) / 2
    y = variance[1] * offset[1] * height + (prior[1] + prior[3]) / 2
    w, h = math.exp(variance[2] * offset[2]) * width, math.exp(variance[3] * offset[3]) * height
    return [x - w / 2, y - h / 2, x + w / 2, y + h / 2]


def suppressed(boxes: Sequence[Box], scores: Box, floor: float, limit: float, eta: float = 1) -> list[int]:
    """ApplyNMSFast of bbox_util.cpp."""
    order = sorted((i for i in range(len(boxes)) if scores[i] > floor), key=lambda i: -scores[i])
    kept: list[int] = []
    for i in order:
        if all(overlap(boxes[i], boxes[j]) <= limit for j in kept):
            kept.append(i)
            if eta < 1 and limit > 0.5:
                limit *= eta
    return kept


def rows(images: int, classes: int, box: Callable[[int, int], list[list[float]]],
         score: Callable[[int, int], list[float]], floor: float, limit: float, eta: float = 1) -> Array:  # fmt: skip
    """What DetectionOutput gives without keep_top_k, class 0 being the background."""
    found = []
    for image in range(images):
        for label in range(1, classes):
            boxes, scores = box(image, label), score(image, label)
            for i in suppressed([b[:4] for b in boxes], scores, floor, limit, eta):
                found.append([image, label, scores[i], *boxes[i]])
    return np.array([[found]], f32)


def priors(seed: int, count: int) -> Array:
    """Boxes that overlap often, each with variances of its own."""
    rng = np.random.default_rng(seed)
    low, size = rng.uniform(0, 0.5, (count, 2)), rng.uniform(0.2, 0.5, (count, 2))
    boxes = np.concatenate([low, low + size], axis=1)
    return np.stack([boxes.ravel(), rng.uniform(0.1, 0.2, count * 4)])[None].astype(f32)


def scores_of(seed: int, *sizes: int) -> Array:
    return np.random.default_rng(seed).random(sizes).astype(f32)


def section(params: str) -> str:
    return f"detection_output_param {{ num_classes: 3 code_type: CENTER_SIZE confidence_threshold: 0.2 {params} }}"


@case("detection_output_eta")
def lowering() -> Naive:
    """eta below 1: the limit falls with every box that is kept, as long as it is above a half."""
    feeds = {"offsets": random(3, 2, 19 * 4), "scores": scores_of(4, 2, 19 * 3), "priors": priors(5, 19)}
    boxes, variances = feeds["priors"].reshape(2, 19, 4).tolist()
    offsets, scores = feeds["offsets"].reshape(2, 19, 4).tolist(), feeds["scores"].reshape(2, 19, 3)
    expected = rows(
        2, 3, lambda n, c: [from_center(*of) for of in zip(boxes, variances, offsets[n], strict=True)],
        lambda n, c: scores[n, :, c].tolist(), 0.2, 0.8, 0.9,
    )  # fmt: skip
    text = layer("DetectionOutput", section("nms_param { nms_threshold: 0.8 eta: 0.9 }"), "offsets scores priors")
    return Naive(text, feeds, {("it", "out"): expected})


@case("detection_output_levels")
def levels() -> Naive:
    """Synopsys' detection_output_layer.cpp with no_permute: boxes by level, ratio and place, priors by place and ratio.

    A prior's variances are read where the box itself stands, not where its prior does.
    """
    feeds: dict[str, Array] = {}
    boxes: list[list[float]] = []
    by_class: list[list[float]] = [[], [], []]
    feeds["scores0"], feeds["scores1"] = scores_of(6, 1, 3, 4, 6), scores_of(7, 1, 3, 2, 5)
    feeds["offsets0"], feeds["offsets1"] = random(8, 1, 16, 2, 3), random(9, 1, 8, 1, 5)
    feeds["priors"] = priors(10, 34)
    flat, start = feeds["priors"].ravel().tolist(), 0
    for level, (ratios, places) in enumerate(((4, 6), (2, 5))):
        moves = feeds[f"offsets{level}"].ravel().tolist()
        for r in range(ratios):
            for p in range(places):
                prior = flat[(start + p * ratios + r) * 4 :][:4]
                variance = flat[(34 + start + r * places + p) * 4 :][:4]
                boxes.append(from_center(prior, variance, [moves[(r * 4 + k) * places + p] for k in range(4)]))
                for c in range(3):
                    by_class[c].append(float(feeds[f"scores{level}"][0, c, r, p]))
        start += ratios * places
    expected = rows(1, 3, lambda n, c: boxes, lambda n, c: by_class[c], 0.2, 0.45)
    names = "scores0 scores1 offsets0 offsets1 priors"
    text = layer("DetectionOutput", section("no_permute: true nbottom: 2 nms_param { nms_threshold: 0.45 }"), names)
    return Naive(text, feeds, {("it", "out"): expected})


def _refined(least: float, stated: str, power: int = 1) -> Naive:
    """RefineDet: CasRegDecodeBBoxesAll decodes twice, OSGetConfidenceScores drops what is below objectness_score."""
    feeds = {"offsets": random(11, 2, 17 * 4), "scores": scores_of(12, 2, 17 * 3), "priors": priors(13, 17)}
    feeds |= {"objects": scores_of(14, 2, 17 * 2) ** power, "moves": random(15, 2, 17 * 4)}
    boxes, variances = feeds["priors"].reshape(2, 17, 4).tolist()

    def found(n: int, c: int) -> list[list[float]]:
        moves, offsets = (feeds[name].reshape(2, 17, 4)[n].tolist() for name in ("moves", "offsets"))
        moved = [from_center(*of) for of in zip(boxes, variances, moves, strict=True)]
        return [from_center(*of) for of in zip(moved, variances, offsets, strict=True)]

    def score(n: int, c: int) -> list[float]:
        objects, scores = feeds["objects"].reshape(2, 17, 2), feeds["scores"].reshape(2, 17, 3)
        return [0.0 if objects[n, i, 1] < f32(least) else float(scores[n, i, c]) for i in range(17)]

    text = layer(
        "DetectionOutput", section(f"{stated} nms_param {{ nms_threshold: 0.45 }}"),
        "offsets scores priors objects moves",
    )  # fmt: skip
    return Naive(text, feeds, {("it", "out"): rows(2, 3, found, score, 0.2, 0.45)})


@case("detection_output_refinedet")
def refined() -> Naive:
    return _refined(0.3, "objectness_score: 0.3")


@case("detection_output_refinedet_by_default")
def refined_by_default() -> Naive:
    """Its caffe.proto has 0.01 for an objectness_score that is not stated: some of these are below."""
    return _refined(0.01, "", power=4)


@case("detection_output_polygon")
def polygon() -> Naive:
    """TextBoxes++'s DecodeBBoxPolygon: the points move from the prior's corners; suppression looks at boxes alone."""
    feeds = {"offsets": random(16, 2, 17 * 12), "scores": scores_of(17, 2, 17 * 3), "priors": priors(18, 17)}
    boxes, variances = feeds["priors"].reshape(2, 17, 4).tolist()
    offsets, scores = feeds["offsets"].reshape(2, 17, 12).tolist(), feeds["scores"].reshape(2, 17, 3)

    def found(n: int, c: int) -> list[list[float]]:
        decoded = []
        for (x0, y0, x1, y1), v, o in zip(boxes, variances, offsets[n], strict=True):
            points = []
            for i, (x, y) in enumerate(((x0, y0), (x1, y0), (x1, y1), (x0, y1))):
                points += [v[0] * o[4 + 2 * i] * (x1 - x0) + x, v[1] * o[5 + 2 * i] * (y1 - y0) + y]
            decoded.append(from_center((x0, y0, x1, y1), v, o[:4]) + points)
        return decoded

    expected = rows(2, 3, found, lambda n, c: scores[n, :, c].tolist(), 0.2, 0.45)
    params = section("use_polygon: true nms_param { nms_threshold: 0.45 }")
    return Naive(layer("DetectionOutput", params, "offsets scores priors"), feeds, {("it", "out"): expected})


@case("detection_output_rotated")
def rotated() -> Naive:
    """TextBoxes++'s DecodeBBoxRBox: the upper edge moves from the prior's centre, the height scales."""
    feeds = {"offsets": random(19, 2, 17 * 9), "scores": scores_of(20, 2, 17 * 3), "priors": priors(21, 17)}
    boxes, variances = feeds["priors"].reshape(2, 17, 4).tolist()
    offsets, scores = feeds["offsets"].reshape(2, 17, 9).tolist(), feeds["scores"].reshape(2, 17, 3)

    def found(n: int, c: int) -> list[list[float]]:
        decoded = []
        for (x0, y0, x1, y1), v, o in zip(boxes, variances, offsets[n], strict=True):
            w, h, x, y = x1 - x0, y1 - y0, (x0 + x1) / 2, (y0 + y1) / 2
            edge = [v[0] * o[4] * w + x, v[1] * o[5] * h + y, v[0] * o[6] * w + x, v[1] * o[7] * h + y]
            decoded.append([*from_center((x0, y0, x1, y1), v, o[:4]), *edge, math.exp(v[3] * o[8]) * h])
        return decoded

    expected = rows(2, 3, found, lambda n, c: scores[n, :, c].tolist(), 0.2, 0.45)
    params = section("use_polygon: false nms_param { nms_threshold: 0.45 }")
    return Naive(layer("DetectionOutput", params, "offsets scores priors"), feeds, {("it", "out"): expected})


@case("detection_output_regions")
def regions() -> Naive:
    """OpenVINO's DetectionOutput with `normalized` false: regions in pixels become shares of the image first."""
    boxes = priors(22, 17)[0, 0].reshape(17, 4) * f32(90)
    given = np.concatenate([np.zeros((17, 1), f32), boxes], axis=1).reshape(1, 1, -1)
    feeds = {"offsets": random(23, 1, 17 * 12) * f32(0.2), "scores": scores_of(24, 1, 17 * 3), "regions": given}
    offsets, scores = feeds["offsets"].reshape(17, 3, 4), feeds["scores"].reshape(17, 3)

    def found(n: int, c: int) -> list[list[float]]:
        shares = [[x0 / 100, y0 / 80, x1 / 100, y1 / 80] for x0, y0, x1, y1 in boxes.tolist()]
        return [from_center(share, (1, 1, 1, 1), offsets[i, c].tolist()) for i, share in enumerate(shares)]

    expected = rows(1, 3, found, lambda n, c: scores[:, c].tolist(), 0.2, 0.45)
    params = (
        "share_location: false variance_encoded_in_target: true normalized: false input_width: 100 input_height: 80"
    )
    text = layer("DetectionOutput", section(f"{params} nms_param {{ nms_threshold: 0.45 }}"), "offsets scores regions")
    return Naive(text, feeds, {("it", "out"): expected})


def _placed(floor: float, most: int) -> Naive:
    """OpenVINO's detection_output_extended_layer.cpp: two images of 2×3 places with two anchors each."""
    feeds = {"offsets": random(31, 2, 2, 3, 8), "scores": scores_of(32, 2, 2, 3, 4), "priors": priors(33, 12)}
    boxes, variances = feeds["priors"].reshape(2, 12, 4).tolist()
    found = []
    for image in range(2):
        own, scores, places = [], [], []
        for y in range(2):
            for x in range(3):
                for anchor in range(2):
                    i = len(own)
                    own.append(
                        from_center(boxes[i], variances[i], feeds["offsets"][image, y, x, 4 * anchor :][:4].tolist())
                    )
                    scores.append(float(feeds["scores"][image, y, x, 2 * anchor + 1]))
                    places.append([anchor, x, y])
        for i in suppressed(own, scores, floor, 0.45)[:most]:
            found.append([image, 1, scores[i], *own[i], *places[i]])
    found = found or [[image, *[-1] * 9] for image in range(2)]
    params = (
        "detection_output_param { num_classes: 2 code_type: CENTER_SIZE background_label_id: -1 "
        f"confidence_threshold: {floor} keep_top_k: {most} nms_param {{ nms_threshold: 0.45 }} }}"
    )
    text = layer("DetectionOutputExtended", params, "offsets scores priors")
    return Naive(text, feeds, {("it", "out"): np.array([[found]], f32)})


@case("detection_output_extended")
def placed() -> Naive:
    made = _placed(0.2, 4)
    assert made.answers["it", "out"].shape == (1, 1, 8, 10)
    return made


@case("detection_output_extended_of_nothing")
def placed_nowhere() -> Naive:
    return _placed(1.5, 4)
