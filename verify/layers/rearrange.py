"""Forks' layers that move values without computing: borders, reversals, axes dropped or put in another order.

Facts from the sources of Synopsys' fork (pad_layer.cpp, squeeze_layer.cpp, depth_to_space_layer.cpp) and of the forks
for reading text in images, caffe_ocr among them (reverse_layer.cpp, transpose_layer.cpp).
"""

from __future__ import annotations

import numpy as np

from verify.layers.registry import Array, Call, register


@register("Pad")
def pad(call: Call) -> list[Array]:
    """A border of `constant_values`; `paddings` has two numbers an axis, before and behind, the first axis first."""
    p = call.param.pad_param
    widths = list(p.paddings)
    wanted = 2 * call.x.ndim
    call.require(len(widths) == wanted, f"has {len(widths)} paddings for {call.x.ndim} axes, expected {wanted}")
    pairs = list(zip(widths[::2], widths[1::2], strict=True))
    call.room([before + size + behind for (before, behind), size in zip(pairs, call.x.shape, strict=True)])
    return [np.pad(call.x, pairs, constant_values=np.float32(p.constant_values))]


@register("Reverse")
def reverse(call: Call) -> list[Array]:
    """The axis `axis` from its end to its start."""
    return [np.ascontiguousarray(np.flip(call.x, call.axis(call.param.reverse_param.axis)))]


@register("Squeeze")
def squeeze(call: Call) -> list[Array]:
    """Without the axes that `axis` lists, each of size 1; without any, all axes of size 1 go, perhaps to a scalar."""
    axes = {call.axis(axis) for axis in call.param.squeeze_param.axis}
    for axis in sorted(axes):
        call.require(call.x.shape[axis] == 1, f"axis {axis} has size {call.x.shape[axis]}, only size 1 can go")
    gone = axes or {axis for axis, size in enumerate(call.x.shape) if size == 1}
    return [call.x.reshape([size for axis, size in enumerate(call.x.shape) if axis not in gone])]


@register("Transpose")
def transpose(call: Call) -> list[Array]:
    """Axis i of the top is axis `dim` i of the bottom; unlike Permute's `order`, `dim` names every axis."""
    dims = list(call.param.transpose_param.dim)
    call.require(sorted(dims) == list(range(call.x.ndim)), f"dim {dims} is no order of {call.x.ndim} axes")
    return [np.ascontiguousarray(call.x.transpose(dims))]


@register("DepthToSpace")
def depth_to_space(call: Call) -> list[Array]:
    """The b·b blocks of the depth as the pixels of a square, b being `block_size`; TensorFlow's order, or CRD.

    `data_format` says where the depth lies and what it is made of: NHWC (unless said) and NCHW or DCR have the place in
    the square before the depth that is left, CRD behind it, as in PixelShuffle.
    """
    p = call.param.depth_to_space_param
    call.require(call.x.ndim == 4, f"needs a bottom of 4 axes, it has {call.x.ndim}")
    b, kind = p.block_size, p.data_format
    call.require(kind in ("NHWC", "NCHW", "DCR", "CRD"), f"data_format {kind!r} is none of NHWC, NCHW, DCR and CRD")
    n, *sizes = call.x.shape
    h, w, c = sizes if kind == "NHWC" else (sizes[1], sizes[2], sizes[0])
    call.require(b > 0 and c % (b * b) == 0, f"a depth of {c} does not divide by {b}·{b}")
    d = c // (b * b)
    if kind == "NHWC":
        y = call.x.reshape(n, h, w, b, b, d).transpose(0, 1, 3, 2, 4, 5).reshape(n, h * b, w * b, d)
    elif kind == "CRD":
        y = call.x.reshape(n, d, b, b, h, w).transpose(0, 1, 4, 2, 5, 3).reshape(n, d, h * b, w * b)
    else:
        y = call.x.reshape(n, b, b, d, h, w).transpose(0, 3, 4, 1, 5, 2).reshape(n, d, h * b, w * b)
    return [np.ascontiguousarray(y)]
