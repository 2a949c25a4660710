"""Region proposals (py-faster-rcnn: lib/rpn, lib/fast_rcnn, lib/nms; PVANet and mini-caffe: proposal_layer.cpp).

float32 as in the forks, since comparisons decide what is found. numpy's order of equal scores is not defined there;
here the box of the earlier row, column, anchor comes first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from prototxt.param_str import numbers_of
from verify.layers.registry import UNBOUNDED, Array, Call, Feeding, Sensitivity, Wide, register

PYTHON = "Python rpn.proposal_layer.ProposalLayer"
F = np.float32
UNIT = 2.0**-24
SLACK = 8.0
"""Units in the last place by which another exp and the operations after it may differ."""


@dataclass(frozen=True)
class _Rules:
    """What decides over the boxes; `before` and `after` are None for all, `sides` the scales' places in im_info."""

    anchors: npt.NDArray[np.floating]
    stride: float
    least: float
    before: int | None
    after: int | None
    limit: float
    sides: tuple[int, int]
    drops: bool


def _python_rules(call: Call) -> _Rules:
    """setup() and cfg.TEST; anchors are float64 there, and numpy rounds halves to even."""
    said = numbers_of(call.layer)

    def number(name: str, default: float) -> float:
        value = said.get(name, default)
        call.require(isinstance(value, (int, float)), f"{name} in param_str is no number")
        return float(value)  # type: ignore[arg-type]

    call.require("feat_stride" in said, "param_str has no feat_stride")
    ratios = np.atleast_1d(np.array(said.get("ratios", (0.5, 1.0, 2.0)), np.float64))
    scales = np.atleast_1d(np.array(said.get("scales", (8.0, 16.0, 32.0)), np.float64))
    base = number("base_size", 16)
    rows = []
    for ratio in ratios:
        width = np.round(np.sqrt(base * base / ratio))
        height = np.round(width * ratio)
        rows += [_around((base - 1) * 0.5, width * scale, height * scale) for scale in scales]
    before, after = int(number("pre_nms_topN", 6000)), int(number("post_nms_topN", 300))
    return _Rules(
        np.array(rows),
        number("feat_stride", 16),
        number("min_size", 16),
        before if before > 0 else None,
        after if after > 0 else None,
        number("nms_thresh", 0.7),
        (2, 2),
        True,
    )


def _around(centre: float, width: float, height: float) -> list[float]:
    across, down = 0.5 * (width - 1), 0.5 * (height - 1)
    return [centre - across, centre - down, centre + across, centre + down]


def _ported_rules(call: Call) -> _Rules:
    """LayerSetUp: anchors in float32, halves rounded up."""
    p = call.param.proposal_param
    call.require(len(p.ratio) > 0 and len(p.scale) > 0, "needs a ratio and a scale")
    centre = F(0.5 * (p.base_size - 1))
    rows = []
    for ratio in map(F, p.ratio):
        width = np.floor(np.sqrt(F(p.base_size * p.base_size) / ratio) + F(0.5))
        height = np.floor(width * ratio + F(0.5))
        for scale in map(F, p.scale):
            across, down = F(0.5) * (width * scale - F(1)), F(0.5) * (height * scale - F(1))
            rows.append([centre - across, centre - down, centre + across, centre + down])
    sides = (3, 2) if call.bottoms[2].size > 3 else (2, 2)
    counts = p.pre_nms_topn, p.post_nms_topn
    call.require(min(counts) > 0, "pre_nms_topn and post_nms_topn must be above 0")
    return _Rules(np.array(rows, F), p.feat_stride, p.min_size, *counts, p.nms_thresh, sides, False)


@dataclass(frozen=True)
class _Found:
    """Boxes that come out, their scores, and how far off a right conversion may be: inf where a choice is open."""

    boxes: Array
    scores: Array
    error: float


def _cut(call: Call, rules: _Rules) -> tuple[Array, Array, Array]:
    """Anchors, offsets and scores of objects, by row, column and anchor."""
    scores, offsets, info = call.bottoms
    count = len(rules.anchors)
    call.require(scores.ndim == offsets.ndim == 4, "needs scores and offsets of 4 axes")
    call.require(scores.shape[0] == 1, f"works on one image at a time, it got {scores.shape[0]}")
    rows, columns = scores.shape[2:]
    call.require(scores.shape[1] == 2 * count, f"{scores.shape[1]} channels of scores for {count} anchors")
    wanted = (1, 4 * count, rows, columns)
    call.require(offsets.shape == wanted, f"offsets of {offsets.shape}, expected {wanted}")
    call.require(info.size >= 3, "the third bottom needs height, width and scale")
    placed = np.empty((rows, columns, count, 4), rules.anchors.dtype)
    placed[..., 0::2] = (np.arange(columns) * rules.stride)[None, :, None, None]
    placed[..., 1::2] = (np.arange(rows) * rules.stride)[:, None, None, None]
    placed += rules.anchors
    objects = scores[0, count:].transpose(1, 2, 0).ravel()
    return placed.reshape(-1, 4).astype(F), offsets[0].transpose(1, 2, 0).reshape(-1, 4), objects


def _decode(anchors: Array, offsets: Array) -> tuple[Array, Wide]:
    """Corners, and by how much rounding may move each."""
    size = anchors[:, 2:] - anchors[:, :2] + F(1)
    middle = anchors[:, :2] + F(0.5) * size
    centre = offsets[:, :2] * size + middle
    half = F(0.5) * (np.exp(offsets[:, 2:]) * size)
    off = SLACK * UNIT * (np.abs(offsets[:, :2] * size) + np.abs(middle) + half).astype(np.float64)
    return np.concatenate([centre - half, centre + half], axis=1), np.concatenate([off, off], axis=1)


def _propose(call: Call) -> _Found:
    rules = _python_rules(call) if call.layer.kind == PYTHON else _ported_rules(call)
    anchors, offsets, scores = _cut(call, rules)
    info = call.bottoms[2].ravel()
    free, off = _decode(anchors, offsets)
    edges = info[[1, 0, 1, 0]] - F(1)
    boxes = np.maximum(np.minimum(free, edges), F(0))
    off = np.where((free > edges + off) | (free < -off), 0.0, off)
    sizes = boxes[:, 2:] - boxes[:, :2] + F(1)
    least = F(rules.least) * info[list(rules.sides)]
    fits = (sizes >= least).all(axis=1)
    doubts = (np.abs(sizes - least) < off[:, :2] + off[:, 2:]).any(axis=1)
    ordered = np.where(fits, scores, F(-np.inf)) if rules.drops else scores * fits.astype(F)
    order = np.argsort(-ordered, kind="stable")
    if rules.drops:
        order = order[: int(fits.sum())]
    order = order[: rules.before]
    kept, open_choice = suppress_regions(boxes[order], off[order], F(rules.limit), rules.after)
    chosen = order[kept]
    full = rules.after is not None and len(kept) == rules.after
    lowest = ordered[chosen[-1]] if full else F(-np.inf)
    open_choice = open_choice or bool((doubts & (scores >= lowest)).any())
    error = math.inf if open_choice else float(off[chosen].max(initial=0.0))
    return _Found(boxes[chosen], ordered[chosen], error)


def suppress_regions(boxes: Array, off: Wide, limit: np.float32, most: int | None) -> tuple[list[int], bool]:
    """Places of the boxes that overlap no kept one before them by more than the limit, and whether that was close."""
    kept: list[int] = []
    close = False
    for place in range(len(boxes)):
        if len(kept) == most:
            break
        share, doubt = _overlaps(boxes, off, place, kept)
        if (share - doubt > limit).any():
            continue
        close = close or bool((share + doubt > limit).any())
        if not (share > limit).any():
            kept.append(place)
    return kept, close


def _overlaps(boxes: Array, off: Wide, place: int, kept: Sequence[int]) -> tuple[Array, Wide]:
    """Intersection over union of a box with others, all their pixels counted, and by how much rounding may change it.

    The doubt allows for another order of the operations too, such as adding 1 to a corner before a corner is taken off.
    """
    mine, others = boxes[place], boxes[kept]
    low, high = np.maximum(mine[:2], others[:, :2]), np.minimum(mine[2:], others[:, 2:])
    size = np.maximum(high - low + F(1), F(0))
    common = size[:, 0] * size[:, 1]
    extent, extents = mine[2:] - mine[:2] + F(1), others[:, 2:] - others[:, :2] + F(1)
    whole = extent[0] * extent[1] + extents[:, 0] * extents[:, 1] - common
    share: Array = common / whole
    blur = off[place, :2] + off[place, 2:] + 4 * UNIT * (mine[2:] + 1)
    blurs = off[kept, :2] + off[kept, 2:] + 4 * UNIT * (others[:, 2:] + 1)
    swapped = [1, 0]
    doubt = 2 * ((blur + blurs) * size[:, swapped]).sum(axis=1)
    doubt += (blur * extent[swapped]).sum() + (blurs * extents[:, swapped]).sum(axis=1)
    return share, np.where(common > 0, doubt / whole + 4 * UNIT, 0.0)


def _error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    own = _propose(call).error
    jump = (UNBOUNDED,) * len(call.bottoms)
    return [Sensitivity(1, jump, own), Sensitivity(1, jump, own if math.isinf(own) else 0.0)][: len(tops)]


def image_info(feeding: Feeding) -> Array:
    """Height and width of the net's image, and 1 for each scale; from the features where the net has no image."""
    stride = 16.0
    layer = feeding.layer
    if layer.bottoms[0] in feeding.shapes:
        height, width = (size * stride for size in feeding.shapes[layer.bottoms[0]][2:4])
    else:
        images = [shape for shape in feeding.shapes.values() if len(shape) == 4]
        height, width = max((shape[2:] for shape in images), key=math.prod, default=(600, 800))
    values = np.ones(feeding.shape, F)
    values.reshape(feeding.shape[0] if len(feeding.shape) > 1 else 1, -1)[:, :2] = height, width
    return values


@register(PYTHON, "Proposal", bottoms=3, error=_error, feeds={2: image_info})
def proposal(call: Call) -> list[Array]:
    """found×5 of 0 and corners, by falling score; then the scores, found×1 in Python and found in C++.

    Python drops boxes that are too small; the C++ layers let them take part with a score of 0.
    """
    found = _propose(call)
    rows = np.concatenate([np.zeros((len(found.boxes), 1), F), found.boxes], axis=1)
    return [rows, found.scores[:, None] if call.layer.kind == PYTHON else found.scores]
