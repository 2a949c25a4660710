"""Convolution over any number of spatial axes, and its transpose (Caffe: base_conv_layer.cpp)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field, replace
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple

from converter.folding import Float64, WeightedSum, times
from converter.graph import Shape, count, format_shape, is_free
from converter.layers.base import (
    UNLIMITED,
    BottomsDifferError,
    OnnxOps,
    TorchOps,
    at_least_one,
    canonical_axis,
    fault,
    filler,
    register,
    require,
    unsupported,
)
from converter.layers.shared.fused import fused_relu
from converter.matching.operation import Operation
from converter.node import Layer, Node, Parameter, by_message_alone
from converter.tensor import Array, Tensor
from prototxt import NetLayer
from prototxt.caffe_pb2 import ConvolutionParameter, FillerParameter, LayerParameter
from prototxt.errors import NetError


class Window(NamedTuple):
    """What slides over the spatial axes; each tuple has one entry for all axes, or one an axis.

    `pad` lies before the image, `pad_end` behind it; only Synopsys' fork has them differ.
    """

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    pad: tuple[int, ...]
    dilation: tuple[int, ...] = (1,)
    pad_end: tuple[int, ...] = (0,)

    @lru_cache(256)  # noqa: B019 (a net has few)
    def over(self, axes: int) -> Window:
        """The same with one entry an axis."""
        require(bool(self.kernel) or not axes, "no kernel_size; expected kernel_size, or kernel_h and kernel_w")
        return Window(*(_spread(values, axes, name) for name, values in zip(self._fields, self, strict=True)))

    def reaching(self, sizes: Shape) -> Window:
        """The same, with zeros behind an image that the kernel is larger than by less than a stride.

        Caffe divides by the stride toward zero, so such an image has one place for the window, and what the window
        takes from behind the padding is 0 (im2col.cpp).
        """
        ends = []
        for place, size in enumerate(sizes):
            extent = self.dilation[place] * (self.kernel[place] - 1) + 1
            lacking = extent - size - self.pad[place] - self.pad_end[place]
            beyond = not is_free(size) and 0 < lacking < self.stride[place]
            ends.append(self.pad_end[place] + (lacking if beyond else 0))
        return self if tuple(ends) == self.pad_end else self._replace(pad_end=tuple(ends))


POINT = Window((1,), (1,), (0,))


def _spread(values: tuple[int, ...], axes: int, name: str) -> tuple[int, ...]:
    if len(values) not in (1, axes):
        raise NetError(f"{name} has {len(values)} values for {axes} spatial axes")
    return values * axes if len(values) == 1 else values


def read_window(source: NetLayer, p: ConvolutionParameter, section: str) -> Window:
    """Kernel, stride, pad and dilation; the `_h`/`_w` pair and the repeated field exclude each other."""
    if p.pad_type:
        raise unsupported(source, f"pad_type {p.pad_type}; expected pad_l, pad_r, pad_t, pad_b", section, "pad_type")
    kernel = _h_w_or_repeated(source, p, section, "kernel_size", "kernel", None)
    stride = _h_w_or_repeated(source, p, section, "stride", "stride", 1)
    pad, end = _read_pads(source, p, section)
    dilation = _read_dilation(source, p, section)
    if set(kernel) == {1}:  # UberNet has kernels of one pixel with a dilation of 0
        dilation = tuple(max(each, 1) for each in dilation)
    window = Window(kernel, stride, pad, dilation, end)
    for values, name, least in ((kernel, "kernel_size", 1), (stride, "stride", 1), (window.dilation, "dilation", 1)):
        if min(values, default=least) < least:
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
    return repeated or (() if default is None else (default,))


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


class _Convolving(WeightedSum):
    """What Convolution and Deconvolution share. Each bottom gives a top, all with the same weights."""

    bottoms: ClassVar[tuple[int, int]] = (1, UNLIMITED)
    tops: ClassVar[tuple[int, int]] = (1, UNLIMITED)
    num_output: int = 0
    window: Window = POINT
    group: int = 1
    bias_term: bool = True
    axis: int = 1
    fillers: tuple[FillerParameter | None, FillerParameter | None] = field(default=(None, None), repr=False)
    relu: LayerParameter | None = field(default=None, repr=False)

    @property
    def rereads(self) -> bool:
        return True

    @property
    def channel_axis(self) -> int:
        return self.axis

    def folded(self) -> Layer:
        return replace(self, bias_term=True)

    @classmethod
    @by_message_alone
    def read(cls, source: NetLayer) -> _Convolving:
        p, section = source.param.convolution_param, "convolution_param"
        if not source.param.HasField("convolution_param"):
            raise fault(source, "no convolution_param; expected num_output and kernel_size")
        at_least_one(source, section, "num_output")
        if p.group < 1 or p.num_output % p.group:
            raise fault(source, f"num_output {p.num_output} is no multiple of group {p.group}", section, "group")
        fillers = (filler(p, "weight_filler"), filler(p, "bias_filler"))
        window = read_window(source, p, section)
        if window.pad != window.pad_end and not cls._pads_each_side:
            side = next(name for name in _SIDES if getattr(p, name))
            raise unsupported(source, f"{side}; expected pad", section, side)
        if p.fusion_type:
            raise unsupported(source, "fusion_type: SUM_FUSION; expected an Eltwise layer", section, "fusion_type")
        relu = fused_relu(source, section)
        if relu is not None and source.type != "Convolution":
            raise unsupported(source, "relu: true, which only Intel's Convolution has", section, "relu")
        return cls(p.num_output, window, p.group, p.bias_term, p.axis, fillers, relu)

    @property
    def follower(self) -> LayerParameter | None:
        return self.relu

    def _check(self, inputs: Sequence[Shape]) -> tuple[int, Window]:
        shape = inputs[0]
        axis = canonical_axis(self.axis, len(shape))
        if any(tuple(s) != tuple(shape) for s in inputs):
            raise BottomsDifferError("bottoms differ in shape")
        sizes = shape[axis + 1 :]
        group = self._groups(shape[axis])
        if shape[axis] % group:
            raise NetError(f"{shape[axis]} channels are no multiple of group {group}")
        return axis, self._reaching(self.window.over(len(sizes)), sizes)

    def _reaching(self, window: Window, sizes: Shape) -> Window:
        return window

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
        if any(size < 1 for size in sizes):
            raise NetError(f"the kernel {format_shape(w.kernel)} does not fit the bottom {format_shape(shape)}")
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

    def computes(self, node: Node) -> Operation:
        axis, w = self._check([v.shape for v in node.inputs])
        channels = int(node.shape[axis])
        if axis != 1:
            return super().computes(node)
        settings = {
            "channels": channels,
            "features": int(self._outputs(channels)),
            "kernel": w.kernel,
            "stride": w.stride,
            "padding": tuple(zip(w.pad, w.pad_end, strict=True)),
            "dilation": w.dilation,
            "groups": int(self._groups(channels)),
            "transposed": self._transposed,
        }
        return Operation("weighted sum", settings)

    def _in_space(self, node: Node) -> tuple[int, Window, dict[str, Tensor]]:
        """The axis of the channels, the window and the weights; where no axis follows, as if one of size 1 did."""
        axis, w = self._check([v.shape for v in node.inputs])
        weight = self.matrix(node)
        if w.kernel:
            return axis, w, {**node.tensors, "weight": weight}
        return axis, POINT, {**node.tensors, "weight": weight.reshaped((*weight.shape, 1))}

    def _merge_onnx(self, g: OnnxOps, x: str, shape: Shape, axis: int) -> str:
        """Put the axes in front of the channels into one, for axis other than 1."""
        merged = (count(shape[:axis]), *shape[axis:])
        return x if axis == 1 else g.reshape(x, shape, merged)

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> list[str]:
        axis, w, weights = self._in_space(node)
        flat = len(node.shape) == axis + 1
        tensors = [g.weight(t) for t in weights.values()]
        attributes: dict[str, Any] = {
            "kernel_shape": w.kernel,
            "strides": w.stride,
            "pads": (*w.pad, *w.pad_end),
            "dilations": w.dilation,
            "group": self._groups(node.shape[axis]),
        }
        results = []
        for name, value, out in zip(x, node.inputs, node.outputs, strict=True):
            before, after = (value.shape, out.shape) if not flat else ((*value.shape, 1), (*out.shape, 1))
            spread = g.unsqueeze(name, [axis + 1]) if flat else name
            merged_in = self._merge_onnx(g, spread, before, axis)
            y = g.op(self._onnx_name, self._pad_onnx(g, merged_in, w, attributes), *tensors, **attributes)
            merged = (count(after[:axis]), *after[axis:])
            y = y if axis == 1 else g.reshape(y, merged, after)
            results.append(g.op("Squeeze", y, g.ints([axis + 1])) if flat else y)
        return results

    def _pad_onnx(self, g: OnnxOps, x: str, w: Window, attributes: dict[str, Any]) -> str:
        """Give the padding to the operator itself, but for the one form that a runtime gets wrong."""
        return x

    def torch(self, t: TorchOps, node: Node, *x: str) -> list[str]:
        axis, w, weights = self._in_space(node)
        flat = len(node.shape) == axis + 1
        spatial = len(w.kernel)
        require(spatial <= 3, f"{spatial} spatial axes; PyTorch convolves over at most 3")
        one_sided = w.pad != w.pad_end
        options = {"stride": w.stride, "padding": (0,) * spatial if one_sided else w.pad, "dilation": w.dilation}
        keywords: dict[str, Any] = {k: compact(v) for k, v in options.items() if v != _TORCH_DEFAULTS[k] * spatial}
        if self._groups(node.shape[axis]) != 1:
            keywords["groups"] = int(self._groups(node.shape[axis]))
        if "bias" not in node.tensors:
            keywords["bias"] = False
        channels = node.shape[axis]
        module = t.module(
            f"nn.{self._torch_name}{spatial}d",
            int(channels),
            self._outputs(channels),
            compact(w.kernel),
            state={**weights},
            **keywords,
        )
        if one_sided:  # Only torch's F.pad pads each side by an amount of its own.
            x = tuple(t.let("padded", f"F.pad({name}, {torch_sides(w)})") for name in x)
        behind, before = (".unsqueeze(-1)", ".squeeze(-1)") if flat else ("", "")
        if axis == 1:
            return [f"{module}({name}{behind}){before}" for name in x]
        return [
            f"{module}({name}.flatten(0, {axis - 1}){behind}){before}.unflatten(0, {name}.shape[:{axis}])"
            if axis
            else f"{module}({name}.unsqueeze(0){behind}){before}.squeeze(0)"
            for name in x
        ]

    _onnx_name: ClassVar[str]
    _torch_name: ClassVar[str]
    _pads_each_side: ClassVar[bool] = True
    _transposed: ClassVar[bool] = False


_TORCH_DEFAULTS = {"stride": (1,), "padding": (0,), "dilation": (1,)}


def compact(values: tuple[int, ...]) -> int | tuple[int, ...]:
    return values[0] if len(set(values)) == 1 else values


def torch_sides(w: Window) -> tuple[int, ...]:
    """Pads as F.pad takes them: before and behind, the last axis first."""
    return tuple(side for pair in zip(w.pad[::-1], w.pad_end[::-1], strict=True) for side in pair)


@register
class Convolution(_Convolving):
    """Cross-correlation; output sizes round down, where Caffe's pooling rounds up (Caffe: conv_layer.cpp)."""

    types: ClassVar[tuple[str, ...]] = ("Convolution",)
    _onnx_name = "Conv"
    _torch_name = "Conv"

    def _reaching(self, window: Window, sizes: Shape) -> Window:
        return window.reaching(sizes)

    def _size(self, size: int, kernel: int, stride: int, pad: int, dilation: int) -> int:
        return (size + pad - (dilation * (kernel - 1) + 1)) // stride + 1

    def _weight_shape(self, channels: int, kernel: Shape) -> Shape:
        return (self._outputs(channels), channels // self._groups(channels), *kernel)

    def times_channels(self, weight: Array, factor: Float64) -> Array:
        return times(weight, factor.reshape(-1, *[1] * (weight.ndim - 1)))

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
class ConvolutionDepthwise(DepthwiseConvolution):
    """The same under another name (forks: conv_dw_layer.cpp, and Synopsys' base_conv_layer.cpp).

    The first fork's code doesn't read `group` or `num_output`: it makes as many channels as it gets, and its nets state
    any numbers. Synopsys' makes `num_output`, a multiple of the channels; so a multiple is taken, else the channels.
    """

    types = ("ConvolutionDepthwise",)

    @classmethod
    def read(cls, source: NetLayer) -> ConvolutionDepthwise:
        p, section = source.param.convolution_param, "convolution_param"
        source.without_effect("a group for each channel", "convolution_param.group")
        fillers = (filler(p, "weight_filler"), filler(p, "bias_filler"))
        return cls(p.num_output, read_window(source, p, section), 1, p.bias_term, p.axis, fillers)

    def _outputs(self, channels: int) -> int:
        return self.num_output if self.num_output and self.num_output % int(channels) == 0 else int(channels)


@register
class Deconvolution(_Convolving):
    """The transpose of a convolution; weights are channels × num_output / group × kernel (Caffe: deconv_layer.cpp)."""

    types = ("Deconvolution",)
    _onnx_name = "ConvTranspose"
    _torch_name = "ConvTranspose"
    _pads_each_side = False
    _transposed = True

    def _size(self, size: int, kernel: int, stride: int, pad: int, dilation: int) -> int:
        return stride * (size - 1) + dilation * (kernel - 1) + 1 - pad

    def _weight_shape(self, channels: int, kernel: Shape) -> Shape:
        return (channels, self.num_output // self.group, *kernel)

    def times_channels(self, weight: Array, factor: Float64) -> Array:
        grouped = weight.reshape(self.group, -1, *weight.shape[1:])
        return times(grouped, factor.reshape(self.group, 1, -1, *[1] * (weight.ndim - 2))).reshape(weight.shape)

    def multiply_adds(self, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:
        terms = count(self.parameters(inputs)[0].shape[1:])
        return terms * sum(count(s) for s in inputs)
