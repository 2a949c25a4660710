"""Bottoms of DetectionOutput in Synopsys' fork, which reads a net's levels one by one (detection_output_layer.cpp)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from converter.graph import Shape, count, format_shape, is_free
from converter.layers.base import OnnxOps, TorchOps, require
from converter.layers.detection.detection_bottoms import Bottoms, DetectionValues, Sizes, boxes_of

if TYPE_CHECKING:
    from converter.node import Node


@dataclass(frozen=True)
class Levels(Bottoms):
    """Synopsys' fork: scores of each level, then offsets of each, then prior boxes, of each or of all together.

    Flat ones are N×(boxes · values), as SSD's before they are concatenated. With `no_permute` scores are
    N×classes×ratios×(H · W) and offsets N×(ratios · sets · 4)×H×W, so that boxes go by ratio first and place second;
    prior boxes, which go by place first, are put into that order, but their variances are not. The fork reads the first
    image alone.
    """

    levels: int = 6
    grid: bool = False

    def infer(self, shapes: Sequence[Shape]) -> Sizes:
        n = self.levels
        check = self._grid_level if self.grid else self._flat_level
        boxes = [
            check(i, score, offset) for i, (score, offset) in enumerate(zip(shapes[:n], shapes[n : 2 * n], strict=True))
        ]
        given = [boxes_of(f"bottom {2 * n + i}", shape) for i, shape in enumerate(shapes[2 * n :])]
        require(not any(map(is_free, given)), "the number of prior boxes can't be left free")
        expected = [sum(boxes)] if len(given) == 1 else boxes
        require(given == expected, f"{given} prior boxes for {expected} of the levels")
        images = {int(shape[0]) for shape in shapes[: 2 * n]}
        free = any(is_free(shape[0]) for shape in shapes[: 2 * n])
        require(images == {1} and not free, f"{max(images)} images; the fork reads the first alone, expected 1")
        return Sizes(1, sum(boxes))

    def _flat_level(self, level: int, scores: Shape, offsets: Shape) -> int:
        for name, shape, values in (("scores", scores, self.classes), ("offsets", offsets, self.sets * 4)):
            fits = len(shape) >= 2 and not any(map(is_free, shape)) and count(shape[1:]) % values == 0
            require(fits, f"the {name} of level {level} are {format_shape(shape)}; expected N×({values} · boxes)")
        boxes, others = count(scores[1:]) // self.classes, count(offsets[1:]) // (self.sets * 4)
        require(boxes == others, f"level {level} has scores for {boxes} boxes, offsets for {others}")
        return boxes

    def _grid_level(self, level: int, scores: Shape, offsets: Shape) -> int:
        fits = len(scores) == len(offsets) == 4 and not any(map(is_free, (*scores, *offsets)))
        ratios = offsets[1] // (self.sets * 4) if fits else 0
        places = offsets[2] * offsets[3] if fits else 0
        seen = f"level {level} has scores {format_shape(scores)} and offsets {format_shape(offsets)}"
        require(
            fits and offsets[1] == ratios * self.sets * 4 and tuple(scores[1:]) == (self.classes, ratios, places),
            f"{seen}; expected N×{self.classes}×ratios×(H · W) and N×({self.sets * 4} · ratios)×H×W",
        )
        return int(ratios * places)

    def _grids(self, node: Node) -> list[tuple[int, int]]:
        """Ratios and places of each level."""
        return [tuple(map(int, v.shape[2:])) for v in node.inputs[: self.levels]]  # type: ignore[misc]

    def onnx(self, g: OnnxOps, node: Node, *x: str, encoded: bool) -> DetectionValues:
        n, boxes = self.levels, self.infer([v.shape for v in node.inputs]).boxes
        if self.grid:
            scores = g.op("Concat", *(g.op("Reshape", s, g.ints([0, 0, -1], "shape")) for s in x[:n]), axis=2)
            parts = []
            for offsets, (ratios, places) in zip(x[n : 2 * n], self._grids(node), strict=True):
                table = g.op("Reshape", offsets, g.ints([1, ratios, self.sets * 4, places], "shape"))
                turned = g.op("Transpose", table, perm=[0, 1, 3, 2])
                parts.append(g.op("Reshape", turned, g.ints([1, ratios * places, self.sets * 4], "shape")))
        else:
            shape = g.ints([1, -1, self.classes], "shape")
            scores = g.op("Concat", *(g.op("Reshape", s, shape) for s in x[:n]), axis=1)
            scores = g.op("Transpose", scores, perm=[0, 2, 1])
            parts = [g.op("Reshape", o, g.ints([1, -1, self.sets * 4], "shape")) for o in x[n : 2 * n]]
        offsets = g.op("Concat", *parts, axis=1)
        if self.sets > 1:
            offsets = g.op("Reshape", offsets, g.ints([1, boxes, self.sets, 4], "shape"))
        # What is constant stays in the model here as well; see `Bottoms.onnx`.
        (priors,) = x[2 * n :] if len(x) == 2 * n + 1 else g.multi("Concat", *x[2 * n :], outputs=1, axis=2)
        split = g.ints([2, boxes, 4] if self.sets == 1 else [2, boxes, 1, 4], "shape")
        (table,) = g.multi("Reshape", priors, split, outputs=1)
        prior = g.slice(table, 0, 0, 1)
        if self.grid:
            prior = g.op("Gather", prior, g.ints(self._order(node), "order"), axis=1)
        return DetectionValues(offsets, scores, prior, "" if encoded else g.slice(table, 0, 1, 2))

    def _order(self, node: Node) -> list[int]:
        """For each box, by level, ratio and place, where its prior stands, by level, place and ratio."""
        order: list[int] = []
        for ratios, places in self._grids(node):
            table = np.arange(ratios * places).reshape(places, ratios)
            order += (table.T.ravel() + len(order)).tolist()
        return order

    def torch(self, t: TorchOps, node: Node, *x: str) -> list[str]:
        n = self.levels
        scores, offsets = (f"[{', '.join(x[i * n : (i + 1) * n])}]" for i in (0, 1))
        priors = x[2 * n] if len(x) == 2 * n + 1 else f"torch.cat([{', '.join(x[2 * n :])}], dim=2)"
        if not self.grid:
            flat = "torch.cat([x.flatten(1) for x in {}], dim=1)".format
            return [t.let("offsets", flat(offsets)), t.let("scores", flat(scores)), priors]
        t.helper("joined_levels", JOINED_LEVELS)
        joined = t.let("joined", f"joined_levels({scores}, {offsets}, {priors})")
        return [f"*{joined}"]


JOINED_LEVELS = '''
def joined_levels(scores, offsets, priors):
    """Offsets, scores and priors of all levels, of one image, by ratio and place (Synopsys' fork: no_permute).

    Scores are 1 x classes x ratios x places, offsets 1 x (ratios * values) x H x W; priors go by place and ratio, and
    their variances stay as they are.
    """
    rows, start, order = [], 0, []
    for level, offset in zip(scores, offsets):
        _, _, ratios, places = level.shape
        rows.append(offset.reshape(ratios, -1, places).transpose(1, 2).flatten(0, 1))
        numbers = torch.arange(start, start + ratios * places, device=priors.device)
        order.append(numbers.reshape(places, ratios).t().flatten())
        start += ratios * places
    boxes, variances = priors.reshape(2, -1, 4)
    table = torch.stack([boxes[torch.cat(order)], variances]).reshape(1, 2, -1)
    by_class = torch.cat([level.flatten(2) for level in scores], dim=2)
    return torch.cat(rows)[None], by_class.transpose(1, 2), table
'''
