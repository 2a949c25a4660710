"""Pooling undone, with the mask of a pooling and without, and over windows."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.drawn.base import Draw, Drawn, apart, drawn, fields, layer, maybe, normal, shape


@drawn("UnPooling", "Unpooling")
@st.composite
def unpooling(draw: Draw) -> Drawn:
    kind = draw(st.sampled_from(["UnPooling", "Unpooling"]))
    n, c, h, w = shape(draw, 4)
    stride = draw(st.integers(1, 3))
    method = draw(st.sampled_from(["MAX", "MAX", "AVE", "TILE"]))
    if method != "MAX":
        kernel = draw(st.integers(1, 4))
        params = fields(unpool=method, stride=draw(maybe(st.just(stride))))
        one = draw(st.booleans())
        params += " " + (
            fields(kernel_size=kernel) if one else fields(kernel_h=kernel, kernel_w=draw(st.integers(1, 3)))
        )
        params += " " + fields(unpool_h=draw(st.integers(1, 9)), unpool_w=draw(st.integers(1, 9)))
        return Drawn(layer(kind, f"unpooling_param {{ {params} }}"), {"x": normal(draw, n, c, h, w)})
    if draw(st.booleans()):
        more_h, more_w = draw(st.integers(0, 2)), draw(st.integers(0, 2))
        rows, columns = 2 * h + more_h, 2 * w + more_w
        halved, overlapping = "kernel_size: 2 stride: 2", "kernel_size: 3 stride: 2 pad: 1"
        cases = [
            (overlapping, overlapping),
            (overlapping, "kernel_h: 3 kernel_w: 3 stride_h: 2 stride_w: 2 pad_h: 1 pad_w: 1"),
            (halved, fields(unpool="MAX", kernel_size=2, stride=2, unpool_h=rows, unpool_w=columns)),
            (halved, fields(output_h=rows, output_w=columns)),
            (halved, fields(scale=2)),
            (halved, halved),
        ]
        pooled, params = draw(st.sampled_from(cases))
        odd = pooled == overlapping  # an odd height and width come back
        text = (
            f'layer {{ name: "pool" type: "Pooling" bottom: "x" top: "p" top: "mask" pooling_param {{ {pooled} }} }}\n'
        ) + layer(kind, f"unpooling_param {{ {params} }}", "p mask")
        return Drawn(text, {"x": apart(draw, n, c, 2 * h + odd, 2 * w + odd)})
    if draw(st.booleans()):
        size = max(h, w) * stride + draw(st.integers(0, 2))
        params = fields(kernel_size=stride, stride=stride, unpool_size=size)
    else:
        strides = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
        rows = (h - 1) * strides[0] + draw(st.integers(1, 4))
        columns = (w - 1) * strides[1] + draw(st.integers(1, 4))
        params = fields(kernel_h=2, kernel_w=3, stride_h=strides[0], stride_w=strides[1])
        params += " " + fields(unpool_h=rows, unpool_w=columns)
    return Drawn(layer(kind, f"unpooling_param {{ {params} }}"), {"x": normal(draw, n, c, h, w)})


@drawn("MaxUnPool")
@st.composite
def max_unpool(draw: Draw) -> Drawn:
    n, c, h, w = shape(draw, 4)
    params = fields(dst_h=2 * h + draw(st.integers(0, 2)), dst_w=2 * w + draw(st.integers(0, 1)))
    text = (
        'layer { name: "pool" type: "Pooling" bottom: "x" top: "p" top: "mask" '
        "pooling_param { kernel_size: 2 stride: 2 } }\n"
    ) + layer("MaxUnPool", f"max_unpool_param {{ {params} }}", "p mask")
    return Drawn(text, {"x": apart(draw, n, c, 2 * h, 2 * w)})
