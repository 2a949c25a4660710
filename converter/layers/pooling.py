"""Pooling over windows (Caffe: pooling_layer.cpp)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from converter.graph import Shape, count, format_shape, is_free
from converter.layers.base import OnnxOps, TorchOps, fault, register, require, unsupported
from converter.layers.shared.dilated_pooling import DilatedPooling
from converter.layers.shared.fixed import CONSTANT
from converter.layers.shared.sizes import FLOAT, int_size
from converter.matching.operation import Operation
from converter.matching.operation import pooling as pooling_operation
from converter.node import Layer, Node, by_message_alone
from prototxt import NetLayer
from prototxt.caffe_pb2 import PoolingParameter

if TYPE_CHECKING:
    import numpy.typing as npt

LEAST = float(np.finfo(np.float32).min)

DRAWN = "pool STOCHASTIC draws at random in training, and only on a GPU"
PoolMethod = Literal["MAX", "AVE", "AVE_EXC_PAD", "STOCHASTIC"]
Pair = tuple[int, int]


def windows_rounded_up(size: int, kernel: int, stride: int, pad: int) -> int:
    """Caffe's own rule: a last window may hang over the end. `pad` is that of both ends together."""
    return -(-(size + pad - kernel) // stride) + 1


def windows_rounded_down(size: int, kernel: int, stride: int, pad: int) -> int:
    """The rule of convolution, and of pooling with round_mode FLOOR."""
    return (size + pad - kernel) // stride + 1


def without_window_in_padding(windows: int, size: int, stride: int, pad: int) -> int:
    """Caffe drops a last window that would start behind the input, on both axes as soon as one of them has padding."""
    return windows - 1 if (windows - 1) * stride >= size + pad else windows


@register
class Pooling(Layer):
    """Max or average over a window (Caffe: pooling_layer.cpp).

    Output sizes round *up*, and a last window that would start in the padding is dropped, where convolution rounds
    down. AVE divides by the window clipped to the padded image, so windows that hang over its end divide by less;
    AVE_EXC_PAD (Synopsys' fork; AVE with Intel's `avg_include_pad: false`) by what lies in the image. A second top of
    MAX has the place of each maximum, the first one in scan order, as row · width + column, and -1 for a window behind
    the image. STOCHASTIC is what Caffe does in phase TEST: each value weighted by its share of the window's sum, or 0
    where that is not positive. Synopsys' `pad_l`, `pad_r`, `pad_t` and `pad_b` pad each side by an amount of its own;
    `pad_type` 1 by what size / stride windows need, rounded up, the odd one behind the image: TensorFlow's SAME. With
    `dilation` it is Greentea's, whose windows leave gaps and lie over any axes (`shared/dilated_pooling.py`).

    ChenYingpeng's darknet2caffe has a pooling_layer.cpp for YOLOv3-tiny, which adds a window to each axis where the
    kernel less the stride is odd; of a maximum of 2×2 at stride 1, what one more row and column behind the image make.

    BVLC's layer refuses volumes, N×C×D×H×W; in forks for them (DlutMedimgGroup's) it pools them by the same rule. Of
    these a maximum is taken that has one number for all axes and no padding.
    """

    types = ("Pooling",)
    tops = (1, 2)
    read_as = (DilatedPooling,)
    method: PoolMethod = "MAX"
    kernel: Pair = (1, 1)
    stride: Pair = (1, 1)
    pad: Pair = (0, 0)
    pad_end: Pair = (0, 0)
    global_pooling: bool = False
    rounds_up: bool = True
    same: bool = False

    @classmethod
    @by_message_alone
    def read(cls, source: NetLayer) -> Pooling | DilatedPooling:
        p, section = source.param.pooling_param, "pooling_param"
        if p.dilation or p.HasField("kernel_shape") or p.HasField("stride_shape") or p.HasField("pad_shape"):
            return DilatedPooling.read(source)
        method = _METHODS[p.pool]
        if p.axis not in (1, -3):
            raise unsupported(source, f"axis is {p.axis}; expected 1, the channels of N×C×H×W", section, "axis")
        if not p.avg_include_pad:
            if p.engine in (PoolingParameter.CAFFE, PoolingParameter.CUDNN):
                message = "avg_include_pad: false with an engine that leaves it out; expected MKL2017 or MKLDNN"
                raise unsupported(source, message, section, "avg_include_pad")
            method = "AVE_EXC_PAD" if method == "AVE" else method
        if len(source.tops) > 1 and method != "MAX":
            raise fault(source, f"a second top with pool {method}; expected MAX", section, "pool")
        if p.pad_type > 1:
            raise fault(source, f"pad_type is {p.pad_type}; expected 0 or 1", section, "pad_type")
        kernel = _read_kernel(source, p)
        if p.global_pooling and (p.HasField("kernel_size") or p.HasField("kernel_h") or p.HasField("kernel_w")):
            raise fault(source, "both global_pooling and a kernel size are given; expected one of them", section)
        if not p.global_pooling and min(kernel) < 1:
            raise fault(source, f"the kernel is {kernel[0]}×{kernel[1]}; expected at least 1×1", section, "kernel_size")
        stride = _read_pair(source, p, "stride")
        if min(stride) < 1:
            raise fault(source, f"the stride is {stride[0]}×{stride[1]}; expected at least 1×1", section, "stride")
        pad, end = _read_pads(source, p)
        if source.dialect == "darknet2caffe" and _has_further_window(source, kernel, stride, any(pad + end)):
            end = (1, 1)
        if p.pad_type and any(p.HasField(name) for name in ("pad", "pad_h", "pad_w", *_SIDES)):
            raise fault(source, "both pad_type and another pad are given; expected one of them", section, "pad_type")
        if p.global_pooling and (any(pad + end) or stride != (1, 1)):
            raise fault(source, f"global_pooling with pad {pad} and stride {stride}; expected pad 0, stride 1", section)
        if not p.global_pooling and any(a >= k or b >= k for a, b, k in zip(pad, end, kernel, strict=True)):
            message = f"pad {pad[0]}×{pad[1]} is not smaller than the kernel {kernel[0]}×{kernel[1]}"
            raise fault(source, message, section, "pad")
        if method == "STOCHASTIC" and any(pad + end):
            raise fault(source, "padding with pool STOCHASTIC; expected none", section, "pad")
        if p.pad_type and (method == "STOCHASTIC" or p.global_pooling):
            raise fault(source, "pad_type with global_pooling or pool STOCHASTIC; expected none", section, "pad_type")
        return cls(method, kernel, stride, pad, end, p.global_pooling, _rounds_up(p), bool(p.pad_type))

    @property
    def untrainable(self) -> str:
        return DRAWN if self.method == "STOCHASTIC" else ""

    def check_any_size(self, source: NetLayer) -> None:
        """At some sizes of the image Caffe puts the last window wholly behind it, which no runtime does."""
        if self.global_pooling or not self.rounds_up or any(self.pad + self.pad_end):
            return
        if any(stride > kernel for stride, kernel in zip(self.stride, self.kernel, strict=True)):
            message = "its stride is above its kernel, so a window may lie wholly behind an image"
            raise unsupported(source, message, "pooling_param")

    def apart_from_rounding(self) -> Pooling:
        return replace(self, rounds_up=True)

    def _around(self, shape: Shape) -> Pooling:
        """With the padding that SAME needs around an image of this shape."""
        if not self.same:
            return self
        require(not any(map(is_free, shape[2:])), "pad_type 1 follows the image's size; it can't be left free")
        spans = zip(map(int, shape[2:]), self.kernel, self.stride, strict=True)
        pads = [max(k - (size % s or s), 0) for size, k, s in spans]
        before, behind = (pads[0] // 2, pads[1] // 2), (-(-pads[0] // 2), -(-pads[1] // 2))
        return replace(self, pad=before, pad_end=behind, rounds_up=False, same=False)

    def _over_volumes(self, tops: int = 1) -> DilatedPooling:
        one = self.kernel[0] == self.kernel[1] >= self.stride[0] == self.stride[1]
        plain = not any(self.pad + self.pad_end) and self.rounds_up and not self.same
        usual = plain and (one or self.global_pooling) and tops == 1
        require(usual, "of volumes is known one kernel, one stride within it, no padding and one top")
        require(self.method in ("MAX", "AVE"), f"pool {self.method} of volumes; expected MAX or AVE")
        method: Literal["MAX", "AVE"] = "MAX" if self.method == "MAX" else "AVE"
        return DilatedPooling(method, self.kernel[:1], self.stride[:1], (0,), (), self.global_pooling)

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        shape = inputs[0]
        if len(shape) == 5:
            return self._over_volumes().infer(inputs)
        require(len(shape) == 4, f"the bottom is {format_shape(shape)}; expected 4 axes (N×C×H×W)")
        if self.same:
            return self._around(shape).infer(inputs)
        if self.global_pooling:
            return [(*shape[:2], 1, 1)] * 2
        for size, k, s in zip(shape[2:], self.kernel, self.stride, strict=True):
            sizeable = not is_free(size) or s <= k or not self.rounds_up or any((*self.pad, *self.pad_end))
            require(
                sizeable,
                f"with stride {s} above kernel {k} Caffe's last window may lie behind the input, and no runtime's "
                "does; give height and width",
            )
        rule = windows_rounded_up if self.rounds_up else windows_rounded_down
        pads = [self.pad[i] + self.pad_end[i] for i in (0, 1)]
        sizes = [rule(shape[2 + i], self.kernel[i], self.stride[i], pads[i]) for i in (0, 1)]
        if any(pads):
            sizes = [without_window_in_padding(sizes[i], shape[2 + i], self.stride[i], self.pad[i]) for i in (0, 1)]
        require(
            min(sizes) >= 1,
            f"the kernel {format_shape(self.kernel)} does not fit the bottom {format_shape(shape)}",
        )
        return [(*shape[:2], *sizes)] * 2

    def computes(self, node: Node) -> Operation:
        if self.same:
            return self._around(node.shape).computes(node)
        if self.method == "STOCHASTIC" or len(node.outputs) > 1 or len(node.shape) == 5:
            return super().computes(node)
        size, windows = (tuple(map(int, value.shape[2:])) for value in (node.inputs[0], node.outputs[0]))
        return pooling_operation(
            "maximum" if self.method == "MAX" else "average",
            size,
            size if self.global_pooling else self.kernel,
            self.stride,
            tuple(zip(self.pad, self.pad_end, strict=True)),
            windows,
            counts_padding=self.method == "AVE",
        )

    def _overhang(self, node: Node) -> list[int]:
        """By how much the last window of each axis goes beyond the input's end; negative where it ends before."""
        before, after = node.shape[2:], node.outputs[0].shape[2:]
        return [(int(after[i]) - 1) * self.stride[i] + self.kernel[i] - self.pad[i] - int(before[i]) for i in (0, 1)]

    def _empty_windows(self, node: Node) -> bool:
        """Whether a window starts behind the input's end: only without padding and with a stride above the kernel."""
        return any(h >= k for h, k in zip(self._overhang(node), self.kernel, strict=True))

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> list[str]:
        if len(node.shape) == 5:
            return self._over_volumes(len(node.outputs)).onnx(g, node, *x)
        if self.same:
            return self._around(node.shape).onnx(g, node, *x)
        if self.method == "STOCHASTIC":
            squares = self._onnx_average(g, node, g.op("Mul", x[0], x[0]))
            total = self._onnx_average(g, node, x[0])
            zero = g.scalar(0.0, "zero")
            return [g.op("Where", g.op("Greater", total, zero), g.op("Div", squares, total), zero)]
        if self.method != "MAX":
            return [self._onnx_average(g, node, x[0])]
        if len(node.outputs) == 2:
            return self._onnx_with_mask(g, node, x[0])
        if self.global_pooling:
            return [g.op("GlobalMaxPool", x[0])]
        if self._empty_windows(node):
            return [g.op("MaxPool", self._onnx_padded(g, node, x[0], LEAST), **self._window())]
        return [g.op("MaxPool", x[0], **self._window(), **self._reach(node))]

    def _window(self) -> dict[str, Any]:
        return {"kernel_shape": self.kernel, "strides": self.stride}

    def _reach(self, node: Node) -> dict[str, Any]:
        """Where the windows end: exact pads, or where a size is free, `ceil_mode`, which decides at run time."""
        if any(map(is_free, node.shape[2:])):
            return {"pads": (*self.pad, *self.pad_end), "ceil_mode": int(self.rounds_up)}
        return {"pads": (*self.pad, *(max(end, 0) for end in self._overhang(node)))}

    def _onnx_with_mask(self, g: OnnxOps, node: Node, x: str) -> list[str]:
        if self.global_pooling:
            flat = g.op("Reshape", x, g.ints([0, 0, -1], "shape"))
            place = g.unsqueeze(g.op("ArgMax", flat, axis=2, keepdims=1), [3])
            return [g.op("GlobalMaxPool", x), g.op("Cast", place, to=FLOAT)]
        if self._empty_windows(node):
            return self._onnx_with_empty_mask(g, node, x)
        # ONNX counts places through the whole tensor, Caffe from the start of each plane.
        y, place = g.multi("MaxPool", x, outputs=2, **self._window(), **self._reach(node))
        plane = g.op("Mul", int_size(g, x, node.shape, 2), int_size(g, x, node.shape, 3))
        return [y, g.op("Cast", g.op("Mod", place, plane), to=FLOAT)]

    def _onnx_with_empty_mask(self, g: OnnxOps, node: Node, x: str) -> list[str]:
        """The image is widened until it holds every window; places in it become places in the image."""
        height, width = (
            int(size) + max(end, 0) for size, end in zip(node.shape[2:], self._overhang(node), strict=True)
        )
        y, place = g.multi("MaxPool", self._onnx_padded(g, node, x, LEAST), outputs=2, **self._window())
        whole = {name: g.constant(np.asarray(v, np.int64), name) for name, v in (("height", height), ("width", width))}
        row = g.op("Mod", g.op("Div", place, whole["width"]), whole["height"])
        own = g.constant(np.asarray(int(node.shape[3]), np.int64), "own_width")
        inside = g.op("Cast", g.op("Add", g.op("Mul", row, own), g.op("Mod", place, whole["width"])), to=FLOAT)
        empty = g.op("Equal", y, g.scalar(LEAST, "least"))
        return [y, g.op("Where", empty, g.scalar(-1.0, "nowhere"), inside)]

    def _onnx_average(self, g: OnnxOps, node: Node, x: str) -> str:
        """Averages whose divisor is the window clipped to the image padded on both sides.

        What hangs over that image's end must not count, so the image is padded by an operator of its own, and the rest
        is padding that the average leaves out.
        """
        if self.global_pooling:
            return g.op("GlobalAveragePool", x)
        if self._empty_windows(node):
            y = g.op("AveragePool", self._onnx_padded(g, node, x, 0.0), **self._window())
            return g.op("Mul", y, g.constant(self._divisor_ratio(node), "ratio"))
        reach = self._reach(node)
        over = [max(h - p, 0) for h, p in zip(self._overhang(node), self.pad_end, strict=True)]
        if self.method == "AVE_EXC_PAD" or "ceil_mode" in reach or not any(over):
            counted = int(self.method != "AVE_EXC_PAD")
            return g.op("AveragePool", x, **self._window(), **reach, count_include_pad=counted)
        if any(self.pad + self.pad_end):
            pads = g.ints([0, 0, *self.pad, 0, 0, *self.pad_end], "pads")
            x = g.op("Pad", x, pads, g.scalar(0.0, "zero"), mode="constant")
        return g.op("AveragePool", x, **self._window(), pads=(0, 0, *over), count_include_pad=0)

    def _onnx_padded(self, g: OnnxOps, node: Node, x: str, fill: float) -> str:
        ends = [max(end, 0) for end in self._overhang(node)]
        pads = g.ints([0, 0, *self.pad, 0, 0, *ends], "pads")
        return g.op("Pad", x, pads, g.scalar(fill, "fill"), mode="constant")

    def _divisor_ratio(self, node: Node) -> npt.NDArray[np.float32]:
        """Full window over Caffe's divisor at every output position, 1×1×H×W."""
        extents = []
        for i in (0, 1):
            size, k, s, p = int(node.shape[2 + i]), self.kernel[i], self.stride[i], self.pad[i]
            start = np.arange(int(node.outputs[0].shape[2 + i])) * s - p
            if self.method == "AVE_EXC_PAD":
                extents.append(np.minimum(start + k, size) - np.maximum(start, 0))
            else:
                extents.append(np.minimum(start + k, size + self.pad_end[i]) - start)
        divisor = (extents[0][:, None] * extents[1][None, :]).astype(np.float64)
        with np.errstate(divide="ignore"):
            ratio: npt.NDArray[np.float32] = (count(self.kernel) / divisor)[None, None].astype(np.float32)
        return ratio

    def torch(self, t: TorchOps, node: Node, *x: str) -> list[str]:
        if len(node.shape) == 5:
            return self._over_volumes(len(node.outputs)).torch(t, node, *x)
        if self.same:
            return self._around(node.shape).torch(t, node, *x)
        if self.method == "STOCHASTIC":
            return self._torch_weighted(t, node, x[0])
        if self._by_hand(node):
            return self._torch_by_hand(t, node, x[0])
        if self.method != "MAX":
            keywords = {"count_include_pad": False} if self.method == "AVE_EXC_PAD" else {}
            return [f"{self._torch_module(t, node, 'nn.AvgPool2d', 'nn.AdaptiveAvgPool2d', keywords)}({x[0]})"]
        mask = {"return_indices": True} if len(node.outputs) == 2 else {}
        y = f"{self._torch_module(t, node, 'nn.MaxPool2d', 'nn.AdaptiveMaxPool2d', mask)}({x[0]})"
        if not mask:
            return [y]
        both = t.let("with_places", y)
        return [f"{both}[0]", f"{both}[1].to({x[0]}.dtype)"]

    def _torch_weighted(self, t: TorchOps, node: Node, x: str) -> list[str]:
        if self._empty_windows(node):
            x = t.let("padded", self._torch_padded(node, x, 0.0))
            squares, total = (f"F.avg_pool2d({v}, {self.kernel}, {self.stride})" for v in (f"{x} * {x}", x))
        else:
            pool = self._torch_module(t, node, "nn.AvgPool2d", "nn.AdaptiveAvgPool2d", {})
            squares, total = f"{pool}({x} * {x})", f"{pool}({x})"
        total = t.let("total", total)
        return [f"({squares} / {total}).where({total} > 0, 0.0)"]

    def _by_hand(self, node: Node) -> bool:
        """torch drops a window behind the input even where Caffe doesn't, and allows only half a kernel of padding."""
        if self.global_pooling:
            return False
        beyond = any(2 * p > k for p, k in zip(self.pad, self.kernel, strict=True))
        return beyond or self.pad != self.pad_end or self._empty_windows(node)

    def _torch_module(self, t: TorchOps, node: Node, name: str, over_all: str, keywords: dict[str, Any]) -> str:
        if self.global_pooling:
            return t.module(over_all, 1, **{k: v for k, v in keywords.items() if k == "return_indices"})
        options: dict[str, Any] = {"stride": _compact(self.stride)}
        if any(self.pad):
            options["padding"] = _compact(self.pad)
        if self.rounds_up:
            options["ceil_mode"] = True
        return t.module(name, _compact(self.kernel), **options, **keywords)

    def _torch_padded(self, node: Node, x: str, fill: float) -> str:
        fixed = not any(map(is_free, node.shape[2:]))
        require(fixed, "the image's size can't be left free with this padding; PyTorch has no pooling of that kind")
        (top, left), (bottom, right) = self.pad, self._overhang(node)
        return f"F.pad({x}, ({left}, {right}, {top}, {bottom}), value={fill!r})"

    def _torch_by_hand(self, t: TorchOps, node: Node, x: str) -> list[str]:
        padded = t.let("padded", self._torch_padded(node, x, LEAST if self.method == "MAX" else 0.0))
        if self.method != "MAX":
            ratio = self._divisor_ratio(node)[0, 0]
            t.helper("Constant", CONSTANT)
            constant = t.module("Constant", tuple(map(int, ratio.shape)), state={"value": ratio})
            return [f"F.avg_pool2d({padded}, {self.kernel}, {self.stride}) * {constant}()"]
        if len(node.outputs) == 1:
            return [f"F.max_pool2d({padded}, {self.kernel}, {self.stride})"]
        (top, left), right = self.pad, self._overhang(node)[1]
        both = t.let("with_places", f"F.max_pool2d({padded}, {self.kernel}, {self.stride}, return_indices=True)")
        width, padded_width = int(node.shape[3]), int(node.shape[3]) + left + right
        row, column = f"({both}[1] // {padded_width} - {top})", f"({both}[1] % {padded_width} - {left})"
        places = f"({row} * {width} + {column}).to({x}.dtype)"
        if self._empty_windows(node):
            places += f".where({both}[0] > {LEAST!r}, -1.0)"
        return [f"{both}[0]", places]


_METHODS: dict[int, PoolMethod] = {
    PoolingParameter.MAX: "MAX",
    PoolingParameter.AVE: "AVE",
    PoolingParameter.STOCHASTIC: "STOCHASTIC",
    PoolingParameter.AVE_EXC_PAD: "AVE_EXC_PAD",
}
_SIDES = ("pad_t", "pad_l", "pad_b", "pad_r")


def _read_kernel(source: NetLayer, p: PoolingParameter) -> Pair:
    """Caffe looks at `kernel_h` and `kernel_w` where both stand; one beside `kernel_size` counts for nothing."""
    if p.HasField("kernel_size") and p.HasField("kernel_h") != p.HasField("kernel_w"):
        return p.kernel_size, p.kernel_size
    return _read_pair(source, p, "kernel", "kernel_size")


def _read_pair(source: NetLayer, p: PoolingParameter, name: str, both: str = "") -> Pair:
    """What one field says for rows and columns, or two for each: never all of them, never one of the two."""
    both, each = both or name, (f"{name}_h", f"{name}_w")
    given = [field for field in each if p.HasField(field)]
    if not given:
        return getattr(p, both), getattr(p, both)
    if p.HasField(both):
        message = f"both {both} and {' and '.join(given)} are given; expected one of them"
        raise fault(source, message, "pooling_param", given[0])
    if len(given) < 2:
        raise fault(source, f"{given[0]} alone; expected {each[0]} and {each[1]} together", "pooling_param", given[0])
    return getattr(p, each[0]), getattr(p, each[1])


def _read_pads(source: NetLayer, p: PoolingParameter) -> tuple[Pair, Pair]:
    """Rows and columns of padding before the image, and behind it."""
    pad = _read_pair(source, p, "pad")
    top, left, bottom, right = (getattr(p, name) for name in _SIDES)
    if not (top or left or bottom or right):
        return pad, pad
    if any(p.HasField(name) for name in ("pad", "pad_h", "pad_w")):
        given = next(name for name in _SIDES if getattr(p, name))
        raise fault(source, f"both pad and {given} are given; expected one of them", "pooling_param", given)
    return (top, left), (bottom, right)


def _has_further_window(source: NetLayer, kernel: Pair, stride: Pair, padded: bool) -> bool:
    """Whether darknet2caffe makes one window more, by the rows alone: of all images of this kernel and stride."""
    p = source.param.pooling_param
    if not p.global_pooling and (kernel[0] < stride[0] or (kernel[0] - stride[0]) % 2 == 0):
        return False
    if p.global_pooling or padded or (p.pool, kernel, stride) != (PoolingParameter.MAX, (2, 2), (1, 1)):
        message = (
            "one window more, as darknet2caffe's fork has it; known only for MAX of 2×2 at stride 1 without padding"
        )
        raise unsupported(source, message, "pooling_param")
    return True


def _compact(pair: Pair) -> int | Pair:
    return pair[0] if pair[0] == pair[1] else pair


def _rounds_up(p: PoolingParameter) -> bool:
    """BVLC's round_mode and a fork's ceil_mode say the same with opposite numbers."""
    by_mode = p.round_mode == PoolingParameter.CEIL
    return bool(p.ceil_mode) if p.HasField("ceil_mode") else by_mode
