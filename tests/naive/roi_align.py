"""ROIAlign of three forks, sample by sample."""

from __future__ import annotations

import math

import numpy as np

from tests.drawn.base import layer
from tests.naive.base import Array, Naive, case, random

F = np.float32


def feeds_of(seed: int, scale: float) -> dict[str, Array]:
    """Two images of 9×13 features; regions inside, over each edge, far off, tiny and upside down."""
    corners = [
        (0, 1.3, 2.2, 7.9, 6.1),
        (1, -2.5, -1.2, 4.4, 3.3),
        (1, 6.2, 4.1, 14.7, 10.8),
        (0, 3.1, 3.4, 3.3, 3.5),
        (0, 8.0, 6.0, 5.0, 2.0),
        (1, 20.0, 15.0, 25.0, 19.0),
        (0, 0.0, 0.0, 12.0, 8.0),
    ]
    rois = np.array([(n, *(v / scale for v in box)) for n, *box in corners], np.float32)
    return {"x": random(seed, 2, 3, 9, 13), "rois": rois}


def detectron_value(plane: Array, y: np.float32, x: np.float32) -> np.float32:
    """bilinear_interpolate."""
    h, w = plane.shape
    if y < -1 or y > h or x < -1 or x > w:
        return F(0)
    y, x = max(y, F(0)), max(x, F(0))
    top, left = int(y), int(x)
    if top >= h - 1:
        top = bottom = h - 1
        y = F(top)
    else:
        bottom = top + 1
    if left >= w - 1:
        left = right = w - 1
        x = F(left)
    else:
        right = left + 1
    ly, lx = y - F(top), x - F(left)
    hy, hx = F(1) - ly, F(1) - lx
    upper = hy * hx * plane[top, left] + hy * lx * plane[top, right]
    return upper + ly * hx * plane[bottom, left] + ly * lx * plane[bottom, right]


def detectron(seed: int, ratio: int, pooled: tuple[int, int], scale: float) -> Naive:
    feeds = feeds_of(seed, scale)
    top = np.zeros((len(feeds["rois"]), 3, *pooled), np.float32)
    for n, roi in enumerate(feeds["rois"]):
        x0, y0, x1, y1 = (F(v) * F(scale) for v in roi[1:])
        bin_h, bin_w = max(y1 - y0, F(1)) / F(pooled[0]), max(x1 - x0, F(1)) / F(pooled[1])
        count_h, count_w = (ratio if ratio > 0 else math.ceil(size) for size in (bin_h, bin_w))
        for c, i, j in np.ndindex(3, *pooled):
            total = F(0)
            for iy, ix in np.ndindex(count_h, count_w):
                y = y0 + F(i) * bin_h + F(iy + 0.5) * bin_h / F(count_h)
                x = x0 + F(j) * bin_w + F(ix + 0.5) * bin_w / F(count_w)
                total += detectron_value(feeds["x"][int(roi[0]), c], y, x)
            top[n, c, i, j] = total / F(count_h * count_w)
    params = f"pooled_h: {pooled[0]} pooled_w: {pooled[1]} spatial_scale: {scale} sampling_ratio: {ratio}"
    text = layer("ROIAlign", f"roi_align_param {{ {params} }}", "x rois")
    return Naive(text, feeds, {("it", "out"): top})


@case("roi_align_detectron")
def two_by_two() -> Naive:
    """The mean of four samples a bin."""
    return detectron(61, 2, (3, 4), 0.25)


@case("roi_align_detectron_by_size")
def by_size() -> Naive:
    """As many samples as a bin is features long."""
    return detectron(62, 0, (2, 3), 0.5)


@case("roi_align_cascade_rcnn")
def corners() -> Naive:
    """Samples at the corners of bins, and the means of each four, which tell the fork."""
    feeds, scale, ratio, (ph, pw) = feeds_of(63, 0.25), F(0.25), F(0.25), (3, 2)
    top = np.zeros((len(feeds["rois"]), 3, ph + 1, pw + 1), np.float32)
    for n, roi in enumerate(feeds["rois"]):
        pads = [(roi[3 + k] - roi[1 + k] + F(1)) * ratio for k in (0, 1)]
        x0, y0 = ((roi[1 + k] - pads[k]) * scale - F(0.5) for k in (0, 1))
        x1, y1 = ((roi[3 + k] + pads[k]) * scale - F(0.5) for k in (0, 1))
        if x1 <= x0 or y1 <= y0:
            continue
        for c, i, j in np.ndindex(3, ph + 1, pw + 1):
            plane = feeds["x"][int(roi[0]), c]
            h, w = plane.shape
            y, x = y0 + F(i) * ((y1 - y0) / F(ph)), x0 + F(j) * ((x1 - x0) / F(pw))
            if y < -0.5 or y > h - 0.5 or x < -0.5 or x > w - 0.5:
                continue
            rows, columns = ([min(max(math.floor(v) + k, 0), s - 1) for k in (0, 1)] for v, s in ((y, h), (x, w)))
            ly = min(max(y, F(0)), F(h - 1)) - F(rows[0])
            lx = min(max(x, F(0)), F(w - 1)) - F(columns[0])
            upper = (1 - lx) * plane[rows[0], columns[0]] + lx * plane[rows[0], columns[1]]
            lower = (1 - lx) * plane[rows[1], columns[0]] + lx * plane[rows[1], columns[1]]
            top[n, c, i, j] = (1 - ly) * upper + ly * lower
    means = (top[:, :, :-1, :-1] + top[:, :, :-1, 1:] + top[:, :, 1:, :-1] + top[:, :, 1:, 1:]) / 4
    params = f"pooled_h: {ph} pooled_w: {pw} spatial_scale: 0.25 pad_ratio: 0.25"
    text = layer("ROIAlign", f"roi_pooling_param {{ {params} }}", "x rois", "grid")
    text += ' layer { name: "mean" type: "Pooling" bottom: "grid" top: "out" '
    text += "pooling_param { pool: AVE kernel_size: 2 stride: 1 } }"
    return Naive(text, feeds, {("it", "grid"): top, ("mean", "out"): means})


def cubic(x: float) -> float:
    x = abs(x)
    if x < 1:
        return 1 - 2 * x * x + x * x * x
    return 4 - 8 * x + 5 * x * x - x * x * x if x < 2 else 0


def zuokai_value(plane: Array, y: np.float32, x: np.float32, bicubic: bool) -> float:
    """One sample of ROIAlignForward or ROICubicForward."""
    h, w = plane.shape
    top, left = int(y), int(x)
    if bicubic:
        total = 0.0
        for s, t in np.ndindex(4, 4):
            row, column = min(max(top - 1 + s, 0), h - 1), min(max(left - 1 + t, 0), w - 1)
            total += float(plane[row, column]) * cubic(float(x) - left + 1 - t) * cubic(float(y) - top + 1 - s)
        return total
    bottom, right = min(top + 1, h - 1), min(left + 1, w - 1)
    fx0, fx1, fy0, fy1 = x - F(left), F(right) - x, y - F(top), F(bottom) - y
    upper = plane[top, left] * fy1 * fx1 + plane[top, right] * fy1 * fx0
    return float(upper + plane[bottom, left] * fy0 * fx1 + plane[bottom, right] * fy0 * fx0)


def zuokai(seed: int, several: bool, bicubic: bool, pad_ratio: float) -> Naive:
    scale, pooled = 0.25, (3, 2)
    feeds = feeds_of(seed, scale)
    top = np.zeros((len(feeds["rois"]), 3, *pooled), np.float32)
    for n, roi in enumerate(feeds["rois"]):
        pads = [(roi[3 + k] - roi[1 + k] + F(1)) * F(pad_ratio) for k in (0, 1)]
        x0, y0 = (max((roi[1 + k] - pads[k]) * F(scale), F(0)) for k in (0, 1))
        x1, y1 = (min((roi[3 + k] + pads[k]) * F(scale), F(round(s / scale) - 1)) for k, s in ((0, 13), (1, 9)))
        bin_h, bin_w = max(y1 - y0 + F(1), F(1)) / F(pooled[0]), max(x1 - x0 + F(1), F(1)) / F(pooled[1])
        for c, i, j in np.ndindex(3, *pooled):
            values = []
            for oy in (0.25, 0.75) if several else (0.5,):
                for ox in (0.25, 0.75) if several else (0.5,):
                    y = min(max(F(i + oy) * bin_h + y0, F(0)), F(8))
                    x = min(max(F(j + ox) * bin_w + x0, F(0)), F(12))
                    values.append(zuokai_value(feeds["x"][int(roi[0]), c], y, x, bicubic))
            top[n, c, i, j] = max(values)
    words = f"bi_type: {int(bicubic)} is_multi_interpolate: {str(several).lower()} pad_ratio: {pad_ratio}"
    params = f"pooled_h: {pooled[0]} pooled_w: {pooled[1]} spatial_scale: {scale} {words}"
    return Naive(layer("ROIAlign", f"roi_pooling_param {{ {params} }}", "x rois"), feeds, {("it", "out"): top})


@case("roi_align_zuokai")
def largest_of_four() -> Naive:
    return zuokai(64, True, False, 0.125)


@case("roi_align_zuokai_middle")
def middle() -> Naive:
    return zuokai(65, False, False, 0.0)


@case("roi_align_zuokai_bicubic")
def bicubic() -> Naive:
    return zuokai(66, True, True, 0.0)
