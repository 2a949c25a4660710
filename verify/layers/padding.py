"""Borders around a blob (pad_layer.cpp of Synopsys' fork, and of inisis')."""

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
        call.ignores("nothing is added", "pad_param.pad_value", "pad_param.pad_type")
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
