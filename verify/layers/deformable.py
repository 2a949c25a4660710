"""Deformable convolution, from deformable_conv_layer.cpp and .cu and deformable_im2col.cu of unsky's fork, and from
the files of the modulated one of zhanglonghao1992's.

The columns of a convolution are read at places of their own: where the kernel's value lies, plus an offset of the
second bottom. That bottom has the size of the first, yet the code steps through it by the size of the top.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np

from verify.layers.registry import UNBOUNDED, Array, Call, Sensitivity, Wide, narrow, register, wide
from verify.layers.shared.between import Cells, cells_around
from verify.layers.shared.rounding import UNIT_ROUNDOFF, of_sum
from verify.layers.shared.window import Window

JUMP = 1e-3
"""How near a place may lie to where the first version drops to 0, before an error could carry it over."""
STEPS = 8
"""Roundings of a term: two shares, their products with a pixel, the sum of four, the factor and the weight."""


def _pair(call: Call, values: Sequence[int], hw: tuple[int, int], name: str, default: int | None) -> tuple[int, int]:
    if any(hw):
        call.require(not values and (min(hw) > 0 or name == "pad"), f"{name} is given both ways, or by one of h and w")
        return hw
    call.require(len(values) in (1, 2) or (default is not None and not values), f"has {len(values)} {name}")
    return (values[0], values[-1]) if values else (default or 0,) * 2


def _section(call: Call) -> Any:
    modulated = call.layer.type.startswith("Modulated")
    return call.param.modulated_deformable_convolution_param if modulated else call.param.deformable_convolution_param


def _window(call: Call) -> Window:
    p = _section(call)
    kernel = _pair(call, p.kernel_size, (p.kernel_h, p.kernel_w), "kernel_size", None)
    stride = _pair(call, p.stride, (p.stride_h, p.stride_w), "stride", 1)
    pad = _pair(call, p.pad, (p.pad_h, p.pad_w), "pad", 0)
    dilation = _pair(call, p.dilation, (0, 0), "dilation", 1)
    call.require(min(*kernel, *stride, *dilation) > 0, "a kernel, stride or dilation is not positive")
    return Window(kernel, stride, pad, pad, dilation)


def _moved(call: Call, window: Window) -> tuple[list[Array], Array | None, tuple[int, int]]:
    """Rows and columns to read at, items × groups × kernel × places of the top; the factors; the top's size."""
    p, x = _section(call), call.x
    call.require(all(b.ndim == 4 for b in call.bottoms), "needs bottoms of 4 axes")
    call.require(p.axis in (1, -3), f"axis {p.axis} is not that of the channels, 1")
    taps, out = math.prod(window.kernel), window.slides(x.shape[2:])
    call.require(min(out) > 0, f"kernel {window.kernel} is larger than the padded bottom")
    places = math.prod(out)
    groups = call.bottoms[1].shape[1] // (2 * taps)
    stated = p.deformable_group if p.HasField("deformable_group") else groups
    call.require(groups > 0 and stated == groups, f"{call.bottoms[1].shape[1]} channels of offsets do not fit")
    call.require(x.shape[1] % groups == 0, f"{x.shape[1]} channels do not divide into {groups} groups of offsets")
    parts = []
    for bottom, each in zip(call.bottoms[1:], (2, 1), strict=False):
        wanted = (x.shape[0], each * groups * taps, *x.shape[2:])
        call.require(bottom.shape == wanted, f"a bottom is {bottom.shape}, expected {wanted}")
        call.require(places <= math.prod(x.shape[2:]), "has more places in the top than the offsets are for")
        flat = bottom.reshape(len(bottom), -1)[:, : each * groups * taps * places]
        parts.append(flat.reshape(len(bottom), groups, taps, each, places))
    moved: list[Array] = []
    for axis in (0, 1):
        tap, place = (np.indices(sizes)[axis].ravel() for sizes in (window.kernel, out))
        still = np.add.outer(tap * window.dilation[axis], place * window.stride[axis] - window.pad[axis])
        moved.append(still.astype(np.float32) + parts[0][:, :, :, axis])
    return moved, (parts[1][:, :, :, 0] if len(parts) > 1 else None), (out[0], out[1])


def _learned(call: Call, window: Window) -> tuple[Array, Array | None]:
    p, channels = _section(call), call.x.shape[1]
    divides = p.num_output > 0 and p.group > 0 and channels % p.group == 0 and p.num_output % p.group == 0
    call.require(divides, f"{channels} channels and num_output {p.num_output} do not divide into {p.group} groups")
    shapes: list[tuple[int, ...]] = [(p.num_output, channels // p.group, *window.kernel)]
    weight, *bias = call.parameters.take([*shapes, (p.num_output,)] if p.bias_term else shapes)
    return weight, (bias[0] if bias else None)


def _error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    """What each value of the top may be off by, added up over the terms that it has.

    A term w · factor · x is rounded STEPS times before it is added; the sum is one of n. A place in an image of n rows
    is known to 2 · n · 2**-24, in whichever order it is added up, and moves what is read there by the slope between the
    pixels. All of it is `own`: the largest weights, factors, pixels and offsets meet in no value.
    """
    window, fades = _window(call), len(call.bottoms) > 2
    weight, bias = _learned(call, window)
    moved, factors, out = _moved(call, window)
    share = of_sum(weight[0].size + (bias is not None) + STEPS)
    of_row, of_column = (2 * UNIT_ROUNDOFF * size for size in call.x.shape[2:])
    sums = np.zeros((4, len(call.x), len(weight), math.prod(out)))
    for n, outputs, taps, cells, factor in _channels(call, weight, moved, factors, fades):
        by_row, by_column = cells.slopes()
        size = cells.magnitude()
        rounded = share * size + of_row * by_row + of_column * by_column
        parts = [rounded * factor, cells.inside * factor, (by_row + by_column) * factor, size]
        sums[:, n, outputs] += np.abs(taps) @ np.abs(np.stack(parts))
    if bias is not None:
        sums[0] += share * np.abs(wide(bias))[:, None]
    own, *gains = (float(each.max(initial=0.0)) for each in sums)
    if not fades:
        edges = [np.minimum(np.abs(v), np.abs(v - n)) for v, n in zip(moved, call.x.shape[2:], strict=True)]
        near = min(float(edge.min(initial=math.inf)) for edge in edges)
        gains[1] = gains[1] if near > JUMP else UNBOUNDED
    return [Sensitivity(0, tuple(gains[: len(call.bottoms)]), own)]


_Channel: TypeAlias = "tuple[int, slice, Wide, Cells, Array]"


def _channels(
    call: Call, weight: Array, moved: Sequence[Array], factors: Array | None, fades: bool
) -> Iterator[_Channel]:
    """Each channel of each item: the outputs that it is part of, their weights, where it is read, and the factors."""
    rows, columns = moved
    groups, split, channels = _section(call).group, rows.shape[1], call.x.shape[1]
    outputs = len(weight) // groups
    for n, c in np.ndindex(len(call.x), channels):
        place, group = (n, c * split // channels), c * groups // channels
        chosen = slice(group * outputs, (group + 1) * outputs)
        taps = wide(weight[chosen, c % (channels // groups)].reshape(outputs, -1))
        factor = np.ones_like(rows[place]) if factors is None else factors[place]
        yield (
            n,
            chosen,
            taps,
            cells_around(call.x[n, c], rows[place], columns[place], "faded" if fades else "repeated"),
            factor,
        )


def _deformable(call: Call, fades: bool) -> list[Array]:
    window = _window(call)
    weight, bias = _learned(call, window)
    moved, factors, out = _moved(call, window)
    y = np.zeros((len(call.x), len(weight), math.prod(out)))
    for n, outputs, taps, cells, factor in _channels(call, weight, moved, factors, fades):
        y[n, outputs] += taps @ (cells.read() * factor)
    if bias is not None:
        y += wide(bias)[:, None]
    return [narrow(y.reshape(len(y), -1, *out))]


@register("DeformableConvolution", bottoms=2, error=_error)
def deformable(call: Call) -> list[Array]:
    """0 outside 0 ≤ place < size; between the last pixel and there, the last pixel."""
    return _deformable(call, fades=False)


@register("ModulatedDeformableConvolution", bottoms=3, error=_error)
def modulated(call: Call) -> list[Array]:
    """Fades to 0 over one pixel on each side; each value times a factor of the third bottom."""
    return _deformable(call, fades=True)
