"""Pooling over height and width (Caffe: pooling_layer.cpp).

    positions = ceil((size + 2 pad - kernel) / stride) + 1,  one less where the last would start at size + pad or later

The second rule applies to both axes as soon as either has a pad, and never without one: with stride > kernel and no
pad a window may lie wholly outside, and gives -FLT_MAX (MAX) or 0/0 (AVE). AVE divides by the window clipped to the
padded image, not to the image.

Synopsys' fork (its pooling_layer.cpp) adds pads of their own for the four sides: 2 pad is then before + behind, and
the last window starts before size + before. TensorFlow's SAME (pad_type 1) makes ceil(size / stride) positions, its
pads share out what the windows need, the odd one behind. AVE_EXC_PAD divides by the window clipped to the image.
ChenYingpeng's (darknet2caffe: pooling_layer.cpp) adds a position to both axes where the kernel's rows less the
stride's are odd and positive.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from verify.layers.registry import UNBOUNDED, Array, Call, Sensitivity, Wide, narrow, register, wide
from verify.layers.shared.gapped import gapped, gapped_error
from verify.layers.shared.rounding import of_sum

LOWEST = np.float32(np.finfo(np.float32).min)


@dataclass(frozen=True)
class Axis:
    """The windows along one spatial axis; `pad` lies before the image, `after` behind it."""

    size: int
    kernel: int
    stride: int
    pad: int
    after: int
    count: int

    @property
    def starts(self) -> list[int]:
        """First row of each window in the image; negative inside the padding."""
        return [i * self.stride - self.pad for i in range(self.count)]

    def clipped(self) -> list[tuple[int, int]]:
        """First row and the row behind the last of each window, within the image."""
        return [(max(s, 0), min(s + self.kernel, self.size)) for s in self.starts]

    def lengths(self, *, inside: bool = False) -> Wide:
        """Rows of each window, clipped to the padded image, or to what lies `inside` the image."""
        if inside:
            return np.array([end - first for first, end in self.clipped()], np.float64)
        return np.array([min(s + self.kernel, self.size + self.after) - s for s in self.starts], np.float64)


def _pair(call: Call, both: str, height: str, width: str) -> tuple[int, int]:
    """What one field says for both axes, or two for each: never all of them, never one of the two (Caffe's CHECKs)."""
    p = call.param.pooling_param
    each = p.HasField(height), p.HasField(width)
    call.require(not (p.HasField(both) and any(each)), f"has {both}, and {height} or {width}")
    call.require(all(each) or not any(each), f"needs {height} and {width} together")
    return (getattr(p, height), getattr(p, width)) if all(each) else (getattr(p, both), getattr(p, both))


def _kernel(call: Call) -> tuple[int, int]:
    """Caffe refuses `kernel_size` beside both others, not beside one of them, which it then does not look at."""
    p = call.param.pooling_param
    size, height, width = (p.HasField(name) for name in ("kernel_size", "kernel_h", "kernel_w"))
    if size and height != width:
        return p.kernel_size, p.kernel_size
    return _pair(call, "kernel_size", "kernel_h", "kernel_w")


def _axes(call: Call) -> tuple[Axis, Axis]:
    p = call.param.pooling_param
    call.require(call.x.ndim == 4, f"needs a bottom of 4 axes, it has {call.x.ndim}")
    sizes = call.x.shape[2:]
    if p.global_pooling:
        kernel: tuple[int, int] = (sizes[0], sizes[1])
    else:
        kernel = _kernel(call)
    stride = _pair(call, "stride", "stride_h", "stride_w")
    call.require(min(kernel) > 0, f"kernel {kernel[0]}×{kernel[1]} is not positive")
    call.require(min(stride) > 0, f"stride {stride[0]}×{stride[1]} is not positive")
    if p.pad_type:
        return _same_axes(call, kernel, stride)
    before, after = _pads(call)
    padded = any(before) or any(after)
    if p.global_pooling:
        call.require(not padded and stride == (1, 1), "global_pooling allows no pad and no stride but 1")
    for pad in (before, after):
        call.require(all(a < k for a, k in zip(pad, kernel, strict=True)), f"pad {pad} is not below kernel {kernel}")
    down = p.round_mode == p.FLOOR
    if p.HasField("ceil_mode"):
        down = not p.ceil_mode
    more = _further_positions(call, kernel, stride, padded)
    made = []
    for size, k, s, a, b in zip(sizes, kernel, stride, before, after, strict=True):
        span = size + a + b - k
        count = (span // s if down else -(-span // s)) + 1 + more
        if padded and (count - 1) * s >= size + a:
            count -= 1
        call.require(count > 0, f"kernel {k} is larger than the padded size {size + a + b}")
        made.append(Axis(size, k, s, a, b, count))
    return made[0], made[1]


def _further_positions(call: Call, kernel: tuple[int, int], stride: tuple[int, int], padded: bool) -> int:
    over = kernel[0] - stride[0]
    if call.layer.dialect != "darknet2caffe" or over < 0 or over % 2 == 0:
        return 0
    p = call.param.pooling_param
    known = p.pool == p.MAX and kernel == (2, 2) and stride == (1, 1) and not padded and not p.global_pooling
    call.require(known, "has one position more, known for MAX of 2×2 at stride 1 only")
    return 1


def _pads(call: Call) -> tuple[tuple[int, int], tuple[int, int]]:
    """Pads before and behind, each for rows and columns; those of the four sides exclude the others."""
    p = call.param.pooling_param
    sides = (p.pad_t, p.pad_l), (p.pad_b, p.pad_r)
    if not any(map(any, sides)):
        pad = _pair(call, "pad", "pad_h", "pad_w")
        return pad, pad
    others = p.HasField("pad") or p.HasField("pad_h") or p.HasField("pad_w")
    call.require(not others, "has pad_l, pad_r, pad_t or pad_b and another pad")
    return sides


def _same_axes(call: Call, kernel: tuple[int, int], stride: tuple[int, int]) -> tuple[Axis, Axis]:
    """TensorFlow's SAME."""
    p = call.param.pooling_param
    call.ignores("SAME rounds up", "pooling_param.round_mode", "pooling_param.ceil_mode")
    call.require(p.pad_type == 1, f"pad_type {p.pad_type} is unknown, expected 0 or 1")
    others = p.HasField("pad") or p.HasField("pad_h") or p.HasField("pad_w")
    call.require(not others and not any(map(any, _pads(call))), "has pad_type and another pad")
    made = []
    for size, k, s in zip(call.x.shape[2:], kernel, stride, strict=True):
        total = max(k - (size % s or s), 0)
        made.append(Axis(size, k, s, total // 2, total - total // 2, -(-size // s)))
    return made[0], made[1]


def maximum(x: Array, axes: tuple[Axis, Axis]) -> Array:
    """Largest value of each window; NaN never wins, as no comparison with it holds."""
    y = x
    for place, axis in zip((2, 3), axes, strict=True):
        lanes = np.moveaxis(y, place, 0)
        best = np.full((axis.count, *lanes.shape[1:]), LOWEST, np.float32)
        for index, (first, end) in enumerate(axis.clipped()):
            if first < end:
                best[index] = np.fmax.reduce(lanes[first:end], axis=0, initial=LOWEST)
        y = np.moveaxis(best, 0, place)
    return np.ascontiguousarray(y)


def average(x: Array, axes: tuple[Axis, Axis], *, inside: bool = False) -> Array:
    """Sum of each window over its size clipped to the padded image, or to what lies `inside` the image."""
    total = wide(x)
    for place, axis in zip((2, 3), axes, strict=True):
        lanes = np.moveaxis(total, place, 0)
        sums: Wide = np.zeros((axis.count, *lanes.shape[1:]))
        for index, (first, end) in enumerate(axis.clipped()):
            if first < end:
                sums[index] = lanes[first:end].sum(axis=0)
        total = np.moveaxis(sums, 0, place)
    return narrow(total / np.outer(axes[0].lengths(inside=inside), axes[1].lengths(inside=inside)))


def positions_of_maximum(x: Array, axes: tuple[Axis, Axis]) -> Array:
    """Row · width + column of the first largest value of each window in scan order; -1 in an empty one."""
    rows, columns = axes
    found: Array = np.empty((*x.shape[:2], rows.count, columns.count), np.float32)
    for i, (top, bottom) in enumerate(rows.clipped()):
        for j, (left, right) in enumerate(columns.clipped()):
            found[:, :, i, j] = _first_largest(x[:, :, top:bottom, left:right], top, left, x.shape[3])
    return found


def _first_largest(window: Array, top: int, left: int, width: int) -> npt.NDArray[np.int64]:
    if window.size == 0:
        return np.full(window.shape[:2], -1, np.int64)
    flat = np.fmax(window.reshape(*window.shape[:2], -1), LOWEST)
    place = flat.argmax(axis=2)
    row, column = np.divmod(place, window.shape[3])
    return np.where(flat.max(axis=2) > LOWEST, (top + row) * width + left + column, -1)


def weighted(x: Array, axes: tuple[Axis, Axis]) -> Array:
    """STOCHASTIC in phase TEST: values weighted by their share of the window's sum; 0 where that is not positive."""
    lengths = np.outer(axes[0].lengths(), axes[1].lengths())
    sums = wide(average(x, axes)) * lengths
    squares = wide(average(narrow(wide(x) ** 2), axes)) * lengths
    return narrow(np.divide(squares, sums, out=np.zeros_like(sums), where=sums > 0))


def weighted_error(x: Array, axes: tuple[Axis, Axis]) -> Sensitivity:
    """Squares over the sum: where values take each other off, the sum's own rounding is much of it, or its sign."""
    lengths = np.outer(axes[0].lengths(), axes[1].lengths())
    inputs = (x, np.abs(x), narrow(wide(x) ** 2))
    sums, magnitudes, squares = (np.nan_to_num(wide(average(values, axes)) * lengths) for values in inputs)
    lengths = np.maximum(lengths, 0)  # a window behind the image holds nothing
    off = of_sum(axes[0].kernel * axes[1].kernel + 1) * magnitudes
    if bool(np.any((np.abs(sums) <= 2 * off) & (off > 0))):
        return Sensitivity(1, (UNBOUNDED,), UNBOUNDED)
    positive = np.where(sums > 0, sums, np.inf)
    shares = squares / positive
    gains = (2 * np.sqrt(squares) + np.sqrt(lengths) * shares) / positive
    return Sensitivity(1, (float(gains.max(initial=0.0)),), float((2 * shares * off / positive).max(initial=0.0)))


def _of_any_axes(p: Any) -> bool:
    """Whether the forks for films and volumes, R-C3D's and ECO's, wrote it: a number for each axis."""
    return any(p.HasField(name) for name in ("kernel_shape", "stride_shape", "pad_shape"))


def _of_volumes(call: Call) -> list[Array]:
    """Largest or mean of each window of N×C×D×H×W, axis by axis, as forks for volumes have it (ceil, no pad)."""
    p = call.param.pooling_param
    average = p.pool == p.AVE
    call.require(p.pool == p.MAX or average, "pools volumes by MAX or AVE")
    call.require(len(call.layer.tops) == 1, "pools volumes to one top")
    top: Any = wide(call.x) if average else call.x
    floor = not p.ceil_mode if p.HasField("ceil_mode") else p.round_mode == p.FLOOR
    before, after = _pads(call)
    call.require(not any(before + after) and not p.pad_type and not floor, "pools volumes with a pad or rounds down")
    stride = _pair(call, "stride", "stride_h", "stride_w")
    kernel = stride if p.global_pooling else _kernel(call)
    call.require(kernel[0] == kernel[1] >= stride[0] == stride[1] > 0, "needs one kernel and one stride for all axes")
    call.require(not p.global_pooling or stride[0] == 1, "global_pooling allows no stride but 1")
    for axis in (2, 3, 4):
        size = top.shape[axis]
        reach = size if p.global_pooling else kernel[0]
        starts = range(0, -(-(size - reach) // stride[0]) * stride[0] + 1, stride[0])
        call.require(len(starts) > 0, f"kernel {reach} is larger than the size {size}")
        over = starts[-1] + reach > size
        call.require(not (average and over), "averages a window over the end, and its source does not say how")
        windows = [top.take(range(at, min(at + reach, size)), axis) for at in starts]
        top = np.stack([w.mean(axis) if average else w.max(axis) for w in windows], axis)
    return [narrow(top) if average else top]


def _error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    p = call.param.pooling_param
    if p.dilation or _of_any_axes(p):
        return gapped_error(call, tops)
    if call.x.ndim == 5:
        reach = max(call.x.shape[2:]) if p.global_pooling else _kernel(call)[0]
        return [Sensitivity(1 if p.pool == p.MAX else 3 * reach, (1.0,))]
    rows, columns = _axes(call)
    if p.pool == p.STOCHASTIC:
        return [weighted_error(call.x, (rows, columns))]
    fan_in = 1 if p.pool == p.MAX else rows.kernel * columns.kernel
    mask = [Sensitivity(1, (UNBOUNDED,))] if len(tops) > 1 else []
    return [Sensitivity(fan_in, (1.0,)), *mask]


@register("Pooling", error=_error)
def pooling(call: Call) -> list[Array]:
    """MAX (a second top gets the positions), AVE, AVE_EXC_PAD, or STOCHASTIC; sizes round up but for FLOOR."""
    p = call.param.pooling_param
    if p.dilation or _of_any_axes(p):
        return gapped(call)
    call.require(not p.output_shift_instead_division and not p.saturate, "computes in whole numbers, not in floats")
    call.require(p.axis in (1, -3), f"has its channels at axis {p.axis}, expected 1")
    if call.x.ndim == 5:
        return _of_volumes(call)
    axes = _axes(call)
    call.require(len(call.layer.tops) == 1 or p.pool == p.MAX, "only MAX has a second top")
    if p.pool != p.AVE:
        call.ignores("it takes no average", "pooling_param.avg_include_pad")
    if p.pool == p.MAX:
        mask = [positions_of_maximum(call.x, axes)] if len(call.layer.tops) > 1 else []
        return [maximum(call.x, axes), *mask]
    if p.pool in (p.AVE, p.AVE_EXC_PAD):
        return [average(call.x, axes, inside=p.pool == p.AVE_EXC_PAD or _excludes_pad(call))]
    call.require(not call.train, "STOCHASTIC draws at random in phase TRAIN, which has no answer to compare with")
    call.require(not any(a.pad or a.after for a in axes), "STOCHASTIC takes no pad")
    return [weighted(call.x, axes)]


def _excludes_pad(call: Call) -> bool:
    """Intel's `avg_include_pad: false`; its mkl_ and mkldnn_pooling_layer.cpp look at it, its pooling_layer.cpp not."""
    p = call.param.pooling_param
    call.require(p.avg_include_pad or p.engine not in (p.CAFFE, p.CUDNN), "has avg_include_pad for another engine")
    return not p.avg_include_pad
