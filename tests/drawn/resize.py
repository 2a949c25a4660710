"""Layers that enlarge or shrink images."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.drawn.base import Draw, Drawn, apart, drawn, fields, layer, maybe, normal, shape


@drawn("Interp")
@st.composite
def interp(draw: Draw) -> Drawn:
    n, c, h, w = shape(draw, 4)
    params = fields(pad_beg=draw(maybe(st.integers(-1, 0))), pad_end=draw(maybe(st.integers(-1, 0))))
    h, w = h + 2, w + 2
    size = (draw(st.integers(1, 12)), draw(st.integers(1, 12)))
    form = draw(st.sampled_from(["size", "shrink", "zoom", "both", "full", "like"]))
    feeds = {"x": normal(draw, n, c, h, w)}
    if form == "like":
        params += " " + fields(use_blob_size=draw(maybe(st.just(True))))
        feeds["like"] = normal(draw, c, n, *size)
        return Drawn(layer("Interp", f"interp_param {{ {params} }}", "x like"), feeds, tolerance=1e-4)
    if form == "size":
        params += " " + fields(height=size[0], width=size[1])
    if form in ("shrink", "both"):
        params += " " + fields(shrink_factor=draw(st.integers(1, 4)))
    if form in ("zoom", "both"):
        params += " " + fields(zoom_factor=draw(st.integers(1, 4)))
    if form == "full":
        params += " " + fields(full_zoom_factor=draw(st.integers(1, 3)))
    return Drawn(layer("Interp", f"interp_param {{ {params} }}"), feeds, tolerance=1e-4)


@drawn("BilinearInterpolate")
@st.composite
def bilinear_interpolate(draw: Draw) -> Drawn:
    """Sizes of the top from 2 on, or 1 without align_corners."""
    n, c, h, w = shape(draw, 4, least=1)
    corners = draw(maybe(st.booleans()))
    least = 1 if corners is False else 2
    if draw(st.booleans()) and max(h, w) > 1:
        factor = max(draw(st.sampled_from((0.5, 1, 1.3, 2, 2.7))), (least + 0.01) / min(h, w))
        params = fields(scale_factor=factor)
    else:
        size = {"dst_h": draw(st.integers(least, 12)), "dst_w": draw(st.integers(least, 12))}
        if min(h, w) >= least and draw(st.integers(0, 3)) == 0:
            size.pop(draw(st.sampled_from(sorted(size))))
        params = fields(**size)
    params += " " + fields(align_corners=corners)
    text = layer("BilinearInterpolate", f"bilinear_interpolate_param {{ {params} }}")
    return Drawn(text, {"x": normal(draw, n, c, h, w)}, tolerance=1e-4)


@drawn("Upsample")
@st.composite
def upsample(draw: Draw) -> Drawn:
    n, c, h, w = shape(draw, 4, most=7)
    form = draw(st.sampled_from(("flat", "mask", "mask", "yolov5", "plain")))
    if form == "yolov5":
        sizes = fields(height=draw(st.integers(2, 12)), width=draw(st.integers(2, 12)))
        factor = draw(st.integers(2, 3))
        scales = fields(height_scale=factor, width_scale=factor)
        nearest = fields(height_scale=factor, width_scale=draw(st.integers(2, 3)), mode="NEAREST")
        params = draw(st.sampled_from([nearest, scales, f"{scales} mode: BILINEAR", sizes]))
        text = layer("Upsample", f"upsample_param {{ {params} }}")
        return Drawn(text, {"x": normal(draw, n, c, h, w)}, tolerance=1e-4)
    if form == "flat":
        params = fields(scale=draw(maybe(st.integers(1, 4))), dims_num=3)
        return Drawn(layer("Upsample", f"upsample_param {{ {params} }}"), {"x": normal(draw, n, c, w)})
    if form == "plain":
        params = fields(scale=draw(maybe(st.integers(1, 4))))
        return Drawn(layer("Upsample", f"upsample_param {{ {params} }}"), {"x": normal(draw, n, c, h, w)})
    down, right = draw(st.booleans()), draw(st.booleans())
    if draw(st.booleans()):
        params = fields(scale=2, upsample_h=2 * h + draw(st.integers(0, 2)), upsample_w=2 * w)
    elif draw(st.booleans()):
        params = fields(scale_h=2, scale_w=draw(st.integers(2, 3)))
    else:
        params = fields(scale=draw(maybe(st.just(2))), pad_out_h=down or None, pad_out_w=right or None)
        h, w = 2 * h - down, 2 * w - right
        return Drawn(_pooled(params), {"x": apart(draw, n, c, h, w)})
    return Drawn(_pooled(params), {"x": apart(draw, n, c, 2 * h, 2 * w)})


def _pooled(params: str) -> str:
    pooling = 'layer { name: "pool" type: "Pooling" bottom: "x" top: "p" top: "mask" '
    pooling += "pooling_param { kernel_size: 2 stride: 2 } }\n"
    return pooling + layer("Upsample", f"upsample_param {{ {params} }}", "p mask")
