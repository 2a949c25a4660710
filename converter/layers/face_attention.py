"""JAA-Net's layer that turns the landmarks of a face into maps of where its muscles move."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from converter.graph import Shape, count
from converter.layers.base import OnnxOps, TorchOps, fault, register, require, shortest
from converter.node import Layer
from prototxt import NetLayer

if TYPE_CHECKING:
    from converter.node import Node

LARGEST_MAP = 1 << 14
LEFT = (
    (4, -1 / 2),
    (1, -1 / 3),
    (2, 1 / 3),
    (24, 1),
    (21, 0),
    (43, 0),
    (31, 0),
    (31, 0),
    (31, 0),
    (39, 1 / 2),
    (34, 0),
    (34, 0),
)
RIGHT = (
    (5, -1 / 2),
    (8, -1 / 3),
    (7, 1 / 3),
    (29, 1),
    (26, 0),
    (45, 0),
    (37, 0),
    (37, 0),
    (37, 0),
    (41, 1 / 2),
    (40, 0),
    (40, 0),
)
"""For each action unit a landmark, and how far below it the centre lies, in widths of the gap between the eyes."""
EYE_CORNERS = (22, 25)
LANDMARKS = 46


@register
class AUMaskBasedLand(Layer):
    """Maps of twelve action units, each with a centre left and right, and the largest of all (JAA-Net's fork).

    A bottom of landmarks, x and y in turn, in an image of `img_size`; tops of N×1×m×m, m being img_size ·
    spatial_scale, rounded. Around a centre, as far as `spatial_ratio` of half an image, a map falls from 1 by
    `fill_coeff` a percent of m, in steps along rows and columns ("manhattan"); elsewhere, and of any other
    `fill_type`, it is `fill_value`. Where the two sides of one unit overlap the right one counts.
    (au_mask_based_land_layer.cpp; its `abs` taken for that of floats.)
    """

    types = ("AUMaskBasedLand",)
    tops = (13, 13)
    size: int = 1
    spatial_scale: float = 1.0
    half: float = 0.0
    slope: float = 0.0
    fill_value: float = 0.0
    filled: bool = True

    @classmethod
    def read(cls, source: NetLayer) -> AUMaskBasedLand:
        p, section = source.param.au_mask_based_land_param, "au_mask_based_land_param"
        for name in ("img_size", "spatial_ratio", "spatial_scale"):
            if not 0 < getattr(p, name) < math.inf:
                raise fault(source, f"{name} is {getattr(p, name):g}; expected a number above 0", section, name)
        scaled = float(np.float32(p.img_size) * np.float32(p.spatial_scale))
        size = int(np.floor(scaled + 0.5)) if scaled < LARGEST_MAP else LARGEST_MAP
        if not 1 <= size < LARGEST_MAP:
            raise fault(
                source,
                f"a map would be {size}×{size}; expected 1×1 to {LARGEST_MAP - 1}×{LARGEST_MAP - 1}",
                section,
                "spatial_scale",
            )
        half = shortest((p.img_size - 1) / 2 * p.spatial_ratio)
        slope = shortest(p.fill_coeff * 100 / scaled)
        filled = p.fill_type == "manhattan"
        return cls(size, shortest(p.spatial_scale), half, slope, shortest(p.fill_value), filled)

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        given = count(inputs[0][1:])
        require(
            int(given) >= 2 * LANDMARKS, f"{given} values an item; expected x and y of {LANDMARKS} landmarks or more"
        )
        return [(inputs[0][0], 1, self.size, self.size)] * 13

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> list[str]:
        values = x[0] if len(node.shape) == 2 else g.op("Flatten", x[0], axis=1)

        def at(places: Sequence[int]) -> str:
            return g.op("Gather", values, g.ints(places, "places"), axis=1)

        units = [*LEFT, *RIGHT]
        ruler = g.op("Abs", g.op("Sub", *(at([2 * corner]) for corner in EYE_CORNERS)))
        below = g.constant(np.asarray([[share for _, share in units]], np.float32), "below")
        columns = at([2 * landmark for landmark, _ in units])
        rows = g.op("Add", at([2 * landmark + 1 for landmark, _ in units]), g.op("Mul", ruler, below))
        (near_h, far_h), (near_w, far_w) = (self._onnx_steps(g, v, axis) for v, axis in ((rows, 3), (columns, 2)))
        fall = g.op("Mul", g.op("Add", far_h, far_w), g.scalar(self.slope, "slope"))
        rest = g.scalar(self.fill_value, "rest")
        height = g.op("Max", g.op("Sub", g.scalar(1.0, "one"), fall), rest)
        if not self.filled:
            near_h = g.op("And", near_h, g.constant(np.asarray(False), "never"))
        inside = g.op("And", near_h, near_w)
        both = g.op("Where", inside, height, rest)
        sides = [g.slice(name, 1, start, start + 12) for start in (0, 12) for name in (inside, both)]
        each = g.op("Where", sides[2], sides[3], sides[1])
        every = g.op("Max", g.reduce("ReduceMax", both, [1]), rest)
        return [*(g.slice(each, 1, unit, unit + 1) for unit in range(12)), every]

    def _onnx_steps(self, g: OnnxOps, centres: str, across: int) -> tuple[str, str]:
        """Whether a row (or column) is near enough to each centre, and how far it is: N×24×m×1, or N×24×1×m."""
        scale, half = g.scalar(self.spatial_scale, "scale"), g.scalar(self.half, "half")
        steps = np.arange(self.size, dtype=np.float32).reshape((1, 1, -1, 1) if across == 3 else (1, 1, 1, -1))
        place = g.constant(steps, "steps")
        ends = []
        for op in ("Sub", "Add"):
            end = g.op("Mul", g.op(op, centres, half), scale)
            size = g.op("Floor", g.op("Add", g.op("Abs", end), g.scalar(0.5, "up")))
            clipped = g.op(
                "Clip", g.op("Mul", g.op("Sign", end), size), g.scalar(0, "first"), g.scalar(self.size - 1, "last")
            )
            ends.append(g.unsqueeze(clipped, [2, 3]))
        near = g.op("And", g.op("GreaterOrEqual", place, ends[0]), g.op("LessOrEqual", place, ends[1]))
        centre = g.unsqueeze(g.op("Mul", centres, scale), [2, 3])
        return near, g.op("Abs", g.op("Sub", place, centre))

    def torch(self, t: TorchOps, node: Node, *x: str) -> list[str]:
        t.helper("action_unit_maps", ACTION_UNIT_MAPS)
        tables = ", ".join(str([part[i] for part in (*LEFT, *RIGHT)]) for i in (0, 1))
        numbers = (
            f"{self.size}, {self.spatial_scale!r}, {self.half!r}, {self.slope!r}, {self.fill_value!r}, {self.filled}"
        )
        maps = t.let("maps", f"action_unit_maps({x[0]}, {tables}, {numbers})")
        return [*(f"{maps}[:, {unit}:{unit + 1}]" for unit in range(12)), f"{maps}[:, 12:]"]


ACTION_UNIT_MAPS = '''
def action_unit_maps(points, landmarks, below, size, scale, half, slope, rest, filled):
    """Twelve maps of where a face's muscles move, and their maximum (JAA-Net's AUMaskBasedLand layer)."""
    points = points.flatten(1)
    ruler = (points[:, 44] - points[:, 50]).abs()  # between the inner corners of the eyes
    centres = torch.stack([points[:, [2 * i + 1 for i in landmarks]], points[:, [2 * i for i in landmarks]]], 2)
    centres[:, :, 0] += ruler[:, None] * torch.tensor(below, device=points.device)
    steps = torch.arange(size, device=points.device)
    near, far = [], []
    for axis in (0, 1):
        centre = centres[:, :, axis, None]
        start, end = ((centre + side * half) * scale for side in (-1, 1))
        start, end = ((e.sign() * (e.abs() + 0.5).floor()).clamp(0, size - 1) for e in (start, end))
        near.append((steps >= start) & (steps <= end) & filled)
        far.append((steps - centre * scale).abs())
    inside = near[0][:, :, :, None] & near[1][:, :, None, :]
    height = (1 - (far[0][:, :, :, None] + far[1][:, :, None, :]) * slope).clamp(min=rest)
    both = torch.where(inside, height, height.new_tensor(rest))
    each = torch.where(inside[:, 12:], both[:, 12:], both[:, :12])
    return torch.cat([each, both.amax(1, keepdim=True)], 1)
'''
