"""Pooling over windows (Caffe: pooling_layer.cpp)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from converter.graph import Shape, count, format_shape, is_free
from converter.layers.base import Layer, OnnxOps, TorchOps, fault, register, require, unsupported
from prototxt import NetLayer
from prototxt.caffe_pb2 import PoolingParameter

if TYPE_CHECKING:
    from converter.graph import Node

LEAST = float(np.finfo(np.float32).min)

PoolMethod = Literal["MAX", "AVE", "STOCHASTIC"]


def windows_rounded_up(size: int, kernel: int, stride: int, pad: int) -> int:
    """Caffe's own rule: a last window may hang over the end."""
    return -(-(size + 2 * pad - kernel) // stride) + 1


def windows_rounded_down(size: int, kernel: int, stride: int, pad: int) -> int:
    """The rule of convolution, and of pooling with round_mode FLOOR."""
    return (size + 2 * pad - kernel) // stride + 1


def without_window_in_padding(windows: int, size: int, stride: int, pad: int) -> int:
    """Caffe drops a last window that would start behind the input, on both axes as soon as one of them has padding."""
    return windows - 1 if (windows - 1) * stride >= size + pad else windows


@register
@dataclass(frozen=True)
class Pooling(Layer):
    """Max or average over a window (Caffe: pooling_layer.cpp).

    Output sizes round *up*, and a last window that would start in the padding is dropped, where convolution rounds
    down. AVE divides by the window clipped to the padded image, so windows that hang over its end divide by less.
    """

    types = ("Pooling",)
    method: PoolMethod = "MAX"
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    pad: tuple[int, int] = (0, 0)
    global_pooling: bool = False
    rounds_up: bool = True

    @classmethod
    def read(cls, source: NetLayer) -> Pooling:
        p, section = source.param.pooling_param, "pooling_param"
        method = PoolingParameter.PoolMethod.Name(p.pool)
        if method == "STOCHASTIC":
            raise unsupported(source, "pool STOCHASTIC; expected MAX or AVE", section, "pool")
        if len(source.tops) > 1:
            raise unsupported(source, "a second top (the mask of the maxima); expected one top")
        kernel = (p.kernel_h, p.kernel_w) if p.HasField("kernel_h") else (p.kernel_size, p.kernel_size)
        if p.global_pooling and (p.HasField("kernel_size") or p.HasField("kernel_h") or p.HasField("kernel_w")):
            raise fault(source, "both global_pooling and a kernel size are given; expected one of them", section)
        if not p.global_pooling and min(kernel) < 1:
            raise fault(source, f"the kernel is {kernel[0]}×{kernel[1]}; expected at least 1×1", section, "kernel_size")
        stride = (p.stride_h, p.stride_w) if p.HasField("stride_h") else (p.stride, p.stride)
        pad = (p.pad_h, p.pad_w) if p.HasField("pad_h") else (p.pad, p.pad)
        if min(stride) < 1:
            raise fault(source, f"the stride is {stride[0]}×{stride[1]}; expected at least 1×1", section, "stride")
        if p.global_pooling and (pad != (0, 0) or stride != (1, 1)):
            raise fault(source, f"global_pooling with pad {pad} and stride {stride}; expected pad 0, stride 1", section)
        if not p.global_pooling and (pad[0] >= kernel[0] or pad[1] >= kernel[1]):
            raise fault(
                source,
                f"pad {pad[0]}×{pad[1]} is not smaller than the kernel {kernel[0]}×{kernel[1]}",
                section,
                "pad",
            )
        return cls(_method(method), kernel, stride, pad, p.global_pooling, _rounds_up(p))

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        shape = inputs[0]
        require(len(shape) == 4, f"the bottom is {format_shape(shape)}; expected 4 axes (N×C×H×W)")
        if self.global_pooling:
            return [(*shape[:2], 1, 1)]
        rule = windows_rounded_up if self.rounds_up else windows_rounded_down
        sizes = [rule(shape[2 + i], self.kernel[i], self.stride[i], self.pad[i]) for i in (0, 1)]
        if any(self.pad):
            sizes = [without_window_in_padding(sizes[i], shape[2 + i], self.stride[i], self.pad[i]) for i in (0, 1)]
        require(
            min(sizes) >= 1,
            f"the kernel {format_shape(self.kernel)} does not fit the bottom {format_shape(shape)}",
        )
        return [(*shape[:2], *sizes)]

    def _overhang(self, before: Shape, after: Shape) -> tuple[int, int]:
        """By how much the last window of each axis goes beyond the input's end; negative where it ends before."""
        ends = [
            (int(after[2 + i]) - 1) * self.stride[i] + self.kernel[i] - self.pad[i] - int(before[2 + i]) for i in (0, 1)
        ]
        return ends[0], ends[1]

    def _follows_free_size(self, node: Node) -> bool:
        return any(map(is_free, node.shape[2:]))

    def _empty_windows(self, node: Node) -> bool:
        """Whether a window starts behind the input's end: only without padding and with a stride above the kernel."""
        return any(h >= k for h, k in zip(self._overhang(node.shape, node.outputs[0].shape), self.kernel, strict=True))

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        if self.global_pooling:
            return g.op("GlobalMaxPool" if self.method == "MAX" else "GlobalAveragePool", x[0])
        attributes: dict[str, Any] = {"kernel_shape": self.kernel, "strides": self.stride}
        name = "MaxPool" if self.method == "MAX" else "AveragePool"
        if self.method == "AVE":
            attributes["count_include_pad"] = 1
        if self._follows_free_size(node):
            # The overhang depends on a size nobody knows yet; ceil_mode decides it at run time.
            return g.op(name, x[0], pads=self.pad * 2, ceil_mode=int(self.rounds_up), **attributes)
        ends = [max(end, 0) for end in self._overhang(node.shape, node.outputs[0].shape)]
        if self._empty_windows(node):
            return self._onnx_with_empty_windows(g, node, x[0], ends)
        if self.method == "MAX":
            return g.op(name, x[0], pads=(*self.pad, *ends), **attributes)
        return self._onnx_average(g, x[0], ends, attributes)

    def _onnx_average(self, g: OnnxOps, x: str, ends: list[int], attributes: dict[str, Any]) -> str:
        """Averages whose divisor is the window clipped to the image padded on both sides by `pad`.

        What hangs over that image's end must not count, so the image is padded by an operator of its own, and the rest
        is padding that the average leaves out.
        """
        over = [max(end - pad, 0) for end, pad in zip(ends, self.pad, strict=True)]
        if not any(over):
            return g.op("AveragePool", x, pads=(*self.pad, *ends), **attributes)
        if any(self.pad):
            pads = g.ints([0, 0, *self.pad, 0, 0, *self.pad], "pads")
            x = g.op("Pad", x, pads, g.scalar(0.0, "zero"), mode="constant")
        return g.op("AveragePool", x, **{**attributes, "pads": (0, 0, *over), "count_include_pad": 0})

    def _onnx_with_empty_windows(self, g: OnnxOps, node: Node, x: str, ends: list[int]) -> str:
        fill = LEAST if self.method == "MAX" else 0.0
        pads = g.ints([0, 0, *self.pad, 0, 0, *ends], "pads")
        x = g.op("Pad", x, pads, g.scalar(fill, "fill"), mode="constant")
        if self.method == "MAX":
            return g.op("MaxPool", x, kernel_shape=self.kernel, strides=self.stride)
        y = g.op("AveragePool", x, kernel_shape=self.kernel, strides=self.stride)
        return g.op("Mul", y, g.constant(self._divisor_ratio(node), "ratio"))

    def _divisor_ratio(self, node: Node) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        """Full window over Caffe's divisor at every output position, 1×1×H×W."""
        extents = []
        for i in (0, 1):
            size, k, s, p = int(node.shape[2 + i]), self.kernel[i], self.stride[i], self.pad[i]
            start = np.arange(int(node.outputs[0].shape[2 + i])) * s - p
            extents.append(np.minimum(start + k, size + p) - start)
        with np.errstate(divide="ignore"):
            ratio = count(self.kernel) / (extents[0][:, None] * extents[1][None, :]).astype(np.float64)
        return ratio[None, None].astype(np.float32)

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        if self.global_pooling:
            return f"{t.module('nn.AdaptiveMaxPool2d' if self.method == 'MAX' else 'nn.AdaptiveAvgPool2d', 1)}({x[0]})"
        # torch drops a window behind the input even where Caffe doesn't, and allows only half a kernel of padding.
        if self._empty_windows(node) or any(2 * p > k for p, k in zip(self.pad, self.kernel, strict=True)):
            return self._torch_by_hand(t, node, x[0])
        keywords: dict[str, Any] = {"stride": _compact(self.stride)}
        if any(self.pad):
            keywords["padding"] = _compact(self.pad)
        if self.rounds_up:
            keywords["ceil_mode"] = True
        name = "nn.MaxPool2d" if self.method == "MAX" else "nn.AvgPool2d"
        return f"{t.module(name, _compact(self.kernel), **keywords)}({x[0]})"

    def _torch_by_hand(self, t: TorchOps, node: Node, x: str) -> str:
        top, left = self.pad
        bottom, right = self._overhang(node.shape, node.outputs[0].shape)
        fill = LEAST if self.method == "MAX" else 0.0
        padded = t.let("padded", f"F.pad({x}, ({left}, {right}, {top}, {bottom}), value={fill!r})")
        if self.method == "MAX":
            return f"F.max_pool2d({padded}, {self.kernel}, {self.stride})"
        ratio = t.module("Constant", tuple(node.outputs[0].shape[2:]), state={"value": self._divisor_ratio(node)[0, 0]})
        t.helper("Constant", CONSTANT)
        return f"F.avg_pool2d({padded}, {self.kernel}, {self.stride}) * {ratio}()"


CONSTANT = '''
class Constant(nn.Module):
    """A fixed array."""

    def __init__(self, shape):
        super().__init__()
        self.register_buffer("value", torch.zeros(shape))

    def forward(self):
        return self.value
'''


def _compact(pair: tuple[int, int]) -> int | tuple[int, int]:
    return pair[0] if pair[0] == pair[1] else pair


def _method(name: str) -> PoolMethod:
    return "MAX" if name == "MAX" else "AVE"


def _rounds_up(p: PoolingParameter) -> bool:
    """BVLC's round_mode and a fork's ceil_mode say the same with opposite numbers."""
    if p.HasField("ceil_mode"):
        return bool(p.ceil_mode)
    return p.round_mode == PoolingParameter.CEIL
