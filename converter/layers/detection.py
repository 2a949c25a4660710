"""Boxes of detection nets (SSD's fork: prior_box_layer.cpp)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from converter.graph import Shape, format_shape, is_free
from converter.layers.base import Layer, OnnxOps, TorchOps, fault, register, require, unsupported
from converter.layers.pooling import CONSTANT
from prototxt import NetLayer
from prototxt.caffe_pb2 import PriorBoxParameter

if TYPE_CHECKING:
    from converter.graph import Node

_FOREIGN = ("faceboxes", "box_width", "box_height", "offset_h", "offset_w", "width", "height")


@register
@dataclass(frozen=True)
class PriorBox(Layer):
    """The boxes that detections are offsets to, and their variances: 1×2×(4 · boxes) (SSD: prior_box_layer.cpp).

    Corners x0 y0 x1 y1 as shares of the image; row by row, the boxes of a place together. At each place, for each
    min_size: its square, the square of sqrt(min · max) where there is a max_size, then one box for each aspect ratio,
    of min_size's area: 1 and ratios already seen are left out, `flip` adds the inverse of each. SSD keeps the sizes as
    whole numbers: 450.6 counts as 450. The bottoms give only their sizes, so the top is a constant.

    TextBoxes++ (`denser_prior_boxes`) puts behind each box the same one at the lower edge of its place. Synopsys' fork
    (`tf`) has the box of sqrt(min · max) last, and takes 0.05 of the image off each side of a square of 60;
    `yx_order` has y before x.
    """

    types = ("PriorBox",)
    bottoms = (2, 2)
    min_sizes: tuple[float, ...] = ()
    max_sizes: tuple[float, ...] = ()
    ratios: tuple[float, ...] = ()
    clip: bool = False
    variance: tuple[float, ...] = (0.1,)
    image: tuple[int, int] = (0, 0)
    step: tuple[float, float] = (0.0, 0.0)
    offset: float = 0.5
    denser: bool = False
    tf: bool = False
    yx_order: bool = False

    @classmethod
    def read(cls, source: NetLayer) -> PriorBox:
        p, section = source.param.prior_box_param, "prior_box_param"
        for name in _FOREIGN:
            value = getattr(p, name)
            if value if isinstance(value, bool) else len(value):
                raise unsupported(source, f"{name}, of another fork than SSD's", section, name)
        if not p.min_size or not all(0 < size < math.inf for size in p.min_size):
            raise fault(source, "min_size must be given, and be above 0", section, "min_size")
        if not all(0 < ratio < math.inf for ratio in p.aspect_ratio):
            raise fault(source, "aspect_ratio must be above 0", section, "aspect_ratio")
        if len(p.max_size) not in (0, len(p.min_size)):
            message = f"{len(p.max_size)} max_size for {len(p.min_size)} min_size; expected one for each"
            raise fault(source, message, section, "max_size")
        for least, most in zip(p.min_size, p.max_size, strict=False):
            if not least < most < math.inf:
                raise fault(source, f"max_size {most:g} is not above min_size {least:g}", section, "max_size")
        if len(p.variance) not in (0, 1, 4) or not all(0 < v < math.inf for v in p.variance):
            raise fault(source, "variance must be 1 or 4 numbers above 0", section, "variance")
        image = _both_or_each(source, p, "img_size", "img_h", "img_w")
        step = _both_or_each(source, p, "step", "step_h", "step_w")
        return cls(
            tuple(p.min_size),
            tuple(p.max_size),
            _ratios(p),
            p.clip,
            tuple(p.variance) or (float(np.float32(0.1)),),
            (int(image[0]), int(image[1])),
            step,
            p.offset,
            p.denser_prior_boxes,
            p.tf,
            p.yx_order,
        )

    def _per_place(self) -> int:
        return (len(self.min_sizes) * (1 + len(self.ratios)) + len(self.max_sizes)) * (2 if self.denser else 1)

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        for i, shape in enumerate(inputs):
            require(len(shape) == 4, f"bottom {i} is {format_shape(shape)}; expected 4 axes (N×C×H×W)")
        free = any(map(is_free, (*inputs[0][2:], *inputs[1][2:])))
        require(not free, "the sizes of the image and of the features can't be left free: the boxes follow them")
        return [(1, 2, int(inputs[0][2]) * int(inputs[0][3]) * self._per_place() * 4)]

    def boxes(self, features: Shape, picture: Shape) -> npt.NDArray[np.float32]:
        """Corners and variances, rounded to float32 where SSD's own variables are of that type."""
        rows, columns = int(features[2]), int(features[3])
        height, width = self.image if all(self.image) else (int(picture[2]), int(picture[3]))
        down, across = self.step if all(self.step) else (height / rows, width / columns)
        f32 = np.float32
        sizes = np.asarray(self._sizes(), np.float64)
        half, inset = sizes[:, :2].astype(f32).astype(np.float64) / 2, sizes[:, 2:]
        centre = np.empty((rows, columns, len(sizes), 2), np.float64)
        centre[..., 0] = ((np.arange(columns, dtype=f32) + f32(self.offset)) * f32(across))[None, :, None]
        centre[..., 1] = ((np.arange(rows, dtype=f32) + f32(self.offset)) * f32(down))[:, None, None]
        if self.denser:
            centre[:, :, 1::2, 1] = ((np.arange(rows) + 1.0) * f32(down)).astype(f32)[:, None, None]
        low, high = (centre - half) / (width, height) + inset, (centre + half) / (width, height) - inset
        axes = [1, 0] if self.yx_order else [0, 1]
        corners = np.concatenate([low[..., axes], high[..., axes]], axis=-1).astype(f32)
        if self.clip:
            corners = corners.clip(0, 1)
        variances = np.resize(np.asarray(self.variance, f32), corners.size)
        return np.stack([corners.ravel(), variances])[None]

    def _sizes(self) -> list[tuple[float, float, float]]:
        """Width and height of each box at one place, in pixels, and the share of the image taken off each side."""
        sizes: list[tuple[float, float, float]] = []
        for i, given in enumerate(self.min_sizes):
            least = int(given)
            square = [(least, least, 0.05 if self.tf and least == 60 else 0.0)]
            side = math.sqrt(least * int(self.max_sizes[i])) if self.max_sizes else 0.0
            larger = [(side, side, 0.0)] if self.max_sizes else []
            others = [(least * math.sqrt(r), least / math.sqrt(r), 0.0) for r in self.ratios]
            sizes += [*square, *others, *larger] if self.tf else [*square, *larger, *others]
        return [size for size in sizes for _ in range(2)] if self.denser else sizes

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        return g.constant(self.boxes(*(v.shape for v in node.inputs)), "boxes")

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        t.helper("Constant", CONSTANT)
        boxes = self.boxes(*(v.shape for v in node.inputs))
        return f"{t.module('Constant', tuple(boxes.shape), state={'value': boxes})}()"


def _ratios(p: PriorBoxParameter) -> tuple[float, ...]:
    seen = [1.0]
    for ratio in p.aspect_ratio:
        if all(abs(ratio - other) >= 1e-6 for other in seen):
            seen += [ratio, float(np.float32(1.0 / ratio))] if p.flip else [ratio]
    return tuple(r for r in seen if abs(r - 1.0) >= 1e-6)


def _both_or_each(source: NetLayer, p: PriorBoxParameter, both: str, *each: str) -> tuple[float, float]:
    """Height and width of what one field gives for both, or two fields give each; 0 where none does."""
    section = "prior_box_param"
    given = [name for name in (both, *each) if p.HasField(name)]
    for name in given:
        if getattr(p, name) <= 0:
            raise fault(source, f"{name} is {getattr(p, name):g}; expected a number above 0", section, name)
    if both in given and len(given) > 1:
        raise fault(source, f"both {both} and {given[1]} are given; expected one of them", section, given[1])
    if len(given) == 1 and given[0] != both:
        missing = each[0] if given[0] == each[1] else each[1]
        raise fault(source, f"{given[0]} without {missing}; expected both", section, given[0])
    first, second = (both, both) if both in given else each
    return getattr(p, first), getattr(p, second)
