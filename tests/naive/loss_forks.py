"""Losses of the forks for finding objects, from their sources."""

from __future__ import annotations

import math

import numpy as np

from tests.drawn.base import layer
from tests.naive.base import Naive, case, random


def smooth(d: float, sigma: float = 1.0) -> float:
    """SmoothL1Forward."""
    square = sigma * sigma
    return 0.5 * d * d * square if abs(d) < 1 / square else abs(d) - 0.5 / square


@case("smooth_l1_loss")
def smooth_l1() -> Naive:
    """Fast R-CNN's smooth_L1_loss_layer.cu: weights inside and outside, over the number of items."""
    feeds = {name: random(seed, 3, 4, 2, 5) for seed, name in enumerate(("x", "target", "inside", "outside"))}
    total = 0.0
    for at in np.ndindex(3, 4, 2, 5):
        x, target, inside, outside = (float(feed[at]) for feed in feeds.values())
        total += outside * smooth(inside * (x - target), 1.5)
    text = layer("SmoothL1Loss", "smooth_l1_loss_param { sigma: 1.5 }", " ".join(feeds))
    return Naive(text, feeds, {("it", "out"): np.array(total / 3)})


@case("smooth_l1_loss_ohem")
def smooth_l1_ohem() -> Naive:
    """R-FCN's smooth_L1_loss_ohem_layer.cu: the places' own losses too."""
    feeds = {name: random(seed + 9, 3, 4, 2, 5) for seed, name in enumerate(("x", "target", "inside"))}
    places = np.zeros((3, 1, 2, 5))
    for n, c, i, j in np.ndindex(3, 4, 2, 5):
        x, target, inside = (float(feed[n, c, i, j]) for feed in feeds.values())
        places[n, 0, i, j] += smooth(inside * (x - target))
    text = layer("SmoothL1LossOHEM", bottoms=" ".join(feeds), tops="out place")
    return Naive(text, feeds, {("it", "out"): np.array(places.sum() / 30), ("it", "place"): places})


@case("softmax_with_loss_ohem")
def softmax_ohem() -> Naive:
    """R-FCN's softmax_loss_ohem_layer.cu, with a stated divisor and a label to be ignored."""
    x = random(20, 3, 4, 2)
    given = np.array([[0, 3], [1, 2], [2, 0]], np.float32)
    softmax, places = np.empty(x.shape), np.zeros((3, 2))
    for n, j in np.ndindex(3, 2):
        powers = [math.exp(v) for v in x[n, :, j]]
        softmax[n, :, j] = [p / sum(powers) for p in powers]
        if given[n, j] != 2:
            places[n, j] = -math.log(softmax[n, int(given[n, j]), j])
    params = "loss_param { normalization: PRE_FIXED pre_fixed_normalizer: 8 ignore_label: 2 }"
    text = layer("SoftmaxWithLossOHEM", params, "x labels", "out softmax place")
    answers = {("it", "out"): np.array(places.sum() / 8), ("it", "softmax"): softmax, ("it", "place"): places}
    return Naive(text, {"x": x, "labels": given}, answers)
