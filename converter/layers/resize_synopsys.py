"""Synopsys' two resizing layers, TensorFlow's rules for images of N×C×H×W or N×H×W×C.

    size      output_height and output_width, else the bottom's times scale_height and scale_width, rounded down
    step      in / out; with align_corners (in - 1) / (out - 1), where out is more than 1
    place     i · step of pixel i; with half_pixel_centers (i + 0.5) · step, less 0.5 where pixels are mixed

All in float32, so that a place beside a whole number falls on the side that it falls on there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from converter.graph import Shape, format_shape, is_free
from converter.layers.base import OnnxOps, TorchOps, fault, register, require, unsupported
from converter.layers.resize import interpolated_onnx, repeated_onnx, repeated_torch
from converter.node import Layer
from prototxt import NetLayer

if TYPE_CHECKING:
    from typing_extensions import Self

    from converter.node import Node


class _Resize(Layer):
    """What both share: where the rows and columns lie, and their number in the top."""

    section: ClassVar[str]
    size: tuple[int | None, int | None] = (None, None)
    scale: tuple[float, float] = (1.0, 1.0)
    channels_last: bool = False
    align_corners: bool = False
    half_pixel_centers: bool = False

    @classmethod
    def read(cls, source: NetLayer) -> Self:
        p, section = getattr(source.param, cls.section), cls.section
        if p.data_format not in ("NHWC", "NCHW"):
            raise unsupported(source, f"data_format {p.data_format}; expected NHWC or NCHW", section, "data_format")
        if p.align_corners and p.half_pixel_centers:
            message = "both align_corners and half_pixel_centers; expected one of them at most"
            raise fault(source, message, section, "half_pixel_centers")
        for name in ("output_height", "output_width", "scale_height", "scale_width"):
            if p.HasField(name) and not 0 < getattr(p, name) < math.inf:
                raise fault(source, f"{name} is {getattr(p, name):g}; expected a number above 0", section, name)
        height = p.output_height if p.HasField("output_height") else None
        width = p.output_width if p.HasField("output_width") else None
        scale = (p.scale_height, p.scale_width)
        return cls((height, width), scale, p.data_format == "NHWC", p.align_corners, p.half_pixel_centers)

    @property
    def axes(self) -> tuple[int, int]:
        """Those of the rows and of the columns."""
        return (1, 2) if self.channels_last else (2, 3)

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        shape = list(inputs[0])
        layout = "N×H×W×C" if self.channels_last else "N×C×H×W"
        require(len(shape) == 4, f"the bottom is {format_shape(inputs[0])}; expected 4 axes ({layout})")
        for i, axis in enumerate(self.axes):
            shape[axis] = self._scaled(shape[axis], i)
        after = format_shape(shape)
        require(min(map(int, shape)) > 0, f"scales of {self.scale} make {after} of {format_shape(inputs[0])}")
        return [tuple(shape)]

    def _scaled(self, before: int, which: int) -> int:
        size, scale = self.size[which], self.scale[which]
        if size is not None:
            return size
        if scale == int(scale):
            return before * int(scale)
        require(not is_free(before), f"a size that is left free can't be scaled by {scale:g}")
        return math.floor(np.float32(before) * np.float32(scale))

    def _sizes(self, node: Node) -> list[tuple[int, int, int]]:
        """Axis, size before and size after, of the rows and of the columns."""
        after = node.outputs[0].shape
        return [(axis, int(node.shape[axis]), int(after[axis])) for axis in self.axes]

    def _onnx_first(self, g: OnnxOps, x: str) -> str:
        return g.op("Transpose", x, perm=(0, 3, 1, 2)) if self.channels_last else x

    def _onnx_last(self, g: OnnxOps, x: str) -> str:
        return g.op("Transpose", x, perm=(0, 2, 3, 1)) if self.channels_last else x

    def _torch_first(self, x: str) -> str:
        return f"{x}.permute(0, 3, 1, 2)" if self.channels_last else x

    def _torch_last(self, x: str) -> str:
        return f"{x}.permute(0, 2, 3, 1)" if self.channels_last else x


def _step(before: int, after: int, align_corners: bool) -> np.float32:
    if align_corners and after > 1:
        return np.float32(before - 1) / np.float32(after - 1)
    return np.float32(before) / np.float32(after)


@register
class ResizeNearestNeighbor(_Resize):
    """Each pixel of the top is one of the bottom (Synopsys' fork: resize_nearest_neighbor_layer.cpp).

    The place rounded down, with `align_corners` to the nearest, a half up. Where that makes a whole multiple of a size,
    pixels are repeated.
    """

    types = ("ResizeNearestNeighbor",)
    tabulates = True
    section = "resize_nearest_neighbor_param"

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        (out,) = super().infer(inputs)
        free = any(is_free(inputs[0][axis]) for axis in self.axes)
        if free:
            fixed = any(is_free(inputs[0][axis]) and self.size[i] is not None for i, axis in enumerate(self.axes))
            require(not fixed, f"the image's size is left free, and the layer makes it {format_shape(out)}")
            require(not self.align_corners, "align_corners with an image whose size is left free")
        return [out]

    def _places(self, before: int, after: int) -> list[int]:
        """The pixel of the bottom for each of the top, along one axis."""
        step, i = _step(before, after, self.align_corners), np.arange(after, dtype=np.float32)
        where = (i + np.float32(0.5)) * step if self.half_pixel_centers else i * step
        whole = np.floor(where.astype(np.float64) + 0.5) if self.align_corners else np.floor(where)
        return [min(int(w), before - 1) for w in whole]

    def _times(self, node: Node) -> tuple[int, int] | None:
        """How often each row and column is repeated; None where they are not all repeated as often."""
        times = []
        for _, before, after in self._sizes(node):
            if after % before or self._places(before, after) != [i // (after // before) for i in range(after)]:
                return None
            times.append(after // before)
        return times[0], times[1]

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        times = self._times(node)
        if times is not None:
            return self._onnx_last(g, repeated_onnx(g, self._onnx_first(g, x[0]), *times))
        y = x[0]
        for axis, before, after in self._sizes(node):
            y = g.op("Gather", y, g.ints(self._places(before, after), "places"), axis=axis)
        return y

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        times = self._times(node)
        if times is not None:
            return self._torch_last(repeated_torch(t, self._torch_first(x[0]), *times))
        t.helper("nearest_along", NEAREST)
        y = x[0]
        for axis, _, after in self._sizes(node):
            y = f"nearest_along({y}, {axis}, {after}{', align_corners=True' * self.align_corners}"
            y += f"{', half_pixel=True' * self.half_pixel_centers})"
        return y


NEAREST = '''
def nearest_along(x, axis, size, align_corners=False, half_pixel=False):
    """An axis resized by taking its nearest values (TensorFlow's three rules, in float32)."""
    before = x.shape[axis]
    step = (before - 1) / (size - 1) if align_corners and size > 1 else before / size
    place = torch.arange(size, dtype=torch.float32, device=x.device)
    place = (place + 0.5 if half_pixel else place) * step
    if align_corners:
        place = place.double() + 0.5
    return x.index_select(axis, place.floor().long().clamp(max=before - 1))
'''


@register
class ResizeBilinear(_Resize):
    """Each pixel of the top is mixed from the four around its place (Synopsys' fork: resize_bilinear_layer.cpp).

    Without `align_corners` and `half_pixel_centers` the first pixels fall on one another and the last ones don't: the
    old TensorFlow's rule, which PyTorch has no operator for.
    """

    types = ("ResizeBilinear",)
    tabulates = True
    section = "resize_bilinear_param"

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        (out,) = super().infer(inputs)
        free = any(is_free(out[axis]) for axis in self.axes)
        require(not free, "the size of the top can't be left free; state output_height and output_width")
        fixed = self.align_corners or self.half_pixel_centers or not any(is_free(inputs[0][axis]) for axis in self.axes)
        require(fixed, "the image's size can't be left free without align_corners or half_pixel_centers")
        return [out]

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        out = [int(after) for _, _, after in self._sizes(node)]
        first = self._onnx_first(g, x[0])
        channels = node.shape[3 if self.channels_last else 1]
        if is_free(node.shape[0]) or is_free(channels):
            batch = g.op("Slice", g.op("Shape", first), g.ints([0], "start"), g.ints([2], "stop"))
            sizes = g.op("Concat", batch, g.ints(out, "sizes"), axis=0)
        else:
            sizes = g.ints([int(node.shape[0]), int(channels), *out], "sizes")
        places = "align_corners" if self.align_corners else "half_pixel" if self.half_pixel_centers else "asymmetric"
        before = tuple(node.shape[axis] for axis in self.axes)
        return self._onnx_last(g, interpolated_onnx(g, first, before, tuple(out), sizes, places))

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        (rows, _, height), (columns, _, width) = self._sizes(node)
        if not self.align_corners and not self.half_pixel_centers:
            t.helper("linear_along", LINEAR)
            return f"linear_along(linear_along({x[0]}, {rows}, {height}), {columns}, {width})"
        image = self._torch_first(x[0])
        options = f"size=({height}, {width}), mode='bilinear', align_corners={self.align_corners}"
        return self._torch_last(f"F.interpolate({image}, {options})")


LINEAR = '''
def linear_along(x, axis, size):
    """An axis resized in straight lines; its first values fall on one another (TensorFlow 1, without align_corners)."""
    before = x.shape[axis]
    place = torch.arange(size, dtype=x.dtype, device=x.device) * (before / size)
    below = place.floor()
    share = (place - below).reshape([-1] + [1] * (x.dim() - axis - 1))
    low = x.index_select(axis, below.long())
    high = x.index_select(axis, (below.long() + 1).clamp(max=before - 1))
    return low + (high - low) * share
'''
