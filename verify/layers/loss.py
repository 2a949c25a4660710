"""Losses and Accuracy; a loss weight scales the training objective, never the top (Caffe: the layer of each name).

Sums are divided by a normalizer that is at least 1:

    FULL        every position            VALID   positions whose label is not ignored
    BATCH_SIZE  size of axis 0 (…axes before `axis` for Softmax)      NONE    1

Where `normalization` is absent, the old `normalize` chooses VALID (true) or BATCH_SIZE (false); where both are, the
default differs by layer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from verify.layers.parameters import shape_text
from verify.layers.reduction import softmax_along
from verify.layers.registry import (
    UNBOUNDED,
    Array,
    Call,
    Sensitivity,
    Wide,
    jumps,
    labels,
    largest,
    narrow,
    register,
    wide,
)

Whole = npt.NDArray[np.int64]

SMALLEST = float(np.finfo(np.float32).tiny)
"""Least probability whose logarithm SoftmaxWithLoss takes: a sample costs 87.34 at most."""

LOG_THRESHOLD = 1e-20
"""The same for MultinomialLogisticLoss and InfogainLoss."""


def _scalar(value: float) -> Array:
    return np.array(value, np.float32)


@dataclass(frozen=True)
class Labelled:
    """Scores as outer × classes × inner, and one label for each outer × inner position."""

    scores: Array
    labels: Whole
    valid: npt.NDArray[np.bool_]

    def of_label(self, values: Wide) -> Wide:
        """The entry of `values` (outer × classes × inner) at each position's label; label 0 where ignored."""
        index = np.where(self.valid, self.labels, 0)
        return np.take_along_axis(values, index[:, None], axis=1)[:, 0]


def _labelled(call: Call, axis: int, ignored: int | None) -> Labelled:
    shape = call.x.shape
    outer, classes, inner = math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])
    labels = call.bottoms[1]
    counts = f"{labels.size} labels for {outer}×{inner} positions, one each expected"
    call.require(labels.size == outer * inner, counts)
    whole = labels.reshape(outer, inner).astype(np.int64)
    valid = np.ones_like(whole, bool) if ignored is None else whole != ignored
    inside = (whole >= 0) & (whole < classes)
    call.require(bool(np.all(inside | ~valid)), f"a label is not within 0 and {classes - 1}")
    return Labelled(call.x.reshape(outer, classes, inner), whole, valid)


def _ignored(call: Call) -> int | None:
    p = call.param.loss_param
    return p.ignore_label if p.HasField("ignore_label") else None


def _normalizer(call: Call, default: int, *, batch: int, total: int, valid: int) -> float:
    p = call.param.loss_param
    mode: int = default
    if p.HasField("normalization"):
        mode = p.normalization
    elif p.HasField("normalize"):
        mode = p.VALID if p.normalize else p.BATCH_SIZE
    counts: dict[int, int] = {p.FULL: total, p.VALID: valid, p.BATCH_SIZE: batch, p.NONE: 1}
    return float(max(1, counts[mode]))


def _softmax_case(call: Call, axis: int) -> tuple[Labelled, float]:
    """Scores and labels of a loss that begins with a softmax along `axis`, and its normalizer (VALID by default)."""
    case = _labelled(call, call.axis(axis), _ignored(call))
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
    case, by = _softmax_case(call, call.param.softmax_param.axis)
    probabilities = narrow(softmax_along(case.scores, 1))
    losses = -np.log(np.maximum(case.of_label(wide(probabilities)), SMALLEST))
    return [_scalar(losses[case.valid].sum() / by), probabilities.reshape(call.x.shape)]


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
    return [_scalar((np.logaddexp(0.0, x) - x * target)[valid].sum() / by)]


def _euclidean_error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    gap = float(np.linalg.norm(wide(call.x) - call.bottoms[1].reshape(call.x.shape)))
    gain = gap / max(1, call.x.shape[0])
    return [Sensitivity(call.x.size, (gain, gain))]


@register("EuclideanLoss", bottoms=2, error=_euclidean_error)
def euclidean_loss(call: Call) -> list[Array]:
    """Sum of squared differences over 2 N."""
    other = call.bottoms[1]
    matching = other.size == call.x.size and other.shape[:1] == call.x.shape[:1]
    call.require(matching, f"bottoms are {shape_text(call.x.shape)} and {shape_text(other.shape)}")
    gap = wide(call.x).ravel() - other.ravel()
    return [_scalar(float(gap @ gap) / call.x.shape[0] / 2)]


def _hinge_error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    p = call.param.hinge_loss_param
    slope = 1.0 if p.norm == p.L1 else 2.0 * (1.0 + largest(call.x))
    gain = slope * math.sqrt(call.x.size) / max(1, call.x.shape[0])
    return [Sensitivity(call.x.size, (gain, UNBOUNDED))]


@register("HingeLoss", bottoms=2, error=_hinge_error, feeds={1: labels})
def hinge_loss(call: Call) -> list[Array]:
    """max(0, 1 - x) at the label, max(0, 1 + x) elsewhere; their sum (L1) or sum of squares (L2) over N."""
    p = call.param.hinge_loss_param
    rows = wide(call.x.reshape(call.x.shape[0], -1))
    labels = call.bottoms[1].ravel().astype(np.int64)
    call.require(labels.size >= len(rows), f"{labels.size} labels for {len(rows)} samples")
    labels = labels[: len(rows)]
    inside = (labels >= 0) & (labels < rows.shape[1])
    call.require(bool(inside.all()), f"a label is not within 0 and {rows.shape[1] - 1}")
    rows[np.arange(len(rows)), labels] *= -1
    margins = np.maximum(0.0, 1.0 + rows)
    return [_scalar(float((margins if p.norm == p.L1 else margins**2).sum()) / len(rows))]


def _multinomial_error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    case = _labelled(_flat(call), 1, None)
    slopes = 1 / np.maximum(case.of_label(wide(case.scores)), LOG_THRESHOLD)
    return [Sensitivity(slopes.size, (float(np.linalg.norm(slopes)) / call.x.shape[0], UNBOUNDED))]


@register("MultinomialLogisticLoss", bottoms=2, error=_multinomial_error, feeds={1: labels})
def multinomial_logistic_loss(call: Call) -> list[Array]:
    """-log of the label's entry in a blob of probabilities, over N."""
    case = _labelled(_flat(call), 1, None)
    losses = -np.log(np.maximum(case.of_label(wide(case.scores)), LOG_THRESHOLD))
    return [_scalar(float(losses.sum()) / call.x.shape[0])]


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


@register("InfogainLoss", bottoms=(2, 3), error=_infogain_error, feeds={1: labels})
def infogain_loss(call: Call) -> list[Array]:
    """-sum over classes of H[label, class] log p(class), normalized (VALID by default); p is the bottom's softmax.

    H is the third bottom. One read from the file that `source` names is refused: the net alone doesn't hold it.
    """
    call.require(len(call.bottoms) == 3, "takes its matrix from a file (source); give it as third bottom")
    case, by = _softmax_case(call, call.param.infogain_loss_param.axis)
    classes = case.scores.shape[1]
    matrix = call.bottoms[2]
    call.require(matrix.size == classes * classes, f"the matrix has {matrix.size} values, expected {classes}×{classes}")
    probabilities = narrow(softmax_along(case.scores, 1))
    logs = np.log(np.maximum(wide(probabilities), LOG_THRESHOLD))
    weights = wide(matrix.reshape(classes, classes))[np.where(case.valid, case.labels, 0)]
    losses = -(np.moveaxis(weights, 2, 1) * logs).sum(axis=1)
    return [_scalar(losses[case.valid].sum() / by), probabilities.reshape(call.x.shape)]


def _contrastive_error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    reach = largest(call.x) + largest(call.bottoms[1]) + abs(call.param.contrastive_loss_param.margin)
    gain = reach * math.sqrt(call.x.size) / max(1, call.x.shape[0])
    return [Sensitivity(call.x.size, (gain, gain, UNBOUNDED))]


@register("ContrastiveLoss", bottoms=3, error=_contrastive_error, feeds={2: labels})
def contrastive_loss(call: Call) -> list[Array]:
    """Mean over pairs of d² / 2 (similar) or max(margin - d, 0)² / 2 (not); the old form has max(margin - d², 0)."""
    call.require(call.bottoms[1].shape == call.x.shape, "the pair's bottoms differ in shape")
    call.require(call.bottoms[2].size == call.x.shape[0], "needs one label a pair")
    p = call.param.contrastive_loss_param
    squared = ((wide(call.x) - call.bottoms[1]).reshape(call.x.shape[0], -1) ** 2).sum(axis=1)
    if p.legacy_version:
        apart = np.maximum(p.margin - squared, 0)
    else:
        apart = np.maximum(p.margin - np.sqrt(squared), 0) ** 2
    similar = call.bottoms[2].ravel().astype(np.int64) != 0
    return [_scalar(float(np.where(similar, squared, apart).sum()) / call.x.shape[0] / 2)]


@register("Accuracy", bottoms=2, error=jumps, feeds={1: labels})
def accuracy(call: Call) -> list[Array]:
    """Share of positions whose label is among the `top_k` best scores; a second top gives it a class.

    The label's rank is the number of other scores at least as high, so a tie counts against it.
    """
    p = call.param.accuracy_param
    axis = call.axis(p.axis)
    case = _labelled(call, axis, p.ignore_label if p.HasField("ignore_label") else None)
    own = case.of_label(wide(case.scores))
    rank = (case.scores >= own[:, None]).sum(axis=1) - 1
    right = (rank < p.top_k) & case.valid
    tops = [_scalar(right.sum() / max(1, case.valid.sum()))]
    if len(call.layer.tops) > 1:
        classes = case.scores.shape[1]
        seen = np.bincount(case.labels[case.valid], minlength=classes)
        hits = np.bincount(case.labels[right], minlength=classes)
        tops.append(narrow(hits / np.maximum(1, seen)))
    return tops
