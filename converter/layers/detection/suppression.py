"""Of boxes by falling score, those that overlap none before them too much (SSD: ApplyNMSFast in bbox_util.cpp).

Plain suppression is ONNX's NonMaxSuppression. SSD's `eta` below 1 lowers the limit with every box that is kept, as long
as it is above a half: after so many boxes it stays, so that this many are found one by one and the operator finds the
rest.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from converter.emission import OnnxOps
from converter.layers.shared.sizes import FLOAT, filled

LOWEST = float(np.finfo(np.float32).min)
"""The score of what is dropped: SSD's threshold where none is given, -FLT_MAX."""


def falling_ranks(g: OnnxOps, count: str) -> str:
    """n, n - 1 … 1 in float32, `count` being the int64 scalar n: of boxes by falling score, what stands for the scores.

    NonMaxSuppression leaves open what happens between equal scores, and OpenCV's takes no threshold below 0.
    """
    known = g.value(count)
    if known is not None:
        return g.constant(np.arange(int(known), 0, -1, dtype=np.float32), "ranks")
    none, down = (g.constant(np.asarray(v, np.int64), hint) for v, hint in ((0, "none"), (-1, "down")))
    return g.op("Cast", g.op("Range", count, none, down), to=FLOAT)


def marks_of(g: OnnxOps, kept: str, like: str, shape: Sequence[int] | None = None) -> str:
    """1 for each box that NonMaxSuppression names in `kept`, 0 for the others, in the shape of its scores, `like`.

    Nothing is gathered by the names themselves: where there are none, OpenCV 5 dies of a GatherND.
    """
    ones = g.op("Expand", g.scalar(1.0, "one"), g.slice(g.op("Shape", kept), 0, 0, 1))
    return g.op("ScatterND", filled(g, g.scalar(0.0, "zero"), like, shape), kept, ones)


MOST_LIMITS = 100


def limits(limit: float, eta: float) -> tuple[float, ...] | None:
    """The limit for the first box, for the second …; the last goes for all after it. Products are float32, as SSD's.

    None where there would be more than `MOST_LIMITS`, each of which is operators of the model.
    """
    found = [np.float32(limit)]
    while eta < 1 and found[-1] > 0.5:
        if len(found) == MOST_LIMITS:
            return None
        found.append(found[-1] * np.float32(eta))
    return tuple(float(str(value)) for value in found)


def suppressed(
    g: OnnxOps,
    boxes: str,
    scores: str,
    count: str,
    floor: float,
    limits: tuple[float, ...],
    *,
    most: str = "",
    shape: Sequence[int] | None = None,
) -> str:
    """Scores, groups × 1 × boxes, LOWEST where a box is suppressed or not above `floor`.

    NonMaximumSuppression sorts the corners of a box, where SSD has a box with a corner on the wrong side overlap
    nothing: so that corner is pulled back, which leaves no area.

    Args:
        g: where to record.
        boxes: corners, groups × boxes × 4.
        scores: groups × 1 × boxes, falling.
        count: how many boxes a group has, an int64 vector of one.
        floor: a score must be above it.
        limits: of the overlap, as `limits` gives them.
        most: how many boxes of a group are wanted, the best, where that is fewer; an int64 vector of one.
        shape: of the scores, where it is known.
    """
    low, high = g.slice(boxes, -1, 0, 2), g.slice(boxes, -1, 2, 4)
    boxes = g.op("Concat", low, g.op("Max", low, high), axis=-1)
    first, rest = "", scores
    if len(limits) > 1:
        first, rest = _one_by_one(g, boxes, scores, _ranks(g, count), floor, limits)
    limit, sought = g.scalar(min(limits[-1], 1.0), "limit"), rest
    if floor < 0:
        ranks = falling_ranks(g, g.op("Squeeze", count, g.ints([0])))
        sought = g.op("Where", g.op("Greater", rest, g.scalar(floor, "floor")), ranks, g.scalar(0.0, "none"))
    kept = g.op("NonMaxSuppression", boxes, sought, most or count, limit, g.scalar(max(floor, 0.0), "floor"))
    stays = g.op("Greater", marks_of(g, kept, scores, shape), g.scalar(0.0, "zero"))
    stays = g.op("Or", first, stays) if first else stays
    return g.op("Where", stays, scores, g.scalar(LOWEST, "lowest"))


def _one_by_one(
    g: OnnxOps, boxes: str, scores: str, ranks: str, floor: float, limits: tuple[float, ...]
) -> tuple[str, str]:
    """Whether a box is among the first that are kept, one for each limit but the last; and the scores of the rest.

    A box takes part as long as it stands behind the last that was kept, and overlaps none by more than the limit.
    """
    passing = g.op("Greater", scores, g.scalar(floor, "floor"))
    worst, kept = "", ""
    for limit in limits[1:]:
        place = g.op("ArgMax", g.op("Cast", passing, to=FLOAT), axis=2, keepdims=1)
        chosen = g.op("And", passing, g.op("Equal", ranks, place))
        kept = g.op("Or", kept, chosen) if kept else chosen
        overlap = g.unsqueeze(_overlaps(g, g.op("GatherND", boxes, place, batch_dims=1), boxes), [1])
        worst = g.op("Max", worst, overlap) if worst else overlap
        near = g.op("Greater", worst, g.scalar(limit, "limit"))
        passing = g.op("And", g.op("And", passing, g.op("Greater", ranks, place)), g.op("Not", near))
    return kept, g.op("Where", passing, scores, g.scalar(LOWEST, "lowest"))


def _ranks(g: OnnxOps, count: str) -> str:
    """0, 1, 2 … for the boxes of a group."""
    known = g.value(count)
    if known is not None:
        return g.constant(np.arange(int(known[0])), "places")
    bounds = [g.constant(np.asarray(0)), g.op("Squeeze", count, g.ints([0])), g.constant(np.asarray(1))]
    return g.op("Range", *bounds)


def _overlaps(g: OnnxOps, box: str, others: str) -> str:
    """Intersection over union of a box, groups × 1 × 4, with others, groups × boxes × 4; 0 where they do not meet."""
    corners = [(g.slice(x, -1, 0, 2), g.slice(x, -1, 2, 4)) for x in (box, others)]
    (low, high), (other_low, other_high) = corners
    size = g.op("Sub", g.op("Min", high, other_high), g.op("Max", low, other_low))
    meet = g.op("Greater", g.reduce("ReduceMin", size, [2], keepdims=False), g.scalar(0.0))
    common = _area(g, size)
    areas = g.op("Add", _area(g, g.op("Sub", high, low)), _area(g, g.op("Sub", other_high, other_low)))
    share = g.op("Div", common, g.op("Sub", areas, common))
    return g.op("Where", meet, share, g.scalar(0.0))


def _area(g: OnnxOps, size: str) -> str:
    sides = [g.op("Squeeze", g.slice(size, -1, i, i + 1), g.ints([2])) for i in (0, 1)]
    return g.op("Mul", *sides)


OVERLAPS = '''
def box_overlaps(box, others):
    """Intersection over union of one box with each of the others; 0 for a box with a corner on the wrong side."""
    size = torch.minimum(box[2:], others[:, 2:]) - torch.maximum(box[:2], others[:, :2])
    common = torch.where((size > 0).all(dim=1), size[:, 0] * size[:, 1], 0)
    union = (box[2:] - box[:2]).prod() + (others[:, 2:] - others[:, :2]).prod(dim=1) - common
    return torch.where(common > 0, common / union, 0)
'''

SUPPRESS = '''
def suppress(boxes, limit):
    """Places of the boxes that overlap none kept before them by more than the limit."""
    order, kept = torch.arange(len(boxes), device=boxes.device), []
    while len(order):
        first, order = order[:1], order[1:]
        kept.append(first)
        order = order[~(box_overlaps(boxes[first[0]], boxes[order]) > limit)]
    return torch.cat(kept) if kept else order
'''

SUPPRESS_LOWERING = '''
def suppress(boxes, limits):
    """Places of the boxes that overlap none kept before them by more than a limit, which falls with every box kept."""
    order, kept = torch.arange(len(boxes), device=boxes.device), []
    overlap = boxes.new_zeros(len(boxes))  # with what is kept, at most
    while True:
        passing = ~(overlap > limits[min(len(kept), len(limits) - 1)])
        order, overlap = order[passing], overlap[passing]
        if not len(order):
            return torch.cat(kept) if kept else order
        first, order = order[:1], order[1:]
        kept.append(first)
        overlap = torch.maximum(overlap[1:], box_overlaps(boxes[first[0]], boxes[order]))
'''
