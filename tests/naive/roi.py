"""Regions of interest."""

from __future__ import annotations

import math

import numpy as np

from tests.drawn.base import layer
from tests.naive.base import Array, Naive, case, random

ROIS = np.array(
    [
        [0, 8, 24, 71, 56],  # on halves of a feature: 0.5, 1.5, 4.4, 3.5
        [1, 3.2, 1.7, 90.4, 61.3],
        [1, -30, -20, 40, 30],  # over the upper left edge
        [0, 70, 50, 500, 200],  # over the lower right one
        [1, 300, 0, 400, 20],  # off the features
        [0, 60, 40, 20, 10],  # its corners the other way round
    ],
    np.float32,
)
f32 = np.float32


def c_round(value: float) -> int:
    """Half away from zero."""
    return math.floor(value + 0.5) if value >= 0 else math.ceil(value - 0.5)


def clipped(value: float, size: int) -> int:
    return min(max(int(value), 0), size)


def largest_of_bins(plane: Array, corners: list[int], pooled: tuple[int, int]) -> Array:
    """One region of one plane, as roi_pooling_layer.cpp has it; corners x0, y0, x1, y1 in features."""
    x0, y0, x1, y1 = corners
    height, width = plane.shape
    step_h = f32(max(y1 - y0 + 1, 1)) / f32(pooled[0])
    step_w = f32(max(x1 - x0 + 1, 1)) / f32(pooled[1])
    top = np.zeros(pooled, np.float32)
    for p, q in np.ndindex(*pooled):
        rows = range(
            clipped(math.floor(f32(p) * step_h) + y0, height), clipped(math.ceil(f32(p + 1) * step_h) + y0, height)
        )
        columns = range(
            clipped(math.floor(f32(q) * step_w) + x0, width), clipped(math.ceil(f32(q + 1) * step_w) + x0, width)
        )
        values = [plane[h, w] for h in rows for w in columns]
        top[p, q] = max(values) if values else 0
    return top


def pooled_regions(x: Array, rois: Array, pooled: tuple[int, int], scale: float) -> Array:
    """All planes of all regions."""
    top = np.empty((len(rois), x.shape[1], *pooled), np.float32)
    for n, c in np.ndindex(*top.shape[:2]):
        corners = [c_round(float(v * f32(scale))) for v in rois[n, 1:]]
        top[n, c] = largest_of_bins(x[int(rois[n, 0]), c], corners, pooled)
    return top


@case("roi_pooling")
def roi_pooling() -> Naive:
    """Fast R-CNN: regions of several images, some of them over the edges."""
    x = random(31, 2, 3, 5, 7)
    params = "roi_pooling_param { pooled_h: 4 pooled_w: 3 spatial_scale: 0.0625 }"
    y = pooled_regions(x, ROIS, (4, 3), 0.0625)
    return Naive(layer("ROIPooling", params, "x rois"), {"x": x, "rois": ROIS}, {("it", "out"): y})


@case("roi_pooling_padded")
def padded() -> Naive:
    """MS-CNN's pad_ratio grows a region on each side before it is scaled; regions R×5×1×1."""
    x = random(32, 2, 3, 5, 9)
    rois = ROIS.copy()
    for n, (_, x0, y0, x1, y1) in enumerate(ROIS):
        w, h = (x1 - x0 + f32(1)) * f32(0.25), (y1 - y0 + f32(1)) * f32(0.25)
        rois[n, 1:] = x0 - w, y0 - h, x1 + w, y1 + h
    params = "roi_pooling_param { pooled_h: 4 pooled_w: 8 spatial_scale: 0.0625 pad_ratio: 0.25 }"
    feeds = {"x": x, "rois": ROIS.reshape(6, 5, 1, 1)}
    y = pooled_regions(x, rois, (4, 8), 0.0625)
    return Naive(layer("ROIPooling", params, "x rois"), feeds, {("it", "out"): y})


@case("roi_pooling_one_an_image")
def one_an_image() -> Naive:
    """CNN_tabletennis: rows of 4, the n-th in image n."""
    x = random(33, 6, 2, 5, 9)
    rois = ROIS.copy()
    rois[:, 0] = range(6)
    params = "roi_pooling_param { pooled_h: 7 pooled_w: 3 spatial_scale: 0.0625 }"
    y = pooled_regions(x, rois, (7, 3), 0.0625)
    feeds = {"x": x, "rois": np.ascontiguousarray(ROIS[:, 1:])}
    return Naive(layer("ROIPooling", params, "x rois"), feeds, {("it", "out"): y})


@case("psroi_pooling")
def psroi_pooling() -> Naive:
    """R-FCN's psroi_pooling_layer.cu."""
    depth, g, scale = 4, 3, f32(0.0625)
    x = random(34, 2, depth * g * g, 5, 7)
    y = np.zeros((len(ROIS), depth, g, g), np.float32)
    for n, c, p, q in np.ndindex(*y.shape):
        image, x0, y0, x1, y1 = (float(v) for v in ROIS[n])
        start_w, start_h = f32(c_round(x0)) * scale, f32(c_round(y0)) * scale
        end_w, end_h = f32(c_round(x1) + 1) * scale, f32(c_round(y1) + 1) * scale
        step_h, step_w = max(end_h - start_h, f32(0.1)) / f32(g), max(end_w - start_w, f32(0.1)) / f32(g)
        top, bottom = math.floor(f32(p) * step_h + start_h), math.ceil(f32(p + 1) * step_h + start_h)
        left, right = math.floor(f32(q) * step_w + start_w), math.ceil(f32(q + 1) * step_w + start_w)
        plane = x[int(image), (c * g + p) * g + q]
        values = [
            float(plane[h, w])
            for h in range(clipped(top, 5), clipped(bottom, 5))
            for w in range(clipped(left, 7), clipped(right, 7))
        ]
        y[n, c, p, q] = sum(values) / len(values) if values else 0
    params = "psroi_pooling_param { spatial_scale: 0.0625 output_dim: 4 group_size: 3 }"
    return Naive(layer("PSROIPooling", params, "x rois"), {"x": x, "rois": ROIS}, {("it", "out"): y})


@case("cut_roi")
def cut_roi() -> Naive:
    """CNN_tabletennis' cut_roi_layer/layer.py, with two bumps in one of the maps; a map of nothing leaves zeros."""
    x = abs(random(35, 4, 1, 6, 8)) * f32(0.1)
    x[0, 0, 1:3, 2:6] = 0.9
    x[1, 0, 4:6, 6:8] = 0.8
    x[1, 0, 0:2, 1] = 0.7
    x[2] = 0
    y, peaks = np.zeros((4, 4), np.float32), np.zeros(4, np.float32)
    for n in range(4):
        peaks[n] = max(x[n].ravel())
        columns = [max(x[n, 0, :, i]) > peaks[n] / 2 for i in range(8)]
        rows = [max(x[n, 0, i, :]) > peaks[n] / 2 for i in range(6)]
        for place, marks in ((0, columns), (1, rows)):
            for i, mark in enumerate(marks):
                if mark and (i == 0 or not marks[i - 1]):
                    y[n, place] = i
                if mark and (i == len(marks) - 1 or not marks[i + 1]):
                    y[n, place + 2] = i + 1
    text = layer("Python", 'python_param { module: "cut_roi_layer.layer" layer: "CutROILayer" }', "x", "out peak")
    return Naive(text, {"x": x}, {("it", "out"): y, ("it", "peak"): peaks})


@case("moved_boxes")
def moved_boxes() -> Naive:
    """CNN_tabletennis' bbox_transform_inv_layer.py."""
    boxes, offsets = ROIS[:5, 1:].copy(), random(36, 5, 4)
    y = np.empty((5, 4), np.float32)
    for n in range(5):
        (x0, y0, x1, y1), (dx, dy, dw, dh) = boxes[n].tolist(), offsets[n].tolist()
        w, h = x1 - x0 + 1, y1 - y0 + 1
        middle_x, middle_y = dx * w + x0 + 0.5 * w, dy * h + y0 + 0.5 * h
        half_w, half_h = 0.5 * math.exp(dw) * w, 0.5 * math.exp(dh) * h
        y[n] = middle_x - half_w, middle_y - half_h, middle_x + half_w, middle_y + half_h
    code = 'python_param { module: "cut_roi_layer.bbox_transform_inv_layer" layer: "BBoxTransformInvLayer" }'
    return Naive(layer("Python", code, "boxes offsets"), {"boxes": boxes, "offsets": offsets}, {("it", "out"): y})
