"""Pooling over frames, rows and columns, or any axes.

From the sources of C3D (pool3d_layer.cpp), of Synopsys' fork and of P3D (both pooling3d_layer.cpp) and of video-caffe
(cudnn_ndpooling_layer.cpp).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from verify.layers.registry import Array, Call, Sensitivity, Wide, narrow, register, wide
from verify.layers.volumes import read_shapes, section_of

LOWEST = np.float32(np.finfo(np.float32).min)


@dataclass(frozen=True)
class Pool:
    """How windows lie over the axes behind the channels: `dropped` says of an axis whether its last one may go."""

    method: str
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    pad: tuple[int, ...]
    after: tuple[int, ...]
    down: bool = False
    dropped: Callable[[int], bool] = lambda axis: False

    def counts(self, sizes: Sequence[int]) -> tuple[int, ...]:
        """Windows of each axis."""
        made = []
        for axis, size in enumerate(sizes):
            span, stride = size + self.pad[axis] + self.after[axis] - self.kernel[axis], self.stride[axis]
            count = (span // stride if self.down else math.ceil(span / stride)) + 1
            made.append(count - (self.dropped(axis) and (count - 1) * stride >= size + self.pad[axis]))
        return tuple(made)


def _pool3d(call: Call) -> Pool:
    p = section_of(call, "pooling3d_param", "pooling_param")
    call.require(call.x.ndim == 5, f"needs a bottom of 5 axes, it has {call.x.ndim}")
    method = ("MAX", "AVE", "STOCHASTIC")[p.pool] if p.pool < 3 else "AVE_EXC_PAD"
    if call.layer.dialect == "c3d" or not call.param.HasField("pooling3d_param"):
        call.require(method in ("MAX", "AVE"), f"has no code for pool {method}")
        call.require(not p.pad or method == "AVE", "pads averages only")
        pad = (0, p.pad, p.pad)
        kernel, stride = (p.kernel_depth, p.kernel_size, p.kernel_size), (p.temporal_stride, p.stride, p.stride)
        return Pool(method, kernel, stride, pad, pad)
    if call.layer.dialect == "p3d":
        return _of_p3d(call, p, method)
    call.require(method in ("MAX", "AVE", "AVE_EXC_PAD"), f"has no code for pool {method}")
    whole: tuple[int, ...] = (p.kernel_size,) * 3
    each = (p.kernel_d, p.kernel_h, p.kernel_w)
    given = whole if p.HasField("kernel_size") else each
    window = call.x.shape[2:] if p.global_pooling else given
    stride = (p.stride,) * 3 if p.HasField("stride") else (p.stride_d, p.stride_h, p.stride_w)
    pad = (p.pad,) * 3 if p.HasField("pad") else (p.pad_d0, p.pad_h0, p.pad_w0)
    after = (p.pad,) * 3 if p.HasField("pad") else (p.pad_d1, p.pad_h1, p.pad_w1)
    padded = any(pad + after)
    return Pool(method, window, stride, pad, after, not p.ceil_mode, lambda axis: padded)


def _of_p3d(call: Call, p: Any, method: str) -> Pool:
    """Frames have `_l`; rows and columns one number, or `_h` and `_w`, never both."""
    call.require(method in ("MAX", "AVE"), f"has no code for pool {method}")

    def of(length: str, one: str, stem: str) -> tuple[int, ...]:
        sides = [p.HasField(f"{stem}_h"), p.HasField(f"{stem}_w")]
        call.require(all(sides) or not any(sides), f"has one of {stem}_h and {stem}_w")
        call.require(not (any(sides) and p.HasField(one)), f"has {one} and {stem}_h")
        planes = (getattr(p, f"{stem}_h"), getattr(p, f"{stem}_w")) if any(sides) else (getattr(p, one),) * 2
        return (getattr(p, length), *planes)

    stride, pad = of("stride_l", "stride", "stride"), of("pad_l", "pad", "pad")
    kernel = of("kernel_l", "kernel_size", "kernel")
    if p.global_pooling:
        call.require(not any(kernel[1:]), "has global_pooling and a kernel")
        call.require(not any(pad) and set(stride) == {1}, "global_pooling allows no pad, and no stride but 1")
        call.ignores("global_pooling outweighs it", "pooling3d_param.kernel_l")
        kernel = call.x.shape[2:]
    call.require(all(a < k for a, k in zip(pad, kernel, strict=True)), f"pad {pad} is not below kernel {kernel}")
    return Pool(method, kernel, stride, pad, pad, dropped=lambda axis: any(pad))


def _nd_pool(call: Call) -> Pool:
    p = call.param.pooling_param
    call.require(p.pool in (p.MAX, p.AVE), "has code for MAX and AVE only")
    kernel, stride, pad = read_shapes(call, p)
    if p.global_pooling:
        kernel = call.x.shape[2:]
    pool = Pool("MAX" if p.pool == p.MAX else "AVE", kernel, stride, pad, pad, dropped=lambda axis: pad[axis] > 0)
    below = p.global_pooling or all(a < k for a, k in zip(pad, kernel, strict=True))
    call.require(below, f"pad_shape {pad} is not below kernel_shape {kernel}")
    for axis, (size, count) in enumerate(zip(call.x.shape[2:], pool.counts(call.x.shape[2:]), strict=True)):
        end = (count - 1) * stride[axis] + kernel[axis] - pad[axis]
        call.require(p.pool == p.MAX or end <= size + pad[axis], "averages a window over the end, as only cuDNN knows")
    return pool


def _pooled(call: Call, pool: Pool) -> list[Array]:
    """Each window by itself: its values within the bottom, and what an average divides by."""
    call.require(min(pool.kernel + pool.stride) > 0, f"kernel {pool.kernel} or stride {pool.stride} is not positive")
    sizes = call.x.shape[2:]
    counts = pool.counts(sizes)
    call.require(min(counts) > 0, f"kernel {pool.kernel} is larger than the padded bottom")
    y: Wide = np.empty((*call.x.shape[:2], *counts))
    for place in itertools.product(*map(range, counts)):
        starts = [i * s - a for i, s, a in zip(place, pool.stride, pool.pad, strict=True)]
        ends = [min(b + k, n + e) for b, k, n, e in zip(starts, pool.kernel, sizes, pool.after, strict=True)]
        spans = zip(starts, pool.kernel, sizes, strict=True)
        inside = tuple(slice(max(b, 0), max(0, min(b + k, n))) for b, k, n in spans)
        values = call.x[(slice(None), slice(None), *inside)].reshape(*call.x.shape[:2], -1)
        where: tuple[int | slice, ...] = (slice(None), slice(None), *place)
        if pool.method == "MAX":
            y[where] = np.fmax.reduce(values, axis=-1, initial=LOWEST)
            continue
        divisor = math.prod(end - b for b, end in zip(starts, ends, strict=True))
        if pool.method == "AVE_EXC_PAD":
            divisor = math.prod(min(e, n) - max(b, 0) for b, e, n in zip(starts, ends, sizes, strict=True))
        with np.errstate(invalid="ignore", divide="ignore"):
            y[where] = wide(values).sum(axis=-1) / divisor
    return [narrow(y)]


def _pool_error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    pool = _nd_pool(call) if call.layer.type == "NdPooling" else _pool3d(call)
    return [Sensitivity(1 if pool.method == "MAX" else math.prod(pool.kernel), (1.0,))]


@register("Pooling3D", error=_pool_error)
def pooling3d(call: Call) -> list[Array]:
    """C3D's, whose sizes round up and whose last window stays; or Synopsys', which drops one in the padding."""
    return _pooled(call, _pool3d(call))


@register("NdPooling", error=_pool_error)
def nd_pooling(call: Call) -> list[Array]:
    """Pooling over all axes behind the channels; a padded axis drops a last window that starts in its padding."""
    return _pooled(call, _nd_pool(call))
