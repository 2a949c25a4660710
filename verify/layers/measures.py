"""Accuracy and ArgMax (Caffe: accuracy_layer.cpp, argmax_layer.cpp)."""

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
