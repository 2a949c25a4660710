"""The bottoms of DetectionOutput, cut into images, priors and classes: SSD's three, and those of RefineDet and Intel.

RefineDet's fork has two more, that move the priors and say where there is anything; Intel's reads regions in pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from prototxt.words import format_shape
from verify.layers.detection.boxes import Decoder, from_centers, from_corner_sizes, from_corners
from verify.layers.registry import Array, Call

DECODERS: dict[int, Decoder] = {1: from_corners, 2: from_centers, 3: from_corner_sizes}
"""By the numbers of CORNER, CENTER_SIZE and CORNER_SIZE, which not every fork's schema has all of."""

f32 = np.float32


@dataclass(frozen=True)
class Detections:
    """The bottoms of DetectionOutput, cut into images, priors and classes.

    Attributes:
        offsets: images × sets × priors × values; a set for all classes, or one for each.
        scores: images × classes × priors.
        priors: images × priors × 4; the same for all but RefineDet's.
        variances: priors × 4.
    """

    offsets: Array
    scores: Array
    priors: Array
    variances: Array


def _values(call: Call) -> int:
    """Of one offset: 4, and 8 or 5 more of TextBoxes++'s polygons and rotated boxes."""
    p = call.param.detection_output_param
    if not p.HasField("use_polygon"):
        return 4
    call.require(p.code_type == 2 and not p.variance_encoded_in_target, "a shape is decoded by CENTER_SIZE only")
    return 12 if p.use_polygon else 9


def sets_of(call: Call) -> int:
    """How many offsets there are for one prior."""
    p = call.param.detection_output_param
    return 1 if p.share_location else p.num_classes


def cut(call: Call) -> Detections:
    p = call.param.detection_output_param
    offsets, scores, priors = call.bottoms[:3]
    images, sets, values = offsets.shape[0], sets_of(call), _values(call)
    table = _regions(call) if p.HasField("normalized") and not p.normalized else _priors(call, priors)
    count = table.shape[1]
    call.require(offsets.size == images * count * sets * values, f"{offsets.size} offsets for {count} priors")
    call.require(scores.size == images * count * p.num_classes, f"{scores.size} scores for {count} priors")
    by_class = scores.reshape(images, count, p.num_classes).swapaxes(1, 2)
    offsets = offsets.reshape(images, count, sets, values).swapaxes(1, 2)
    found = Detections(offsets, by_class, np.repeat(table[:1], images, axis=0), variances_of(call, table))
    refines = len(call.bottoms) == 5 or (len(call.bottoms) == 4 and p.HasField("objectness_score"))
    return _refined(call, found) if refines else found


def variances_of(call: Call, table: Array) -> Array:
    """The second row of the prior boxes, or 1 where the offsets have them in them."""
    encoded = call.param.detection_output_param.variance_encoded_in_target
    return np.ones_like(table[1]) if encoded else table[1]


def _priors(call: Call, priors: Array) -> Array:
    fits = priors.ndim == 3 and priors.shape[1] == 2 and priors.shape[2] % 4 == 0
    call.require(fits, f"the third bottom is {format_shape(priors.shape)}, expected 1×2×N")
    table: Array = priors[0].reshape(2, -1, 4)
    return table


def _regions(call: Call) -> Array:
    """Intel's `normalized: false`: image, x0 y0 x1 y1 in pixels of each region; as shares of the image."""
    p = call.param.detection_output_param
    call.require(p.variance_encoded_in_target, "regions have no variances, and the offsets have none in them")
    call.require(p.input_width > 0 and p.input_height > 0, "needs input_width and input_height above 0")
    regions = call.bottoms[2]
    fits = regions.ndim == 3 and regions.shape[:2] == (1, 1) and regions.shape[2] % 5 == 0
    call.require(fits, f"the third bottom is {format_shape(regions.shape)}, expected 1×1×(5 · regions)")
    corners = regions.reshape(-1, 5)[:, 1:] / np.array([p.input_width, p.input_height] * 2, f32)
    return np.stack([corners, np.ones_like(corners)])


def _refined(call: Call, found: Detections) -> Detections:
    """RefineDet: priors moved by offsets of their own; a score of 1 for the first class where there is nothing."""
    p = call.param.detection_output_param
    images, classes, count = found.scores.shape
    call.require(p.share_location, "RefineDet's boxes go for all classes")
    objects = call.bottoms[3]
    call.require(objects.size == images * count * 2, f"{objects.size} objectness scores for {count} priors")
    poor = objects.reshape(images, count, 2)[..., 1] < f32(p.objectness_score)
    scores = found.scores.copy()
    scores[:, 0][poor] = 1
    for label in range(1, classes):
        scores[:, label][poor] = 0
    if len(call.bottoms) < 5:
        return replace(found, scores=scores)
    moves = call.bottoms[4]
    call.require(moves.size == images * count * 4, f"{moves.size} moves for {count} priors")
    decode = decoder_of(call)
    pairs = zip(found.priors, moves.reshape(images, count, 4), strict=True)
    return replace(found, scores=scores, priors=np.stack([decode(a, found.variances, b) for a, b in pairs]))


def decoder_of(call: Call) -> Decoder:
    code = call.param.detection_output_param.code_type
    call.require(code in DECODERS, f"code_type {code} is unknown")
    return DECODERS[code]
