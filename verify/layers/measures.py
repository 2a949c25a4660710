"""Accuracy, also of each pixel, and ArgMax (Caffe: *_layer.cpp of each name)."""

from __future__ import annotations

import numpy as np

from verify.layers.registry import Array, Call, classes_along, jumps, labels, narrow, register, wide
from verify.layers.shared.labels import labelled, scalar


@register(
    "Accuracy",
    bottoms=2,
    error=jumps,
    feeds={1: labels},
    classes=classes_along(lambda param: param.accuracy_param.axis),
)
def accuracy(call: Call) -> list[Array]:
    """Share of positions whose label is among the `top_k` best scores; a second top gives it a class.

    The label's rank is the number of other scores at least as high, so a tie counts against it.
    """
    p = call.param.accuracy_param
    axis = call.axis(p.axis)
    case = labelled(call, axis, p.ignore_label if p.HasField("ignore_label") else None)
    own = case.of_label(wide(case.scores))
    rank = (case.scores >= own[:, None]).sum(axis=1) - 1
    right = (rank < p.top_k) & case.valid
    tops = [scalar(right.sum() / max(1, case.valid.sum()))]
    if len(call.layer.tops) > 1:
        classes = case.scores.shape[1]
        seen = np.bincount(case.labels[case.valid], minlength=classes)
        hits = np.bincount(case.labels[right], minlength=classes)
        tops.append(narrow(hits / np.maximum(1, seen)))
    return tops


@register(
    "EltwiseAccuracy",
    bottoms=2,
    error=jumps,
    feeds={1: labels},
    classes=classes_along(lambda param: 1),
)
def eltwise_accuracy(call: Call) -> list[Array]:
    """Share of pixels with their label among the `top_k` best scores, those with `ignore_label` left aside.

    HyeonwooNoh's fork (eltwise_accuracy_layer.cpp) sorts pairs of score and class downwards, so of equal scores that of
    the last class comes first. A label that is no class is found nowhere; of no labels at all the share is 0 / 0.
    """
    p = call.param.eltwise_accuracy_param
    call.require(call.x.ndim == 4, f"needs scores of 4 axes, they have {call.x.ndim}")
    n, classes, h, w = call.x.shape
    found = call.bottoms[1]
    call.require(found.shape == (n, 1, h, w), f"needs labels of {n}×1×{h}×{w}")
    call.require(1 <= p.top_k <= classes, f"top_k {p.top_k} is not within 1 and {classes}")
    label = np.trunc(found)
    index = np.arange(classes).reshape(1, -1, 1, 1)
    own = np.where(index == label, call.x, -np.inf).max(axis=1, keepdims=True)
    before = ((call.x > own) | ((call.x == own) & (index > label))).sum(axis=1, keepdims=True)
    right = (before < p.top_k) & (label >= 0) & (label < classes)
    counts = label != p.ignore_label if p.HasField("ignore_label") else np.ones_like(right)
    share = (right & counts).sum() / counts.sum() if counts.any() else np.nan
    return [np.full((1, 1, 1, 1), share, np.float32)]


@register("ArgMax", error=jumps)
def argmax(call: Call) -> list[Array]:
    """Positions of the `top_k` largest values, or with `out_max_val` the values.

    With `axis`: along it. Without: over all axes but the first, giving N×1×k, or N×2×k of positions and values.
    Caffe sorts (value, position) pairs downwards, so among equal values the last position comes first.
    """
    p = call.param.argmax_param
    by_axis = p.HasField("axis")
    axis = call.axis(p.axis) if by_axis else 1
    x = call.x if by_axis else call.x.reshape(call.x.shape[0], -1)
    lanes = np.moveaxis(x, axis, -1)
    k, size = p.top_k, lanes.shape[-1]
    call.require(1 <= k <= size, f"top_k {k} is not within 1 and {size}")
    order = size - 1 - np.argsort(-lanes[..., ::-1], axis=-1, kind="stable")[..., :k]
    values = np.take_along_axis(lanes, order, axis=-1)
    if by_axis:
        return [narrow(np.moveaxis(values if p.out_max_val else order, -1, axis))]
    rows = np.stack([order, values], axis=1) if p.out_max_val else order[:, None]
    return [narrow(rows.reshape(rows.shape + (1,) * (call.x.ndim - 3)))]
