"""SSD's prior boxes and detections (Caffe's ssd branch: prior_box_layer.cpp, detection_output_layer.cpp)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from verify.layers.boxes import Decoder, from_centers, from_corner_sizes, from_corners, suppress
from verify.layers.parameters import shape_text
from verify.layers.registry import Array, Call, Sensitivity, jumps, register

EXACT = [Sensitivity(1, (0.0, 0.0))]
"""Prior boxes depend on the bottoms' shapes alone."""

DECODERS: dict[int, Decoder] = {1: from_corners, 2: from_centers, 3: from_corner_sizes}
"""By the numbers of CORNER, CENTER_SIZE and CORNER_SIZE, which not every fork's schema has all of."""


def _prior_sizes(call: Call) -> npt.NDArray[np.float64]:
    """Width and height in pixels of each prior at one place.

    For each min_size: its square, the square of sqrt(min · max) where a max_size is given, then one box an aspect ratio
    (1 is not repeated, nor is a ratio already seen; `flip` adds the inverse of each). SSD keeps min_size and max_size
    as integers: 450.6 counts as 450.
    """
    p = call.param.prior_box_param
    ratios: list[float] = []
    for ratio in p.aspect_ratio:
        if all(abs(ratio - seen) >= 1e-6 for seen in (1.0, *ratios)):
            ratios += [ratio, 1.0 / ratio] if p.flip else [ratio]
    call.require(len(p.min_size) > 0 and all(s > 0 for s in p.min_size), "needs a min_size above 0")
    call.require(len(p.max_size) in (0, len(p.min_size)), "needs one max_size for each min_size")
    sizes: list[tuple[float, float]] = []
    for index, given in enumerate(p.min_size):
        least = int(given)
        sizes.append((least, least))
        if p.max_size:
            call.require(p.max_size[index] > given, f"max_size {p.max_size[index]} is not above min_size {given}")
            sizes.append((math.sqrt(least * int(p.max_size[index])),) * 2)
        sizes += [(least * math.sqrt(r), least / math.sqrt(r)) for r in ratios]
    return np.array(sizes)


def _image_and_step(call: Call) -> tuple[tuple[float, float], tuple[float, float]]:
    """Image size and step between places, each as x, y; from the second bottom where the layer doesn't say."""
    p = call.param.prior_box_param
    rows, columns = call.x.shape[2:4]
    high, wide = (p.img_h, p.img_w) if p.img_h or p.img_w else (p.img_size, p.img_size)
    if not (high and wide):
        high, wide = call.bottoms[1].shape[2:4]
    down, across = (p.step_h, p.step_w) if p.step_h or p.step_w else (p.step, p.step)
    if not (down and across):
        down, across = high / rows, wide / columns
    return (wide, high), (across, down)


@register("PriorBox", bottoms=2, error=lambda call, tops: EXACT)
def prior_box(call: Call) -> list[Array]:
    """1×2×(4 · boxes): corners as shares of the image, then variances; row by row, the boxes of a place together."""
    p = call.param.prior_box_param
    call.require(call.x.ndim == call.bottoms[1].ndim == 4, "needs bottoms of 4 axes")
    rows, columns = call.x.shape[2:4]
    image, step = _image_and_step(call)
    half = _prior_sizes(call) / 2
    centres = np.empty((rows, columns, 1, 2))
    centres[..., 0] = ((np.arange(columns) + p.offset) * step[0])[None, :, None]
    centres[..., 1] = ((np.arange(rows) + p.offset) * step[1])[:, None, None]
    corners = np.concatenate([centres - half, centres + half], axis=-1) / (image * 2)
    corners = np.clip(corners, 0.0, 1.0) if p.clip else corners
    variance = list(p.variance) or [0.1]
    call.require(len(variance) in (1, 4), f"has {len(variance)} variance, expected 1 or 4")
    variances = np.resize(np.array(variance), corners.size)
    return [np.stack([corners.ravel(), variances])[None].astype(np.float32)]


@dataclass(frozen=True)
class _Detections:
    """The three bottoms of DetectionOutput, cut into images, priors and classes."""

    offsets: Array
    scores: Array
    priors: Array
    variances: Array


def _cut(call: Call) -> _Detections:
    p = call.param.detection_output_param
    offsets, scores, priors = call.bottoms
    images, sets = offsets.shape[0], 1 if p.share_location else p.num_classes
    count = priors.size // 8
    fits = priors.ndim == 3 and priors.shape[1] == 2
    call.require(fits, f"the third bottom is {shape_text(priors.shape)}, expected 1×2×N")
    call.require(offsets.size == images * count * sets * 4, f"{offsets.size} offsets for {count} priors")
    call.require(scores.size == images * count * p.num_classes, f"{scores.size} scores for {count} priors")
    table = priors[0].reshape(2, count, 4)
    variances = np.ones_like(table[1]) if p.variance_encoded_in_target else table[1]
    by_class = scores.reshape(images, count, p.num_classes).swapaxes(1, 2)
    return _Detections(offsets.reshape(images, count, sets, 4).swapaxes(1, 2), by_class, table[0], variances)


def _decoder(call: Call) -> Decoder:
    code = call.param.detection_output_param.code_type
    call.require(code in DECODERS, f"code_type {code} is unknown")
    return DECODERS[code]


def _detect(call: Call, parts: _Detections, image: int) -> Array:
    """Rows of image, class, score and corners of one image, by class and then by falling score."""
    p = call.param.detection_output_param
    decode, nms = _decoder(call), p.nms_param
    boxes = [decode(parts.priors, parts.variances, offset) for offset in parts.offsets[image]]
    floor = p.confidence_threshold if p.HasField("confidence_threshold") else float(np.finfo(np.float32).min)
    top_k = nms.top_k if nms.HasField("top_k") else -1
    found = []
    for label in range(p.num_classes):
        if label == p.background_label_id:
            continue
        own = boxes[0 if p.share_location else label]
        scores = parts.scores[image, label]
        kept = suppress(own, scores, floor=floor, limit=nms.nms_threshold, eta=nms.eta, top_k=top_k)
        head = np.full((len(kept), 2), (image, label), np.float32)
        found.append(np.concatenate([head, scores[kept, None], own[kept]], axis=1))
    rows = np.concatenate(found) if found else np.empty((0, 7), np.float32)
    if -1 < p.keep_top_k < len(rows):
        rows = rows[np.sort(np.argsort(-rows[:, 2], kind="stable")[: p.keep_top_k])]
    return rows


@register("DetectionOutput", bottoms=(3, 3), error=jumps)
def detection_output(call: Call) -> list[Array]:
    """1×1×found×7: image, class, score, corners. When nothing is found: one row an image, its number and six -1."""
    parts = _cut(call)
    images = range(call.x.shape[0])
    rows = np.concatenate([_detect(call, parts, image) for image in images])
    if not len(rows):
        rows = np.full((len(images), 7), -1, np.float32)
        rows[:, 0] = images
    return [rows[None, None]]
