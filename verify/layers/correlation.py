"""Correlations of two images, from correlation_layer.cu and correlation_layer1d.cu (FlowNet, DispNet).

Top channel k compares the window of the first image from (stride_1 y + D, stride_1 x + D) on with that of the second
which lies s2p rows and s2o columns further, D being max_displacement:

    s2o = (k % W - r) · stride_2, s2p = (k / W - r) · stride_2     W = 2 r + 1, r = max_displacement / stride_2

In one dimension rows are neither padded nor moved, and to one side k · stride_2 or (k - W) · stride_2 with W = r + 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from verify.layers.registry import Array, Call, Sensitivity, Wide, largest, narrow, register, wide


def _moves(call: Call) -> list[tuple[int, int]]:
    """Rows and columns of each top channel's displacement."""
    p = call.param.correlation_param
    r, step = p.max_displacement // p.stride_2, p.stride_2
    if call.layer.type == "Correlation":
        width = 2 * r + 1
        return [((k // width - r) * step, (k % width - r) * step) for k in range(width * width)]
    if p.single_direction:
        width = r + 1
        return [(0, (k if p.single_direction > 0 else k - width) * step) for k in range(width)]
    return [(0, (k - r) * step) for k in range(2 * r + 1)]


def _check(call: Call) -> None:
    p = call.param.correlation_param
    call.same_shapes()
    call.require(call.x.ndim == 4, f"needs bottoms of 4 axes, they have {call.x.ndim}")
    call.require(p.kernel_size % 2 == 1, f"has a kernel_size of {p.kernel_size}, which is not odd")
    call.require(p.HasField("max_displacement"), "has no max_displacement")
    call.require(p.stride_1 > 0 and p.stride_2 > 0, "has a stride of 0")
    if call.layer.type == "Correlation1D":
        call.require(p.single_direction in (-1, 0, 1), f"has a single_direction of {p.single_direction}")


def _top_size(call: Call) -> tuple[int, int]:
    p, (height, width) = call.param.correlation_param, call.x.shape[2:]
    flat = call.layer.type == "Correlation1D"
    border = p.max_displacement + (p.kernel_size - 1) // 2
    tall = height - (p.kernel_size - 1) if flat else height + 2 * p.pad - 2 * border
    sizes = int(np.ceil(tall / p.stride_1)), int(np.ceil((width + 2 * p.pad - 2 * border) / p.stride_1))
    call.require(min(sizes) > 0, "has displacements and a kernel that do not fit its bottoms")
    return sizes


def _error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    p = call.param.correlation_param
    gains = (largest(call.bottoms[1]), largest(call.x)) if p.correlation_type == p.MULTIPLY else (1.0, 1.0)
    return [Sensitivity(p.kernel_size**2 * call.x.shape[1] + 1, gains)]


def _windows(call: Call, size: tuple[int, int]) -> Iterator[tuple[int, Wide, Wide]]:
    """For each top channel and each pixel of the kernel, both images' pixels there, items × channels × `size`."""
    p = call.param.correlation_param
    flat, spare = call.layer.type == "Correlation1D", p.stride_2
    above = 0 if flat else p.pad
    pads = ((0, 0), (0, 0), (above, above), (p.pad + spare, p.pad))
    first, second = (np.pad(wide(bottom), pads) for bottom in call.bottoms)
    top, left = (0 if flat else p.max_displacement), p.max_displacement + spare

    def pixels(image: Wide, row: int, column: int) -> Wide:
        lines = image[:, :, row : row + (size[0] - 1) * p.stride_1 + 1 : p.stride_1]
        return lines[:, :, :, column : column + (size[1] - 1) * p.stride_1 + 1 : p.stride_1]

    for k, (down, along) in enumerate(_moves(call)):
        call.require(p.max_displacement + along >= -p.pad, "reads beyond the padding of its rows")
        for j, i in np.ndindex(p.kernel_size, p.kernel_size):
            there = pixels(second, top + down + j, left + along + i)
            yield k, pixels(first, top + j, left + i), there


@register("Correlation", "Correlation1D", bottoms=2, error=_error)
def correlation(call: Call) -> list[Array]:
    """The mean over kernel and channels of the products, or of the size of the differences."""
    _check(call)
    p, size = call.param.correlation_param, _top_size(call)
    call.room((len(call.x), len(_moves(call)), *size))
    y = np.zeros((len(call.x), len(_moves(call)), *size))
    for k, here, there in _windows(call, size):
        if p.correlation_type == p.MULTIPLY:
            y[:, k] += np.einsum("nchw,nchw->nhw", here, there)
        else:
            y[:, k] += np.abs(here - there).sum(axis=1)
    return [narrow(y / (p.kernel_size**2 * call.x.shape[1]))]
