"""Suppression as MS-CNN and Cascade R-CNN have it, and the module for PyTorch that finds their regions."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from converter.emission import OnnxOps
from converter.layers.shared.sizes import FLOAT

LOWEST = float(np.finfo(np.float32).min)
"""The score of a box that does not count."""


def quick(mode: str, limit: float, least: float, *, pixels: bool) -> bool:
    """Whether ONNX's NonMaxSuppression finds the same.

    It has the union's share alone, a limit from 0 to 1, and takes corners the other way round for a box. Where far
    corners are pixels, it sees boxes meet by a row or less that share nothing in the fork: of boxes `least` high that
    is a share of at most 1 / least.
    """
    return mode == "IOU" and 0 <= limit <= 1 and least > 0 and (not pixels or limit * least >= 1)


def overlapping_none(
    g: OnnxOps, boxes: str, eligible: str, ranks: int, limit: float, mode: str, *, pixels: bool
) -> str:
    """Places of the boxes that stay, in their order: a round of a loop drops what its box overlaps, if that stays.

    Args:
        g: where to record.
        boxes: corners, ranks × 4, best first.
        eligible: which of them count.
        ranks: how many there are.
        limit: of the overlap.
        mode: IOMU, IOFU or IOU.
        pixels: whether a far corner belongs to its box.
    """
    zero = g.scalar(0.0, "zero")
    extents = _extents(g, boxes, pixels=pixels)
    rank = g.constant(np.arange(ranks), "rank")

    def drop(inner: OnnxOps, number: str, kept: str) -> str:
        mine = _Extents(*(inner.op("Gather", x, number, axis=0) for x in extents))
        share = _shares(inner, mine, extents, mode, pixels=pixels)
        gone = inner.op(
            "And", inner.op("Greater", share, inner.scalar(limit, "limit")), inner.op("Greater", rank, number)
        )
        gone = inner.op("And", gone, inner.op("Greater", inner.op("Gather", kept, number, axis=0), zero))
        return inner.op("Where", gone, zero, kept)

    stays = g.carry(g.constant(np.asarray(ranks, np.int64), "rounds"), g.op("Cast", eligible, to=FLOAT), drop)
    return g.places(g.op("Greater", stays, zero))


def overlapping_none_of_class(g: OnnxOps, boxes: str, scores: str, limit: float, mode: str) -> str:
    """Scores, LOWEST where a box overlaps one before it that stays; one round of a loop serves all classes.

    Args:
        g: where to record.
        boxes: corners, classes × ranks × 4, best first, the far ones pixels of the box.
        scores: classes × ranks, LOWEST where a box does not count.
        limit: of the overlap.
        mode: IOMU, IOFU or IOU.
    """
    lowest = g.scalar(LOWEST, "lowest")
    extents = _extents(g, boxes, pixels=True)
    rounds = g.op("Squeeze", g.slice(g.op("Shape", scores), 0, 1, 2), g.ints([0]))
    start, step = (g.constant(np.asarray(number, np.int64), "number") for number in (0, 1))
    rank = g.op("Range", start, rounds, step)

    def drop(inner: OnnxOps, number: str, kept: str) -> str:
        first = inner.unsqueeze(number, [0])
        mine = _Extents(*(inner.op("Gather", x, first, axis=1) for x in extents))
        share = _shares(inner, mine, extents, mode, pixels=True)
        gone = inner.op(
            "And", inner.op("Greater", share, inner.scalar(limit, "limit")), inner.op("Greater", rank, number)
        )
        gone = inner.op("And", gone, inner.op("Greater", inner.op("Gather", kept, first, axis=1), lowest))
        return inner.op("Where", gone, lowest, kept)

    return g.carry(rounds, scores, drop)


class _Extents(NamedTuple):
    """Near and far corners of boxes, their areas, and whether no corner is on the wrong side."""

    low: str
    high: str
    area: str
    valid: str


def _extents(g: OnnxOps, boxes: str, *, pixels: bool) -> _Extents:
    zero, one = g.scalar(0.0, "zero"), g.scalar(1.0, "one")
    low, high = g.slice(boxes, -1, 0, 2), g.slice(boxes, -1, 2, 4)
    size = g.op("Sub", high, low)
    least = g.reduce("ReduceMin", size, [-1], keepdims=False)
    valid = g.op("GreaterOrEqual" if pixels else "Greater", least, zero)
    area = g.reduce("ReduceProd", g.op("Add", size, one) if pixels else size, [-1], keepdims=False)
    return _Extents(low, high, area, valid)


def _shares(g: OnnxOps, mine: _Extents, others: _Extents, mode: str, *, pixels: bool) -> str:
    """How much a box and each of the others have in common."""
    zero, one = g.scalar(0.0, "zero"), g.scalar(1.0, "one")
    common = g.op("Sub", g.op("Min", others.high, mine.high), g.op("Max", others.low, mine.low))
    across, down = (g.op("Squeeze", g.slice(common, -1, i, i + 1), g.ints([-1])) for i in (0, 1))
    meet = g.op("And", g.op("GreaterOrEqual" if pixels else "Greater", across, zero), g.op("Greater", down, zero))
    if pixels:
        across, down = g.op("Add", across, one), g.op("Add", down, one)
    share = g.op("Mul", across, down)
    if mode == "IOMU":
        whole = g.op("Min", others.area, mine.area)
    elif mode == "IOFU":
        whole = mine.area
    else:
        whole = g.op("Sub", g.op("Add", others.area, mine.area), share)
    real = g.op("And", meet, g.op("And", others.valid, mine.valid))
    return g.op("Where", real, g.op("Div", share, whole), zero)


FIELD_BOXES = {
    "field_overlaps": '''
def field_overlaps(box, others, mode, pixel):
    """How much of one box and each of the others is common; `pixel` is 1 where far corners belong to a box."""
    extent, extents = (x[..., 2:] - x[..., :2] for x in (box, others))
    least, least_box = (x.amin(dim=-1) for x in (extents, extent))
    real = (least >= 0) & (least_box >= 0) if pixel else (least > 0) & (least_box > 0)
    size = torch.minimum(box[..., 2:], others[..., 2:]) - torch.maximum(box[..., :2], others[..., :2])
    meet = (size[..., 0] >= 0 if pixel else size[..., 0] > 0) & (size[..., 1] > 0)
    common = (size + pixel).prod(dim=-1)
    area, areas = (extent + pixel).prod(dim=-1), (extents + pixel).prod(dim=-1)
    if mode == "IOMU":
        whole = areas.minimum(area)
    else:
        whole = area if mode == "IOFU" else area + areas - common
    return torch.where(meet & real, common / whole, 0)
''',
    "FieldBoxes": '''
class FieldBoxes(nn.Module):
    """Regions by falling score, of scores and offsets to fields at each place (MS-CNN; grouped: Cascade R-CNN)."""

    def __init__(
        self, levels, floor, limit, least, bounds, mode="IOU", std=None, mean=None, before=None, after=None,
        grouped=False,
    ):
        super().__init__()
        self.levels, self.floor, self.limit, self.least, self.bounds = levels, floor, limit, least, bounds
        self.mode, self.std, self.mean, self.before, self.after = mode, std, mean, before, after
        self.grouped = grouped

    def forward(self, *x):
        if self.grouped:
            tables = [self.of_group(*x[2 * i : 2 * i + 2], *level) for i, level in enumerate(self.levels)]
        else:
            tables = [self.of_level(bottom, *level) for bottom, level in zip(x, self.levels)]
        scores, boxes, fits = (torch.cat(parts, dim=1) for parts in zip(*tables))
        fits = fits & (scores >= self.floor)
        rows = [self.of_image(n, scores[n, fits[n]], boxes[n, fits[n]]) for n in range(len(scores))]
        rows = torch.cat(rows)[..., None, None]
        if len(rows):
            return rows[:, :5], rows
        blank = scores.new_tensor([0, 1, 1, 10, 10])
        return blank.reshape(1, 5, 1, 1), scores.new_zeros(1, 6, 1, 1)

    def of_level(self, x, stride, field):
        score = x[:, 1:-4].amax(dim=1) - x[:, 0]
        boxes, fits = self.decode(x[:, -4:].flatten(2).transpose(1, 2), x.shape[2:], stride, field)
        return score.flatten(1), boxes, fits

    def of_group(self, nothing, offsets, stride, *fields):
        scores = (1 - nothing[:, 0]).reshape(-1, len(fields) * nothing[0, 0].numel())
        offsets = offsets.unflatten(0, (-1, len(fields))).flatten(3).transpose(2, 3)
        found = [self.decode(offsets[:, i], nothing.shape[2:], stride, field) for i, field in enumerate(fields)]
        boxes, fits = (torch.cat(parts, dim=1) for parts in zip(*found))
        return scores, boxes, fits

    def decode(self, offsets, places, stride, field):
        rows, columns = (torch.arange(n).to(offsets) for n in places)
        y, x = torch.meshgrid(rows, columns, indexing="ij")
        middle = (torch.stack([x, y], dim=-1).reshape(-1, 2) + 0.5) * stride
        size, edge = offsets.new_tensor(field), offsets.new_tensor([places[1] * stride, places[0] * stride])
        if self.std is not None:
            offsets = offsets * offsets.new_tensor(self.std) + offsets.new_tensor(self.mean)
        low, high, least, most = self.bounds
        extent = offsets[..., 2:].clamp(min=least).clamp(max=most).exp() * size
        near = offsets[..., :2].clamp(low, high) * size + middle - extent / 2
        if self.grouped:
            far = (near + extent - 1).minimum(edge)
            near = near.clamp(min=0)
            extent = far - near + 1
        else:
            near = near.clamp(min=0)
            extent = extent.minimum(edge - near)
            far = near + extent
        return torch.cat([near, far], dim=-1), (extent >= self.least).all(dim=-1)

    def of_image(self, image, scores, boxes):
        if not self.grouped:  # of equal scores the later box comes first
            scores, boxes = scores.flip(0), boxes.flip(0)
        order = scores.argsort(descending=True, stable=True)[: self.before]
        order = order[self.suppress(boxes[order])]
        table = torch.cat([boxes[order], scores[order, None]], dim=1)
        return torch.cat([table.new_full((len(table), 1), image), table], dim=1)

    def suppress(self, boxes):
        left = torch.arange(len(boxes), device=boxes.device)
        kept = [left[:0]]
        while len(left) and len(kept) != (self.after or -1) + 1:
            first, left = left[:1], left[1:]
            kept.append(first)
            shares = field_overlaps(boxes[first[0]], boxes[left], self.mode, int(self.grouped))
            left = left[~(shares > self.limit)]
        return torch.cat(kept)
''',
}
