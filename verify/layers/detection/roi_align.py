"""Samples at fractions of features, region by region, in float32: the layers called ROIAlign of three forks.

Facts from roi_align_layer.cpp of Cambricon's fork and of caffe-windows (after Detectron's), of zhaoweicai's
cascade-rcnn, and from roi_align_layer.cu of HAKE-Action (zuokai's).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from prototxt.dialects import unguessed
from prototxt.words import listed
from verify.layers.detection.roi import fed_regions, regions
from verify.layers.registry import UNBOUNDED, Array, Call, Sensitivity, narrow, register, wide

F = np.float32
MOST_SAMPLES = 1000
Taps = list[tuple[int, float]]
"""Of one sample, the rows (or columns) of the features that it takes and how much of each."""


def bilinear(at: np.float32, size: int) -> Taps:
    """Detectron's: nothing beyond one feature outside, else moved onto the features."""
    if at < -1 or at > size:
        return []
    at = np.maximum(at, F(0))
    low = int(at)
    if low >= size - 1:
        return [(size - 1, 1.0)]
    share = at - F(low)
    return [(low, float(F(1) - share)), (low + 1, float(share))]


def evenly(low: np.float32, high: np.float32, bins: int, size: int, ratio: int) -> list[list[Taps]]:
    """Of each bin its samples, `ratio` or as many as it is long."""
    extent = np.maximum(high - low, F(1))
    step = extent / F(bins)
    count = ratio if ratio > 0 else math.ceil(step)
    if count > MOST_SAMPLES:
        raise ValueError(f"a bin of {step:g} features would have as many samples, expected at most {MOST_SAMPLES}")
    return [
        [bilinear(low + F(i) * step + (F(k) + F(0.5)) * step / F(count), size) for k in range(count)]
        for i in range(bins)
    ]


def at_corners(low: np.float32, high: np.float32, bins: int, size: int) -> list[list[Taps]]:
    """Cascade R-CNN's: one sample at each end of each bin."""
    low, high = low - F(0.5), high - F(0.5)
    step = (high - low) / F(bins)
    found: list[list[Taps]] = []
    for i in range(bins + 1):
        at = low + F(i) * step
        if at < -0.5 or at > size - 0.5 or high - low <= 0:
            found.append([[]])
            continue
        before, behind = (min(max(math.floor(at) + k, 0), size - 1) for k in (0, 1))
        share = np.minimum(np.maximum(at, F(0)), F(size - 1)) - F(before)
        found.append([[(before, float(F(1) - share)), (behind, float(share))]])
    return found


def bicubic(distance: float) -> float:
    """Weight of a feature at some distance."""
    x = abs(distance)
    if x < 1:
        return 1 - 2 * x * x + x * x * x
    return 4 - 8 * x + 5 * x * x - x * x * x if x < 2 else 0.0


def in_middles(
    low: np.float32, high: np.float32, bins: int, size: int, image: int, several: bool, cubic: bool
) -> list[list[Taps]]:
    """zuokai's: the middle of each bin, or those of its two halves."""
    low, high = np.maximum(low, F(0)), np.minimum(F(image - 1), high)
    step = np.maximum(high - low + F(1), F(1)) / F(bins)
    found = []
    for i in range(bins):
        samples: list[Taps] = []
        for offset in (F(0.25), F(0.75)) if several else (F(0.5),):
            at = np.minimum(np.maximum((F(i) + offset) * step + low, F(0)), F(size - 1))
            first = int(at)
            if cubic:
                taps = [(min(max(first + k, 0), size - 1), bicubic(float(at) - first - k)) for k in (-1, 0, 1, 2)]
            else:
                behind = min(first + 1, size - 1)
                taps = [(first, float(F(behind) - at)), (behind, float(at - F(first)))]
            samples.append(taps)
        found.append(samples)
    return found


def _grids(call: Call, roi: Array) -> tuple[list[list[Taps]], list[list[Taps]]]:
    """Samples of the bins of a region, down and across."""
    h, w = call.x.shape[2:]
    if call.layer.dialect == "detectron":
        own = call.param.roi_align_param
        scale = F(own.spatial_scale)
        x0, y0, x1, y1 = roi[1:] * scale
        ratio = own.sampling_ratio
        call.require(ratio <= MOST_SAMPLES, f"has sampling_ratio {ratio}, expected at most {MOST_SAMPLES}")
        return evenly(y0, y1, own.pooled_h, h, ratio), evenly(x0, x1, own.pooled_w, w, ratio)
    p = call.param.roi_pooling_param
    scale = F(p.spatial_scale)
    pad = (roi[3:] - roi[1:3] + F(1)) * F(p.pad_ratio)
    (x0, y0), (x1, y1) = (roi[1:3] - pad) * scale, (roi[3:] + pad) * scale
    if call.layer.dialect == "cascade_rcnn":
        return at_corners(y0, y1, p.pooled_h, h), at_corners(x0, x1, p.pooled_w, w)
    height, width = (math.floor(float(F(size) / scale) + 0.5) for size in (h, w))
    words = p.is_multi_interpolate, p.bi_type == 1
    return in_middles(y0, y1, p.pooled_h, h, height, *words), in_middles(x0, x1, p.pooled_w, w, width, *words)


def _dense(samples: Sequence[Taps], size: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Weights as a matrix, samples × size."""
    weights = np.zeros((len(samples), size))
    for n, taps in enumerate(samples):
        for place, weight in taps:
            weights[n, place] += weight
    return weights


def _scale_of(call_layer: object) -> float:
    """spatial_scale, of whichever section has it."""
    param = call_layer.param  # type: ignore[attr-defined]
    own, pool = param.roi_align_param, param.roi_pooling_param
    return float(own.spatial_scale if param.HasField("roi_align_param") else pool.spatial_scale)


def _error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    """Weights of a sample add up to one, of a bicubic one to less than two; a region that moves moves them all."""
    cubic = call.param.roi_pooling_param.bi_type == 1
    return [Sensitivity(64, (2.0 if cubic else 1.0, UNBOUNDED))]


@register("ROIAlign", bottoms=2, error=_error, feeds={1: fed_regions(lambda feeding: _scale_of(feeding.layer))})
def roi_align(call: Call) -> list[Array]:
    """The mean, or of zuokai's the largest, of the samples of each bin of each region."""
    call.require(bool(call.layer.dialect), unguessed(call.layer))
    rois = regions(call)
    for place in np.flatnonzero(~np.isfinite(rois).all(axis=1))[:1]:
        corners = listed([f"{corner:g}" for corner in rois[place, 1:]])
        raise call.fail(f"region {place} has the corners {corners}; C++ leaves open what pixels Caffe makes of them")
    p = call.param.roi_align_param if call.layer.dialect == "detectron" else call.param.roi_pooling_param
    call.require(p.pooled_h > 0 and p.pooled_w > 0, f"pools to {p.pooled_h}×{p.pooled_w} bins")
    if call.layer.dialect == "detectron":
        call.require(not call.param.roi_align_param.roi_end_mode, "knows no roi_end_mode but 0")
    more = call.layer.dialect == "cascade_rcnn"
    shape = (len(rois), call.x.shape[1], p.pooled_h + more, p.pooled_w + more)
    call.room(shape)
    top = np.zeros(shape, F)
    for n, roi in enumerate(rois):
        rows, columns = _grids(call, roi)
        down, across = len(rows[0]), len(columns[0])
        left = _dense([taps for some in rows for taps in some], call.x.shape[2])
        right = _dense([taps for some in columns for taps in some], call.x.shape[3])
        values = np.einsum("ph,chw,qw->cpq", left, wide(call.x[int(roi[0])]), right)
        values = values.reshape(-1, len(rows), down, len(columns), across)
        top[n] = narrow(values.max(axis=(2, 4)) if call.layer.dialect == "zuokai" else values.mean(axis=(2, 4)))
    return [top]
