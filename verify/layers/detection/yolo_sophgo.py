"""What YOLOv3 and v4 nets of Sophgo's fork find, box by box, in float32 as there.

Facts from yolo_detection_layer.cpp. Where it leaves memory unset (rows behind the last) or carries a count from image
to image, the fork's runtime (cvi, cpu_function) says what is meant.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from verify.layers.detection.yolo import UNIT, blurs
from verify.layers.registry import UNBOUNDED, Array, Call, Sensitivity, register, wide

F = np.float32
TINY = [10, 14, 23, 27, 37, 58, 81, 82, 135, 169, 344, 319]
YOLOV3 = [10, 13, 16, 30, 33, 23, 30, 61, 62, 45, 59, 119, 116, 90, 156, 198, 373, 326]
YOLOV4 = [142, 110, 192, 243, 459, 401, 36, 75, 76, 55, 72, 146, 12, 16, 19, 36, 40, 28]


def logistic(x: Array) -> Array:
    """In doubles, rounded once."""
    with np.errstate(over="ignore"):
        return (1.0 / (1.0 + np.exp(-wide(x)))).astype(F)


def class_shares(classes: Array) -> Array:
    """K×C: softmax; distances below the largest are scaled where the least score lies below -100."""
    least = classes.min(axis=1, keepdims=True)
    below = classes - classes.max(axis=1, keepdims=True)
    far = (least < -100)[:, 0]
    below[far] = below[far] / least[far] * F(-100)
    powers = np.exp(wide(below))
    shares: Array = (powers / powers.sum(axis=1, keepdims=True)).astype(F)
    return shares


def yolo_candidates(call: Call, x: Array, anchors: npt.NDArray[np.float32]) -> list[Array]:
    """What counts of one bottom: for each image rows of centre, size, class, score, by places and anchors."""
    p = call.param.yolo_detection_param
    n, channels, h, w = x.shape
    length = 5 + p.class_num
    call.require(channels == 3 * length, f"{channels} channels for 3 boxes of {p.class_num} classes")
    values = x.reshape(n, 3, length, h, w).transpose(0, 3, 4, 1, 2)
    found = []
    for image in values:
        flat = image.reshape(-1, length)
        y, x_, box = (grid.ravel() for grid in np.indices((h, w, 3)))
        objectness = logistic(flat[:, 4])
        shares = class_shares(flat[:, 5:])
        score = objectness * shares.max(axis=1)
        counts = ~(objectness < F(p.obj_threshold)) & ~(score < F(p.obj_threshold))
        with np.errstate(over="ignore"):
            growth = np.exp(wide(flat[:, 2:4])).astype(F)
        rows = np.empty((len(flat), 6), F)
        rows[:, 0] = (logistic(flat[:, 0]) + x_.astype(F)) / F(w)
        rows[:, 1] = (logistic(flat[:, 1]) + y.astype(F)) / F(h)
        rows[:, 2:4] = growth * anchors[box] / np.array([p.net_input_w, p.net_input_h], F)
        rows[:, 4], rows[:, 5] = shares.argmax(axis=1), score
        found.append(rows[counts])
    return found


def overlaps_of(box: Array, others: Array) -> Array:
    """Intersection over union of boxes by centre and size."""
    with np.errstate(all="ignore"):
        near = np.maximum(box[:2] - box[2:4] / F(2), others[:, :2] - others[:, 2:4] / F(2))
        far = np.minimum(box[:2] + box[2:4] / F(2), others[:, :2] + others[:, 2:4] / F(2))
        size = far - near
        common = np.where((size < 0).any(axis=1), F(0), size[:, 0] * size[:, 1])
        share: Array = common / (box[2] * box[3] + others[:, 2] * others[:, 3] - common)
    return share


def struck_out(rows: Array, limit: np.float32) -> tuple[Array, bool]:
    """Rows that are left when each has met those behind it; and whether rounding may decide of any.

    Of a pair of one class, the lower score goes.
    """
    scores, blur, close = rows[:, 5].copy(), blurs(rows[:, :4]), False
    for i in range(len(rows)):
        if scores[i] == 0:
            continue
        share = overlaps_of(rows[i], rows[i + 1 :])
        near = np.abs(share - limit) <= blur[i] + blur[i + 1 :] + 8 * UNIT
        close = close or bool((near & (rows[i + 1 :, 4] == rows[i, 4])).any())
        for j in i + 1 + np.flatnonzero((share > limit) & (rows[i + 1 :, 4] == rows[i, 4]) & (scores[i + 1 :] != 0)):
            if scores[i] < scores[j]:
                scores[i] = 0
                break
            scores[j] = 0
    return rows[scores > 0], close


def yolo_rows(call: Call) -> tuple[Array, bool]:
    """The top, and whether rounding may decide of any row."""
    p = call.param.yolo_detection_param
    call.require(
        p.keep_topk > 0 and p.net_input_w > 0 and p.net_input_h > 0, "needs keep_topk and the net's input size"
    )
    call.require(all(x.ndim == 4 and len(x) == len(call.x) for x in call.bottoms), "needs bottoms N×C×H×W")
    named = [float(part) for part in p.anchors.split(",")] if p.anchors else []
    tiny, v4 = p.tiny, p.yolo_v4
    numbers = np.array(named or (TINY if tiny else YOLOV4 if v4 else YOLOV3), F)
    call.require(len(numbers) >= 6 * len(call.bottoms), f"{len(numbers)} anchors for {len(call.bottoms)} bottoms")
    parts = [yolo_candidates(call, x, numbers[6 * i : 6 * i + 6].reshape(3, 2)) for i, x in enumerate(call.bottoms)]
    call.room((len(call.x), 1, p.keep_topk, 6))
    top, close = np.zeros((len(call.x), 1, p.keep_topk, 6), F), False
    for image, some in enumerate(zip(*parts, strict=True)):
        rows, open_choice = struck_out(np.concatenate(some), F(p.nms_threshold))
        rows = rows[: p.keep_topk]
        top[image, 0, : len(rows)] = rows
        close = close or open_choice
    return top, close


def _yolo_error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    """Any error of a bottom may turn a choice; an overlap as near the limit as rounding goes leaves it open."""
    own = math.inf if yolo_rows(call)[1] else 0.0
    return [Sensitivity(1, (UNBOUNDED,) * len(call.bottoms), own)]


@register("YoloDetection", bottoms=(1, None), error=_yolo_error)
def yolo_detection(call: Call) -> list[Array]:
    """N×1×keep_topk×6, the first that are left of each image; rows of 0 behind them."""
    return [yolo_rows(call)[0]]
