"""Losses without a case of the original Caffe's."""

from __future__ import annotations

import math

import numpy as np

from tests.drawn.base import layer
from tests.naive.base import Naive, case, random


@case("infogain_loss")
def infogain_loss() -> Naive:
    """infogain_loss_layer.cpp: the label's row of the matrix weighs the logarithms of a softmax; 2 is ignored."""
    scores, matrix = random(1, 2, 3, 4, 5), random(2, 3, 3)
    labels = np.random.default_rng(3).integers(0, 3, (2, 4, 5)).astype(np.float32)
    softmax = np.empty(scores.shape, np.float64)
    total, counted = 0.0, 0
    for n, h, w in np.ndindex(labels.shape):
        powers = [math.exp(float(v)) for v in scores[n, :, h, w]]
        softmax[n, :, h, w] = [p / sum(powers) for p in powers]
        label = int(labels[n, h, w])
        if label != 2:
            counted += 1
            total -= sum(float(matrix[label, c]) * math.log(max(softmax[n, c, h, w], 1e-20)) for c in range(3))
    text = layer("InfogainLoss", "loss_param { ignore_label: 2 }", "scores labels matrix", "loss softmax")
    feeds = {"scores": scores, "labels": labels, "matrix": matrix}
    return Naive(text, feeds, {("it", "loss"): np.float64(total / counted), ("it", "softmax"): softmax})


@case("multinomial_logistic_loss")
def multinomial_logistic_loss() -> Naive:
    """multinomial_logistic_loss_layer.cpp: the mean of -log, of no less than 1e-20."""
    scores = np.random.default_rng(1).random((5, 3)).astype(np.float32)
    labels = np.float32([2, 0, 1, 1, 2])
    scores[3, 1] = 0
    total = sum(-math.log(max(float(scores[n, int(labels[n])]), 1e-20)) for n in range(5))
    text = layer("MultinomialLogisticLoss", "", "scores labels", "loss")
    return Naive(text, {"scores": scores, "labels": labels}, {("it", "loss"): np.float64(total / 5)})
