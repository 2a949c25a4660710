"""Losses; a loss weight scales the training objective, never the top (Caffe: the layer of each name).

Sums are divided by a normalizer that is at least 1:

    FULL        every position            VALID   positions whose label is not ignored
    BATCH_SIZE  size of axis 0 (…axes before `axis` for Softmax)      NONE    1

Where `normalization` is absent, the old `normalize` chooses VALID (true) or BATCH_SIZE (false); where both are, the
default differs by layer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from prototxt import NetLayer
from prototxt.words import format_shape
from verify.layers.reduction import softmax_along
from verify.layers.registry import (
    UNBOUNDED,
    Array,
    Call,
    Sensitivity,
    classes_along,
    labels,
    largest,
    narrow,
    register,
    wide,
)
from verify.layers.shared.labels import Labelled, labelled, scalar

SMALLEST = float(np.finfo(np.float32).tiny)
"""Least probability whose logarithm SoftmaxWithLoss takes: a sample costs 87.34 at most."""

LOG_THRESHOLD = 1e-20
"""The same for MultinomialLogisticLoss and InfogainLoss."""


def _ignored(call: Call) -> int | None:
    p = call.param.loss_param
    return p.ignore_label if p.HasField("ignore_label") else None


def _normalizer(call: Call, default: int, *, batch: int, total: int, valid: int) -> float:
    p = call.param.loss_param
    mode: int = default
    if p.HasField("normalization"):
        mode = p.normalization
        call.ignores("normalization outweighs it", "loss_param.normalize")
    elif p.HasField("normalize"):
        mode = p.VALID if p.normalize else p.BATCH_SIZE
    counts: dict[int, int] = {p.FULL: total, p.VALID: valid, p.BATCH_SIZE: batch, p.NONE: 1}
    return float(max(1, counts[mode]))


def _softmax_case(call: Call, axis: int) -> tuple[Labelled, float]:
    """Scores and labels of a loss that begins with a softmax along `axis`, and its normalizer (VALID by default)."""
    case = labelled(call, call.axis(axis), _ignored(call))
    outer, inner = case.labels.shape
    valid = int(case.valid.sum())
    return case, _normalizer(call, call.param.loss_param.VALID, batch=outer, total=outer * inner, valid=valid)


def _softmax_loss_error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    """A position's slopes are p - onehot, of length sqrt(2) at most."""
    case, by = _softmax_case(call, call.param.softmax_param.axis)
    blind = (UNBOUNDED,) * (len(call.bottoms) - 1)
    gain = math.sqrt(2 * case.labels.size) / by
    both = [Sensitivity(call.x.size, (gain, *blind)), Sensitivity(case.scores.shape[1], (0.5, *blind))]
    return both[: len(tops)]


@register("SoftmaxWithLoss", bottoms=(2, 3), error=_softmax_loss_error, feeds={1: labels})
def softmax_with_loss(call: Call) -> list[Array]:
    """-log of the label's probability, summed and normalized (VALID by default); a second top is the probabilities."""
    call.require(not call.param.loss_param.label_smoothing, "smooths its labels (label_smoothing), expected 0")
    case, by = _softmax_case(call, call.param.softmax_param.axis)
    probabilities = narrow(softmax_along(case.scores, 1))
    losses = -np.log(np.maximum(case.of_label(wide(probabilities)), SMALLEST))
    return [scalar(losses[case.valid].sum() / by), probabilities.reshape(call.x.shape)]


def _sigmoid_case(call: Call) -> tuple[npt.NDArray[np.bool_], float]:
    """Which values count, and the normalizer (BATCH_SIZE by default)."""
    call.require(call.bottoms[1].size == call.x.size, "bottoms differ in their number of values")
    ignored, target = _ignored(call), call.bottoms[1].ravel()
    valid = np.ones(target.shape, bool) if ignored is None else target.astype(np.int64) != ignored
    batch, count = call.x.shape[0], int(valid.sum())
    return valid, _normalizer(call, call.param.loss_param.BATCH_SIZE, batch=batch, total=target.size, valid=count)


def _sigmoid_error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    valid, by = _sigmoid_case(call)
    root = math.sqrt(valid.size) / by
    target = root * largest(call.x) if _ignored(call) is None else UNBOUNDED
    return [Sensitivity(valid.size, (root * max(1.0, largest(call.bottoms[1])), target))]


@register("SigmoidCrossEntropyLoss", bottoms=2, error=_sigmoid_error)
def sigmoid_cross_entropy_loss(call: Call) -> list[Array]:
    """-(t log σ(x) + (1 - t) log(1 - σ(x))), summed and normalized (BATCH_SIZE by default); targets may be soft."""
    valid, by = _sigmoid_case(call)
    x, target = wide(call.x).ravel(), wide(call.bottoms[1]).ravel()
    return [scalar((np.logaddexp(0.0, x) - x * target)[valid].sum() / by)]


def _euclidean_error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    gap = float(np.linalg.norm(wide(call.x) - call.bottoms[1].reshape(call.x.shape)))
    gain = gap / max(1, call.x.shape[0])
    return [Sensitivity(call.x.size, (gain, gain))]


@register("EuclideanLoss", bottoms=2, error=_euclidean_error)
def euclidean_loss(call: Call) -> list[Array]:
    """Sum of squared differences over 2 N."""
    other = call.bottoms[1]
    matching = other.size == call.x.size and other.shape[:1] == call.x.shape[:1]
    call.require(matching, f"bottoms are {format_shape(call.x.shape)} and {format_shape(other.shape)}")
    gap = wide(call.x).ravel() - other.ravel()
    return [scalar(float(gap @ gap) / call.x.shape[0] / 2)]


def _hinge_error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    p = call.param.hinge_loss_param
    slope = 1.0 if p.norm == p.L1 else 2.0 * (1.0 + largest(call.x))
    gain = slope * math.sqrt(call.x.size) / max(1, call.x.shape[0])
    return [Sensitivity(call.x.size, (gain, UNBOUNDED))]


def _all_values(layer: NetLayer, shape: tuple[int, ...]) -> int:
    """Each value of an item is the score of a class."""
    return math.prod(shape[1:])


@register("HingeLoss", bottoms=2, error=_hinge_error, feeds={1: labels}, classes=_all_values)
def hinge_loss(call: Call) -> list[Array]:
    """max(0, 1 - x) at the label, max(0, 1 + x) elsewhere; their sum (L1) or sum of squares (L2) over N.

    Scores of one axis are one class an item; of more labels than items the first ones count.
    """
    p = call.param.hinge_loss_param
    rows = wide(call.x.reshape(call.x.shape[0], -1))
    labels = call.bottoms[1].ravel().astype(np.int64)
    call.require(labels.size >= len(rows), f"{labels.size} labels for {len(rows)} samples")
    labels = labels[: len(rows)]
    inside = (labels >= 0) & (labels < rows.shape[1])
    call.require(bool(inside.all()), f"a label is not within 0 and {rows.shape[1] - 1}")
    rows[np.arange(len(rows)), labels] *= -1
    margins = np.maximum(0.0, 1.0 + rows)
    return [scalar(float((margins if p.norm == p.L1 else margins**2).sum()) / len(rows))]


def _multinomial_error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    case = labelled(_flat(call), 1, None)
    slopes = 1 / np.maximum(case.of_label(wide(case.scores)), LOG_THRESHOLD)
    return [Sensitivity(slopes.size, (float(np.linalg.norm(slopes)) / call.x.shape[0], UNBOUNDED))]


@register("MultinomialLogisticLoss", bottoms=2, error=_multinomial_error, feeds={1: labels}, classes=_all_values)
def multinomial_logistic_loss(call: Call) -> list[Array]:
    """-log of the label's entry in a blob of probabilities, over N."""
    case = labelled(_flat(call), 1, None)
    losses = -np.log(np.maximum(case.of_label(wide(case.scores)), LOG_THRESHOLD))
    return [scalar(float(losses.sum()) / call.x.shape[0])]


def _flat(call: Call) -> Call:
    rows = call.x.reshape(call.x.shape[0], -1)
    return Call(call.layer, (rows, *call.bottoms[1:]), call.parameters, call.train)


def _infogain_error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    case, by = _softmax_case(call, call.param.infogain_loss_param.axis)
    classes = case.scores.shape[1]
    weight = float(np.abs(wide(call.bottoms[2])).reshape(classes, -1).sum(axis=1).max(initial=0))
    gain = math.sqrt(2 * case.labels.size) * weight / by
    logs = case.labels.size * -math.log(LOG_THRESHOLD) / by
    both = [(gain, UNBOUNDED, logs), (0.5, UNBOUNDED, 0.0)]
    return [Sensitivity(call.x.size, gains) for gains in both[: len(tops)]]


@register(
    "InfogainLoss",
    bottoms=(2, 3),
    error=_infogain_error,
    feeds={1: labels},
    classes=classes_along(lambda param: param.infogain_loss_param.axis),
)
def infogain_loss(call: Call) -> list[Array]:
    """-sum over classes of H[label, class] log p(class), normalized (VALID by default); p is the bottom's softmax.

    H is the third bottom. One read from the file that `source` names is refused: the net alone doesn't hold it.
    """
    call.require(len(call.bottoms) == 3, "takes its matrix from a file (source); give it as third bottom")
    call.ignores("Caffe opens the file where there is no third bottom", "infogain_loss_param.source")
    case, by = _softmax_case(call, call.param.infogain_loss_param.axis)
    classes = case.scores.shape[1]
    matrix = call.bottoms[2]
    call.require(matrix.size == classes * classes, f"the matrix has {matrix.size} values, expected {classes}×{classes}")
    probabilities = narrow(softmax_along(case.scores, 1))
    logs = np.log(np.maximum(wide(probabilities), LOG_THRESHOLD))
    weights = wide(matrix.reshape(classes, classes))[np.where(case.valid, case.labels, 0)]
    losses = -(np.moveaxis(weights, 2, 1) * logs).sum(axis=1)
    return [scalar(losses[case.valid].sum() / by), probabilities.reshape(call.x.shape)]


def _contrastive_error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    reach = largest(call.x) + largest(call.bottoms[1]) + abs(call.param.contrastive_loss_param.margin)
    gain = reach * math.sqrt(call.x.size) / max(1, call.x.shape[0])
    return [Sensitivity(call.x.size, (gain, gain, UNBOUNDED))]


@register("ContrastiveLoss", bottoms=3, error=_contrastive_error, feeds={2: labels})
def contrastive_loss(call: Call) -> list[Array]:
    """Mean over pairs of d² / 2 (similar) or max(margin - d, 0)² / 2 (not); the old form has max(margin - d², 0)."""
    first, second, given = call.bottoms
    rows = all(math.prod(b.shape[2:]) == 1 for b in (first, second))
    alike = first.shape[:1] == second.shape[:1] and first.size == second.size
    call.require(rows and alike, "the pair's bottoms differ in shape, or are more than N×C")
    items = first.shape[0]
    call.require(given.size >= items and math.prod(given.shape[1:]) == 1, "needs one label a pair")
    p = call.param.contrastive_loss_param
    squared = ((wide(first) - second.reshape(first.shape)).reshape(items, -1) ** 2).sum(axis=1)
    if p.legacy_version:
        apart = np.maximum(p.margin - squared, 0)
    else:
        apart = np.maximum(p.margin - np.sqrt(squared), 0) ** 2
    similar = given.ravel()[:items].astype(np.int64) != 0
    return [scalar(float(np.where(similar, squared, apart).sum()) / items / 2)]
