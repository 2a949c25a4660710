"""Forks' layers that move values without computing: borders, reversals, axes dropped or put in another order.

Facts from the sources of Synopsys' fork (pad_layer.cpp, squeeze_layer.cpp, depth_to_space_layer.cpp) and of the forks
for reading text in images, caffe_ocr among them (reverse_layer.cpp, transpose_layer.cpp).
"""

from __future__ import annotations

import numpy as np

from verify.layers.registry import Array, Call, register


@register("Pad")
def pad(call: Call) -> list[Array]:
    """A border of `constant_values`; `paddings` has two numbers an axis, before and behind, the first axis first.

    inisis' layer of the name (pad_layer.cpp) has a border of an image alone; four sides below 0 cut.
    """
    p = call.param.pad_param
    if any(p.HasField(name) for name in ("pad_type", "pad_u", "pad_d", "pad_l", "pad_r", "pad_value")):
        return [_framed(call)]
    widths = list(p.paddings)
    wanted = 2 * call.x.ndim
    call.require(len(widths) == wanted, f"has {len(widths)} paddings for {call.x.ndim} axes, expected {wanted}")
    pairs = list(zip(widths[::2], widths[1::2], strict=True))
    call.room([before + size + behind for (before, behind), size in zip(pairs, call.x.shape, strict=True)])
    return [np.pad(call.x, pairs, constant_values=np.float32(p.constant_values))]


def _framed(call: Call) -> Array:
    p = call.param.pad_param
    call.require(call.x.ndim == 4, f"needs a bottom of 4 axes, it has {call.x.ndim}")
    height, width = call.x.shape[2:]
    if max(p.pad_u, p.pad_d, p.pad_l, p.pad_r) < 0:
        rows, columns = slice(-p.pad_u, height + p.pad_d), slice(-p.pad_l, width + p.pad_r)
        inside = rows.start < rows.stop and columns.start < columns.stop
        call.require(inside, "cutting leaves nothing")
        return np.ascontiguousarray(call.x[:, :, rows, columns])
    call.require(min(p.pad_u, p.pad_d, p.pad_l, p.pad_r) >= 0, "cuts some sides and widens others")
    # For each row and column of the top, the one of the bottom that it shows; -1 for the border's value.
    rows_from, columns_from = (
        [_shown(call, place, size) for place in range(-before, size + behind)]
        for size, before, behind in ((height, p.pad_u, p.pad_d), (width, p.pad_l, p.pad_r))
    )
    top = call.x[:, :, rows_from][:, :, :, columns_from]
    top[:, :, np.array(rows_from) < 0] = np.float32(p.pad_value)
    top[:, :, :, np.array(columns_from) < 0] = np.float32(p.pad_value)
    return np.ascontiguousarray(top)


def _shown(call: Call, place: int, size: int) -> int:
    """Where the value at a place beside the image comes from."""
    p = call.param.pad_param
    if 0 <= place < size:
        return place
    if p.pad_type == p.CONSTANT:
        return -1
    if p.pad_type == p.REPLICATE:
        return 0 if place < 0 else size - 1
    mirrored = -place if place < 0 else 2 * (size - 1) - place
    call.require(0 <= mirrored < size, f"a border of {max(-place, place - size + 1)} can't be mirrored in {size}")
    return mirrored


@register("Unsqueeze")
def unsqueeze(call: Call) -> list[Array]:
    """With an axis of 1 at `dim` of the top (inisis' fork: unsqueeze.cpp)."""
    p = call.param.unsqueeze_param
    call.require(p.HasField("dim"), "needs dim")
    return [np.expand_dims(call.x, call.axis(p.dim, call.x.ndim + 1))]


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
