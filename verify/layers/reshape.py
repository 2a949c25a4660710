"""A blob's values under another shape (Caffe: reshape_layer.cpp)."""

from __future__ import annotations

import math

import numpy as np

from prototxt.words import format_shape
from verify.layers.registry import Array, Call, register, whole


def _shuffled(call: Call, r: int) -> Array:
    call.require(call.x.ndim == 4, f"needs a bottom of 4 axes, it has {call.x.ndim}")
    n, c, h, w = call.x.shape
    call.require(r > 0 and c % (r * r) == 0, f"{c} channels do not divide by {r}·{r}")
    top: Array = np.empty((n, c // (r * r), h * r, w * r), np.float32)
    for channel in range(c):
        row, column = divmod(channel % (r * r), r)
        top[:, channel // (r * r), row::r, column::r] = call.x[:, channel]
    return top


@register("Reshape", shares=lambda layer: whole(layer) if layer.param.reshape_param.pixelshuffler == 1 else {})
def reshape(call: Call) -> list[Array]:
    """New sizes for `num_axes` axes from `axis` on; 0 keeps the size at that place, one -1 is worked out.

    Synopsys' fork (its reshape_layer.cpp): `pixelshuffler` r above 1 makes pixels of channels instead, r·r of them a
    square, row by row.
    """
    p = call.param.reshape_param
    if p.pixelshuffler != 1:
        return [_shuffled(call, p.pixelshuffler)]
    old, ndim = call.x.shape, call.x.ndim
    start = p.axis if p.axis >= 0 else ndim + p.axis + 1
    call.require(0 <= start <= ndim, f"axis {p.axis} is outside a blob of {ndim} axes")
    end = ndim if p.num_axes == -1 else start + p.num_axes
    call.require(p.num_axes >= -1 and end <= ndim, f"axis {p.axis} and num_axes {p.num_axes} leave the blob")
    dims = list(p.shape.dim)
    call.require(all(d >= -1 for d in dims) and dims.count(-1) <= 1, f"shape {dims} holds more than one -1 or less")
    for index, dim in enumerate(dims):
        if dim == 0:
            call.require(start + index < ndim, f"0 at place {index} copies axis {start + index} of {ndim}")
            dims[index] = old[start + index]
    rest = math.prod(old[:start]) * math.prod(old[end:]) * math.prod(d for d in dims if d != -1)
    if -1 in dims:
        call.require(rest > 0 and call.x.size % rest == 0, f"{call.x.size} values do not divide by {rest} for the -1")
        dims[dims.index(-1)] = call.x.size // rest
    new = (*old[:start], *dims, *old[end:])
    call.require(math.prod(new) == call.x.size, f"{call.x.size} values do not fill {format_shape(new)}")
    return [call.x.reshape(new)]
