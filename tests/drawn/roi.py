"""Regions of interest: inside the image, over its edges, far off, upside down, on halves of a feature."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from tests.drawn.base import Array, Draw, Drawn, drawn, fields, generator, layer, maybe, normal, shape

SCALES = (0.0625, 0.125, 0.46, 0.75, 1.0, 2.0)


def regions(draw: Draw, count: int, features: tuple[int, ...], scale: float) -> Array:
    """Rows of image, x0, y0, x1, y1; some corners lie exactly between two features."""
    rng = generator(draw)
    images, _, rows, columns = features
    size = np.array([columns, rows]) / scale
    low = rng.uniform(-0.3, 1.0, (count, 2)) * size
    high = low + rng.uniform(-0.1, 0.8, (count, 2)) * size
    if draw(st.booleans()):
        low, high = np.round(low * scale * 2) / (2 * scale), np.round(high * scale * 2) / (2 * scale)
    elif draw(st.booleans()):
        low, high = np.round(low), np.round(high)
    image = rng.integers(0, images, (count, 1))
    return np.concatenate([image, low, high], axis=1).astype(np.float32)


@drawn("ROIPooling")
@st.composite
def roi_pooling(draw: Draw) -> Drawn:
    n, c = shape(draw, 2, most=4)
    features = (n, c, draw(st.integers(1, 60)), draw(st.integers(1, 60)))
    scale = draw(st.sampled_from(SCALES))
    pooled_h, pooled_w = shape(draw, 2, least=1, most=14)
    params = fields(
        pooled_h=pooled_h,
        pooled_w=pooled_w,
        spatial_scale=draw(maybe(st.just(scale))) if scale == 1.0 else scale,
        pad_ratio=draw(maybe(st.sampled_from([0.0, 0.1, 0.25]))),
    )
    one_an_image = draw(st.booleans())
    rois = regions(draw, n if one_an_image else draw(st.integers(1, 9)), features, scale)
    if one_an_image:
        rois = rois[:, 1:]
    if draw(st.booleans()):
        rois = rois.reshape(*rois.shape, 1, 1)
    text = layer("ROIPooling", f"roi_pooling_param {{ {params} }}", "x rois")
    return Drawn(text, {"x": normal(draw, *features), "rois": np.ascontiguousarray(rois)}, tolerance=0.0)


@drawn("PSROIPooling")
@st.composite
def psroi_pooling(draw: Draw) -> Drawn:
    n, depth, group = draw(st.integers(1, 3)), draw(st.integers(1, 4)), draw(st.integers(1, 7))
    features = (n, depth * group**2, draw(st.integers(1, 40)), draw(st.integers(1, 40)))
    scale = draw(st.sampled_from(SCALES))
    params = fields(spatial_scale=scale, output_dim=depth, group_size=group)
    rois = regions(draw, draw(st.integers(1, 9)), features, scale)
    if draw(st.booleans()):
        rois = rois.reshape(-1, 1, 1, 5)
    text = layer("PSROIPooling", f"psroi_pooling_param {{ {params} }}", "x rois")
    return Drawn(text, {"x": normal(draw, *features), "rois": rois})


def python(module: str, code: str, bottoms: str, tops: str) -> str:
    """A Python layer of CNN_tabletennis."""
    return layer("Python", f"python_param {{ module: 'cut_roi_layer.{module}' layer: '{code}' }}", bottoms, tops)


@drawn("Python cut_roi_layer.layer.CutROILayer")
@st.composite
def cut_roi(draw: Draw) -> Drawn:
    n, h, w = shape(draw, 3, least=1)
    x = normal(draw, n, draw(st.integers(1, 3)), h, w)
    if draw(st.booleans()):
        x[0] = -abs(x[0])  # nothing exceeds half of a largest value below 0
    tops = draw(st.sampled_from(["out", "out peak"]))
    return Drawn(python("layer", "CutROILayer", "x", tops), {"x": x}, tolerance=0.0)


@drawn("Python cut_roi_layer.bbox_transform_inv_layer.BBoxTransformInvLayer")
@st.composite
def moved_boxes(draw: Draw) -> Drawn:
    count = draw(st.integers(1, 9))
    text = python("bbox_transform_inv_layer", "BBoxTransformInvLayer", "x offsets", "out")
    return Drawn(text, {"x": 20 * normal(draw, count, 4), "offsets": normal(draw, count, 4)})


def align_features(draw: Draw) -> tuple[tuple[int, ...], float, Array]:
    """Features, spatial_scale and regions for a layer that samples between features."""
    n, c = shape(draw, 2, least=1, most=4)
    features = (n, c, draw(st.integers(1, 20)), draw(st.integers(1, 20)))
    scale = draw(st.sampled_from(SCALES))
    rng = generator(draw)
    count = draw(st.integers(1, 6))
    size = np.array([features[3], features[2]]) / scale
    low = rng.uniform(-0.3, 1.0, (count, 2)) * size
    high = low + rng.uniform(-0.1, 0.8, (count, 2)) * size
    rois = np.concatenate([rng.integers(0, n, (count, 1)), low, high], axis=1).astype(np.float32)
    return features, scale, rois.reshape(count, 5, 1, 1) if draw(st.booleans()) else rois


@drawn("ROIAlign")
@st.composite
def roi_align_of_means(draw: Draw) -> Drawn:
    """Detectron's; between a sampling_ratio and none, which asks for as many samples as a bin is long."""
    features, scale, rois = align_features(draw)
    pooled_h, pooled_w = shape(draw, 2, least=1, most=6)
    ratio = draw(st.sampled_from((-1, 0, 1, 2, 3)))
    params = fields(pooled_h=pooled_h, pooled_w=pooled_w, spatial_scale=scale, sampling_ratio=ratio)
    text = layer("ROIAlign", f"roi_align_param {{ {params} }}", "x rois")
    return Drawn(text, {"x": normal(draw, *features), "rois": rois}, tolerance=1e-4)


@drawn("ROIAlign")
@st.composite
def roi_align_of_corners(draw: Draw) -> Drawn:
    """Cascade R-CNN's, with the Pooling that tells it."""
    features, scale, rois = align_features(draw)
    pooled_h, pooled_w = shape(draw, 2, least=1, most=6)
    ratio = draw(maybe(st.sampled_from([0.0, 0.1, 0.25])))
    params = fields(pooled_h=pooled_h, pooled_w=pooled_w, spatial_scale=scale, pad_ratio=ratio)
    text = layer("ROIAlign", f"roi_pooling_param {{ {params} }}", "x rois", "grid")
    text += ' layer { name: "mean" type: "Pooling" bottom: "grid" top: "out" '
    text += "pooling_param { pool: AVE kernel_size: 2 stride: 1 } }"
    return Drawn(text, {"x": normal(draw, *features), "rois": rois}, ("grid", "out"), tolerance=1e-4)


@drawn("ROIAlign")
@st.composite
def roi_align_of_middles(draw: Draw) -> Drawn:
    """zuokai's, in both ways of sampling and both of interpolating."""
    features, scale, rois = align_features(draw)
    pooled_h, pooled_w = shape(draw, 2, least=1, most=6)
    several, kind = draw(maybe(st.booleans())), draw(maybe(st.sampled_from((0, 1))))
    params = fields(
        pooled_h=pooled_h,
        pooled_w=pooled_w,
        spatial_scale=scale,
        pad_ratio=draw(maybe(st.sampled_from([0.0, 0.1, 0.25]))),
        bi_type=0 if several is None and kind is None else kind,
        is_multi_interpolate=several,
    )
    text = layer("ROIAlign", f"roi_pooling_param {{ {params} }}", "x rois")
    return Drawn(text, {"x": normal(draw, *features), "rois": rois}, tolerance=1e-4)
