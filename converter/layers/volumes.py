"""Convolution and pooling of films, N×C×frames×height×width, as forks had them before Caffe's own took any axes.

fork                types                                            fields
C3D 1.0             CONVOLUTION3D, DECONVOLUTION3D, POOLING3D (V1)   kernel_depth, temporal_stride, temporal_pad
C3D 1.1             Convolution3D, Deconvolution3D, Pooling3D        the same, in sections of their own
Synopsys'           Pooling3D                                        kernel_d, stride_d, pad_d0, pad_d1 …
BVLC's pull 3983    NdConvolution, NdPooling (video-caffe)           kernel_shape, stride_shape, pad_shape
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from converter.graph import Shape
from converter.layers.base import OnnxOps, TorchOps, at_least_one, fault, filler, register
from converter.layers.convolution import Convolution, Deconvolution, Window, _Convolving
from converter.node import Node, Parameter
from prototxt import NetLayer
from prototxt.caffe_pb2 import BlobShape, Convolution3DParameter, ConvolutionParameter


def section_of(source: NetLayer, own: str, old: str) -> str:
    """The section that a layer of C3D has its fields in: its own in 1.1, the one for images in 1.0."""
    if source.param.HasField(own) and source.param.HasField(old):
        raise fault(source, f"both {own} and {old}, of two versions of C3D; expected one of them", old)
    return own if source.param.HasField(own) else old


def single(source: NetLayer, section: str, name: str, default: int) -> int:
    """A field that is one number in C3D, where Caffe's own has a list."""
    value = getattr(getattr(source.param, section), name)
    if isinstance(value, int):
        return value
    if len(value) > 1:
        raise fault(source, f"{name} is given {len(value)} times; C3D takes one, for rows and columns", section, name)
    return int(value[0]) if value else default


class _OfFilms(_Convolving):
    """What C3D's two share: one kernel size for rows and columns, another for frames, and a bias of five axes."""

    bottoms: ClassVar[tuple[int, int]] = (1, 1)
    tops: ClassVar[tuple[int, int]] = (1, 1)

    @classmethod
    def read(cls, source: NetLayer) -> _OfFilms:
        section = section_of(source, "convolution3d_param", "convolution_param")
        p: Convolution3DParameter | ConvolutionParameter = getattr(source.param, section)
        at_least_one(source, section, "num_output")
        if issubclass(cls, Convolution) and (p.filter_group < 1 or p.num_output % p.filter_group):
            message = f"num_output {p.num_output} is no multiple of filter_group {p.filter_group}"
            raise fault(source, message, section, "filter_group")
        kernel = (p.kernel_depth, *[single(source, section, "kernel_size", 0)] * 2)
        stride = (p.temporal_stride, *[single(source, section, "stride", 1)] * 2)
        pad = (p.temporal_pad, *[single(source, section, "pad", 0)] * 2)
        for values, name in ((kernel, "kernel_depth, kernel_size"), (stride, "temporal_stride, stride")):
            if min(values) < 1:
                raise fault(source, f"{name} are {values[0]}, {values[1]}; expected both, at least 1", section)
        fillers = (filler(p, "weight_filler"), filler(p, "bias_filler"))
        return cls(p.num_output, Window(kernel, stride, pad, (1,), pad), 1, p.bias_term, 1, fillers)

    def parameters(self, inputs: Sequence[Shape]) -> tuple[Parameter, ...]:
        weight, *bias = super().parameters(inputs)
        return (weight, *(b._replace(shape=(1, 1, 1, 1, *b.shape)) for b in bias))

    def _flat_bias(self, node: Node) -> Node:
        tensors = {name: t.reshaped((self.num_output,)) if name == "bias" else t for name, t in node.tensors.items()}
        return replace(node, tensors=tensors)

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> list[str]:
        return super().onnx(g, self._flat_bias(node), *x)

    def torch(self, t: TorchOps, node: Node, *x: str) -> list[str]:
        return super().torch(t, self._flat_bias(node), *x)


@register
class Convolution3D(_OfFilms, Convolution):
    """Convolution over frames, rows and columns (C3D: convolution3d_layer.cpp).

    `filter_group` only spares memory: each output sees all channels.
    """

    types = ("Convolution3D",)


@register
class Deconvolution3D(_OfFilms, Deconvolution):
    """The transpose of Convolution3D (C3D: deconvolution3d_layer.cpp)."""

    types = ("Deconvolution3D",)


def read_shape(source: NetLayer, section: str, name: str, axes: int, default: int) -> tuple[int, ...]:
    """One of `kernel_shape`, `stride_shape` and `pad_shape`, of as many numbers as the kernel has."""
    p = getattr(source.param, section)
    shape: BlobShape = getattr(p, name)
    if not p.HasField(name):
        return (default,) * axes
    if axes and len(shape.dim) != axes:
        raise fault(source, f"{name} has {len(shape.dim)} numbers, kernel_shape {axes}", section, name)
    if min(shape.dim, default=0) < min(default, 1):
        raise fault(source, f"{name} is {list(shape.dim)}; expected numbers from {min(default, 1)} on", section, name)
    return tuple(shape.dim)


def read_kernel(source: NetLayer, section: str) -> tuple[int, ...]:
    """`kernel_shape`, which must be there."""
    if not getattr(source.param, section).HasField("kernel_shape"):
        raise fault(source, "no kernel_shape; expected a number for each axis behind the channels", section)
    return read_shape(source, section, "kernel_shape", 0, 1)


@register
class NdConvolution(Convolution):
    """Convolution over any axes behind the channels (video-caffe: cudnn_ndconv_layer.cpp)."""

    types = ("NdConvolution",)

    @classmethod
    def read(cls, source: NetLayer) -> NdConvolution:
        p, section = source.param.convolution_param, "convolution_param"
        at_least_one(source, section, "num_output")
        if p.group < 1 or p.num_output % p.group:
            raise fault(source, f"num_output {p.num_output} is no multiple of group {p.group}", section, "group")
        kernel = read_kernel(source, section)
        stride = read_shape(source, section, "stride_shape", len(kernel), 1)
        pad = read_shape(source, section, "pad_shape", len(kernel), 0)
        fillers = (filler(p, "weight_filler"), filler(p, "bias_filler"))
        return cls(p.num_output, Window(kernel, stride, pad, (1,), pad), p.group, p.bias_term, 1, fillers)
