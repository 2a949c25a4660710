"""Kernel, stride, pad and dilation of convolution layers, over any number of spatial axes (Caffe: base_conv_layer.cpp).

Each is one number for all axes, one number an axis, or for two axes the `_h` and `_w` fields.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from verify.layers.registry import Array, Call, Wide


@dataclass(frozen=True)
class Window:
    """A convolution's geometry, one entry per spatial axis."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    pad: tuple[int, ...]
    dilation: tuple[int, ...]

    @property
    def extent(self) -> tuple[int, ...]:
        """Size of the dilated kernel."""
        return tuple(d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilation, strict=True))

    def slides(self, sizes: Sequence[int]) -> tuple[int, ...]:
        """Positions of the window over `sizes`, rounded down: (size + 2 pad - extent) / stride + 1."""
        spans = zip(sizes, self.pad, self.extent, self.stride, strict=True)
        return tuple((size + 2 * pad - extent) // stride + 1 for size, pad, extent, stride in spans)

    def spreads(self, sizes: Sequence[int]) -> tuple[int, ...]:
        """Size whose `slides` are `sizes`, the way of Deconvolution: stride (size - 1) + extent - 2 pad."""
        spans = zip(sizes, self.pad, self.extent, self.stride, strict=True)
        return tuple(stride * (size - 1) + extent - 2 * pad for size, pad, extent, stride in spans)

    def is_point(self) -> bool:
        """Whether the window is one value and touches every one of them."""
        return all((k, s, p) == (1, 1, 0) for k, s, p in zip(self.kernel, self.stride, self.pad, strict=True))

    def view(self, padded: Wide) -> Wide:
        """`padded` (…, spatial) as (…, positions, kernel), without a copy."""
        axes = tuple(range(padded.ndim - len(self.kernel), padded.ndim))
        windows: Wide = np.lib.stride_tricks.sliding_window_view(padded, self.extent, axes)
        lead = (slice(None),) * axes[0]
        steps = tuple(slice(None, None, s) for s in self.stride)
        return windows[(*lead, *steps, *(slice(None, None, d) for d in self.dilation))]


def read_window(call: Call) -> tuple[Window, int]:
    """The layer's window, and the axis of its channels.

    Raises:
        NetError: a size that is not positive, or a list of the wrong length.
    """
    p = call.param.convolution_param
    channel = call.axis(p.axis)
    count = call.x.ndim - channel - 1
    kernel = _per_axis(call, "kernel_size", p.kernel_size, (p.kernel_h, p.kernel_w), count, None)
    stride = _per_axis(call, "stride", p.stride, (p.stride_h, p.stride_w), count, 1)
    pad = _per_axis(call, "pad", p.pad, (p.pad_h, p.pad_w), count, 0)
    dilation = _per_axis(call, "dilation", p.dilation, (0, 0), count, 1)
    for name, values in (("kernel_size", kernel), ("stride", stride), ("dilation", dilation)):
        call.require(all(v > 0 for v in values), f"{name} {values} is not positive")
    return Window(kernel, stride, pad, dilation), channel


def _per_axis(
    call: Call, name: str, values: Sequence[int], hw: tuple[int, int], count: int, default: int | None
) -> tuple[int, ...]:
    if any(hw):
        call.require(count == 2 and not values, f"{name} is given both ways, or by h and w for {count} spatial axes")
        return hw
    if not values:
        call.require(default is not None or count == 0, f"has no {name}")
        return (default or 0,) * count
    call.require(len(values) in (1, count), f"has {len(values)} {name} for {count} spatial axes")
    return tuple(values) if len(values) == count else (values[0],) * count


def pad_wide(x: Array, pad: Sequence[int]) -> Wide:
    """`x` in float64 with zeros around its last axes."""
    lead = x.ndim - len(pad)
    sizes = [size + 2 * p for size, p in zip(x.shape[lead:], pad, strict=True)]
    out: Wide = np.zeros((*x.shape[:lead], *sizes))
    inner = tuple(slice(p, p + size) for size, p in zip(x.shape[lead:], pad, strict=True))
    out[(slice(None),) * lead + inner] = x
    return out
