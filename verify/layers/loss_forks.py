"""Losses of the forks for finding objects (Fast R-CNN: smooth_L1_loss_layer.cpp; R-FCN: smooth_L1_loss_ohem_layer.cpp,
softmax_loss_ohem_layer.cpp).

    smooth L1    s² d² / 2 where |d| < 1 / s², else |d| - 1 / (2 s²);  d = w (x - t)

R-FCN's divisors are at least 1: PRE_FIXED is the number that is stated; FULL and VALID count all places of a smooth L1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from verify.layers.reduction import softmax_along
from verify.layers.registry import UNBOUNDED, Array, Call, Sensitivity, Wide, labels, largest, narrow, register, wide
from verify.layers.shared.rounding import UNIT_ROUNDOFF, of_sum

SMALLEST = float(np.finfo(np.float32).tiny)


def _errors(call: Call, sigma: float) -> Wide:
    """The smooth L1 of each value of the first two bottoms, their difference times the third."""
    call.same_shapes()
    difference = wide(call.x) - wide(call.bottoms[1])
    if len(call.bottoms) > 2:
        difference *= call.bottoms[2]
    size, square = np.abs(difference), sigma * sigma
    errors: Wide = np.where(size < 1 / square, square / 2 * difference**2, size - 0.5 / square)
    return errors


def _smooth_sums(call: Call, sigma: float, axis: tuple[int, ...] | None) -> Sensitivity:
    """Of sums along some axes: slopes are the weights at most, and what each value rounds, its difference does."""
    weights = [np.abs(wide(b)) for b in call.bottoms[2:]]
    inside = weights[0] if weights else np.ones(call.x.shape)
    outside = weights[1] if len(weights) > 1 else np.ones(call.x.shape)
    difference = np.abs(wide(call.x) - wide(call.bottoms[1]))
    errors = np.abs(_errors(call, sigma))
    slopes = outside * np.minimum(sigma * sigma * inside * difference, 1.0)
    by_bottom = (slopes * inside, slopes * inside, slopes * difference, errors)
    gains = [float(np.sqrt((gain**2).sum(axis=axis)).max(initial=0.0)) for gain in by_bottom]
    terms = outside * errors
    own = of_sum(terms.size if axis is None else call.x.shape[1]) * terms.sum(axis=axis)
    own = own + 4 * UNIT_ROUNDOFF * (terms + 2 * slopes * inside * difference).sum(axis=axis)
    return Sensitivity(1, tuple(gains[: len(call.bottoms)]), largest(np.asarray(own)))


def _smooth_error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    total = _smooth_sums(call, call.param.smooth_l1_loss_param.sigma, None)
    by = call.x.shape[0]
    return [Sensitivity(1, tuple(gain / by for gain in total.gains), total.own / by)]


def _ohem_error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    places = call.x.size // call.x.shape[1]
    by = _divisor(call, places, call.x.shape[0], places)
    total = _smooth_sums(call, 1.0, None)
    first = Sensitivity(1, tuple(gain / by for gain in total.gains), total.own / by)
    return [first, _smooth_sums(call, 1.0, (1,))][: len(tops)]


@register("SmoothL1Loss", bottoms=(2, 4), error=_smooth_error)
def smooth_l1_loss(call: Call) -> list[Array]:
    """The sum over the number of items; a fourth bottom weights the losses."""
    p = call.param.smooth_l1_loss_param
    call.require(p.sigma > 0 and p.abssum, "needs a sigma above 0, and no abssum: false")
    errors = _errors(call, p.sigma)
    if len(call.bottoms) == 4:
        errors = errors * call.bottoms[3]
    return [narrow(errors.sum() / call.x.shape[0])]


def _divisor(call: Call, places: int, batch: int, counted: int) -> float:
    p = call.param.loss_param
    mode: int = p.VALID
    if p.HasField("normalization"):
        mode = p.normalization
        call.ignores("normalization outweighs it", "loss_param.normalize")
    elif p.HasField("normalize"):
        mode = p.VALID if p.normalize else p.BATCH_SIZE
    counts: dict[int, float] = {p.FULL: places, p.VALID: counted, p.BATCH_SIZE: batch, p.NONE: 1.0}
    return max(1.0, p.pre_fixed_normalizer if mode == p.PRE_FIXED else float(counts[mode]))


@register("SmoothL1LossOHEM", bottoms=(2, 3), error=_ohem_error)
def smooth_l1_loss_ohem(call: Call) -> list[Array]:
    """The sum over a divisor, and the sums of each place over the channels."""
    call.require(call.x.ndim >= 2, f"needs a bottom of 2 axes or more, it has {call.x.ndim}")
    errors = _errors(call, 1.0)
    places = call.x.size // call.x.shape[1]
    total = errors.sum() / _divisor(call, places, call.x.shape[0], places)
    return [narrow(total), narrow(errors.sum(axis=1, keepdims=True))][: len(call.layer.tops)]


def _softmax_error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    """-log(softmax) has a slope of 2 at most; the smallest probability is as deep as the scores are apart."""
    depth = int(min(2 * largest(call.x), 88)) + 4
    classes = call.x.shape[call.axis(call.param.softmax_param.axis)]
    loss = Sensitivity(classes * depth + call.bottoms[1].size, (2.0 * call.bottoms[1].size, UNBOUNDED))
    softmax = Sensitivity(classes + depth, (1.0, 0.0))
    place = Sensitivity(classes * depth, (2.0, UNBOUNDED))
    return [loss, softmax, place][: len(tops)]


@register("SoftmaxWithLossOHEM", bottoms=2, error=_softmax_error, feeds={1: labels})
def softmax_with_loss_ohem(call: Call) -> list[Array]:
    """The loss over a divisor, the softmax, and each place's own loss; 0 where the label is ignored."""
    axis, p = call.axis(call.param.softmax_param.axis), call.param.loss_param
    softmax = softmax_along(call.x, axis)
    outer, classes = math.prod(call.x.shape[:axis]), call.x.shape[axis]
    given = call.bottoms[1]
    call.require(given.size * classes == call.x.size, f"{given.size} labels for {call.x.size // classes} places")
    whole = given.reshape(outer, -1).astype(np.int64)
    counted = whole != p.ignore_label if p.HasField("ignore_label") else np.ones(whole.shape, bool)
    inside = bool(np.all(((whole >= 0) & (whole < classes)) | ~counted))
    call.require(inside, f"a label is not within 0 and {classes - 1}")
    rows = wide(softmax).reshape(outer, classes, -1)
    own = np.take_along_axis(rows, np.where(counted, whole, 0)[:, None], axis=1)[:, 0]
    losses = np.where(counted, -np.log(np.maximum(own, SMALLEST)), 0.0)
    total = losses.sum() / _divisor(call, whole.size, outer, int(counted.sum()))
    tops = [narrow(total), narrow(softmax), narrow(losses.reshape(given.shape))]
    return tops[: len(call.layer.tops)]
