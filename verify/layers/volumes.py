"""Convolution over frames, rows and columns, or any axes, from the sources of C3D (convolution3d_layer.cpp,
deconvolution3d_layer.cpp) and of video-caffe (cudnn_ndconv_layer.cpp).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from verify.layers.convolution import convolve, spread
from verify.layers.inner_product import row_norm
from verify.layers.registry import Array, Call, Sensitivity, register
from verify.layers.shared.window import Window, reaching


def section_of(call: Call, name: str, old: str) -> Any:
    """C3D 1.1's own section, else that of images, where 1.0 has the fields."""
    own = call.param.HasField(name)
    call.require(not (own and call.param.HasField(old)), f"has {name} and {old}")
    return getattr(call.param, name if own else old)


def _one(call: Call, p: Any, name: str, default: int) -> int:
    value = getattr(p, name)
    if isinstance(value, int):
        return value
    call.require(len(value) < 2, f"{name} is one number for rows and columns, not {len(value)}")
    return int(value[0]) if value else default


def _film(call: Call) -> tuple[Any, Window]:
    p = section_of(call, "convolution3d_param", "convolution_param")
    call.require(call.x.ndim == 5, f"needs a bottom of 5 axes, it has {call.x.ndim}")
    call.require(p.num_output > 0, f"num_output {p.num_output} is not positive")
    kernel = (p.kernel_depth, *(_one(call, p, "kernel_size", 0),) * 2)
    stride = (p.temporal_stride, *(_one(call, p, "stride", 1),) * 2)
    call.require(min(kernel + stride) > 0, f"kernel {kernel} or stride {stride} is not positive")
    pad = (p.temporal_pad, *(_one(call, p, "pad", 0),) * 2)
    return p, Window(kernel, stride, pad, pad, (1, 1, 1))


def _nd(call: Call) -> tuple[Any, Window]:
    p = call.param.convolution_param
    call.require(call.x.ndim > 2, f"needs a bottom of more than 2 axes, it has {call.x.ndim}")
    call.require(p.num_output > 0, f"num_output {p.num_output} is not positive")
    kernel, stride, pad = read_shapes(call, p)
    return p, Window(kernel, stride, pad, pad, (1,) * len(kernel))


def read_shapes(call: Call, p: Any) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """kernel_shape, stride_shape and pad_shape, a number for each axis behind the channels."""
    call.require(p.HasField("kernel_shape"), "has no kernel_shape")
    axes = call.x.ndim - 2
    given = []
    for name, least in (("kernel_shape", 1), ("stride_shape", 1), ("pad_shape", 0)):
        numbers = tuple(getattr(p, name).dim) if p.HasField(name) else (least,) * axes
        call.require(len(numbers) == axes, f"{name} has {len(numbers)} numbers for {axes} axes")
        call.require(all(n >= least for n in numbers), f"{name} {numbers} has a number below {least}")
        given.append(numbers)
    return given[0], given[1], given[2]


def _learned(call: Call, p: Any, window: Window, group: int, transposed: bool) -> tuple[Array, Array | None]:
    channels, outputs = call.x.shape[1], p.num_output
    divides = group > 0 and channels % group == 0 and outputs % group == 0
    call.require(divides, f"{channels} channels and num_output {outputs} do not divide into {group} groups")
    first = (channels, outputs) if transposed else (outputs, channels // group)
    shapes: list[tuple[int, ...]] = [(*first, *window.kernel)]
    if p.bias_term:
        shapes.append((outputs,) if call.layer.type == "NdConvolution" else (1, 1, 1, 1, outputs))
    weight, *bias = call.parameters.take(shapes)
    return weight, bias[0].ravel() if bias else None


def _error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    p, window = _nd(call) if call.layer.type == "NdConvolution" else _film(call)
    if call.layer.type == "Deconvolution3D":
        weight, _ = _learned(call, p, window, 1, True)
        overlap = math.prod(-(-k // s) for k, s in zip(window.kernel, window.stride, strict=True))
        rows = weight.swapaxes(0, 1).reshape(weight.shape[1], -1)
        return [Sensitivity(weight.shape[0] * overlap + 1, (row_norm(rows),))]
    weight, _ = _learned(call, p, window, p.group if call.layer.type == "NdConvolution" else 1, False)
    return [Sensitivity(weight[0].size + 1, (row_norm(weight.reshape(len(weight), -1)),))]


def _slide(call: Call, p: Any, window: Window, group: int) -> list[Array]:
    window = replace(window, after=reaching(window, call.x.shape[2:]))
    out = window.slides(call.x.shape[2:])
    call.require(min(out) > 0, f"kernel {window.kernel} is larger than the padded bottom")
    call.room((call.x.shape[0], p.num_output, *out))
    weight, bias = _learned(call, p, window, group, False)
    return [convolve(call.x, weight, bias, window, group)]


@register("Convolution3D", error=_error)
def convolution3d(call: Call) -> list[Array]:
    """A convolution whose outputs all see every channel, whatever `filter_group`; it must divide num_output."""
    p, window = _film(call)
    divides = p.filter_group > 0 and p.num_output % p.filter_group == 0
    call.require(divides, f"num_output {p.num_output} does not divide into {p.filter_group} filter groups")
    return _slide(call, p, window, 1)


@register("NdConvolution", error=_error)
def nd_convolution(call: Call) -> list[Array]:
    """A convolution over all axes behind the channels."""
    p, window = _nd(call)
    call.require(len(call.layer.tops) == 1, "has several tops")
    return _slide(call, p, window, p.group)


@register("Deconvolution3D", error=_error)
def deconvolution3d(call: Call) -> list[Array]:
    """The transpose of Convolution3D; weights are inputs × outputs × kernel."""
    p, window = _film(call)
    out = window.spreads(call.x.shape[2:])
    call.require(min(out) > 0, f"pad {window.pad} leaves nothing of the top")
    call.room((call.x.shape[0], p.num_output, *out))
    weight, bias = _learned(call, p, window, 1, True)
    return [spread(call.x, weight, bias, window, 1)]
