"""What stands between the stages of a cascade of detectors: boxes moved, and shared out by size (Cascade R-CNN)."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from converter.graph import FreeDim, Shape, count, format_shape
from converter.layers.base import UNLIMITED, OnnxOps, TorchOps, fault, register, require, shortest
from converter.layers.detection.box_output import normalisation
from converter.layers.detection.roi import regions_as_rows, torch_rows
from converter.node import Layer
from prototxt import NetLayer

if TYPE_CHECKING:
    from converter.node import Node

f32 = np.float32


@register
class DecodeBBox(Layer):
    """Regions R×5 moved by what a stage answers, R×8, of which the last four count: R×5×1×1 (decode_bbox_layer.cpp).

    Offsets are times `std` plus `mean`; they move the centre by shares of the region's size and scale that by their
    exponential. A far corner is a pixel that belongs to the region, so one from 3 to 5 is 3 wide. In phase TRAIN the
    layer drops regions that it turned inside out or that lie on a known object, which is not followed.
    """

    types = ("DecodeBBox",)
    bottoms = (2, 3)
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    @property
    def untrainable(self) -> str:
        return "in phase TRAIN it drops regions"

    @classmethod
    def read(cls, source: NetLayer) -> DecodeBBox:
        if len(source.bottoms) == 3:
            raise fault(source, "it has a third bottom, which Caffe takes in phase TRAIN alone", "bottom")
        return cls(*normalisation(source, positive=True))

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        for place, shape, values in (("first", inputs[0], 8), ("second", inputs[1], 5)):
            fits = len(shape) >= 2 and int(shape[1]) == int(count(shape[1:])) == values
            require(fits, f"the {place} bottom is {format_shape(shape)}; expected rows of {values}")
        offsets, regions = inputs
        require(int(offsets[0]) == int(regions[0]), f"{offsets[0]} rows of offsets for {regions[0]} regions")
        return [(regions[0], 5, 1, 1)]

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        offsets = x[0] if len(node.shape) == 2 else g.op("Reshape", x[0], g.ints([-1, 8], "shape"))
        regions = regions_as_rows(g, x[1], node.inputs[1].shape)
        offsets = g.slice(offsets, 1, 4, 8)
        if self.std:
            offsets = g.op("Mul", offsets, g.constant(np.asarray(self.std, f32), "std"))
            offsets = g.op("Add", offsets, g.constant(np.asarray(self.mean, f32), "mean"))
        one, half = g.scalar(1.0, "one"), g.scalar(0.5, "half")
        low, high = g.slice(regions, 1, 1, 3), g.slice(regions, 1, 3, 5)
        size = g.op("Add", g.op("Sub", high, low), one)
        centre = g.op("Mul", g.op("Add", high, low), half)
        centre = g.op("Add", g.op("Mul", g.slice(offsets, 1, 0, 2), size), centre)
        size = g.op("Mul", size, g.op("Exp", g.slice(offsets, 1, 2, 4)))
        low = g.op("Sub", centre, g.op("Mul", g.op("Sub", size, one), half))
        high = g.op("Sub", g.op("Add", low, size), one)
        return g.unsqueeze(g.op("Concat", g.slice(regions, 1, 0, 1), low, high, axis=1), [2, 3])

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        words = f", {self.mean!r}, {self.std!r}" if self.std else ""
        offsets, regions = torch_rows(x[0], node.shape), torch_rows(x[1], node.inputs[1].shape)
        return f"{t.helper('moved_regions', MOVED_REGIONS)}({offsets}, {regions}{words})"


@register
class ScaleRoute(Layer):
    """Rows whose region has the root of its area from `low` on and below `high` (Cascade R-CNN: scale_route_layer.cpp).

    The first bottom has the regions, R×5; of it and of every other bottom the same rows come out. Where none is of such
    a size, the first of those comes that are closest, by the ratio, to the geometric mean of the bounds, to the one
    bound that there is, or to 256. A region without an area is infinitely far.
    """

    types = ("ScaleRoute",)
    bottoms = (1, UNLIMITED)
    tops = (1, UNLIMITED)
    low: float = 0.0
    high: float = math.inf
    middle: float = 256.0
    found: str = "found"

    @classmethod
    def read(cls, source: NetLayer) -> ScaleRoute:
        p, section = source.param.scale_route_param, "scale_route_param"
        if len(source.bottoms) != len(source.tops):
            raise fault(source, f"{len(source.bottoms)} bottoms and {len(source.tops)} tops; expected as many", "top")
        has_low, has_high = p.HasField("low_scale"), p.HasField("high_scale")
        low, high = f32(p.low_scale if has_low else 0), f32(p.high_scale if has_high else np.finfo(f32).max)
        for name, given, value in (("low_scale", has_low, low), ("high_scale", has_high, high)):
            if given and not 0 < value < np.finfo(f32).max:
                raise fault(source, f"{name} is {value:g}; expected a number above 0", section, name)
        if high < low:
            raise fault(source, f"high_scale {high:g} is below low_scale {low:g}", section, "high_scale")
        middle = (
            f32(np.sqrt(low * high)) if has_low and has_high else low if has_low else high if has_high else f32(256)
        )
        name = re.sub(r"\W", "_", f"routed_by_{source.name}")
        return cls(shortest(float(low)), shortest(float(high)), shortest(float(middle)), name)

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        regions = inputs[0]
        fits = 2 <= len(regions) <= 4 and int(regions[1]) == int(count(regions[1:])) == 5
        require(fits, f"the first bottom is {format_shape(regions)}; expected rows of 5")
        require(int(regions[0]) > 0, "there are no regions")
        found = FreeDim(
            -(-int(regions[0]) // 4), self.found
        )  # as if four of them shared the regions out, as in a pyramid
        tops: list[Shape] = []
        for shape in inputs:
            fits = 1 <= len(shape) <= 4 and int(shape[0]) == int(regions[0])
            require(fits, f"a bottom is {format_shape(shape)}; expected {regions[0]} rows and at most 4 axes")
            tops.append((found, *shape[1:], *(1,) * (4 - len(shape))))
        return tops

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> list[str]:
        regions = regions_as_rows(g, x[0], node.shape)
        low, high = g.slice(regions, 1, 1, 3), g.slice(regions, 1, 3, 5)
        size = g.op("Sub", high, low)
        zero = g.scalar(0.0, "zero")
        real = g.op("GreaterOrEqual", g.reduce("ReduceMin", size, [1], keepdims=False), zero)
        area = g.reduce("ReduceProd", g.op("Add", size, g.scalar(1.0, "one")), [1], keepdims=False)
        scale = g.op("Sqrt", g.op("Where", real, area, zero))
        fits = g.op("GreaterOrEqual", scale, g.scalar(self.low, "low"))
        fits = g.op("And", fits, g.op("Less", scale, g.scalar(self.high, "high")))
        far = g.op("Abs", g.op("Log", g.op("Div", scale, g.scalar(self.middle, "middle"))))
        closest = g.op("ArgMin", far, axis=0, keepdims=1)
        places = g.places(fits)
        nothing = g.op("Equal", g.op("Shape", places), g.ints([0]))
        places = g.op("Concat", places, g.pick(closest, nothing), axis=0)
        tops = []
        for name, value in zip(x, node.inputs, strict=True):
            rows = g.op("Gather", name, places, axis=0)
            missing = list(range(len(value.shape), 4))
            tops.append(g.unsqueeze(rows, missing) if missing else rows)
        return tops

    def torch(self, t: TorchOps, node: Node, *x: str) -> list[str]:
        regions = torch_rows(x[0], node.shape)
        call = f"{t.helper('rows_by_size', ROWS_BY_SIZE)}({regions}, {self.low!r}, {self.high!r}, {self.middle!r})"
        rows = t.let("rows", call)
        missing = ("[..., None]" * (4 - len(value.shape)) for value in node.inputs)
        return [f"{name}[{rows}]{more}" for name, more in zip(x, missing, strict=True)]


MOVED_REGIONS = '''
def moved_regions(offsets, regions, mean=None, std=None):
    """Regions (image, x0, y0, x1, y1) moved by shares of their size, which is scaled by an exponential."""
    offsets = offsets[:, 4:]
    if std is not None:
        offsets = offsets * offsets.new_tensor(std) + offsets.new_tensor(mean)
    image, low, high = regions.split([1, 2, 2], dim=1)
    size = high - low + 1
    centre = offsets[:, :2] * size + 0.5 * (high + low)
    size = size * offsets[:, 2:].exp()
    low = centre - (size - 1) / 2
    return torch.cat([image, low, low + size - 1], dim=1)[..., None, None]
'''

ROWS_BY_SIZE = '''
def rows_by_size(regions, low, high, middle):
    """Places of the regions whose root of the area is within the bounds, or of the one closest to the middle."""
    size = regions[:, 3:] - regions[:, 1:3]
    area = torch.where((size >= 0).all(dim=1), (size + 1).prod(dim=1), 0)
    scale = area.sqrt()
    rows = ((scale >= low) & (scale < high)).nonzero()[:, 0]
    far = (scale / middle).log().abs()
    return rows if len(rows) else (far == far.min()).nonzero()[:1, 0]
'''
