"""Regions of interest, region by region and bin by bin, with the corners in float32 as Caffe has them.

Facts from the sources of Fast R-CNN (roi_pooling_layer.cpp), MS-CNN (the same with a pad_ratio), CNN_tabletennis (the
same with one region an image) and R-FCN (psroi_pooling_layer.cu).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from prototxt.words import format_shape
from verify.layers.registry import UNBOUNDED, Array, Call, Feeder, Feeding, Sensitivity, narrow, register, wide

Spans = list[tuple[int, int]]
"""Of each bin, the first row (or column) of the features and the one behind its last."""
ONE = np.float32(1)


def c_round(values: Array) -> Array:
    """C's round: half away from zero. In float64 the half is added without rounding."""
    return np.trunc(wide(values) + np.copysign(0.5, values)).astype(np.float32)


def spans(starts: Array, ends: Array, size: int) -> Spans:
    """Bins clipped to features of `size` rows."""
    edges = np.stack([starts, ends], axis=1).clip(0, size).astype(np.int64)
    return [(int(first), int(end)) for first, end in edges]


def regions(call: Call) -> Array:
    """The second bottom as R×5; every image that it names is there."""
    rois = call.bottoms[1]
    call.require(call.x.ndim == 4, f"needs features of 4 axes, they have {call.x.ndim}")
    fits = rois.ndim >= 2 and math.prod(rois.shape[1:]) == 5
    call.require(fits, f"the regions are {format_shape(rois.shape)}, expected rows of 5")
    return of_images(call, rois.reshape(-1, 5))


def of_images(call: Call, rois: Array) -> Array:
    """Refuse a region whose image there is not."""
    images, count = rois[:, 0], call.x.shape[0]
    for place in np.flatnonzero(~((images > -1) & (images < count)))[:1]:  # NaN is none of them either
        raise call.fail(f"region {place} names image {images[place]:g}; there are {count}, counted from 0")
    return rois


def fed_regions(scale: Callable[[Feeding], float]) -> Feeder:
    """Makes regions whose corners are in order and lie in the image, as far as its size is known."""

    def feed(feeding: Feeding) -> Array:
        count, values = feeding.shape[0], math.prod(feeding.shape[1:])
        images, across, down = _image(feeding, scale(feeding))
        corners = feeding.rng.uniform(0, (across, down), (2, count, 2))
        image = feeding.rng.integers(0, images, (count, values - 4))
        made = np.concatenate([image, corners.min(axis=0), corners.max(axis=0)], axis=1)
        return made.astype(np.float32).reshape(feeding.shape)

    return feed


def _image(feeding: Feeding, scale: float) -> tuple[int, float, float]:
    """How many images there are, and the largest x and y in one."""
    planes = {name: shape for name, shape in feeding.shapes.items() if len(shape) == 4 and math.prod(shape[2:]) > 1}
    features = planes.get(feeding.layer.bottoms[0])
    if features is not None:
        return features[0], max(0, features[3] / scale - 1), max(0, features[2] / scale - 1)
    images, _, rows, columns = max(planes.values(), key=math.prod, default=(1, 1, 225, 225))
    return images, columns - 1, rows - 1


@register(
    "ROIPooling",
    bottoms=2,
    error=lambda call, tops: [Sensitivity(1, (1.0, UNBOUNDED))],
    feeds={1: fed_regions(lambda feeding: feeding.layer.param.roi_pooling_param.spatial_scale)},
)
def roi_pooling(call: Call) -> list[Array]:
    """The largest value in each of pooled_h × pooled_w bins of a region, 0 in a bin without any.

    Corners are scaled, then rounded to features, the far one included.
    """
    p = call.param.roi_pooling_param
    call.require(p.pooled_h > 0 and p.pooled_w > 0, f"pools to {p.pooled_h}×{p.pooled_w} bins")
    alone = call.bottoms[1].ndim >= 2 and math.prod(call.bottoms[1].shape[1:]) == 4
    return [largest_in_bins(call, call.x, _one_an_image(call) if alone else regions(call))]


def largest_in_bins(call: Call, images: Array, rois: Array) -> Array:
    """R×C×pooled_h×pooled_w of regions R×5, as the layer's roi_pooling_param says."""
    p = call.param.roi_pooling_param
    scale, ratio = np.float32(p.spatial_scale), np.float32(p.pad_ratio)
    call.room((len(rois), images.shape[1], p.pooled_h, p.pooled_w))
    top = np.zeros((len(rois), images.shape[1], p.pooled_h, p.pooled_w), np.float32)
    for n, roi in enumerate(rois):
        pad = (roi[3:] - roi[1:3] + ONE) * ratio
        low, high = c_round((roi[1:3] - pad) * scale), c_round((roi[3:] + pad) * scale)
        columns = _whole_bins(low[0], high[0], p.pooled_w, images.shape[3])
        rows = _whole_bins(low[1], high[1], p.pooled_h, images.shape[2])
        features = images[int(roi[0])]
        for i, j, (above, below), (left, right) in _bins(rows, columns):
            top[n, :, i, j] = features[:, above:below, left:right].max(axis=(1, 2))
    return top


def _one_an_image(call: Call) -> Array:
    """Regions of 4 values, x0, y0, x1, y1, with the image's number before each."""
    boxes = call.bottoms[1].reshape(-1, 4)
    count = call.x.shape[0]
    call.require(len(boxes) == count, f"has {len(boxes)} regions of 4 values for {count} images")
    return np.concatenate([np.arange(count, dtype=np.float32)[:, None], boxes], axis=1)


def _whole_bins(low: np.float32, high: np.float32, count: int, size: int) -> Spans:
    """Bins of a region of whole rows, `high` being its last."""
    step = np.maximum(high - low + ONE, ONE) / np.float32(count)
    index = np.arange(count, dtype=np.float32)
    return spans(np.floor(index * step) + low, np.ceil((index + ONE) * step) + low, size)


def _bins(rows: Spans, columns: Spans) -> Iterator[tuple[int, int, tuple[int, int], tuple[int, int]]]:
    """Place, rows and columns of each bin that is not empty."""
    for i, (above, below) in enumerate(rows):
        for j, (left, right) in enumerate(columns):
            if above < below and left < right:
                yield i, j, (above, below), (left, right)


def _mean_error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    """The largest bin has the longest sum."""
    longest = 1
    for _, rows, columns in _psroi_spans(call):
        high, broad = (max(end - first for first, end in bins) for bins in (rows, columns))
        longest = max(longest, high * broad)
    return [Sensitivity(longest, (1.0, UNBOUNDED))]


def _psroi_spans(call: Call) -> Iterator[tuple[int, Spans, Spans]]:
    """Image, rows and columns of the bins of each region: corners are rounded, then scaled, the far one a pixel on."""
    p = call.param.psroi_pooling_param
    scale, least = np.float32(p.spatial_scale), np.float32(0.1)
    for roi in regions(call):
        corners = c_round(roi[1:])
        low, high = corners[:2] * scale, (corners[2:] + ONE) * scale
        step = np.maximum(high - low, least) / np.float32(p.group_size)
        columns = _fractional_bins(low[0], step[0], p.group_size, call.x.shape[3])
        rows = _fractional_bins(low[1], step[1], p.group_size, call.x.shape[2])
        yield int(roi[0]), rows, columns


@register(
    "PSROIPooling",
    bottoms=2,
    error=_mean_error,
    feeds={1: fed_regions(lambda feeding: feeding.layer.param.psroi_pooling_param.spatial_scale)},
)
def psroi_pooling(call: Call) -> list[Array]:
    """The mean of each of group_size² bins of a region; bin (i, j) of channel c lies in plane (c · g + i) · g + j."""
    p = call.param.psroi_pooling_param
    depth, g = p.output_dim, p.group_size
    call.require(depth > 0 and g > 0, f"has output_dim {depth} and group_size {g}, expected both above 0")
    channels, count = call.x.shape[1], len(regions(call))
    call.require(channels == depth * g * g, f"has {channels} channels, expected {depth} · {g} · {g}")
    planes = call.x.reshape(call.x.shape[0], depth, g, g, *call.x.shape[2:])
    call.room((count, depth, g, g))
    top = np.zeros((count, depth, g, g), np.float32)
    for n, (image, rows, columns) in enumerate(_psroi_spans(call)):
        for i, j, (above, below), (left, right) in _bins(rows, columns):
            inside = planes[image, :, i, j, above:below, left:right]
            top[n, :, i, j] = narrow(wide(inside).mean(axis=(1, 2)))
    return [top]


def _fractional_bins(low: np.float32, step: np.float32, count: int, size: int) -> Spans:
    """Bins from the floor of their start to the ceiling of their end."""
    index = np.arange(count, dtype=np.float32)
    return spans(np.floor(index * step + low), np.ceil((index + ONE) * step + low), size)
