"""SSD's detections (Caffe's ssd branch: detection_output_layer.cpp), and TextBoxes++'s, with a shape beside each box.

What forks hand over otherwise is cut alike in `detection_bottoms.py` and `detection_levels.py`.
"""

from __future__ import annotations

import numpy as np

from verify.layers.detection.boxes import boxes_fed, polygons, rotated_boxes, suppress
from verify.layers.detection.detection_bottoms import Detections, cut, decoder_of
from verify.layers.detection.detection_levels import cut_levels
from verify.layers.registry import Array, Call, Feeding, jumps, register

f32 = np.float32


def _boxes(call: Call, parts: Detections, image: int) -> list[Array]:
    """Corners, and TextBoxes++'s shape behind them, for each set of offsets."""
    decode, found = decoder_of(call), []
    for offset in parts.offsets[image]:
        prior = parts.priors[image]
        boxes = decode(prior, parts.variances, offset[:, :4])
        if offset.shape[1] > 4:
            shapes = polygons if offset.shape[1] == 12 else rotated_boxes
            boxes = np.concatenate([boxes, shapes(prior, parts.variances, offset[:, 4:])], axis=1)
        found.append(boxes)
    return found


def _detect(call: Call, parts: Detections, image: int) -> Array:
    """Rows of image, class, score and box of one image, by class and then by falling score."""
    p = call.param.detection_output_param
    nms, boxes = p.nms_param, _boxes(call, parts, image)
    limit, eta, shared = nms.nms_threshold, nms.eta, p.share_location
    floor = p.confidence_threshold if p.HasField("confidence_threshold") else float(np.finfo(f32).min)
    top_k = nms.top_k if nms.HasField("top_k") else -1
    rows = np.empty((0, 3 + boxes[0].shape[1]), f32)
    for label in range(p.num_classes):
        if label == p.background_label_id:
            continue
        own = boxes[0 if shared else label]
        scores = parts.scores[image, label]
        kept = suppress(own[:, :4], scores, floor=floor, limit=limit, eta=eta, top_k=top_k)
        head = np.full((len(kept), 2), (image, label), f32)
        rows = np.concatenate([rows, np.concatenate([head, scores[kept, None], own[kept]], axis=1)])
    if -1 < p.keep_top_k < len(rows):
        rows = rows[np.sort(np.argsort(-rows[:, 2], kind="stable")[: p.keep_top_k])]
    return rows


def rows_of(call: Call, parts: Detections) -> list[Array]:
    """1×1×found×columns: the rows of all images. When nothing is found: one an image, its number and then -1.

    TextBoxes clips what comes out, and has a single row of -1 when nothing does.
    """
    textboxes = call.layer.dialect == "textboxes1"
    images = range(parts.scores.shape[0])
    rows = np.concatenate([_detect(call, parts, image) for image in images])
    if textboxes:
        found = np.concatenate([rows[:, :3], rows[:, 3:].clip(0, 1)], axis=1)
        return [(found if len(found) else np.full((1, rows.shape[1]), -1, f32))[None, None]]
    if not len(rows):
        rows = np.full((len(images), rows.shape[1]), -1, f32)
        rows[:, 0] = images
    return [rows[None, None]]


def _third_fed(feeding: Feeding) -> Array:
    """Prior boxes where the third bottom holds them; Synopsys' third is of scores."""
    fits = len(feeding.shape) == 3 and feeding.shape[1] == 2
    return boxes_fed(feeding) if fits else feeding.rng.standard_normal(feeding.shape).astype(f32)


@register("DetectionOutput", bottoms=(3, None), error=jumps, feeds={2: _third_fed})
def detection_output(call: Call) -> list[Array]:
    """1×1×found×7: image, class, score, corners, and TextBoxes++'s shape; see `rows_of` and `_detect`."""
    p = call.param.detection_output_param
    levels = p.no_permute or p.HasField("nbottom") or len(call.bottoms) > 5
    regions = p.HasField("normalized") and not p.normalized
    call.require(not (levels and regions), "has levels and regions that are not normalized, of two forks")
    return rows_of(call, cut_levels(call) if levels else cut(call))
