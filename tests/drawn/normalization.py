"""Layers that divide by a measured or stored spread."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from tests.drawn.base import Draw, Drawn, blob, drawn, generator, layer, maybe, normal, section, shape, uniform


@drawn("BatchNorm")
@st.composite
def batch_norm(draw: Draw) -> Drawn:
    """A factor of 0 counts the stored sums as 0; the batch's own statistics are of some more values."""
    x = blob(draw)
    own = x.ndim > 2 and draw(st.booleans())
    params = section(
        "batch_norm_param",
        use_global_stats=False if own else draw(maybe(st.just(True))),
        eps=draw(maybe(st.sampled_from((1e-5, 2e-5, 0.001, 0.5)))),
        moving_average_fraction=draw(maybe(st.sampled_from((0.9, 0.999)))),
        add_eps_before_sqrt=draw(maybe(st.just(True) if own else st.booleans())),
    )
    source, channels = generator(draw), x.shape[1] if x.ndim > 1 else 1
    factor = draw(st.sampled_from((0, 1, 999.98236, 0.25)))
    stored = (source.standard_normal(channels), source.uniform(0.1, 4, channels))
    blobs = [np.asarray(b, np.float32) for b in (*(s * (factor or 1) for s in stored), [factor])]
    return Drawn(layer("BatchNorm", params), {"x": x}, blobs={"it": blobs})


@drawn("BatchNorm")
@st.composite
def batch_norm_with_scale(draw: Draw) -> Drawn:
    """Scale and bias inside, in either order of NVIDIA's, or as Intel's, with `relu` perhaps; the blobs tell."""
    x = blob(draw, least=2)
    forms = draw(
        st.sampled_from(("scale_bias: true", "scale_filler { value: 1 } bias_filler {}", "", "engine: MKLDNN"))
    )
    intel = not forms.startswith("scale")
    own = x.ndim > 2 and intel and draw(st.booleans())
    params = section(
        "batch_norm_param",
        forms,
        use_global_stats=False if own else draw(maybe(st.booleans() if not intel else st.just(True))),
        eps=draw(maybe(st.sampled_from((1e-5, 1e-7, 0.001, 0.5)))),
        moving_average_fraction=draw(maybe(st.just(0.9))),
        relu=draw(maybe(st.booleans())) if intel else None,
    )
    source, channels = generator(draw), x.shape[1]
    factor = draw(st.sampled_from((0, 1, 1, 999.98236)))
    mean, variance = source.standard_normal(channels), source.uniform(0.1, 4, channels)
    scale, bias = source.standard_normal(channels), source.standard_normal(channels)
    statistics = [mean * (factor or 1), variance * (factor or 1), np.asarray([factor])]
    orders = [[*statistics, scale, bias], [scale, bias, *statistics]]
    if intel:
        orders.append([*statistics, scale])
    if forms.startswith("engine"):
        orders.append([scale, bias])
    blobs = draw(st.sampled_from(orders))
    cudnn = draw(st.booleans())
    shaped = [b.reshape((1, -1, 1, 1) if cudnn else -1).astype(np.float32) for b in blobs]
    return Drawn(layer("BatchNorm", params), {"x": x}, blobs={"it": shaped})


@drawn("LRN")
@st.composite
def lrn(draw: Draw) -> Drawn:
    """Windows may be wider than there are channels or pixels.

    onnxruntime, as Caffe itself, adds the next channel's square to a running sum and takes the last one's off, so
    squares of very different sizes would leave their rounding in it.
    """
    params = section(
        "lrn_param",
        local_size=draw(maybe(st.sampled_from((1, 3, 5, 7, 9)))),
        alpha=draw(maybe(st.sampled_from((1, 1e-4, 0.5, 0, -1e-4)))),
        beta=draw(maybe(st.sampled_from((0.75, 0.5, 1, 2, 0, -1)))),
        k=draw(maybe(st.sampled_from((1, 2, 0.5)))),
        norm_region=draw(maybe(st.sampled_from(("ACROSS_CHANNELS", "WITHIN_CHANNEL")))),
        engine=draw(maybe(st.sampled_from(("DEFAULT", "CAFFE")))),
    )
    return Drawn(layer("LRN", params), {"x": normal(draw, *shape(draw, 4, most=6))})


@drawn("MVN")
@st.composite
def mvn(draw: Draw) -> Drawn:
    params = section(
        "mvn_param",
        normalize_variance=draw(maybe(st.booleans())),
        across_channels=draw(maybe(st.booleans())),
        eps=draw(maybe(st.sampled_from((1e-9, 1e-5, 0.5)))),
        add_eps_before_sqrt=draw(maybe(st.booleans())),
    )
    return Drawn(layer("MVN", params), {"x": blob(draw, most=4)})


@drawn("Normalize")
@st.composite
def normalize(draw: Draw) -> Drawn:
    params = section(
        "norm_param",
        *draw(st.sampled_from(([], [uniform("scale_filler")]))),
        across_spatial=draw(maybe(st.booleans())),
        channel_shared=draw(maybe(st.booleans())),
        eps=draw(maybe(st.sampled_from((1e-10, 1e-5, 0.5)))),
        add_eps_before_sqrt=draw(maybe(st.booleans())),
    )
    params = params or "norm_param { }"
    return Drawn(layer("Normalize", params), {"x": normal(draw, *shape(draw, draw(st.integers(2, 4)), most=6))})


@drawn("Normalize")
@st.composite
def unit_vectors(draw: Draw) -> Drawn:
    """happynear's, with or without its section; of at most 4 axes."""
    kind, through = draw(maybe(st.sampled_from(("L1", "L2")))), draw(maybe(st.booleans()))
    params = section("normalize_param", *[f"normalize_type: '{kind}'"] * bool(kind), bp_norm=through)
    x = normal(draw, *shape(draw, draw(st.integers(1, 4)), most=6)) * np.float32(draw(st.sampled_from((1, 0.01))))
    return Drawn(layer("Normalize", params, tops=draw(st.sampled_from(("out", "out norms")))), {"x": x})


@drawn("Normalize")
@st.composite
def unit_items(draw: Draw) -> Drawn:
    """yjxiong's, of at most 4 axes; nothing in its text tells it."""
    x = normal(draw, *shape(draw, draw(st.integers(1, 4)), most=6)) * np.float32(draw(st.sampled_from((1, 0.01))))
    return Drawn(layer("Normalize"), {"x": x}, dialects={"Normalize": "tsn"})


@drawn("GRN")
@st.composite
def grn(draw: Draw) -> Drawn:
    """Of at most 4 axes; below two each value is a pixel of one channel."""
    params = section(
        "grn_param",
        bias=draw(maybe(st.sampled_from((1e-8, 1e-7, 0.001, 0.5)))),
        dummy_backward=draw(maybe(st.booleans())),
    )
    x = blob(draw, most=4) * np.float32(draw(st.sampled_from((1, 0.01))))
    return Drawn(layer("GRN", params), {"x": x})


@drawn("L2Normalize")
@st.composite
def l2_normalize(draw: Draw) -> Drawn:
    return Drawn(layer("L2Normalize"), {"x": blob(draw)})
