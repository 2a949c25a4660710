"""Sophgo's detection layers, with scores and overlaps that no rounding brings to a tie or to a threshold."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from hypothesis import assume
from hypothesis import strategies as st

from tests.drawn.base import Array, Draw, Drawn, drawn, fields, generator, layer, maybe
from tests.drawn.yolo import APART, clear, sigmoid

Wide = npt.NDArray[np.float64]


def decided(x: Array, anchors: Wide, size: tuple[int, int]) -> tuple[Wide, Wide, Wide]:
    """Scores, objectness and corners of all boxes of a bottom."""
    n, channels, h, w = x.shape
    values = np.moveaxis(x.astype(np.float64).reshape(n, 3, channels // 3, h, w), 2, 4)
    grid = np.stack(np.meshgrid(np.arange(w), np.arange(h)), axis=-1)
    centre = (sigmoid(values[..., :2]) + grid) / [w, h]
    half = np.exp(values[..., 2:4]) * anchors[None, :, None, None] / size / 2
    objectness = sigmoid(values[..., 4])
    powers = np.exp(values[..., 5:] - values[..., 5:].max(axis=-1, keepdims=True))
    score = objectness / powers.sum(axis=-1)
    corners = np.concatenate([centre - half, centre + half], axis=-1).reshape(-1, 4)
    return score.ravel(), objectness.ravel(), corners


@drawn("YoloDetection")
@st.composite
def yolo_detection(draw: Draw) -> Drawn:
    bottoms, classes, images = draw(st.integers(1, 3)), draw(st.integers(1, 4)), draw(st.integers(1, 2))
    tiny, spare = draw(maybe(st.booleans())), draw(maybe(st.booleans()))
    bottoms = min(bottoms, 2) if tiny else bottoms
    sides = draw(st.permutations([1, 2, 3, 4, 5, 6]))
    rng = generator(draw)
    feeds = {}
    for i in range(bottoms):
        x = rng.standard_normal((images, 3, 5 + classes, sides[2 * i], sides[2 * i + 1]))
        x[:, :, 2:4] *= 0.4
        x[:, :, 5:] *= 3
        feeds[f"x{i}"] = x.reshape(images, -1, *x.shape[3:]).astype(np.float32)
    own = draw(st.booleans())
    numbers = draw(st.lists(st.integers(8, 200).map(lambda v: v / 2), min_size=6 * bottoms, max_size=6 * bottoms))
    known = [10, 14, 23, 27, 37, 58, 81, 82, 135, 169, 344, 319] if tiny else None
    v4 = [142, 110, 192, 243, 459, 401, 36, 75, 76, 55, 72, 146, 12, 16, 19, 36, 40, 28]
    v3 = [10, 13, 16, 30, 33, 23, 30, 61, 62, 45, 59, 119, 116, 90, 156, 198, 373, 326]
    anchors = np.array(numbers if own else known or (v4 if spare else v3), np.float64)
    size = draw(st.sampled_from([(64, 96), (416, 416), (320, 160)]))
    floor, limit = draw(st.sampled_from([0.0, 0.2, 0.4, 0.6, 0.95])), draw(st.sampled_from([0.05, 0.2, 0.45, 0.7]))
    parts = [decided(x, anchors[6 * i : 6 * i + 6].reshape(3, 2), size) for i, x in enumerate(feeds.values())]
    scores, objectness, corners = (np.concatenate(some) for some in zip(*parts, strict=True))
    assume(clear(scores, corners, limit, floor) and (np.abs(objectness - floor) > APART).all())
    given = fields(net_input_w=size[0], net_input_h=size[1], nms_threshold=limit, obj_threshold=floor, tiny=tiny)
    more = fields(
        keep_topk=draw(st.integers(1, 30)),
        class_num=classes,
        yolo_v4=spare,
        anchors=",".join(map(str, numbers)) if own else None,
    )
    return Drawn(layer("YoloDetection", f"yolo_detection_param {{ {given} {more} }}", " ".join(feeds)), feeds)


def face_corners(offsets: Array, stride: int, scales: tuple[int, int]) -> Wide:
    """Corners of all faces of a level, 2 · H · W × 4."""
    h, w = offsets.shape[2:]
    grid = np.stack(np.meshgrid(np.arange(w), np.arange(h)), axis=-1) * stride + 8.5
    moves = np.moveaxis(offsets.astype(np.float64).reshape(2, 4, h, w), 1, 3)
    size = np.array([17.0 * s + 1 for s in scales])[:, None, None, None]
    centre, half = moves[..., :2] * size + grid, (np.exp(moves[..., 2:]) * size - 1) / 2
    return np.concatenate([centre - half, centre + half], axis=-1).reshape(-1, 4)


def apart(scores: Wide, corners: Wide, floor: float, limit: float) -> bool:
    """Whether no order, no threshold and no overlap with the face next in order is near a tie."""
    if (np.abs(np.diff(np.sort(scores))) < APART).any() or (np.abs(scores - floor) < APART).any():
        return False
    corners = corners[np.argsort(-scores)]
    corners = corners[: int((scores >= floor).sum())]
    area = (corners[:, 2:] - corners[:, :2] + 1).prod(axis=1)
    low = np.maximum(corners[:, None, :2], corners[:, :2])
    sizes = np.minimum(corners[:, None, 2:], corners[:, 2:]) - low + 1
    common = sizes.prod(axis=2)[1:]
    share = common / (area[:-1, None] + area - common)
    touch = np.abs(sizes).min(initial=1.0) > 1e-3
    return bool((np.abs(share - limit) > 20 * APART).all() and touch)


@drawn("RetinaFaceDetection")
@st.composite
def retina_face_detection(draw: Draw) -> Drawn:
    rng = generator(draw)
    sizes = [draw(st.tuples(st.integers(1, 4), st.integers(1, 4))) for _ in range(3)]
    feeds: dict[str, Array] = {}
    for (h, w), stride in zip(sizes, (8, 16, 32), strict=True):
        feeds[f"score{stride}"] = rng.uniform(0, 1, (1, 4, h, w)).astype(np.float32)
        feeds[f"box{stride}"] = (0.4 * rng.standard_normal((1, 8, h, w))).astype(np.float32)
        feeds[f"mark{stride}"] = (0.4 * rng.standard_normal((1, 20, h, w))).astype(np.float32)
    floor, limit = draw(st.sampled_from([0.05, 0.3, 0.5, 0.9])), draw(st.sampled_from([0.05, 0.2, 0.4, 0.7]))
    levels = [(8, (2, 1)), (16, (8, 4)), (32, (32, 16))]
    scores = np.concatenate([feeds[f"score{stride}"][0, 2:].ravel() for stride, _ in levels]).astype(np.float64)
    corners = np.concatenate([face_corners(feeds[f"box{stride}"], stride, scales) for stride, scales in levels])
    assume(apart(scores, corners, floor, limit))
    params = fields(nms_threshold=limit, confidence_threshold=floor, keep_topk=draw(st.integers(1, 40)))
    text = layer("RetinaFaceDetection", f"retinaface_detection_param {{ {params} }}", " ".join(feeds))
    return Drawn(text, feeds)
