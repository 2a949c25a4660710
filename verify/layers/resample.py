"""FlowNet's resizing, from resample_layer.cu and downsample_layer.cu.

    Resample     x_in = x · fx + fy / 2 - 0.5, y_in = y · fy + fx / 2 - 0.5    fx, fy: size of the bottom / of the top
    Downsample   x_in = x / (width of the top - 1) · (width - 1), y_in likewise

A pixel of the top is the sum of w · pixel over those within a reach of the rounded place and inside of the image, over
the sum of w; each w is that of the row times that of the column.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from prototxt.caffe_pb2 import ResampleParameter
from verify.layers.registry import Array, Call, Sensitivity, Wide, narrow, register, whole, wide


class _Lane(NamedTuple):
    """One axis: where the top's pixels lie, the nearest one, how far others count, and how wide the curve's step is."""

    places: Array
    nearest: npt.NDArray[np.int64]
    reach: int
    step: float


def _round(places: Array) -> npt.NDArray[np.int64]:
    """To the nearest whole number, halves away from 0."""
    return (np.sign(places) * np.floor(np.abs(wide(places)) + 0.5)).astype(np.int64)


def _target(call: Call) -> tuple[int, int]:
    for bottom in call.bottoms:
        call.require(bottom.ndim == 4, f"needs bottoms of 4 axes, one has {bottom.ndim}")
    resamples = call.layer.type == "Resample"
    names = ("height", "width") if resamples else ("top_height", "top_width")
    section = "resample_param" if resamples else "downsample_param"
    if len(call.bottoms) > 1:
        call.ignores("the second bottom has the size", *(f"{section}.{name}" for name in names))
        height, width = call.bottoms[1].shape[2:]
    else:
        height, width = (getattr(getattr(call.param, section), name) for name in names)
    call.require(min(height, width) > 0, f"makes {height}×{width}")
    call.room((*call.x.shape[:2], height, width))
    return height, width


def _triangle(d: Wide) -> Wide:
    weights: Wide = np.where(np.abs(d) <= 1, 1 - np.abs(d), 0.0)
    return weights


def _cubic(d: Wide) -> Wide:
    d = np.abs(d)
    near, far = 1.5 * d**3 - 2.5 * d**2 + 1, -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2
    return np.select([d <= 1, d < 2], [near, far], 0.0)


def _is(call: Call, kind: int) -> bool:
    return call.layer.type == "Resample" and call.param.resample_param.type == kind


def _resample_lanes(call: Call, size: tuple[int, int]) -> tuple[_Lane, _Lane]:
    p = call.param.resample_param
    fy, fx = (np.float32(b) / np.float32(t) for b, t in zip(call.x.shape[2:], size, strict=True))
    smooth = p.antialias and bool(fx > 1 or fy > 1)
    lanes = []
    for count, f, g in ((size[0], fy, fx), (size[1], fx, fy)):
        places = (np.arange(count) * float(f) + float(g) / 2).astype(np.float32) - np.float32(0.5)
        narrow_by = np.float32(1) / f if smooth else np.float32(1)
        reach = 2 if f < 1 else int(np.ceil(np.float32(4 if p.type == p.CUBIC else 2) / narrow_by))
        lanes.append(_Lane(places, _round(places), reach, 1 / float(narrow_by)))
    return lanes[0], lanes[1]


def _downsample_lanes(call: Call, size: tuple[int, int]) -> tuple[_Lane, _Lane]:
    call.require(min(*size, *call.x.shape[2:]) > 1, "resizes an image of one row or column")
    call.require(size[0] * size[1] != call.x[0, 0].size, "makes another shape of as many pixels")
    lanes = []
    for before, count in zip(call.x.shape[2:], size, strict=True):
        last = np.float32(count - 1)
        places = (np.arange(count).astype(np.float32) / last) * np.float32(before - 1)
        step = np.float32(before - 1) / last
        lanes.append(_Lane(places, _round(places), int(np.ceil(step)), float(step)))
    return lanes[0], lanes[1]


def _terms(call: Call, lanes: tuple[_Lane, _Lane]) -> Iterator[tuple[Wide, Wide]]:
    """Weights, rows × columns of the top, and the pixels of all items and channels that they are for."""
    x, curve = wide(call.x), _cubic if _is(call, ResampleParameter.CUBIC) else _triangle
    for offsets in itertools.product(*(range(-lane.reach, lane.reach + 1) for lane in lanes)):
        weights, held = [], []
        for lane, offset, count in zip(lanes, offsets, x.shape[2:], strict=True):
            pixels = lane.nearest + offset
            inside = (pixels >= 0) & (pixels < count)
            weights.append(np.where(inside, curve((wide(lane.places) - pixels) / lane.step), 0.0))
            held.append(np.clip(pixels, 0, count - 1))
        product = np.outer(*weights)
        if product.any():
            yield product, x[:, :, held[0][:, None], held[1]]


def _weighted(call: Call, lanes: tuple[_Lane, _Lane]) -> Array:
    size = (len(lanes[0].places), len(lanes[1].places))
    total, weight = np.zeros((*call.x.shape[:2], *size)), np.zeros(size)
    for product, pixels in _terms(call, lanes):
        total += product * pixels
        weight += product
    return narrow(np.divide(total, weight, out=np.zeros_like(total), where=np.broadcast_to(weight != 0, total.shape)))


def _error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    """Weights of a cubic curve are negative in part, so that a sum may grow by more than its terms' error."""
    size = _target(call)
    rest = (0.0,) * (len(call.bottoms) - 1)
    if size == call.x.shape[2:] or _is(call, ResampleParameter.NEAREST):
        return [Sensitivity(1, (1.0, *rest))]
    lanes = _resample_lanes(call, size) if call.layer.type == "Resample" else _downsample_lanes(call, size)
    terms = (2 * lanes[0].reach + 1) * (2 * lanes[1].reach + 1)
    return [Sensitivity(terms + 4, (2.0 if _is(call, ResampleParameter.CUBIC) else 1.0, *rest))]


@register("Resample", bottoms=(1, 2), error=_error)
def resample(call: Call) -> list[Array]:
    """The nearest pixel, or the weighted mean of those around the place."""
    p, size = call.param.resample_param, _target(call)
    call.require(p.type != p.AREA, "is of type AREA")
    lanes = _resample_lanes(call, size)
    if p.type != p.NEAREST:
        return [_weighted(call, lanes)]
    call.ignores("the nearest pixel is taken", "resample_param.antialias")
    rows, columns = (lane.nearest for lane in lanes)
    fits = rows.max() < call.x.shape[2] and columns.max() < call.x.shape[3] and min(rows.min(), columns.min()) >= 0
    call.require(bool(fits), "reads nearest pixels outside of the image")
    return [np.ascontiguousarray(call.x[:, :, rows][:, :, :, columns])]


@register("Downsample", bottoms=(1, 2), error=_error, shares=whole, resizes=True)
def downsample(call: Call) -> list[Array]:
    """The mean weighted by max(0, 1 - distance / step) on both axes; the bottom itself where the sizes agree."""
    size = _target(call)
    if size == call.x.shape[2:]:
        return [call.x.copy()]
    return [_weighted(call, _downsample_lanes(call, size))]
