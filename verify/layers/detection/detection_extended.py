"""SSD's detections with the place of each in the features (OpenVINO's toolbox: detection_output_extended_layer.cpp)."""

from __future__ import annotations

import numpy as np

from prototxt.words import format_shape
from verify.layers.detection.boxes import boxes_fed, suppress
from verify.layers.detection.detection_bottoms import decoder_of, variances_of
from verify.layers.registry import Array, Call, jumps, register

F = np.float32
COLUMNS = 10


def _table(call: Call) -> Array:
    """Prior boxes and their variances, 2 × boxes × 4, for as many boxes as there are offsets and scores."""
    p = call.param.detection_output_param
    offsets, scores, priors = call.bottoms
    call.require(p.num_classes == 2, f"num_classes is {p.num_classes}, expected 2")
    call.require(p.share_location, "the fork has no scores for offsets of each class")
    fits = offsets.ndim == 4 and offsets.shape[3] % 4 == 0
    call.require(fits, f"the offsets are {format_shape(offsets.shape)}, expected N×H×W×(4 · anchors)")
    boxes = offsets[0].size // 4
    seen = f"the third bottom is {format_shape(priors.shape)}, expected 1×2×{4 * boxes}"
    call.require(priors.ndim == 3 and priors.shape[1:] == (2, 4 * boxes), seen)
    fits = len(scores) == len(offsets) and scores[0].size == 2 * boxes
    call.require(fits, f"the scores are {format_shape(scores.shape)}, expected two of each of {boxes} boxes")
    table: Array = priors[0].reshape(2, boxes, 4)
    return table


def _of_image(call: Call, image: int, table: Array, places: Array) -> Array:
    """Rows of one image by falling score: number, 1, score, corners, and the place."""
    p = call.param.detection_output_param
    offsets, scores = call.x[image].reshape(-1, 4), call.bottoms[1][image].reshape(-1, 2)[:, 1]
    boxes = decoder_of(call)(table[0], variances_of(call, table), offsets)
    floor = p.confidence_threshold if p.HasField("confidence_threshold") else float(np.finfo(F).min)
    top_k = p.nms_param.top_k if p.nms_param.HasField("top_k") else -1
    limit, eta = p.nms_param.nms_threshold, p.nms_param.eta
    kept = suppress(boxes, scores, floor=floor, limit=limit, eta=eta, top_k=top_k)
    if p.keep_top_k > -1:
        kept = kept[: p.keep_top_k]
    head = np.full((len(kept), 2), (image, 1), F)
    return np.concatenate([head, scores[kept, None], boxes[kept], places[kept]], axis=1)


@register("DetectionOutputExtended", bottoms=3, error=jumps, feeds={2: boxes_fed})
def detection_output_extended(call: Call) -> list[Array]:
    """1×1×found×10; when nothing is found, a row for each image of its number and -1."""
    table, images = _table(call), range(len(call.x))
    anchors, columns = call.x.shape[3] // 4, call.x.shape[2]
    place, anchor = np.divmod(np.arange(table.shape[1]), anchors)
    row, column = np.divmod(place, columns)
    places = np.stack([anchor, column, row], axis=1).astype(F)
    found = np.concatenate([_of_image(call, image, table, places) for image in images])
    if not len(found):
        found = np.full((len(images), COLUMNS), -1, F)
        found[:, 0] = images
    return [found[None, None]]
