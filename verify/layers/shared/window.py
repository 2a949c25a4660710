"""Kernel, stride, pad and dilation of convolution layers, over any number of spatial axes (Caffe: base_conv_layer.cpp).

Each is one number for all axes, one number an axis, or for two axes the `_h` and `_w` fields. DeepLab's first fork
calls dilation `hole` (conv_layer.cpp there). Synopsys' fork (base_conv_layer.cpp and im2col.cpp there) pads two axes on
four sides by `pad_l`, `pad_r`, `pad_t` and `pad_b`, or as TensorFlow's SAME does (`pad_type` 1): ceil(size / stride)
positions, the pads what the undilated kernel needs for them, the odd one behind.

C++ divides toward zero: (size + 2 pad - extent) / stride + 1 is 1 also where a kernel is larger than what it slides
over, by less than its stride, and im2col then reads 0 behind the padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from verify.layers.registry import Array, Call, Wide

_Float = TypeVar("_Float", bound=np.floating[Any])
TRANSPOSED = ("Deconvolution", "DeconvolutionRistretto")


@dataclass(frozen=True)
class Window:
    """A convolution's geometry, one entry per spatial axis; `pad` lies before the image, `after` behind it."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    pad: tuple[int, ...]
    after: tuple[int, ...]
    dilation: tuple[int, ...]

    @property
    def extent(self) -> tuple[int, ...]:
        """Size of the dilated kernel."""
        return tuple(d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilation, strict=True))

    def slides(self, sizes: Sequence[int]) -> tuple[int, ...]:
        """Positions of the window over `sizes`, rounded down: (size + pads - extent) / stride + 1."""
        spans = zip(self.padded(sizes), self.extent, self.stride, strict=True)
        return tuple((size - extent) // stride + 1 for size, extent, stride in spans)

    def padded(self, sizes: Sequence[int]) -> tuple[int, ...]:
        """`sizes` with the pads on both sides."""
        return tuple(size + a + b for size, a, b in zip(sizes, self.pad, self.after, strict=True))

    def spreads(self, sizes: Sequence[int]) -> tuple[int, ...]:
        """Size whose `slides` are `sizes`, the way of Deconvolution: stride (size - 1) + extent - pads."""
        spans = zip(sizes, self.pad, self.after, self.extent, self.stride, strict=True)
        return tuple(stride * (size - 1) + extent - a - b for size, a, b, extent, stride in spans)

    def is_point(self, *, strided: bool = False) -> bool:
        """Whether the window is one value and touches every one of them; or but some of them, where it is `strided`."""
        spans = zip(self.kernel, self.stride, self.pad, self.after, strict=True)
        return all(span == (1, span[1] if strided else 1, 0, 0) for span in spans)

    def met(self, x: Array) -> Array:
        """What a window of one value touches of the last axes."""
        lead = (slice(None),) * (x.ndim - len(self.stride))
        return np.ascontiguousarray(x[(*lead, *(slice(None, None, s) for s in self.stride))])

    def unstrided(self) -> Window:
        """This window with steps of 1."""
        return replace(self, stride=(1,) * len(self.stride))

    def view(self, padded: npt.NDArray[_Float]) -> npt.NDArray[_Float]:
        """`padded` (…, spatial) as (…, positions, kernel), without a copy."""
        axes = tuple(range(padded.ndim - len(self.kernel), padded.ndim))
        windows: npt.NDArray[_Float] = np.lib.stride_tricks.sliding_window_view(padded, self.extent, axes)
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
    dilation = _dilation(call, count)
    if all(k == 1 for k in kernel):  # 0 moves nothing then either
        dilation = tuple(d or 1 for d in dilation)
    for name, values in (("kernel_size", kernel), ("stride", stride), ("dilation", dilation)):
        call.require(all(v > 0 for v in values), f"{name} {values} is not positive")
    whole = p.input_scale == p.output_scale == 1 and not p.saturate
    call.require(whole, "computes in whole numbers (input_scale, output_scale or saturate), not in floats")
    before, after = _pads(call, call.x.shape[channel + 1 :], Window(kernel, stride, (), (), dilation))
    window = Window(kernel, stride, before, after, dilation)
    if call.layer.type not in TRANSPOSED:
        window = replace(window, after=reaching(window, call.x.shape[channel + 1 :]))
    return window, channel


def reaching(window: Window, sizes: Sequence[int]) -> tuple[int, ...]:
    """The pads behind, with the zeros that a kernel takes from there which is larger by less than its stride."""
    spans = zip(window.after, window.extent, window.padded(sizes), window.stride, strict=True)
    return tuple(pad + (extent - size if size < extent < size + s else 0) for pad, extent, size, s in spans)


def _dilation(call: Call, count: int) -> tuple[int, ...]:
    p = call.param.convolution_param
    holes = [name for name in ("hole", "hole_h", "hole_w") if p.HasField(name)]
    if not holes:
        return _per_axis(call, "dilation", p.dilation, (0, 0), count, 1)
    call.require(not p.dilation, f"has dilation and {holes[0]}")
    call.require(len(holes) == 2 - ("hole" in holes), "takes hole, or hole_h and hole_w")
    call.require(count == 2, f"has {holes[0]} for {count} spatial axes, expected 2")
    return (p.hole, p.hole) if "hole" in holes else (p.hole_h, p.hole_w)


def _pads(call: Call, sizes: Sequence[int], window: Window) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Pads before and behind; of the three ways to say them only one may be used."""
    p = call.param.convolution_param
    count = len(sizes)
    sides = (p.pad_t, p.pad_l), (p.pad_b, p.pad_r)
    call.require(p.pad_type in (0, 1), f"pad_type {p.pad_type} is unknown, expected 0 or 1")
    ways = [bool(p.pad or p.pad_h or p.pad_w), any(map(any, sides)), p.pad_type == 1]
    call.require(sum(ways) < 2, "says its pad in more than one way: pad, pad_l to pad_b, pad_type")
    if ways[1]:
        call.require(count == 2, f"has pad_l, pad_r, pad_t or pad_b for {count} spatial axes, expected 2")
        return sides
    if ways[2]:
        call.require(call.layer.type not in TRANSPOSED, f"has pad_type, which has no meaning for {call.layer.type}")
        call.require(count == 2, f"has pad_type for {count} spatial axes, expected 2")
        return _same(sizes, window)
    pad = _per_axis(call, "pad", p.pad, (p.pad_h, p.pad_w), count, 0)
    return pad, pad


def _same(sizes: Sequence[int], window: Window) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Zeros behind as many as the last of the ceil(size / stride) windows reaches, dilated or not."""
    before, after = [], []
    for size, k, s, extent in zip(sizes, window.kernel, window.stride, window.extent, strict=True):
        pad = max(k - (size % s or s), 0) // 2
        last = -(-size // s) - 1
        before.append(pad)
        after.append(max(last * s + extent - size - pad, 0))
    return tuple(before), tuple(after)


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


def pad_wide(x: Array, window: Window) -> Wide:
    """`x` in float64 with the window's zeros around its last axes."""
    return pad(x, window, np.float64)


def pad(x: Array, window: Window, kind: type[_Float]) -> npt.NDArray[_Float]:
    """`x` as numbers of a kind, with the window's zeros around its last axes."""
    lead = x.ndim - len(window.pad)
    out: npt.NDArray[_Float] = np.zeros((*x.shape[:lead], *window.padded(x.shape[lead:])), kind)
    inner = tuple(slice(p, p + size) for size, p in zip(x.shape[lead:], window.pad, strict=True))
    out[(slice(None),) * lead + inner] = x
    return out
