"""Faces that RetinaFace nets of Sophgo's fork find, in float32 as there.

Facts from retinaface_detection_layer.cpp and .hpp. Where these leave memory unset (rows behind the last, landmarks) or
carry a count from image to image, the fork's runtime (cvi, cpu_function) says what is meant.
"""

from __future__ import annotations

import numpy as np

from prototxt.words import format_shape
from verify.layers.registry import Array, Call, jumps, register

F = np.float32


def face_anchors(stride: int, scales: tuple[int, int], h: int, w: int) -> tuple[Array, Array]:
    """Corners of a level's anchors, low and high, by anchors and places.

    A square of 16 pixels, from 0 to 15, is made again from its centre with a far corner of half a size more, so that it
    ends at 16; scaled, that happens once more.
    """
    y, x = np.indices((h, w), F).reshape(2, -1) * F(stride)
    step = np.stack([x, y], axis=1)
    lows, highs = [], []
    for scale in scales:
        side = F(17 * scale)
        lows.append(step + (F(8) - F(0.5) * (side - F(1))))
        highs.append(step + (F(8) + F(0.5) * (side + F(1))))
    return np.concatenate(lows), np.concatenate(highs)


def faces_of(call: Call, level: int, stride: int, scales: tuple[int, int]) -> Array:
    """Rows of a level that count."""
    p = call.param.retinaface_detection_param
    scores, offsets, marks = call.bottoms[3 * level : 3 * level + 3]
    for array, channels in ((scores, 4), (offsets, 8), (marks, 20)):
        fits = array.ndim == 4 and array.shape == (1, channels, *scores.shape[2:])
        call.require(fits, f"a bottom is {format_shape(array.shape)}, expected 1×{channels} of its level's size")
    places = scores.shape[2] * scores.shape[3]
    low, high = face_anchors(stride, scales, *scores.shape[2:])
    size = high - low + F(1)
    centre = low + F(0.5) * (size - F(1))
    moves = offsets.reshape(2, 4, places).transpose(0, 2, 1).reshape(-1, 4)
    points = marks.reshape(2, 5, 2, places).transpose(0, 3, 1, 2).reshape(-1, 5, 2)
    middle = moves[:, :2] * size + centre
    with np.errstate(over="ignore"):
        half = F(0.5) * (np.exp(moves[:, 2:]) * size - F(1))
    landmarks = (points * size[:, None] + centre[:, None]).reshape(-1, 10)
    score = scores[0, 2:].reshape(-1, 1)
    rows = np.concatenate([middle - half, middle + half, score, landmarks], axis=1)
    counted: Array = rows[~(score[:, 0] < F(p.confidence_threshold))]
    return counted


@register("RetinaFaceDetection", bottoms=9, error=jumps)
def retina_face_detection(call: Call) -> list[Array]:
    """1×1×keep_topk×15: corners, score and landmarks by falling score; rows of 0 behind the last face.

    A face that is kept drops each behind it whose intersection with the face *next* in order, over its own area and
    that one's less the intersection, is above the threshold.
    """
    p = call.param.retinaface_detection_param
    call.require(p.keep_topk > 0, "needs keep_topk")
    limit = F(p.nms_threshold)
    levels = ((2, 32, (32, 16)), (1, 16, (8, 4)), (0, 8, (2, 1)))
    faces = np.concatenate([faces_of(call, *level) for level in levels])
    faces = faces[np.argsort(-faces[:, 4], kind="stable")]
    with np.errstate(all="ignore"):
        area = (faces[:, 2] - faces[:, 0] + F(1)) * (faces[:, 3] - faces[:, 1] + F(1))
    kept: list[Array] = []
    gone = np.zeros(len(faces), bool)
    for i, face in enumerate(faces):
        if gone[i]:
            continue
        kept.append(face)
        rest = faces[i + 1 :]
        if len(rest):
            with np.errstate(all="ignore"):
                size = np.minimum(rest[0, 2:4], rest[:, 2:4]) - np.maximum(rest[0, :2], rest[:, :2]) + F(1)
                common = size[:, 0] * size[:, 1]
                share = common / (area[i] + area[i + 1 :] - common)
            gone[i + 1 :] |= (size > 0).all(axis=1) & (share > limit)
    call.room((1, 1, p.keep_topk, 15))
    top = np.zeros((1, 1, p.keep_topk, 15), F)
    rows = kept[: p.keep_topk]
    if rows:
        top[0, 0, : len(rows)] = rows
    return [top]
