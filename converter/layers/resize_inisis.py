"""inisis' interpolation, whose corners fall on the image's corners or half a pixel inside of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from converter.graph import Shape, format_shape, is_free
from converter.layers.base import OnnxOps, TorchOps, fault, register, require
from converter.layers.resize import interpolated_onnx
from converter.layers.shared.sizes import int_size, torch_dims
from converter.node import Layer
from prototxt import NetLayer

if TYPE_CHECKING:
    from converter.node import Node


@register
class BilinearInterpolate(Layer):
    """Bilinear interpolation to dst_h × dst_w, or by scale_factor (inisis' fork: bilinear_interpolate_layer.cpp).

    One of the sizes may lack, which then stays. A scaled size is cut to a whole number, in float32. Without
    `align_corners`, which is true where it isn't given, pixel i lies at (i + 1/2) · size / top's size - 1/2.
    """

    types = ("BilinearInterpolate",)
    size: tuple[int | None, int | None] = (None, None)
    scale_factor: float | None = None
    align_corners: bool = True

    @classmethod
    def read(cls, source: NetLayer) -> BilinearInterpolate:
        p, section = source.param.bilinear_interpolate_param, "bilinear_interpolate_param"
        sized = p.HasField("dst_h") or p.HasField("dst_w")
        if sized == p.HasField("scale_factor"):
            raise fault(source, "expected scale_factor, or dst_h and dst_w, and not both", section)
        size = tuple(getattr(p, name) if p.HasField(name) else None for name in ("dst_h", "dst_w"))
        if any(side is not None and side < 1 for side in size):
            raise fault(source, f"dst_h and dst_w are {size}; expected 1 or more", section, "dst_h")
        if not (sized or 0 < p.scale_factor < math.inf):
            message = f"scale_factor is {p.scale_factor:g}; expected a number above 0"
            raise fault(source, message, section, "scale_factor")
        return cls((size[0], size[1]), None if sized else p.scale_factor, p.align_corners)

    @property
    def untrainable(self) -> str:
        return "its fork has no backward pass for it"

    def _side(self, axis: int, size: int) -> int:
        if self.scale_factor is None:
            stated = self.size[axis]
            return size if stated is None else stated
        require(not is_free(size), "scale_factor cuts sizes to whole numbers; height and width can't be left free")
        scaled = int(size) * self.scale_factor
        require(scaled < 1 << 31, f"scale_factor {self.scale_factor:g} makes {scaled:g} of {size}; a blob holds fewer")
        return int(np.float32(int(size)) * np.float32(self.scale_factor))

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        shape = inputs[0]
        require(len(shape) == 4, f"the bottom is {format_shape(shape)}; expected 4 axes (N×C×H×W)")
        sides = [self._side(axis, shape[2 + axis]) for axis in (0, 1)]
        for side in sides:
            require(is_free(side) or int(side) >= 1, f"a top of {sides[0]}×{sides[1]} is empty")
            flat = self.align_corners and not is_free(side) and int(side) == 1
            require(not flat, "a height or width of 1 with align_corners, for which its fork divides 0 by 0")
        return [(*shape[:2], *sides)]

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        out = node.outputs[0].shape
        if any(map(is_free, out)):
            parts = [
                g.unsqueeze(int_size(g, x[0], node.shape, axis), [0]) if is_free(d) else g.ints([int(d)], "size")
                for axis, d in enumerate(out)
            ]
            whole = g.op("Concat", *parts, axis=0)
        else:
            whole = g.ints([int(d) for d in out], "sizes")
        places = "align_corners" if self.align_corners else "half_pixel"
        return interpolated_onnx(g, x[0], node.shape[2:], out[2:], whole, places)

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        own, out = torch_dims(x[0], node.shape), node.outputs[0].shape
        size = "({}, {})".format(*(own[axis] if is_free(out[axis]) else int(out[axis]) for axis in (2, 3)))
        return f"F.interpolate({x[0]}, {size}, mode='bilinear', align_corners={self.align_corners})"
