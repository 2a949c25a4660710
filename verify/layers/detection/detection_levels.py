"""The bottoms of DetectionOutput in Synopsys' fork: scores of each level, offsets of each, priors of each or of all.

Its loops count boxes level by level. With `no_permute` a level has its boxes by ratio, then by place: scores are
classes × ratios × places, offsets ratios × sets × 4 × places. Priors come by place, then by ratio, and are looked up in
that order; variances are not, they are read straight on. Whatever the batch, it reads the first image's numbers.
"""

from __future__ import annotations

import numpy as np

from prototxt.words import format_shape
from verify.layers.detection.detection_bottoms import Detections, sets_of, variances_of
from verify.layers.registry import Array, Call

DEFAULT_LEVELS = 6
"""`nbottom` where the layer does not say."""


def cut_levels(call: Call) -> Detections:
    """Offsets, scores and priors as SSD has them."""
    p = call.param.detection_output_param
    levels = p.nbottom if p.HasField("nbottom") else DEFAULT_LEVELS
    count = len(call.bottoms)
    call.require(levels > 0 and count in (2 * levels + 1, 3 * levels), f"has {count} bottoms for {levels} levels")
    scores, offsets = call.bottoms[:levels], call.bottoms[levels : 2 * levels]
    call.require(all(b.shape[0] == 1 for b in (*scores, *offsets)), "reads the first image alone, and has more")
    tables = [_table(call, b) for b in call.bottoms[2 * levels :]]
    table = np.concatenate(tables, axis=1)
    prior = table[0]
    if p.no_permute:
        call.require(count == 2 * levels + 1, "no_permute goes with the priors of all levels together")
        parts = [_grid(call, score, offset) for score, offset in zip(scores, offsets, strict=True)]
        sizes = [(score.shape[2], score.shape[3]) for score in scores]
        order = _by_ratio(sizes)
        call.require(len(order) == len(prior), f"has {len(prior)} priors for {len(order)} boxes")
        prior = prior[order]
    else:
        parts = [_flat(call, score, offset) for score, offset in zip(scores, offsets, strict=True)]
    all_scores = np.concatenate([score for score, _ in parts], axis=1)
    all_offsets = np.concatenate([offset for _, offset in parts], axis=1)
    fits = all_scores.shape[1] == all_offsets.shape[1] == len(prior)
    call.require(fits, f"{all_scores.shape[1]} scores, {all_offsets.shape[1]} offsets, {len(prior)} priors")
    return Detections(all_offsets[None], all_scores[None], prior[None], variances_of(call, table))


def _table(call: Call, priors: Array) -> Array:
    fits = priors.ndim == 3 and priors.shape[1] == 2 and priors.shape[2] % 4 == 0
    call.require(fits, f"a bottom of priors is {format_shape(priors.shape)}, expected 1×2×N")
    table: Array = priors[0].reshape(2, -1, 4)
    return table


def _flat(call: Call, scores: Array, offsets: Array) -> tuple[Array, Array]:
    """Classes × boxes and sets × boxes × 4 of a level whose numbers lie box by box."""
    classes, sets = call.param.detection_output_param.num_classes, sets_of(call)
    fits = scores.size % classes == 0 and offsets.size % (4 * sets) == 0
    call.require(fits, f"a level of {scores.size} scores and {offsets.size} offsets")
    return scores.reshape(-1, classes).T, offsets.reshape(-1, sets, 4).swapaxes(0, 1)


def _grid(call: Call, scores: Array, offsets: Array) -> tuple[Array, Array]:
    """Classes × boxes and sets × boxes × 4 of a level laid out by planes."""
    classes, sets = call.param.detection_output_param.num_classes, sets_of(call)
    seen = f"a level has scores {format_shape(scores.shape)} and offsets {format_shape(offsets.shape)}"
    call.require(scores.ndim == offsets.ndim == 4, seen)
    ratios, places = scores.shape[2:]
    fits = scores.shape[1] == classes and offsets.shape[1:] == (ratios * sets * 4, *offsets.shape[2:])
    call.require(fits and offsets.shape[2] * offsets.shape[3] == places, seen)
    planes = offsets.reshape(ratios, sets, 4, places)
    found = np.empty((sets, ratios * places, 4), np.float32)
    for ratio in range(ratios):
        for place in range(places):
            found[:, ratio * places + place] = planes[ratio, :, :, place]
    return scores.reshape(classes, -1), found


def _by_ratio(levels: list[tuple[int, int]]) -> list[int]:
    """For the boxes by ratio and place, where in the priors by place and ratio each one stands."""
    order: list[int] = []
    for ratios, places in levels:
        start = len(order)
        order += [start + i % places * ratios + i // places for i in range(ratios * places)]
    return order
