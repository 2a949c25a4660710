"""Region proposals, box by box: Faster R-CNN's Python layer and the C++ layer that PVANet deploys."""

from __future__ import annotations

import math

import numpy as np

from tests.drawn.base import layer
from tests.naive.base import Array, Naive, case, random

Box = tuple[float, float, float, float]


def anchors_at(x: float, y: float, ratios: list[float], scales: list[float], base: int) -> list[Box]:
    """generate_anchors about one place, whose first pixel is (x, y)."""
    made = []
    for ratio in ratios:
        width = round(math.sqrt(base * base / ratio))
        height = round(width * ratio)
        for scale in scales:
            w, h, middle = width * scale, height * scale, (base - 1) / 2
            corners = (middle - (w - 1) / 2, middle - (h - 1) / 2, middle + (w - 1) / 2, middle + (h - 1) / 2)
            made.append((x + corners[0], y + corners[1], x + corners[2], y + corners[3]))
    return made


def moved(anchor: Box, offset: Array, height: float, width: float) -> Box:
    """bbox_transform_inv and clip_boxes for one box."""
    x0, y0, x1, y1 = anchor
    w, h = x1 - x0 + 1, y1 - y0 + 1
    dx, dy, dw, dh = map(float, offset)
    cx, cy = dx * w + x0 + 0.5 * w, dy * h + y0 + 0.5 * h
    w, h = math.exp(dw) * w, math.exp(dh) * h
    xs = [max(min(x, width - 1), 0.0) for x in (cx - 0.5 * w, cx + 0.5 * w)]
    ys = [max(min(y, height - 1), 0.0) for y in (cy - 0.5 * h, cy + 0.5 * h)]
    return xs[0], ys[0], xs[1], ys[1]


def overlap(a: Box, b: Box) -> float:
    """devIoU: a box from 0 to 15 has 16 pixels."""
    w = max(min(a[2], b[2]) - max(a[0], b[0]) + 1, 0)
    h = max(min(a[3], b[3]) - max(a[1], b[1]) + 1, 0)
    area_a, area_b = ((c[2] - c[0] + 1) * (c[3] - c[1] + 1) for c in (a, b))
    return w * h / (area_a + area_b - w * h)


def rows_of(candidates: list[tuple[float, Box]], before: int, after: int, limit: float) -> tuple[Array, Array]:
    """The rows and scores that non-maximum suppression leaves."""
    kept: list[tuple[float, Box]] = []
    for score, box in sorted(candidates, key=lambda pair: -pair[0])[:before]:
        if len(kept) < after and all(overlap(box, other) <= limit for _, other in kept):
            kept.append((score, box))
    return np.asarray([(0.0, *box) for _, box in kept], np.float32), np.asarray([s for s, _ in kept], np.float32)


def boxes_of(
    scores: Array, offsets: Array, info: Array, ratios: list[float], scales: list[float], base: int, stride: int
) -> list[tuple[float, Box]]:
    """Score and box of every anchor, by row, column, anchor."""
    height, width = map(float, info[0, :2])
    count = len(ratios) * len(scales)
    made = []
    for row, column in np.ndindex(scores.shape[2:]):
        for a, anchor in enumerate(anchors_at(column * stride, row * stride, ratios, scales, base)):
            offset = offsets[0, 4 * a : 4 * a + 4, row, column]
            made.append((float(scores[0, count + a, row, column]), moved(anchor, offset, height, width)))
    return made


def feeds_of(seed: int, anchors: int, rows: int, columns: int, info: list[float]) -> dict[str, Array]:
    """Scores, offsets and im_info."""
    scores = random(seed, 1, 2 * anchors, rows, columns)
    offsets = random(seed + 1, 1, 4 * anchors, rows, columns) * np.float32(0.3)
    return {"scores": np.abs(scores), "offsets": offsets, "info": np.asarray([info], np.float32)}


def python_layer(text: str) -> str:
    """The layer with this param_str."""
    params = f'python_param {{ module: "rpn.proposal_layer" layer: "ProposalLayer" param_str: "{text}" }}'
    return layer("Python", params, "scores offsets info", "rois probs")


@case("proposal_layer")
def default() -> Naive:
    """proposal_layer.py with nothing but the stride: nine anchors, at most 300 regions of at least 16 · 1.5 pixels."""
    feeds = feeds_of(11, 9, 8, 11, [120, 171, 1.5])
    every = boxes_of(feeds["scores"], feeds["offsets"], feeds["info"], [0.5, 1, 2], [8, 16, 32], 16, 16)
    large = [(s, b) for s, b in every if b[2] - b[0] + 1 >= 24 and b[3] - b[1] + 1 >= 24]
    rois, probs = rows_of(large, 6000, 300, 0.7)
    assert 20 < len(rois) < 300
    assert len(large) < len(every)
    answers = {("it", "rois"): rois, ("it", "probs"): probs[:, None]}
    return Naive(python_layer("'feat_stride': 16"), feeds, answers)


@case("proposal_layer_keys")
def keys() -> Naive:
    """With ratios and scales, and one fork's keys for what is a configuration elsewhere."""
    feeds = feeds_of(21, 8, 9, 10, [70, 81, 1])
    ratios, scales = [0.333, 0.5, 1.5, 3], [2, 5]
    every = boxes_of(feeds["scores"], feeds["offsets"], feeds["info"], ratios, scales, 12, 8)
    large = [(s, b) for s, b in every if b[2] - b[0] + 1 >= 10 and b[3] - b[1] + 1 >= 10]
    rois, probs = rows_of(large, 150, 40, 0.5)
    assert len(rois) == 40
    text = (
        "{'feat_stride': 8, 'ratios': [0.333, 0.5, 1.5, 3], 'scales': [2, 5], 'base_size': 12, 'min_size': 10, "
        "'pre_nms_topN': 150, 'post_nms_topN': 40, 'nms_thresh': 0.5}"
    )
    return Naive(python_layer(text), feeds, {("it", "rois"): rois, ("it", "probs"): probs[:, None]})


@case("proposal_ported")
def ported() -> Naive:
    """proposal_layer.cpp: too small a box takes part with score 0; height and width have scales of their own."""
    feeds = feeds_of(31, 6, 4, 7, [60, 110, 1.25, 2.5, 1.25])
    every = boxes_of(feeds["scores"], feeds["offsets"], feeds["info"], [0.5, 0.667, 2], [1, 3], 16, 16)
    scored = [(s if b[2] - b[0] + 1 >= 40 and b[3] - b[1] + 1 >= 20 else 0.0, b) for s, b in every]
    rois, probs = rows_of(scored, 120, 70, 0.6)
    assert 0 < (probs == 0).sum() < len(probs)
    params = (
        "proposal_param { ratio: 0.5 ratio: 0.667 ratio: 2 scale: 1 scale: 3 feat_stride: 16 "
        "pre_nms_topn: 120 post_nms_topn: 70 nms_thresh: 0.6 min_size: 16 }"
    )
    text = layer("Proposal", params, "scores offsets info", "rois probs")
    return Naive(text, feeds, {("it", "rois"): rois, ("it", "probs"): probs})


def fused_boxes(
    scores: Array, offsets: Array, info: Array, ratios: list[float], scales: list[float], stride: int, least: float
) -> list[tuple[float, Box]]:
    """bboxDeltas2Proposals for one image: score and box by anchor, row and column; too small ones score -inf."""
    made = []
    anchors = []
    for ratio in ratios:
        width = math.floor(math.sqrt(stride * stride / ratio) + 0.5)
        anchors += [(width * s, math.floor(width * ratio + 0.5) * s) for s in scales]
    height, width, scale = map(float, info)
    for a, (aw, ah) in enumerate(anchors):
        for row, column in np.ndindex(scores.shape[1:]):
            dx, dy, dw, dh = map(float, offsets[4 * a : 4 * a + 4, row, column])
            cx, cy = (stride - 1) / 2 + column * stride + dx * aw, (stride - 1) / 2 + row * stride + dy * ah
            bw, bh = math.exp(dw) * aw, math.exp(dh) * ah
            xs = [min(max(x, 0.0), width - 1) for x in (cx - bw / 2, cx + bw / 2)]
            ys = [min(max(y, 0.0), height - 1) for y in (cy - bh / 2, cy + bh / 2)]
            small = xs[1] - xs[0] + 1 < least * scale or ys[1] - ys[0] + 1 < least * scale
            score = -math.inf if small else float(scores[len(anchors) + a, row, column])
            made.append((score, (xs[0], ys[0], xs[1], ys[1])))
    return made


def pooled_features(features: Array, box: Array, pooled: tuple[int, int], scale: float) -> Array:
    """ROIPoolingForwardKernelAligned for one region."""
    x0, y0, x1, y1 = (math.floor(float(v) * scale + 0.5) for v in box)
    bins = ((y0, max(y1 - y0 + 1, 1) / pooled[0]), (x0, max(x1 - x0 + 1, 1) / pooled[1]))
    top = np.zeros((len(features), *pooled), np.float32)
    for i, j in np.ndindex(pooled):
        ends = [
            (math.floor(k * step) + start, math.ceil((k + 1) * step) + start)
            for k, (start, step) in ((i, bins[0]), (j, bins[1]))
        ]
        (top_row, bottom_row), (left, right) = (
            (min(max(a, 0), size), min(max(b, 0), size)) for (a, b), size in zip(ends, features.shape[1:], strict=True)
        )
        for c in range(len(features)):
            inside = [features[c, y, x] for y in range(top_row, bottom_row) for x in range(left, right)]
            top[c, i, j] = max(inside, default=0)
    return top


@case("rproi")
def fused() -> Naive:
    """TensorRT's plugin: two images of different sizes; small boxes come last but do come; rows are filled up."""
    ratios, scales, most = [0.5, 1, 2], [2, 4], 50
    scores, offsets = np.abs(random(41, 2, 12, 6, 8)), random(42, 2, 24, 6, 8) * np.float32(0.5)
    features = random(43, 2, 3, 6, 8)
    info = np.asarray([[46, 60, 1.5], [44, 62, 0.75]], np.float32).reshape(2, 1, 1, 3)
    rows, pooled = np.zeros((2, 1, most, 4), np.float32), np.zeros((2 * most, 3, 2, 3), np.float32)
    found = []
    for n in range(2):
        every = fused_boxes(scores[n], offsets[n], info[n].ravel(), ratios, scales, 8, 8)
        kept = rows_of(every, 200, most, 0.2)[0][:, 1:]
        rows[n, 0, : len(kept)] = kept
        smallest = min(b[2] - b[0] + 1 for b in kept.tolist()), min(b[3] - b[1] + 1 for b in kept.tolist())
        found.append((len(kept), bool(min(smallest) < 8 * info[n].ravel()[2])))
        for r in range(most):
            pooled[n * most + r] = pooled_features(features[n], rows[n, 0, r], (2, 3), 0.125)
    assert all(10 < count < most for count, _ in found), found
    assert found[0][1], found
    params = (
        "region_proposal_param { feature_stride: 8 prenms_top: 200 nms_max_out: 50 anchor_ratio_count: 3 "
        "anchor_scale_count: 2 iou_threshold: 0.2 min_box_size: 8 anchor_ratio: 0.5 anchor_ratio: 1 anchor_ratio: 2 "
        "anchor_scale: 2 anchor_scale: 4 } roi_pooling_param { pooled_h: 2 pooled_w: 3 spatial_scale: 0.125 }"
    )
    feeds = {"scores": scores, "offsets": offsets, "features": features, "info": info}
    text = layer("RPROI", params, " ".join(feeds), "rois pooled")
    return Naive(text, feeds, {("it", "rois"): rows, ("it", "pooled"): pooled})
