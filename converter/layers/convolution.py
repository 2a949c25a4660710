"""Convolution over any number of spatial axes, its transpose, and its columns (Caffe: base_conv_layer.cpp)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from converter.graph import Node, Shape, constant, count, format_shape, is_free
from converter.layers.base import (
    UNLIMITED,
    BottomsDifferError,
    Layer,
    OnnxOps,
    Parameter,
    TorchOps,
    canonical_axis,
    fault,
    filler,
    register,
    require,
    unsupported,
)
from converter.layers.sizes import torch_dims
from prototxt import NetLayer
from prototxt.caffe_pb2 import ConvolutionParameter, FillerParameter


@dataclass(frozen=True)
class Window:
    """What slides over the spatial axes; each tuple has one entry for all axes, or one an axis.

    `pad` lies before the image, `pad_end` behind it; only Synopsys' fork has them differ.
    """

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    pad: tuple[int, ...]
    dilation: tuple[int, ...] = (1,)
    pad_end: tuple[int, ...] = (0,)

    def over(self, axes: int) -> Window:
        """The same with one entry an axis."""
        return Window(*(_spread(v, axes, n) for n, v in vars(self).items()))


def _spread(values: tuple[int, ...], axes: int, name: str) -> tuple[int, ...]:
    require(len(values) in (1, axes), f"{name} has {len(values)} values for {axes} spatial axes")
    return values * axes if len(values) == 1 else values


def read_window(source: NetLayer, p: ConvolutionParameter, section: str) -> Window:
    """Kernel, stride, pad and dilation; the `_h`/`_w` pair and the repeated field exclude each other."""
    if p.pad_type:
        raise unsupported(source, f"pad_type {p.pad_type}; expected pad_l, pad_r, pad_t, pad_b", section, "pad_type")
    kernel = _h_w_or_repeated(source, p, section, "kernel_size", "kernel", None)
    stride = _h_w_or_repeated(source, p, section, "stride", "stride", 1)
    pad, end = _read_pads(source, p, section)
    window = Window(kernel, stride, pad, _read_dilation(source, p, section), end)
    for values, name, least in ((kernel, "kernel_size", 1), (stride, "stride", 1), (window.dilation, "dilation", 1)):
        if min(values) < least:
            raise fault(source, f"{name} is {min(values)}; expected at least {least}", section, name)
    return window


def _h_w_or_repeated(
    source: NetLayer, p: ConvolutionParameter, section: str, name: str, stem: str, default: int | None
) -> tuple[int, ...]:
    pair = [f"{stem}_h", f"{stem}_w"]
    given = [p.HasField(n) for n in pair]
    repeated = tuple(getattr(p, name))
    if any(given):
        if repeated:
            raise fault(source, f"both {name} and {stem}_h/{stem}_w are given; expected one of them", section, name)
        if not all(given) and default is None:
            raise fault(source, f"only one of {stem}_h and {stem}_w is given; expected both", section)
        return tuple(getattr(p, n) for n in pair)
    if not repeated and default is None:
        raise fault(source, "no kernel_size; expected kernel_size, or kernel_h and kernel_w", section)
    return repeated or (default or 0,)


_SIDES = ("pad_t", "pad_l", "pad_b", "pad_r")


def _read_pads(source: NetLayer, p: ConvolutionParameter, section: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Padding before the image and behind it; Synopsys' fork has a field for each side."""
    pad = _h_w_or_repeated(source, p, section, "pad", "pad", 0)
    sides = {name: getattr(p, name) for name in _SIDES}
    if not any(sides.values()):
        return pad, pad
    if p.pad or p.HasField("pad_h") or p.HasField("pad_w"):
        given = next(name for name, value in sides.items() if value)
        raise fault(source, f"both pad and {given} are given; expected one of them", section, given)
    return (sides["pad_t"], sides["pad_l"]), (sides["pad_b"], sides["pad_r"])


def _read_dilation(source: NetLayer, p: ConvolutionParameter, section: str) -> tuple[int, ...]:
    """`dilation`, or what DeepLab's first fork calls it: `hole`, `hole_h`, `hole_w`."""
    holes = (p.hole_h, p.hole_w) if p.HasField("hole_h") or p.HasField("hole_w") else (p.hole,)
    if not any(p.HasField(name) for name in ("hole", "hole_h", "hole_w")):
        return tuple(p.dilation) or (1,)
    if p.dilation:
        raise fault(source, "both dilation and hole are given; expected one of them", section, "hole")
    return holes


@dataclass(frozen=True)
class _Convolving(Layer):
    """What Convolution and Deconvolution share. Each bottom gives a top, all with the same weights."""

    bottoms: ClassVar[tuple[int, int]] = (1, UNLIMITED)
    tops: ClassVar[tuple[int, int]] = (1, UNLIMITED)
    num_output: int = 0
    window: Window = Window((1,), (1,), (0,))
    group: int = 1
    bias_term: bool = True
    axis: int = 1
    fillers: tuple[FillerParameter | None, FillerParameter | None] = field(default=(None, None), repr=False)

    @classmethod
    def read(cls, source: NetLayer) -> _Convolving:
        p, section = source.param.convolution_param, "convolution_param"
        if not source.param.HasField("convolution_param"):
            raise fault(source, "no convolution_param; expected num_output and kernel_size")
        if p.num_output < 1:
            raise fault(source, f"num_output is {p.num_output}; expected at least 1", section, "num_output")
        if p.group < 1 or p.num_output % p.group:
            raise fault(source, f"num_output {p.num_output} is no multiple of group {p.group}", section, "group")
        fillers = (filler(p, "weight_filler"), filler(p, "bias_filler"))
        window = read_window(source, p, section)
        if window.pad != window.pad_end and not cls._pads_each_side:
            side = next(name for name in _SIDES if getattr(p, name))
            raise unsupported(source, f"{side}; expected pad", section, side)
        return cls(p.num_output, window, p.group, p.bias_term, p.axis, fillers)

    def _check(self, inputs: Sequence[Shape]) -> tuple[int, Window]:
        shape = inputs[0]
        axis = canonical_axis(self.axis, len(shape))
        if any(tuple(s) != tuple(shape) for s in inputs):
            raise BottomsDifferError("bottoms differ in shape")
        spatial = len(shape) - axis - 1
        require(spatial >= 1, f"a blob of {format_shape(shape)} has no spatial axes behind the channels (axis {axis})")
        group = self._groups(shape[axis])
        require(shape[axis] % group == 0, f"{shape[axis]} channels are no multiple of group {group}")
        return axis, self.window.over(spatial)

    def _groups(self, channels: int) -> int:
        return self.group

    def _outputs(self, channels: int) -> int:
        return self.num_output

    def _size(self, size: int, kernel: int, stride: int, pad: int, dilation: int) -> int:
        """Of one axis; `pad` is that of both ends together."""
        raise NotImplementedError

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        axis, w = self._check(inputs)
        shape = inputs[0]
        pads = [a + b for a, b in zip(w.pad, w.pad_end, strict=True)]
        each = zip(shape[axis + 1 :], w.kernel, w.stride, pads, w.dilation, strict=True)
        sizes = [self._size(*args) for args in each]
        for size in sizes:
            require(size >= 1, f"the kernel {format_shape(w.kernel)} does not fit the bottom {format_shape(shape)}")
        return [(*shape[:axis], self._outputs(shape[axis]), *sizes)] * len(inputs)

    def _weight_shape(self, channels: int, kernel: Shape) -> Shape:
        raise NotImplementedError

    def parameters(self, inputs: Sequence[Shape]) -> tuple[Parameter, ...]:
        axis, w = self._check(inputs)
        channels = inputs[0][axis]
        require(not is_free(channels), "the number of channels can't be free")
        weight = Parameter("weight", self._weight_shape(channels, w.kernel), self.fillers[0])
        bias = Parameter("bias", (self._outputs(channels),), self.fillers[1])
        return (weight, bias) if self.bias_term else (weight,)

    def _merge_onnx(self, g: OnnxOps, x: str, shape: Shape, axis: int) -> str:
        """Put the axes in front of the channels into one, for axis other than 1."""
        merged = (count(shape[:axis]), *shape[axis:])
        return x if axis == 1 else g.reshape(x, shape, merged)

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> list[str]:
        axis, w = self._check([v.shape for v in node.inputs])
        tensors = [g.weight(t) for t in node.tensors.values()]
        attributes: dict[str, Any] = {
            "kernel_shape": w.kernel,
            "strides": w.stride,
            "pads": (*w.pad, *w.pad_end),
            "dilations": w.dilation,
            "group": self._groups(node.shape[axis]),
        }
        results = []
        for name, value, out in zip(x, node.inputs, node.outputs, strict=True):
            merged_in = self._merge_onnx(g, name, value.shape, axis)
            y = g.op(self._onnx_name, self._pad_onnx(g, merged_in, w, attributes), *tensors, **attributes)
            merged = (count(out.shape[:axis]), *out.shape[axis:])
            results.append(y if axis == 1 else g.reshape(y, merged, out.shape))
        return results

    def _pad_onnx(self, g: OnnxOps, x: str, w: Window, attributes: dict[str, Any]) -> str:
        """Give the padding to the operator itself, but for the one form that a runtime gets wrong."""
        return x

    def torch(self, t: TorchOps, node: Node, *x: str) -> list[str]:
        axis, w = self._check([v.shape for v in node.inputs])
        spatial = len(w.kernel)
        require(spatial <= 3, f"{spatial} spatial axes; PyTorch convolves over at most 3")
        one_sided = w.pad != w.pad_end
        options = {"stride": w.stride, "padding": (0,) * spatial if one_sided else w.pad, "dilation": w.dilation}
        keywords: dict[str, Any] = {k: _compact(v) for k, v in options.items() if v != _TORCH_DEFAULTS[k] * spatial}
        if self._groups(node.shape[axis]) != 1:
            keywords["groups"] = int(self._groups(node.shape[axis]))
        if "bias" not in node.tensors:
            keywords["bias"] = False
        channels = node.shape[axis]
        module = t.module(
            f"nn.{self._torch_name}{spatial}d",
            int(channels),
            self._outputs(channels),
            _compact(w.kernel),
            state=dict(node.tensors),
            **keywords,
        )
        if one_sided:  # Only torch's F.pad pads each side by an amount of its own; it begins with the last axis.
            sides = tuple(side for pair in zip(w.pad[::-1], w.pad_end[::-1], strict=True) for side in pair)
            x = tuple(t.let("padded", f"F.pad({name}, {sides})") for name in x)
        if axis == 1:
            return [f"{module}({name})" for name in x]
        return [
            f"{module}({name}.flatten(0, {axis - 1})).unflatten(0, {name}.shape[:{axis}])"
            if axis
            else f"{module}({name}.unsqueeze(0)).squeeze(0)"
            for name in x
        ]

    _onnx_name: ClassVar[str]
    _torch_name: ClassVar[str]
    _pads_each_side: ClassVar[bool] = True


_TORCH_DEFAULTS = {"stride": (1,), "padding": (0,), "dilation": (1,)}


def _compact(values: tuple[int, ...]) -> int | tuple[int, ...]:
    return values[0] if len(set(values)) == 1 else values


@register
@dataclass(frozen=True)
class Convolution(_Convolving):
    """Cross-correlation; output sizes round down, where Caffe's pooling rounds up (Caffe: conv_layer.cpp)."""

    types: ClassVar[tuple[str, ...]] = ("Convolution",)
    _onnx_name = "Conv"
    _torch_name = "Conv"

    def _size(self, size: int, kernel: int, stride: int, pad: int, dilation: int) -> int:
        return (size + pad - (dilation * (kernel - 1) + 1)) // stride + 1

    def _weight_shape(self, channels: int, kernel: Shape) -> Shape:
        return (self._outputs(channels), channels // self._groups(channels), *kernel)

    def _pad_onnx(self, g: OnnxOps, x: str, w: Window, attributes: dict[str, Any]) -> str:
        # OpenCV 5.0 leaves the border of a padded 1×1 convolution of stride 1 unwritten: another operator pads.
        if set(w.kernel) != {1} or set(w.stride) != {1} or not any((*w.pad, *w.pad_end)):
            return x
        attributes["pads"] = [0] * (2 * len(w.kernel))
        pads = g.ints([0, 0, *w.pad, 0, 0, *w.pad_end], "pads")
        return g.op("Pad", x, pads, g.scalar(0.0, "zero"), mode="constant")

    def multiply_adds(self, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:
        terms = count(self.parameters(inputs)[0].shape[1:])
        return terms * sum(count(s) for s in outputs)


@register
@dataclass(frozen=True)
class DepthwiseConvolution(Convolution):
    """Convolution with a group for each channel (forks: depthwise_conv_layer.cpp).

    Its nets state that group, though the code doesn't need it; any other number is refused.
    """

    types: ClassVar[tuple[str, ...]] = ("DepthwiseConvolution",)

    def _groups(self, channels: int) -> int:
        require(not is_free(channels), "the number of channels can't be free")
        channels = int(channels)
        require(self.group in (1, channels), f"group is {self.group} for {channels} channels; expected one a channel")
        outputs = self._outputs(channels)
        require(outputs % channels == 0, f"num_output {outputs} is no multiple of the {channels} channels")
        return channels


@register
@dataclass(frozen=True)
class ConvolutionDepthwise(DepthwiseConvolution):
    """The same under another name (forks: conv_dw_layer.cpp, and Synopsys' base_conv_layer.cpp).

    The first fork's code doesn't read `group` or `num_output`: it makes as many channels as it gets, and its nets state
    any numbers. Synopsys' makes `num_output`, a multiple of the channels; so a multiple is taken, else the channels.
    """

    types = ("ConvolutionDepthwise",)

    @classmethod
    def read(cls, source: NetLayer) -> ConvolutionDepthwise:
        p, section = source.param.convolution_param, "convolution_param"
        fillers = (filler(p, "weight_filler"), filler(p, "bias_filler"))
        return cls(p.num_output, read_window(source, p, section), 1, p.bias_term, p.axis, fillers)

    def _outputs(self, channels: int) -> int:
        return self.num_output if self.num_output and self.num_output % int(channels) == 0 else int(channels)


@register
@dataclass(frozen=True)
class Deconvolution(_Convolving):
    """The transpose of a convolution; weights are channels × num_output / group × kernel (Caffe: deconv_layer.cpp)."""

    types = ("Deconvolution",)
    _onnx_name = "ConvTranspose"
    _torch_name = "ConvTranspose"
    _pads_each_side = False

    def _size(self, size: int, kernel: int, stride: int, pad: int, dilation: int) -> int:
        return stride * (size - 1) + dilation * (kernel - 1) + 1 - pad

    def _weight_shape(self, channels: int, kernel: Shape) -> Shape:
        return (channels, self.num_output // self.group, *kernel)

    def multiply_adds(self, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:
        terms = count(self.parameters(inputs)[0].shape[1:])
        return terms * sum(count(s) for s in inputs)


@register
@dataclass(frozen=True)
class Im2col(Layer):
    """The windows of a convolution laid out as channels: channels × kernel positions (Caffe: im2col_layer.cpp)."""

    types = ("Im2col",)
    window: Window = Window((1,), (1,), (0,))
    axis: int = 1

    @classmethod
    def read(cls, source: NetLayer) -> Im2col:
        p, section = source.param.convolution_param, "convolution_param"
        return cls(read_window(source, p, section), p.axis)

    def _channels(self, shape: Shape) -> tuple[int, Convolution]:
        """The channels, and the convolution by 0 and 1 that picks each value of a window."""
        axis = canonical_axis(self.axis, len(shape))
        require(not is_free(shape[axis]), "the number of channels can't be free")
        window = self.window.over(len(shape) - axis - 1)
        channels = int(shape[axis])
        return channels, Convolution(channels * count(window.kernel), window, channels, False, self.axis)

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        return self._channels(inputs[0])[1].infer(inputs)

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> list[str]:
        channels, convolution = self._channels(node.shape)
        kernel = convolution.window.kernel
        picks = np.tile(np.eye(count(kernel)), (channels, 1)).reshape(-1, 1, *kernel)
        weight = constant(f"{node.name}.picks", picks)
        return convolution.onnx(g, Node(convolution, node.inputs, node.outputs, {"weight": weight}), *x)

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        w = self._channels(node.shape)[1].window
        spatial = len(w.kernel)
        require(spatial == 2, f"{spatial} spatial axes; PyTorch unfolds over 2")
        before = len(node.shape) - 3
        require(before <= 1, f"axis {before} for the channels; PyTorch unfolds with at most one axis before them")
        options = {"dilation": w.dilation, "stride": w.stride}
        parts = [f"{k}={_compact(v)}" for k, v in options.items() if v != (1, 1)]
        y = x[0]
        if w.pad != w.pad_end:
            y = t.let("padded", f"F.pad({y}, {(w.pad[1], w.pad_end[1], w.pad[0], w.pad_end[0])})")
        elif w.pad != (0, 0):
            parts.append(f"padding={_compact(w.pad)}")
        columns = f"F.unfold({y}, {', '.join([str(_compact(w.kernel)), *parts])})"
        if not any(map(is_free, node.shape[-2:])):
            return f"{columns}.unflatten(-1, {tuple(map(int, node.outputs[0].shape[-2:]))})"
        height = torch_dims(x[0], node.shape)[-2]
        extent = w.dilation[0] * (w.kernel[0] - 1) + 1
        rows = f"({height} + {w.pad[0] + w.pad_end[0] - extent}) // {w.stride[0]} + 1"
        return f"{columns}.unflatten(-1, ({rows}, -1))"
