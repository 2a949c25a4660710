"""Deformable convolution: each value of a kernel is read where a second bottom moves it to.

    y[o, p] = sum over c, k of W[o, c, k] x[c, at stride·p + dilation·k - pad + offset[k, p]] + b[o]

Between pixels x is interpolated. The first version (unsky's fork: deformable_conv_layer.cu, deformable_im2col.cu) is 0
outside 0 ≤ place < size and repeats the last pixel up to there; the second (zhanglonghao1992's) fades to 0 over one
pixel on each side, which is what ONNX's DeformConv does, and multiplies by a third bottom.

Offsets of N×(groups · kernel · 2)×H×W, row before column, must have the bottom's own H×W; the code reads them in steps
of the top's size, so where that is smaller the values stand one after the other in the first part of an item.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from converter.graph import Shape, count, format_shape, is_free
from converter.layers.base import OnnxOps, TorchOps, fault, filler, register, require
from converter.layers.convolution import Window, _h_w_or_repeated
from converter.layers.shared.between import Edge, onnx_neighbours
from converter.layers.shared.sizes import FLOAT
from converter.node import Layer, Parameter
from prototxt import NetLayer
from prototxt.caffe_pb2 import FillerParameter

if TYPE_CHECKING:
    from converter.node import Node


@register
class DeformableConvolution(Layer):
    """A convolution that reads x where the second bottom's offsets point (unsky's fork: deformable_conv_layer.cpp).

    How many groups of channels have offsets of their own, the offsets' channels tell; `deformable_group` has another
    default in each fork, and is only compared.
    """

    types: ClassVar[tuple[str, ...]] = ("DeformableConvolution",)
    bottoms: ClassVar[tuple[int, int]] = (2, 2)
    section: ClassVar[str] = "deformable_convolution_param"
    edge: ClassVar[Edge] = "repeated"
    num_output: int
    window: Window
    group: int = 1
    deformable_group: int = 0
    bias_term: bool = True
    fillers: tuple[FillerParameter | None, FillerParameter | None] = field(default=(None, None), repr=False)

    @classmethod
    def read(cls, source: NetLayer) -> DeformableConvolution:
        section = cls.section
        p: Any = getattr(source.param, section)
        if p.num_output < 1 or p.group < 1 or p.num_output % p.group:
            message = f"num_output is {p.num_output} and group {p.group}; expected a multiple of the group"
            raise fault(source, message, section, "num_output")
        if p.axis not in (1, -3):
            raise fault(source, f"axis is {p.axis}; its code takes axis 1 of 4 for the channels", section, "axis")
        if p.HasField("deformable_group") and p.deformable_group < 1:
            raise fault(source, "deformable_group is 0; expected at least 1", section, "deformable_group")
        kernel = _h_w_or_repeated(source, p, section, "kernel_size", "kernel", None)
        stride = _h_w_or_repeated(source, p, section, "stride", "stride", 1)
        pad = _h_w_or_repeated(source, p, section, "pad", "pad", 0)
        window = Window(kernel, stride, pad, tuple(p.dilation) or (1,), pad).over(2)
        for values, name in ((window.kernel, "kernel_size"), (window.stride, "stride"), (window.dilation, "dilation")):
            if min(values) < 1:
                raise fault(source, f"{name} is {min(values)}; expected at least 1", section, name)
        fillers = (filler(p, "weight_filler"), filler(p, "bias_filler"))
        return cls(p.num_output, window, p.group, p.deformable_group, p.bias_term, fillers)

    @property
    def _taps(self) -> int:
        return int(count(self.window.kernel))

    def _groups(self, offset: Shape) -> int:
        return int(offset[1]) // (2 * self._taps)

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        shape, w = inputs[0], self.window
        require(all(len(s) == 4 for s in inputs), "its bottoms need 4 axes each (N×C×H×W)")
        require(not any(is_free(d) for s in inputs for d in s[1:]), "only the number of images can be left free")
        spans = zip(shape[2:], w.kernel, w.stride, w.pad, w.dilation, strict=True)
        sizes = [(int(n) + 2 * p - (d * (k - 1) + 1)) // s + 1 for n, k, s, p, d in spans]
        kernel = format_shape(w.kernel)
        require(min(sizes) >= 1, f"the kernel {kernel} does not fit the bottom {format_shape(shape)}")
        channels, groups = int(shape[1]), self._groups(inputs[1])
        require(channels % self.group == 0, f"{channels} channels are no multiple of group {self.group}")
        fits = groups > 0 and channels % groups == 0 and self.deformable_group in (0, groups)
        stated = f"deformable_group {self.deformable_group}, " if self.deformable_group else ""
        wanted = f"{stated}twice the kernel's {self._taps} values for each group of the {channels} channels"
        for other, each in zip(inputs[1:], (2, 1), strict=False):
            require(fits and int(other[1]) == each * groups * self._taps, f"{other[1]} channels; expected {wanted}")
            same = (str(other[0]), *other[2:]) == (str(shape[0]), *shape[2:])
            require(same, f"{format_shape(other)} beside {format_shape(shape)}; expected as many images of that size")
        require(count(sizes) <= count(shape[2:]), f"a top of {format_shape(sizes)} has more places than the offsets")
        return [(shape[0], self.num_output, *sizes)]

    def tabulated(self, inputs: Sequence[Shape], tops: Sequence[Shape]) -> Sequence[Shape]:
        return [(self._taps, *tops[0][2:])]

    def parameters(self, inputs: Sequence[Shape]) -> tuple[Parameter, ...]:
        shape = (self.num_output, int(inputs[0][1]) // self.group, *self.window.kernel)
        weight = Parameter("weight", shape, self.fillers[0])
        bias = Parameter("bias", (self.num_output,), self.fillers[1])
        return (weight, bias) if self.bias_term else (weight,)

    def multiply_adds(self, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:
        return count(self.parameters(inputs)[0].shape[1:]) * count(outputs[0])

    def _grid(self, out: Sequence[int], axis: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Where each value of the kernel lies without an offset, kernel × places of the top."""
        w = self.window
        tap, place = (np.indices(sizes)[axis].ravel() for sizes in (w.kernel, out))
        grid: np.ndarray[Any, np.dtype[np.float32]] = np.add.outer(
            tap * w.dilation[axis], place * w.stride[axis] - w.pad[axis]
        ).astype(np.float32)
        return grid

    def _places(self, g: OnnxOps, x: str, node: Node, each: int) -> list[str]:
        """The offsets of rows and of columns, or the factors: N × groups × kernel × places."""
        groups, out = self._groups(node.inputs[1].shape), tuple(map(int, node.outputs[0].shape[2:]))
        used = each * groups * self._taps * int(count(out))
        flat = g.op("Reshape", x, g.ints([0, -1], "shape"))
        if count(out) != count(node.shape[2:]):
            flat = g.slice(flat, 1, 0, used)
        apart = g.op("Reshape", flat, g.ints([0, groups, self._taps, each, count(out)], "shape"))
        return [g.op("Squeeze", g.slice(apart, 3, i, i + 1), g.ints([3])) for i in range(each)]

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        channels, height, width = map(int, node.shape[1:])
        groups, out = self._groups(node.inputs[1].shape), tuple(map(int, node.outputs[0].shape[2:]))
        image = g.op("Reshape", x[0], g.ints([0, groups, channels // groups, height * width], "shape"))
        image = g.op("Transpose", image, perm=[0, 1, 3, 2])
        moved = self._places(g, x[1], node, 2)
        axes = [
            onnx_neighbours(
                g, g.op("Add", moved[axis], g.constant(self._grid(out, axis)[None, None], "grid")), size, self.edge
            )
            for axis, size in ((0, height), (1, width))
        ]
        factors = self._places(g, x[2], node, 1) if len(x) == 3 else []
        inside = g.op("Cast", g.op("And", axes[0][2], axes[1][2]), to=FLOAT)
        total = ""
        for row, down in axes[0][:2]:
            for column, across in axes[1][:2]:
                index = g.op("Add", g.op("Mul", row, g.constant(np.asarray(width, np.int64), "width")), column)
                index = g.op("Reshape", index, g.ints([0, 0, -1, 1], "shape"))
                share = g.op("Mul", g.op("Mul", down, across), inside)
                share = g.op("Mul", share, factors[0]) if factors else share
                share = g.op("Reshape", share, g.ints([0, 0, -1, 1], "shape"))
                part = g.op("Mul", g.op("GatherND", image, index, batch_dims=2), share)
                total = g.op("Add", total, part) if total else part
        each = channels // groups
        columns = g.op("Reshape", total, g.ints([0, groups, self._taps, count(out), each], "shape"))
        columns = g.op("Transpose", columns, perm=[0, 1, 4, 2, 3])
        terms = channels // self.group * self._taps
        columns = g.op("Reshape", columns, g.ints([0, self.group, terms, count(out)], "shape"))
        weight = node.tensors["weight"].reshaped((self.group, self.num_output // self.group, terms))
        y = g.op("MatMul", g.weight(weight), columns)
        y = g.op("Reshape", y, g.ints([0, self.num_output, *out], "shape"))
        if not self.bias_term:
            return y
        return g.op("Add", y, g.weight(node.tensors["bias"].reshaped((self.num_output, 1, 1))))

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        t.helper("DeformableConv", DEFORMABLE_CONV)
        w, fades = self.window, len(x) == 3
        keywords: dict[str, Any] = {"stride": w.stride, "padding": w.pad, "dilation": w.dilation, "groups": self.group}
        if not self.bias_term:
            keywords["bias"] = False
        if fades:
            keywords["fades"] = True
        sizes = int(node.shape[1]), self.num_output, w.kernel
        module = t.module("DeformableConv", *sizes, state=dict(node.tensors), **keywords)
        return f"{module}({', '.join(x)})"


@register
class ModulatedDeformableConvolution(DeformableConvolution):
    """The second version: a factor for each value of the kernel too (modulated_deformable_conv_layer.cpp)."""

    types = ("ModulatedDeformableConvolution",)
    bottoms = (3, 3)
    section = "modulated_deformable_convolution_param"
    edge = "faded"

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        if g.opset < 19:
            return super().onnx(g, node, *x)
        groups, out = self._groups(node.inputs[1].shape), node.outputs[0].shape[2:]
        moved = []
        for name, each in zip(x[1:], (2, 1), strict=True):
            if tuple(out) == tuple(node.shape[2:]):
                moved.append(name)
                continue
            channels = each * groups * self._taps
            flat = g.slice(g.op("Reshape", name, g.ints([0, -1], "shape")), 1, 0, int(channels * count(out)))
            moved.append(g.op("Reshape", flat, g.ints([0, channels, *out], "shape")))
        w = self.window
        bias = g.weight(node.tensors["bias"]) if self.bias_term else ""
        attributes: dict[str, Any] = {"kernel_shape": w.kernel, "strides": w.stride, "pads": (*w.pad, *w.pad)}
        attributes |= {"dilations": w.dilation, "group": self.group, "offset_group": groups}
        return g.op("DeformConv", x[0], g.weight(node.tensors["weight"]), moved[0], bias, moved[1], **attributes)


DEFORMABLE_CONV = '''
class DeformableConv(nn.Module):
    """A convolution that reads its input where offsets move each value of the kernel.

    Outside of the image it reads 0. Without `fades` that begins where the last pixel ends, as in the first version of
    deformable convolution; with it each side fades out over one pixel, and a factor comes with each value.
    """

    def __init__(self, channels, outputs, kernel, stride, padding, dilation, groups=1, bias=True, fades=False):
        super().__init__()
        self.kernel, self.stride, self.padding, self.dilation = kernel, stride, padding, dilation
        self.groups, self.fades = groups, fades
        self.weight = nn.Parameter(torch.zeros(outputs, channels // groups, *kernel))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None

    def forward(self, x, offset, factor=None):
        n, channels, *sizes = x.shape
        out = [
            (size + 2 * p - d * (k - 1) - 1) // s + 1
            for size, k, s, p, d in zip(sizes, self.kernel, self.stride, self.padding, self.dilation)
        ]
        taps, places = self.kernel[0] * self.kernel[1], out[0] * out[1]
        split = offset.shape[1] // (2 * taps)
        moved = offset.flatten(1)[:, : 2 * split * taps * places].reshape(n, split, taps, 2, places)
        rows, columns = (self._axis(moved[:, :, :, axis], axis, out, sizes[axis]) for axis in (0, 1))
        image = x.reshape(n, split, channels // split, -1)
        total = 0
        for row, down in rows:
            for column, across in columns:
                index = (row * sizes[1] + column).flatten(2).unsqueeze(2).expand(-1, -1, image.shape[2], -1)
                total = total + image.gather(3, index) * (down * across).flatten(2).unsqueeze(2)
        if factor is not None:
            factor = factor.flatten(1)[:, : split * taps * places].reshape(n, split, 1, taps * places)
            total = total * factor
        total = total.reshape(n, self.groups, -1, places)
        y = (self.weight.reshape(self.groups, -1, total.shape[2]) @ total).reshape(n, -1, *out)
        return y if self.bias is None else y + self.bias[:, None, None]

    def _axis(self, offset, axis, out, size):
        tap = torch.arange(self.kernel[axis], device=offset.device) * self.dilation[axis]
        place = torch.arange(out[axis], device=offset.device) * self.stride[axis] - self.padding[axis]
        tap = tap.repeat_interleave(self.kernel[1]) if axis == 0 else tap.repeat(self.kernel[0])
        place = place.repeat_interleave(out[1]) if axis == 0 else place.repeat(out[0])
        place = (tap[:, None] + place) + offset
        inside = (place < size) & (place > -1 if self.fades else place >= 0)
        if not self.fades:
            place = place.clamp(0, size - 1)
        low = place.detach().clamp(-1, size).floor()
        share = place - low
        pixels = []
        for pixel, part in ((low, 1 - share), (low + 1, share)):
            held = pixel.clamp(0, size - 1)
            valid = inside & (pixel == held) if self.fades else inside
            pixels.append((held.long(), part.where(valid, 0)))
        return pixels
'''
