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
