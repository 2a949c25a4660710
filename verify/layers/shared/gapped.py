"""Pooling over any axes, perhaps with gaps in its windows (Greentea's fork: PoolingLayer in pooling_layer.cpp and .cu).

Its CPU code does not look at the dilation; what counts is that of the GPU. There the values of a window along one axis
are at start, start + dilation … as far as they lie in the image (MAX), and those in the padded image are counted (AVE).
A number of positions is clipped axis by axis, where BVLC clips all as soon as one is padded.

Forks for films and volumes (R-C3D's, ECO's: PoolingLayer in pooling_layer.cpp and cudnn_pooling_layer.cpp) have the
same without gaps. cuDNN averages there over any axes, including the padding; of a window beyond it nothing is known.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from verify.layers.registry import UNBOUNDED, Array, Call, Sensitivity, Wide, narrow, wide

LOWEST = np.float32(np.finfo(np.float32).min)


@dataclass(frozen=True)
class GappedAxis:
    """Where windows take their values along one axis: `starts` may be negative, inside the padding."""

    size: int
    pad: int
    starts: tuple[int, ...]
    steps: tuple[int, ...]

    def inside(self, window: int) -> list[int]:
        """Places within the image, in order."""
        return [at for at in (self.starts[window] + step for step in self.steps) if 0 <= at < self.size]

    def counted(self) -> Wide:
        """How many values of each window are in the padded image."""
        end = self.size + self.pad
        return np.array([sum(first + step < end for step in self.steps) for first in self.starts], np.float64)


def _numbers(call: Call, p: Any, one: str, stem: str, least: int, axes: int) -> tuple[int, ...]:
    """A number for each axis: the same for all, a list, or those of rows and columns."""
    rows, columns = p.HasField(f"{stem}_h"), p.HasField(f"{stem}_w")
    listed = tuple(getattr(p, f"{stem}_shape").dim) or ((getattr(p, one),) if p.HasField(one) else ())
    call.require(not (p.HasField(one) and len(getattr(p, f"{stem}_shape").dim)), f"has {one} twice over")
    sides = (rows and columns) if stem == "kernel" else (rows or columns)
    call.require(not (listed and sides), f"has {one}, and {stem}_h or {stem}_w")
    if sides:
        listed = (getattr(p, f"{stem}_h"), getattr(p, f"{stem}_w"))
    elif stem == "kernel":
        call.require(bool(listed), "has no kernel_size")
    listed = listed or (least,)
    call.require(len(listed) in (1, axes), f"{one} has {len(listed)} numbers for {axes} axes")
    call.require(min(listed) >= least, f"{one} {listed} has a number below {least}")
    return listed * axes if len(listed) == 1 else listed


def _taps(call: Call) -> list[GappedAxis]:
    p, sizes = call.param.pooling_param, call.x.shape[2:]
    axes = len(sizes)
    call.require(axes > 0, f"needs a bottom of 3 axes or more, it has {call.x.ndim}")
    call.require(p.axis == 1, f"has its channels at axis {p.axis}, expected 1")
    coded = p.pool == p.MAX or (p.pool == p.AVE and (axes == 2 or not p.dilation))
    call.require(coded, "has code for MAX, and AVE over two axes")
    if p.global_pooling:
        given = len(p.kernel_shape.dim) or p.HasField("kernel_size") or p.HasField("kernel_h") or p.HasField("kernel_w")
        call.require(not given, "has global_pooling and a kernel")
        kernel = tuple(sizes)
    else:
        kernel = _numbers(call, p, "kernel_size", "kernel", 1, axes)
    stride, pad = _numbers(call, p, "stride", "stride", 1, axes), _numbers(call, p, "pad", "pad", 0, axes)
    steps = tuple(p.dilation) or (1,)
    call.require(len(steps) in (1, axes), f"dilation has {len(steps)} numbers for {axes} axes")
    call.require(min(steps) > 0, "has a dilation below 1")
    made = []
    for axis, (n, k, s, a) in enumerate(zip(sizes, kernel, stride, pad, strict=True)):
        d = steps[axis if len(steps) > 1 else 0]
        positions = math.ceil((n + 2 * a - ((k - 1) * d + 1)) / s) + 1
        if a > 0:
            positions -= (positions - 1) * s >= n + a
            call.require((positions - 1) * s < n + a, f"has a window that starts behind {n} padded by {a}")
        call.require(positions > 0, f"a window of {k} steps of {d} is larger than {n} padded by {a}")
        hangs = (positions - 1) * s + k > n + 2 * a
        known = p.pool == p.MAX or len(p.dilation) > 0 or not hangs
        call.require(known, "averages a window over the end, and its source does not say how")
        made.append(GappedAxis(n, a, tuple(i * s - a for i in range(positions)), tuple(i * d for i in range(k))))
    return made


def _along_axes(x: Array, taps: Sequence[GappedAxis], *, largest: bool) -> Array:
    """The largest of each window, or the sum, one axis after the other."""
    y: Any = x if largest else wide(x)
    for axis, tap in enumerate(taps, 2):
        lanes = np.moveaxis(y, axis, 0)
        made = np.full((len(tap.starts), *lanes.shape[1:]), LOWEST if largest else 0.0, y.dtype)
        for window in range(len(tap.starts)):
            for at in tap.inside(window):
                made[window] = np.fmax(made[window], lanes[at]) if largest else made[window] + lanes[at]
        y = np.moveaxis(made, 0, axis)
    if largest:
        return np.ascontiguousarray(y)
    with np.errstate(invalid="ignore", divide="ignore"):
        return narrow(y / functools.reduce(np.multiply.outer, [tap.counted() for tap in taps]))


def _places(x: Array, taps: Sequence[GappedAxis]) -> Array:
    """Place in the plane of the first largest value of each window; -1 where none is above the least float."""
    counts = [len(tap.starts) for tap in taps]
    found: Array = np.empty((*x.shape[:2], *counts), np.float32)
    for window in itertools.product(*map(range, counts)):
        best = np.full(x.shape[:2], LOWEST, np.float32)
        place = np.full(x.shape[:2], -1, np.float32)
        for at in itertools.product(*(tap.inside(i) for tap, i in zip(taps, window, strict=True))):
            source: tuple[int | slice, ...] = (slice(None), slice(None), *at)
            above = x[source] > best
            best = np.where(above, x[source], best)
            place = np.where(above, np.float32(np.ravel_multi_index(at, x.shape[2:])), place)
        where: tuple[int | slice, ...] = (slice(None), slice(None), *window)
        found[where] = place
    return found


def gapped(call: Call) -> list[Array]:
    """The tops: largest values, and their places where there is a second top; or averages."""
    p, taps = call.param.pooling_param, _taps(call)
    call.room((*call.x.shape[:2], *(len(tap.starts) for tap in taps)))
    second = len(call.layer.tops) > 1
    call.require(p.pool == p.MAX or not second, "only MAX has a second top")
    top = _along_axes(call.x, taps, largest=p.pool == p.MAX)
    return [top, _places(call.x, taps)] if second else [top]


def gapped_error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    """How errors grow: a sum's, or none."""
    p, taps = call.param.pooling_param, _taps(call)
    fan_in = 1 if p.pool == p.MAX else 1 + math.prod(len(tap.steps) for tap in taps)
    return [Sensitivity(fan_in, (1.0,)), Sensitivity(1, (UNBOUNDED,))][: len(tops)]
