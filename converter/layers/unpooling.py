"""Pooling undone: values go back to where the mask of the pooling says they came from, or are spread over windows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from converter.graph import Shape, format_shape, is_free
from converter.layers.base import BottomsDifferError, OnnxOps, TorchOps, fault, register, require
from converter.layers.shared.sizes import INT64, int_size
from converter.node import Layer
from converter.tensor import Array
from prototxt import NetLayer
from prototxt.caffe_pb2 import UnpoolingParameter

if TYPE_CHECKING:
    from converter.node import Node


def check_mask(values: Shape, mask: Shape) -> None:
    """BottomsDifferError unless there is a place for each value."""
    if tuple(map(int, values)) != tuple(map(int, mask)):
        raise BottomsDifferError("values and mask differ in shape")


def unpooled_onnx(g: OnnxOps, x: str, mask: str, sizes: Sequence[str]) -> str:
    """Zeros with each value of `x` at its place in the mask; `sizes` are the top's, each a vector of one."""
    values, places = (g.op("Reshape", name, g.ints([0, 0, -1], "shape")) for name in (x, mask))
    plane = g.op("Concat", sizes[0], sizes[1], g.op("Mul", sizes[2], sizes[3]), axis=0)
    zeros = g.op("Expand", g.scalar(0.0, "zero"), plane)
    y = g.op("ScatterElements", zeros, g.op("Cast", places, to=INT64), values, axis=2)
    return g.op("Reshape", y, g.op("Concat", *sizes, axis=0))


UNPOOL = '''
def unpool(x, mask, height, width):
    """Values where the mask of a max pooling says they came from, 0 elsewhere (SegNet's and DeconvNet's layers)."""
    plane = x.new_zeros(x.shape[0], x.shape[1], height * width)
    return plane.scatter(2, mask.flatten(2).long(), x.flatten(2)).unflatten(2, (height, width))
'''


def _stride(source: NetLayer) -> tuple[int, int]:
    p = source.param.unpooling_param
    stride = (p.stride_h, p.stride_w) if p.HasField("stride_h") else (p.stride, p.stride)
    if min(stride) < 1:
        raise fault(source, f"stride is {stride[0]}×{stride[1]}; expected at least 1", "unpooling_param", "stride")
    return stride


class SpreadWindows(Layer):
    """Unpooling by AVE or TILE: a matrix from each side, whose columns are the windows of the bottom's rows.

    top = R · x · Cᵀ      R[i, r] = 1 where stride · r <= i < stride · r + kernel; for AVE its columns add up to 1
    """

    size: tuple[int, int] = (1, 1)
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    average: bool = False

    @classmethod
    def read_to(cls, size: tuple[int, int], source: NetLayer) -> SpreadWindows:
        """The layer for a top of this size."""
        p, section = source.param.unpooling_param, "unpooling_param"
        if len(source.bottoms) == 2:
            method = UnpoolingParameter.Unpool.Name(p.unpool)
            raise fault(source, f"a mask with unpool {method}; expected MAX", section, "unpool")
        kernel = (p.kernel_size, p.kernel_size) if p.HasField("kernel_size") else (p.kernel_h, p.kernel_w)
        if min(kernel) < 1:
            raise fault(source, f"kernel is {kernel[0]}×{kernel[1]}; expected at least 1", section)
        return cls(size, kernel, _stride(source), p.unpool == UnpoolingParameter.AVE)

    @property
    def untrainable(self) -> str:
        return "" if self.average else "unpool TILE, for which Caffe has the gradient of AVE"

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        shape = inputs[0]
        require(len(shape) == 4, f"the bottom is {format_shape(shape)}; expected 4 axes (N×C×H×W)")
        require(not any(map(is_free, shape[2:])), "the bottom's height and width can't be left free")
        return [(*shape[:2], *self.size)]

    def _windows(self, axis: int, count: int) -> Array:
        """One axis' matrix: top × bottom."""
        size, kernel, stride = self.size[axis], self.kernel[axis], self.stride[axis]
        matrix = np.zeros((size, count), np.float32)
        for place in range(count):
            window = matrix[place * stride : place * stride + kernel, place]
            window[:] = 1 / len(window) if self.average and len(window) else 1
        return matrix

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        rows, columns = (self._windows(axis, int(node.shape[2 + axis])) for axis in (0, 1))
        y = g.op("MatMul", g.constant(rows, "rows"), x[0])
        return g.op("MatMul", y, g.constant(np.ascontiguousarray(columns.T), "columns"))

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        t.helper("windows", WINDOWS)
        each = zip(node.shape[2:], self.size, self.kernel, self.stride, strict=True)
        rows, columns = (
            f"windows({x[0]}, {int(count)}, {size}, {kernel}, {stride}, {self.average})"
            for count, size, kernel, stride in each
        )
        return f"{rows} @ {x[0]} @ {columns}.T"


@register
class UnPooling(Layer):
    """Max pooling undone to a stated size, unpool_h × unpool_w or unpool_size (DeconvNet's fork: unpooling_layer.cpp).

    FuseNet's fork has output_h × output_w instead, or `scale` times the bottom's size; it always has a mask. CEDN's
    states no size either: the top is what a pooling of its kernel, stride and pad makes the bottom of.

    With a second bottom, the mask of a max pooling, values go to the places that it names; of a mask of more planes
    than there are values the first ones count. Without, row i and column j go to `stride` · i and `stride` · j, and the
    kernel says nothing. TILE adds each value to all of its window, AVE the value over the window's size inside the top.
    (The fork does so on a GPU; its CPU code adds to what the top held before as well.)
    DeconvNet's fork refuses padding.
    """

    types = ("UnPooling", "Unpooling")
    bottoms = (1, 2)
    read_as = (SpreadWindows,)
    size: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    scale: int = 0
    window: tuple[int, int] | None = None  # of CEDN's fork: the kernel less the padding on both sides

    @classmethod
    def read(cls, source: NetLayer) -> UnPooling | SpreadWindows:
        p, section = source.param.unpooling_param, "unpooling_param"
        if p.HasField("scale") or p.HasField("output_h") or p.HasField("output_w"):
            return cls._read_fusenets(source)
        sized = p.HasField("unpool_size") or p.HasField("unpool_h") or p.HasField("unpool_w")
        if not sized and len(source.bottoms) == 2 and p.unpool == UnpoolingParameter.MAX:
            return cls._read_cedns(source)
        if p.pad or p.pad_h or p.pad_w:
            raise fault(source, "padding; the fork allows none", section, "pad_h" if p.pad_h else "pad")
        size = (p.unpool_size, p.unpool_size) if p.HasField("unpool_size") else (p.unpool_h, p.unpool_w)
        if min(size) < 1:
            message = f"the size is {size[0]}×{size[1]}; expected unpool_h and unpool_w, or unpool_size, at least 1"
            raise fault(source, message, section)
        if p.unpool != UnpoolingParameter.MAX:
            return SpreadWindows.read_to(size, source)
        kernel = ("kernel_size", "kernel_h", "kernel_w")
        source.without_effect("AVE and TILE alone read it", *(f"{section}.{name}" for name in kernel))
        if len(source.bottoms) == 2:
            steps = ("stride", "stride_h", "stride_w")
            source.without_effect("the mask says where", *(f"{section}.{name}" for name in steps))
            return cls(size)
        return cls(size, _stride(source))

    @classmethod
    def _read_fusenets(cls, source: NetLayer) -> UnPooling:
        p, section = source.param.unpooling_param, "unpooling_param"
        if len(source.bottoms) != 2:
            raise fault(source, "no mask as a second bottom, which FuseNet's layer has", section)
        stated = p.HasField("output_h") and p.HasField("output_w")
        size = (p.output_h, p.output_w) if stated else (p.scale, p.scale)
        if min(size) < 1:
            raise fault(source, "no size; expected output_h and output_w, or scale, at least 1", section)
        unread = ("scale",) if stated else ("output_h", "output_w")
        reason = "output_h and output_w count together, before scale"
        source.without_effect(reason, *(f"{section}.{name}" for name in unread))
        return cls(size) if stated else cls(scale=p.scale)

    @classmethod
    def _read_cedns(cls, source: NetLayer) -> UnPooling:
        p, section = source.param.unpooling_param, "unpooling_param"
        one = p.HasField("kernel_size")
        kernel = (p.kernel_size, p.kernel_size) if one else (p.kernel_h, p.kernel_w)
        if min(kernel) < 1:
            message = "no size; expected unpool_h and unpool_w, or unpool_size, or CEDN's kernel_size at least 1"
            raise fault(source, message, section)
        for single, double in (("kernel_size", "kernel_h"), ("stride", "stride_h"), ("pad", "pad_h")):
            if p.HasField(single) and p.HasField(double):
                raise fault(source, f"{single} beside {double}; expected one or the other", section, double)
        pad = (p.pad_h, p.pad_w) if p.HasField("pad_h") else (p.pad, p.pad)
        if any(edge >= size for edge, size in zip(pad, kernel, strict=True)):
            raise fault(source, f"pad {pad[0]}×{pad[1]} for a kernel of {kernel[0]}×{kernel[1]}", section, "pad")
        return cls(stride=_stride(source), window=(kernel[0] - 2 * pad[0], kernel[1] - 2 * pad[1]))

    def _top_size(self, shape: Shape) -> tuple[int, int]:
        height, width = shape[2:]
        if self.window is not None:
            (down, across), (high, wide) = self.stride, self.window
            return (int(height) - 1) * down + high, (int(width) - 1) * across + wide
        return (int(height) * self.scale, int(width) * self.scale) if self.scale else self.size

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        shape = inputs[0]
        require(len(shape) == 4, f"the bottom is {format_shape(shape)}; expected 4 axes (N×C×H×W)")
        follows = self.scale or self.window
        require(not (follows and any(map(is_free, shape[2:]))), "the bottom's height and width can't be left free")
        if self.window is not None:
            size = self._top_size(shape)
            require(min(size) > 0, f"the top would be {size[0]}×{size[1]}")
        if len(inputs) == 2:
            self._check_planes(*inputs)
        else:
            require(not any(map(is_free, shape[2:])), "without a mask the bottom's height and width can't be left free")
            for axis, (small, large, step) in enumerate(zip(shape[2:], self.size, self.stride, strict=True), 2):
                last = (small - 1) * step
                require(last < large, f"axis {axis}: the last value goes to {last}, outside the top's {large}")
        return [(*shape[:2], *self._top_size(shape))]

    @staticmethod
    def _check_planes(values: Shape, mask: Shape) -> None:
        if len(mask) != 4 or tuple(map(int, values[2:])) != tuple(map(int, mask[2:])):
            raise BottomsDifferError("values and mask differ in height or width")
        if int(values[0] * values[1]) > int(mask[0] * mask[1]):
            raise BottomsDifferError("the mask has fewer planes than the values")
        same = tuple(map(int, values[:2])) == tuple(map(int, mask[:2]))
        fixed = same or not any(map(is_free, (values[0], mask[0])))
        require(fixed, "the batch can't be left free where the mask has other channels than the values")

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        if len(x) == 2:
            (n, c), planes = node.shape[:2], node.inputs[1].shape[:2]
            if tuple(map(int, (n, c))) != tuple(map(int, planes)):
                mask = g.op("Reshape", x[1], g.ints([1, int(planes[0] * planes[1]), -1], "shape"))
                mask = g.slice(mask, 1, 0, int(n * c))
                x = (x[0], g.op("Reshape", mask, g.ints([int(n), int(c), -1], "shape")))
            sizes = [g.unsqueeze(int_size(g, x[0], node.shape, axis), [0]) for axis in (0, 1)]
            plane = (g.ints([size], "size") for size in self._top_size(node.shape))
            return unpooled_onnx(g, x[0], x[1], [*sizes, *plane])
        h, w = map(int, node.shape[2:])
        (down, across), y = self.stride, x[0]
        y = g.op("Reshape", y, g.ints([0, -1, h, 1, w, 1], "shape"))
        y = g.op("Pad", y, g.ints([0] * 9 + [down - 1, 0, across - 1], "pads"))
        y = g.op("Reshape", y, g.ints([0, -1, h * down, w * across], "shape"))
        return self._fitted_onnx(g, y, (h * down, w * across))

    def _fitted_onnx(self, g: OnnxOps, y: str, size: tuple[int, int]) -> str:
        """Zeros added or dropped at the ends."""
        missing = [max(0, wanted - given) for wanted, given in zip(self.size, size, strict=True)]
        if any(missing):
            y = g.op("Pad", y, g.ints([0] * 6 + missing, "pads"))
        for axis, (wanted, given) in enumerate(zip(self.size, size, strict=True), 2):
            if wanted < given:
                y = g.slice(y, axis, 0, wanted)
        return y

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        height, width = self._top_size(node.shape)
        if len(x) == 2:
            t.helper("unpool", UNPOOL)
            mask, (n, c) = x[1], node.shape[:2]
            if tuple(map(int, node.shape[:2])) != tuple(map(int, node.inputs[1].shape[:2])):
                mask = f"{mask}.flatten(0, 1)[:{int(n * c)}].unflatten(0, ({int(n)}, {int(c)}))"
            return f"unpool({x[0]}, {mask}, {height}, {width})"
        t.helper("spread", SPREAD)
        return f"spread({x[0]}, ({height}, {width}), {self.stride})"


@register
class MaxUnPool(Layer):
    """Max pooling undone by its mask, to dst_h × dst_w (inisis' fork: maxunpool_layer.cpp)."""

    types = ("MaxUnPool",)
    bottoms = (2, 2)
    size: tuple[int, int] = (1, 1)

    @classmethod
    def read(cls, source: NetLayer) -> MaxUnPool:
        p = source.param.max_unpool_param
        if p.dst_h < 1 or p.dst_w < 1:
            message = f"dst_h and dst_w are {p.dst_h} and {p.dst_w}; expected both, at least 1"
            raise fault(source, message, "max_unpool_param")
        return cls((p.dst_h, p.dst_w))

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        shape = inputs[0]
        require(len(shape) == 4, f"the bottom is {format_shape(shape)}; expected 4 axes (N×C×H×W)")
        check_mask(*inputs)
        return [(*shape[:2], *self.size)]

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        sizes = [g.unsqueeze(int_size(g, x[0], node.shape, axis), [0]) for axis in (0, 1)]
        return unpooled_onnx(g, x[0], x[1], [*sizes, *(g.ints([size], "size") for size in self.size)])

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        t.helper("unpool", UNPOOL)
        return f"unpool({x[0]}, {x[1]}, {self.size[0]}, {self.size[1]})"


WINDOWS = '''
def windows(like, count, size, kernel, stride, average):
    """Columns of ones, size × count: the i-th from stride * i on, kernel of them; on average, each adds up to 1."""
    steps = torch.arange(size, device=like.device)[:, None] - stride * torch.arange(count, device=like.device)
    ones = ((steps >= 0) & (steps < kernel)).to(like.dtype)
    return ones / ones.sum(0).clamp_min(1) if average else ones
'''

SPREAD = '''
def spread(x, size, stride):
    """Row i and column j at stride * i and stride * j, 0 elsewhere (DeconvNet's Unpooling layer without a mask)."""
    y = x.new_zeros(*x.shape[:2], *size)
    y[:, :, : x.shape[2] * stride[0] : stride[0], : x.shape[3] * stride[1] : stride[1]] = x
    return y
'''
