"""YOLO heads, with scores and overlaps that no rounding brings to a tie or to a threshold."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from hypothesis import assume
from hypothesis import strategies as st

from tests.drawn.base import Array, Draw, Drawn, drawn, fields, generator, layer, maybe

Wide = npt.NDArray[np.float64]
Anchors = Sequence[tuple[float, float]]
APART = 2e-6


def sigmoid(x: Wide) -> Wide:
    return 1 / (1 + np.exp(-x))


def boxes_of(x: Array, anchors: Anchors, scale: int) -> tuple[Wide, Wide, Wide]:
    """Corners K×4, objectness K and classes K×C of a bottom, in any order."""
    n, channels, side = x.shape[:3]
    values = x.astype(np.float64).reshape(n, len(anchors), channels // len(anchors), side, side)
    values = np.moveaxis(values, 2, 4)
    grid = np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1)
    centre = (sigmoid(values[..., :2]) + grid) / side
    half = np.exp(values[..., 2:4]) * np.array(anchors)[None, :, None, None] / (2 * side * scale)
    flat = values.reshape(-1, values.shape[-1])
    return np.concatenate([centre - half, centre + half], axis=-1).reshape(-1, 4), flat[:, 4], flat[:, 5:]


def clear(scores: Wide, corners: Wide, limit: float, floor: float) -> bool:
    """Whether best scores, and overlaps with the limit, are further apart than rounding goes."""
    best = np.sort(scores, axis=None)
    if (np.diff(best) < APART).any() or (np.abs(best - floor) < APART).any():
        return False
    low = np.maximum(corners[:, None, :2], corners[:, :2])
    high = np.minimum(corners[:, None, 2:], corners[:, 2:])
    common = (high - low).clip(0).prod(axis=-1)
    area = (corners[:, 2:] - corners[:, :2]).prod(axis=1)
    share = common / (area[:, None] + area - common)
    return bool((np.abs(share - limit) > 10 * APART).all())


def features(draw: Draw, channels: Sequence[int], sides: Sequence[int], classes: int, images: int) -> dict[str, Array]:
    """Bottoms by name: boxes about as large as their anchors, scores of every height."""
    rng = generator(draw)
    feeds = {}
    for place, (count, side) in enumerate(zip(channels, sides, strict=True)):
        x = rng.standard_normal((images, count, 5 + classes, side, side))
        x[:, :, 2:4] *= 0.4
        feeds[f"x{place}"] = x.reshape(images, -1, side, side).astype(np.float32)
    return feeds


def thresholds(draw: Draw, floor: float) -> tuple[float, float, dict[str, object]]:
    """Confidence's and overlap's, with their fields, which may be left out."""
    confidence = draw(maybe(st.sampled_from([0.0, 0.1, 0.2, 0.4, 0.6, 0.95])))
    overlap = draw(maybe(st.sampled_from([0.05, 0.2, 0.5, 0.7, 0.95])))
    texts = {"confidence_threshold": confidence, "nms_threshold": overlap}
    return floor if confidence is None else float(str(confidence)), overlap or 0.45, texts


def decided(
    feeds: dict[str, Array], anchors: Sequence[Anchors], scales: Sequence[int], scored: Callable[[Wide, Wide], Wide]
) -> tuple[Wide, Wide]:
    """Scores of all classes that could count and corners of all boxes."""
    parts = [boxes_of(x, a, s) for x, a, s in zip(feeds.values(), anchors, scales, strict=True)]
    scores = np.concatenate([scored(objectness, classes).ravel() for _, objectness, classes in parts])
    return scores, np.concatenate([corners for corners, _, _ in parts])


@drawn("Yolov3DetectionOutput")
@st.composite
def yolov3_detection_output(draw: Draw) -> Drawn:
    bottoms, classes, count = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    sides = draw(st.permutations([1, 2, 3, 4]))[:bottoms]
    spare = draw(st.integers(0, 1))  # masks that no bottom takes
    known = draw(st.integers(1, 5))
    size = st.integers(4, 90).map(float)
    biases = draw(st.lists(size, min_size=2 * known, max_size=2 * known))
    mask = draw(
        st.lists(st.integers(0, known - 1), min_size=bottoms * (count + spare), max_size=bottoms * (count + spare))
    )
    scales = draw(st.lists(st.sampled_from([8, 16, 32]), min_size=bottoms, max_size=bottoms))
    floor, limit, texts = thresholds(draw, 0.01)
    feeds = features(draw, [count] * bottoms, sides, classes, draw(st.integers(1, 2)))
    each = len(mask) // bottoms
    picked = [mask[place * each : place * each + count] for place in range(bottoms)]
    anchors = [[(biases[2 * m], biases[2 * m + 1]) for m in some] for some in picked]
    assume(clear(*decided(feeds, anchors, scales, lambda o, c: sigmoid(o)[:, None] * sigmoid(c)), limit, floor))
    given = fields(num_classes=classes, num_box=None if count == 3 else count, **texts)
    more = fields(biases=biases, mask=mask, anchors_scale=scales, mask_group_num=None if bottoms == 2 else bottoms)
    params = f"yolov3_detection_output_param {{ {given} {more} }}"
    return Drawn(layer("Yolov3DetectionOutput", params, " ".join(feeds)), feeds)


@drawn("YoloDetectionOutput")
@st.composite
def yolo_detection_output(draw: Draw) -> Drawn:
    bottoms, classes, count = draw(st.integers(1, 2)), draw(st.integers(1, 4)), draw(st.integers(1, 5))
    sides = draw(st.permutations([1, 2, 3, 4]))[:bottoms]
    known = count + draw(st.integers(0, 1))
    size = st.integers(2, 40).map(lambda n: n / 16)
    biases = draw(st.lists(size, min_size=2 * known, max_size=2 * known))
    floor, limit, texts = thresholds(draw, 0.01)
    feeds = features(draw, [count] * bottoms, sides, classes, draw(st.integers(1, 2)))
    anchors = [list(zip(biases[::2], biases[1::2], strict=True))[:count]] * bottoms

    def scored(objectness: Wide, classes: Wide) -> Wide:
        shares = np.exp(classes) / np.exp(classes).sum(axis=1, keepdims=True)
        return sigmoid(objectness)[:, None] * shares

    assume(clear(*decided(feeds, anchors, [1] * bottoms, scored), limit, floor))
    given = fields(num_classes=classes, num_box=None if count == 5 else count, biases=biases, **texts)
    ignored = fields(side=draw(maybe(st.integers(1, 20))), coords=draw(maybe(st.integers(1, 5))))
    params = f"yolo_detection_output_param {{ {given} {ignored} }}"
    return Drawn(layer("YoloDetectionOutput", params, " ".join(feeds)), feeds)
