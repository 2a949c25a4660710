"""The accuracy of each pixel, from the source of DeconvNet's fork (eltwise_accuracy_layer.cpp)."""

from __future__ import annotations

import numpy as np

from tests.drawn.base import layer
from tests.naive.base import Naive, case, random


def _share(params: str, top_k: int, ignored: int | None) -> Naive:
    """Pairs of score and class, sorted downwards: of equal scores that of the last class comes first."""
    scores = np.round(random(1, 2, 4, 5, 3))
    labels = np.random.default_rng(2).integers(0, 4, (2, 1, 5, 3)).astype(np.float32)
    labels[0, 0, 0] = 255
    right = left_aside = 0
    for n, h, w in np.ndindex(2, 5, 3):
        label = int(labels[n, 0, h, w])
        if label == ignored:
            left_aside += 1
            continue
        pairs = sorted(((scores[n, c, h, w], c) for c in range(4)), reverse=True)
        right += label in [c for _, c in pairs[:top_k]]
    share = np.full((1, 1, 1, 1), right / (30 - left_aside))
    text = layer("EltwiseAccuracy", f"eltwise_accuracy_param {{ {params} }}", "scores labels")
    return Naive(text, {"scores": scores, "labels": labels}, {("it", "out"): share})


@case("eltwise_accuracy")
def eltwise_accuracy() -> Naive:
    """A label that is no class, here 255, is a wrong one."""
    return _share("", 1, None)


@case("eltwise_accuracy_ignoring")
def ignoring() -> Naive:
    return _share("ignore_label: 255", 1, 255)


@case("eltwise_accuracy_of_two")
def of_two() -> Naive:
    return _share("top_k: 2 ignore_label: 1", 2, 1)
