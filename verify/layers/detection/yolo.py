"""What YOLO nets of eric612's forks find (MobileNet-YOLO, Caffe-YOLOv3-Windows), in float32 as there.

Facts from yolov3_detection_output_layer.cpp and yolo_detection_output_layer.cpp. Versions of the first that correct
boxes for the image's proportions change nothing of square bottoms, and the others read no other ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from prototxt.words import format_shape
from verify.layers.registry import UNBOUNDED, Array, Call, ErrorRule, Sensitivity, Wide, register, wide

UNIT = 2.0**-24


@dataclass(frozen=True)
class Found:
    """Boxes (centre and size, each x y), scores and classes, in the order in which they were come upon."""

    boxes: Array
    scores: Array
    classes: npt.NDArray[np.int64]


Anchors = Sequence[tuple[float, float]]
Pick = Callable[[Array, Array, Array], Found]
"""Of boxes K×4, objectness K and classes K×C as the net gives them: what counts."""


def sigmoid(x: Array) -> Array:
    """Rounded to float32 at the end, as `1. / (1. + exp(-x))` is."""
    with np.errstate(over="ignore"):
        return (1.0 / (1.0 + np.exp(-wide(x)))).astype(np.float32)


def decoded(call: Call, x: Array, anchors: Anchors, scale: int, classes: int, pick: Pick) -> Found:
    """What one bottom gives, by image, row, column and anchor."""
    square = x.ndim == 4 and x.shape[2] == x.shape[3]
    call.require(square, f"a bottom is {format_shape(x.shape)}, expected a square plane")
    n, channels, side = x.shape[:3]
    count = len(anchors)
    call.require(channels == count * (5 + classes), f"{channels} channels for {count} boxes of {classes} classes")
    cells = x.reshape(n, count, 5 + classes, side, side).transpose(0, 3, 4, 1, 2)
    columns = np.arange(side, dtype=np.float32)
    sizes = np.array(anchors, np.float32)
    boxes = np.empty((n, side, side, count, 4), np.float32)
    boxes[..., 0] = (columns[:, None] + sigmoid(cells[..., 0])) / np.float32(side)
    boxes[..., 1] = (columns[:, None, None] + sigmoid(cells[..., 1])) / np.float32(side)
    with np.errstate(over="ignore"):
        boxes[..., 2:] = np.exp(wide(cells[..., 2:4])) * sizes / (side * scale)
    flat = cells.reshape(-1, 5 + classes)
    return pick(boxes.reshape(-1, 4), flat[:, 4], flat[:, 5:])


def corners(boxes: Array) -> tuple[Array, Array]:
    """Lower and upper, from centre and size."""
    half = boxes[:, 2:] / np.float32(2)
    return boxes[:, :2] - half, boxes[:, :2] + half


def overlaps(box: Array, others: Array) -> Array:
    """Intersection over union of boxes by centre and size; negative extents meet in nothing, 0/0 is no number."""
    (low, high), (other_low, other_high) = corners(box), corners(others)
    with np.errstate(all="ignore"):
        size = np.minimum(high, other_high) - np.maximum(low, other_low)
        common = np.where((size < 0).any(axis=1), np.float32(0), size[:, 0] * size[:, 1])
        share: Array = common / (box[:, 2] * box[:, 3] + others[:, 2] * others[:, 3] - common)
    return share


def blurs(boxes: Array) -> Wide:
    """By which share rounding may change a box's area as it is taken from its corners, which may be far from it."""
    low, high = (wide(corner) for corner in corners(boxes))
    with np.errstate(all="ignore"):
        blur: Wide = (4 * UNIT * np.maximum(np.abs(low), np.abs(high)) / (high - low)).sum(axis=1)
    return np.nan_to_num(blur, posinf=0.0)


def suppressed(found: Found, limit: float) -> tuple[Found, bool]:
    """By falling score, what overlaps nothing before it by `limit` or more; and whether rounding may decide of any.

    A box of whatever class or image suppresses. One whose corners rounding brings together shares no area with any, so
    that it need not be compared.
    """
    order = np.argsort(-found.scores, kind="stable")
    found = Found(found.boxes[order], found.scores[order], found.classes[order])
    low, high = corners(found.boxes)
    stays = (low == high).any(axis=1)
    left, blur, close = np.flatnonzero(~stays), blurs(found.boxes), False
    while len(left):
        first, left = left[:1], left[1:]
        stays[first] = True
        share = overlaps(found.boxes[first], found.boxes[left])
        close = close or bool((np.abs(share - limit) <= blur[first] + blur[left] + 8 * UNIT).any())
        left = left[~(share >= np.float32(limit))]
    return Found(found.boxes[stays], found.scores[stays], found.classes[stays]), close


def joined(parts: Sequence[Found]) -> Found:
    """What all bottoms give, in their order."""
    fields = ("boxes", "scores", "classes")
    return Found(*(np.concatenate([getattr(part, name) for part in parts]) for name in fields))


def chosen(heads: Callable[[Call], tuple[list[Found], float]]) -> ErrorRule:
    """Any error of a bottom may turn a choice; where an overlap is as near the limit as rounding goes, so may none."""

    def error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
        parts, limit = heads(call)
        own = math.inf if suppressed(joined(parts), limit)[1] else 0.0
        return [Sensitivity(1, (UNBOUNDED,) * len(call.bottoms), own)]

    return error


def rows(call: Call, parts: Sequence[Found], limit: float) -> list[Array]:
    """1×1×found×7: 0 whatever the image, class from 1, score, corners; an image's number and six -1 where nothing is.

    All images and bottoms share one list.
    """
    kept = suppressed(joined(parts), limit)[0]
    head = np.stack([np.zeros(len(kept.scores)), kept.classes + 1.0, kept.scores], axis=1).astype(np.float32)
    table = np.concatenate([head, *corners(kept.boxes)], axis=1)
    if not len(table):
        table = np.full((len(call.x), 7), -1, np.float32)
        table[:, 0] = np.arange(len(call.x))
    return [table[None, None]]


def _each_class(floor: float, limit: float) -> Pick:
    """Every class of a box whose sigmoid times the objectness' is above `floor`.

    A box's classes lie upon each other, so the best suppresses the rest; these are left out at once, except of a box
    too small for its overlap with itself to be seen.
    """

    def pick(boxes: Array, objectness: Array, classes: Array) -> Found:
        scores = sigmoid(classes) * sigmoid(objectness)[:, None]
        alone = ~(overlaps(boxes, boxes) >= np.float32(limit))
        best = np.arange(classes.shape[1]) == scores.argmax(axis=1)[:, None]
        box, label = np.nonzero((scores > np.float32(floor)) & (best | alone[:, None]))
        return Found(boxes[box], scores[box, label], label)

    return pick


def _best_class(floor: float) -> Pick:
    """The class with the largest softmax, if that times the objectness' sigmoid is `floor` or more."""

    def pick(boxes: Array, objectness: Array, classes: Array) -> Found:
        powers = np.exp(wide(classes) - classes.max(axis=1, keepdims=True))
        shares = (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
        label = shares.argmax(axis=1)
        scores = sigmoid(objectness) * shares.max(axis=1)
        counts = np.flatnonzero(scores >= np.float32(floor))
        return Found(boxes[counts], scores[counts], label[counts])

    return pick


def _v3(call: Call) -> tuple[list[Found], float]:
    """What each bottom of YOLOv3's head gives, and the limit."""
    p = call.param.yolov3_detection_output_param
    count = len(call.bottoms)
    call.require(p.HasField("num_classes"), "has no num_classes")
    call.require(p.mask_group_num == count, f"mask_group_num is {p.mask_group_num} for {count} bottoms")
    each = len(p.mask) // count
    enough = (count - 1) * each + p.num_box <= len(p.mask) and len(p.anchors_scale) >= count
    call.require(enough and all(2 * m + 1 < len(p.biases) for m in p.mask), "mask, biases or anchors_scale are too few")
    pick = _each_class(p.confidence_threshold, p.nms_threshold)
    parts = []
    for place, x in enumerate(call.bottoms):
        mask = p.mask[place * each : place * each + p.num_box]
        anchors = [(p.biases[2 * m], p.biases[2 * m + 1]) for m in mask]
        parts.append(decoded(call, x, anchors, p.anchors_scale[place], p.num_classes, pick))
    return parts, p.nms_threshold


@register("Yolov3DetectionOutput", bottoms=(1, None), error=chosen(_v3))
def yolov3_detection_output(call: Call) -> list[Array]:
    """YOLOv3's head; `mask` is cut into as many parts as there are bottoms, of which each takes `num_box` anchors."""
    return rows(call, *_v3(call))


def _v2(call: Call) -> tuple[list[Found], float]:
    """What each bottom of YOLOv2's head gives, and the limit."""
    p = call.param.yolo_detection_output_param
    ignored = (f"yolo_detection_output_param.{name}" for name in ("side", "coords", "label_map_file"))
    call.layer.without_effect("a plane's sides and the number of biases say it; names are not needed", *ignored)
    call.require(p.HasField("num_classes"), "has no num_classes")
    call.require(len(p.biases) >= 2 * p.num_box, f"{len(p.biases)} biases for {p.num_box} boxes")
    anchors = [(p.biases[2 * i], p.biases[2 * i + 1]) for i in range(p.num_box)]
    pick = _best_class(p.confidence_threshold)
    return [decoded(call, x, anchors, 1, p.num_classes, pick) for x in call.bottoms], p.nms_threshold


@register("YoloDetectionOutput", bottoms=(1, 2), error=chosen(_v2))
def yolo_detection_output(call: Call) -> list[Array]:
    """YOLOv2's head: the same anchors for each bottom, in places of its plane."""
    return rows(call, *_v2(call))
