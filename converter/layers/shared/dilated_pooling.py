"""Pooling over any axes, whose windows may leave gaps (naibaf7's Greentea fork, R-C3D's, ECO's: pooling_layer.cpp).

reach    = (kernel - 1) · dilation + 1
windows  = ceil((size + 2 pad - reach) / stride) + 1,  one less on a padded axis whose last would start behind it
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from converter.graph import Shape, count, format_shape, is_free
from converter.layers.base import OnnxOps, TorchOps, fault, require, unsupported
from converter.layers.shared.fixed import CONSTANT
from converter.layers.shared.sizes import FLOAT
from converter.node import Layer, Node
from prototxt import NetLayer
from prototxt.caffe_pb2 import BlobShape, PoolingParameter

LEAST = float(np.finfo(np.float32).min)
Numbers = tuple[int, ...]


class DilatedPooling(Layer):
    """The Pooling of Greentea's fork, which a layer's `dilation` tells: `dilation` steps between a window's values.

    Of `kernel`, `stride`, `pad` and `dilation` there is one number for all axes behind the channels, or one for each.
    AVE divides by how many of a window's values lie in the padded image, and is for two axes only: over others the
    fork's GPU code, which alone heeds the dilation, knows MAX. A second top has the places of the maxima, counted
    through all axes, and -1 for a window that lies outside.

    Without `dilation` it is that of the forks for films and volumes. There cuDNN takes the average, and divides by the
    whole window; what by where a window hangs over the padded end, their sources do not say: that is refused.
    """

    tops = (1, 2)
    method: Literal["MAX", "AVE"] = "MAX"
    kernel: Numbers = (1,)
    stride: Numbers = (1,)
    pad: Numbers = (0,)
    dilation: Numbers = ()
    global_pooling: bool = False

    @classmethod
    def read(cls, source: NetLayer) -> DilatedPooling:
        p, section = source.param.pooling_param, "pooling_param"
        if p.axis != 1:
            raise unsupported(source, f"axis is {p.axis}; expected 1, the channels", section, "axis")
        if p.pool not in (PoolingParameter.MAX, PoolingParameter.AVE):
            name = PoolingParameter.PoolMethod.Name(p.pool)
            raise unsupported(source, f"pool {name} over any axes; expected MAX or AVE", section, "pool")
        average = p.pool == PoolingParameter.AVE
        if average and len(source.tops) > 1:
            raise fault(source, "a second top with pool AVE; expected MAX", section, "pool")
        given = [name for name in ("kernel_size", "kernel_shape", "kernel_h", "kernel_w") if p.HasField(name)]
        if p.global_pooling and given:
            raise fault(source, "both global_pooling and a kernel size are given; expected one of them", section)
        kernel = (1,) if p.global_pooling else _read(source, "kernel", 1)
        stride, pad = _read(source, "stride", 1), _read(source, "pad", 0)
        dilation = tuple(p.dilation)
        if min(dilation, default=1) < 1:
            raise fault(source, f"dilation is {format_shape(dilation)}; expected at least 1", section, "dilation")
        return cls("AVE" if average else "MAX", kernel, stride, pad, dilation, p.global_pooling)

    def _each(self, name: str, shape: Shape) -> Numbers:
        """One of the four, with a number for each axis behind the channels."""
        if name == "kernel" and self.global_pooling:
            return tuple(map(int, shape[2:]))
        numbers: Numbers = getattr(self, name) or (1,)
        return numbers * (len(shape) - 2) if len(numbers) == 1 else numbers

    def _reach(self, shape: Shape) -> Numbers:
        pairs = zip(self._each("kernel", shape), self._each("dilation", shape), strict=True)
        return tuple((k - 1) * d + 1 for k, d in pairs)

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        shape = inputs[0]
        axes = len(shape) - 2
        require(axes > 0, f"the bottom is {format_shape(shape)}; expected 3 axes or more")
        require(not any(map(is_free, shape[2:])), "its windows follow the sizes behind the channels; give them")
        for name in ("kernel", "stride", "pad", "dilation"):
            given = len(getattr(self, name) or (1,))
            require(given in (1, axes), f"{name} has {given} numbers for {axes} axes; expected 1 or {axes}")
        coded = self.method == "MAX" or axes == 2 or not self.dilation
        require(coded, f"pool AVE over {axes} axes with dilation, for which its fork has no code")
        spans = zip(shape[2:], self._reach(shape), self._each("stride", shape), self._each("pad", shape), strict=True)
        sizes = []
        for size, reach, stride, pad in spans:
            windows = -(-(int(size) + 2 * pad - reach) // stride) + 1
            if pad and (windows - 1) * stride >= int(size) + pad:
                windows -= 1
            require(windows > 0, f"a window of {reach} does not fit the bottom {format_shape(shape)}")
            within = not pad or (windows - 1) * stride < int(size) + pad
            require(within, f"with pad {pad} two windows would start behind {size} values, which its fork refuses")
            over = (windows - 1) * stride + reach > int(size) + 2 * pad
            known = self.method == "MAX" or bool(self.dilation) or not over
            require(known, "a window hangs over the end, and the source does not say what its average divides by there")
            sizes.append(windows)
        return [(*shape[:2], *sizes)] * 2

    def _overhang(self, node: Node) -> list[int]:
        """How much of padding each axis needs behind it, for its last window to end there."""
        shape, windows = node.shape, node.outputs[0].shape[2:]
        last = [(int(n) - 1) * s - p for n, s, p in zip(windows, *self._steps(shape), strict=True)]
        return [max(at + r - int(n), 0) for at, r, n in zip(last, self._reach(shape), shape[2:], strict=True)]

    def _steps(self, shape: Shape) -> tuple[Numbers, Numbers]:
        return self._each("stride", shape), self._each("pad", shape)

    def _factor(self, node: Node) -> npt.NDArray[np.float32]:
        """One over how many values of each window lie in the padded image, 1×1×H×W."""
        counts: list[npt.NDArray[np.float64]] = []
        shape = node.shape
        for axis, (stride, pad) in enumerate(zip(*self._steps(shape), strict=True)):
            starts = np.arange(int(node.outputs[0].shape[2 + axis])) * stride
            steps = np.arange(self._each("kernel", shape)[axis]) * self._each("dilation", shape)[axis]
            inside = starts[:, None] + steps < int(shape[2 + axis]) + 2 * pad
            counts.append(inside.sum(axis=1).astype(np.float64))
        with np.errstate(divide="ignore"):
            return (1 / np.multiply.outer(*counts))[None, None].astype(np.float32)

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> list[str]:
        shape, ends, pad = node.shape, self._overhang(node), self._each("pad", node.shape)
        y = x[0]
        if any(pad) or any(ends):
            fill = g.scalar(LEAST if self.method == "MAX" else 0.0, "fill")
            y = g.op("Pad", y, g.ints([0, 0, *pad, 0, 0, *ends], "pads"), fill, mode="constant")
        window = {"strides": self._each("stride", shape), "dilations": self._each("dilation", shape)}
        if self.method == "AVE" and not self.dilation:
            return [g.op("AveragePool", y, kernel_shape=self._each("kernel", shape), strides=window["strides"])]
        if self.method == "AVE":
            ones = g.constant(self._ones(node), "ones")
            y = g.op("Conv", y, ones, group=int(shape[1]), **window)
            return [g.op("Mul", y, g.constant(self._factor(node), "factor"))]
        window["kernel_shape"] = self._each("kernel", shape)
        if len(node.outputs) == 1:
            return [g.op("MaxPool", y, **window)]
        best, place = g.multi("MaxPool", y, outputs=2, **window)
        padded = [int(size) + p + e for size, p, e in zip(shape[2:], pad, ends, strict=True)]
        own, step, rest = None, 1, g.op("Mod", place, _whole(g, count(padded)))
        for size, wide, before in reversed(list(zip(shape[2:], padded, pad, strict=True))):
            at = g.op("Mul", g.op("Sub", g.op("Mod", rest, _whole(g, wide)), _whole(g, before)), _whole(g, step))
            own = at if own is None else g.op("Add", own, at)
            rest, step = g.op("Div", rest, _whole(g, wide)), step * int(size)
        assert own is not None
        nowhere = g.op("Equal", best, g.scalar(LEAST, "least"))
        return [best, g.op("Where", nowhere, g.scalar(-1.0, "nowhere"), g.op("Cast", own, to=FLOAT))]

    def _ones(self, node: Node) -> npt.NDArray[np.float32]:
        """The kernel of a sum over each window, channel by channel."""
        require(not is_free(node.shape[1]), "the number of channels can't be left free")
        return np.ones((int(node.shape[1]), 1, *self._each("kernel", node.shape)), np.float32)

    def torch(self, t: TorchOps, node: Node, *x: str) -> list[str]:
        shape, ends, pad = node.shape, self._overhang(node), self._each("pad", node.shape)
        axes, y = len(pad), x[0]
        require(axes <= 3, f"{axes} axes behind the channels; PyTorch pools over at most 3")
        if any(pad) or any(ends):
            sides = tuple(side for pair in zip(pad[::-1], ends[::-1], strict=True) for side in pair)
            y = t.let("padded", f"F.pad({y}, {sides}, value={LEAST if self.method == 'MAX' else 0.0!r})")
        kernel, stride, dilation = (self._each(name, shape) for name in ("kernel", "stride", "dilation"))
        if self.method == "AVE" and not self.dilation:
            return [f"F.avg_pool{axes}d({y}, {kernel}, {stride})"]
        if self.method == "AVE":
            t.helper("Constant", CONSTANT)
            ones, factor = (
                f"{t.module('Constant', tuple(map(int, values.shape)), state={'value': values})}()"
                for values in (self._ones(node), self._factor(node))
            )
            return [f"F.conv2d({y}, {ones}, None, {stride}, 0, {dilation}, {int(shape[1])}) * {factor}"]
        called = f"F.max_pool{axes}d({y}, {kernel}, {stride}, 0, {dilation}"
        if len(node.outputs) == 1:
            return [f"{called})"]
        both = t.let("with_places", f"{called}, return_indices=True)")
        own, step, whole = "", 1, 1
        for size, before, end in reversed(list(zip(shape[2:], pad, ends, strict=True))):
            wide = int(size) + before + end
            own += f"{' + ' if own else ''}({both}[1] // {whole} % {wide} - {before}) * {step}"
            step, whole = step * int(size), whole * wide
        return [f"{both}[0]", f"({own}).to({x[0]}.dtype).where({both}[0] > {LEAST!r}, -1.0)"]


def _whole(g: OnnxOps, number: int) -> str:
    return g.constant(np.asarray(number, np.int64), "number")


def _read(source: NetLayer, name: str, least: int) -> Numbers:
    """Kernel, stride or pad: one number, one for each axis, or those of rows and columns; the default is `least`."""
    p, section = source.param.pooling_param, "pooling_param"
    one = "kernel_size" if name == "kernel" else name
    rows, columns = f"{name}_h", f"{name}_w"
    sides = [side for side in (rows, columns) if p.HasField(side)]
    shape: BlobShape = getattr(p, f"{name}_shape")
    several, single = bool(shape.dim), p.HasField(one)
    if several and single:
        raise fault(source, f"both {one} and {name}_shape are given; expected one of them", section, one)
    if (several or single) and (len(sides) == 2 or (sides and name != "kernel")):
        raise fault(source, f"both {one} and {sides[0]} are given; expected one of them", section, sides[0])
    if several:
        numbers = tuple(shape.dim)
    elif single:
        numbers = (getattr(p, one),)
    elif not sides:
        numbers = (least,) if name != "kernel" else (0,)
    else:
        numbers = (getattr(p, rows), getattr(p, columns))
    if min(numbers) < least:
        raise fault(source, f"{one} is {format_shape(numbers)}; expected at least {least}", section, one)
    return numbers
