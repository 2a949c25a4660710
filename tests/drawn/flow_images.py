"""FlowNet's lengths of vectors, means that are taken away, and crops."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from tests.drawn.base import Array, Draw, Drawn, drawn, layer, maybe, normal, number, section, shape


@drawn("ChannelNorm")
@st.composite
def channel_norm(draw: Draw) -> Drawn:
    return Drawn(layer("ChannelNorm"), {"x": normal(draw, *shape(draw, 4, least=1, most=7))})


@drawn("Mean")
@st.composite
def mean(draw: Draw) -> Drawn:
    n, c, *sizes = shape(draw, 4, least=1, most=6)
    values = [
        draw(number(0.0, 0.5, -1.0)) for _ in range(draw(st.sampled_from([k for k in range(1, c + 1) if c % k == 0])))
    ]
    scales = {name: draw(maybe(number(1.0, 2.0))) for name in ("mean_scale", "input_scale", "output_scale")}
    operation = draw(st.sampled_from(("ADD", "SUBTRACT")))
    params = section("mean_param", operation=operation, value=values, **scales)
    feeds = {name: normal(draw, n, c, *sizes) for name in draw(st.sampled_from((("x",), ("x", "y"))))}
    tops = " ".join(f"out_{name}" for name in feeds)
    return Drawn(layer("Mean", params, " ".join(feeds), tops), feeds)


@drawn("DataAugmentation")
@st.composite
def data_augmentation(draw: Draw) -> Drawn:
    """Without random changes, with a mean of its own or three blobs, of this size or of another."""
    n, c, *sizes = shape(draw, 4, least=1, most=8)
    recompute = draw(st.sampled_from((None, 0, 3, 1000)))
    if not recompute and draw(st.booleans()):
        c = 3
    crop = [draw(st.integers(1, size)) for size in sizes]
    kept = draw(st.sampled_from(((), ("crop_height",), ("crop_height", "crop_width"), ("crop_height", "crop_width"))))
    stated = {name: size for name, size in zip(("crop_height", "crop_width"), crop, strict=True) if name in kept}
    test = draw(maybe(st.booleans()))
    random = ["mirror { prob: 0.5 }"] if draw(st.booleans()) and (len(stated) < 2 or not test) else []
    params = section(
        "augmentation_param",
        *random,
        augment_during_test=test,
        recompute_mean=recompute,
        mean_per_pixel=draw(maybe(st.booleans())),
        mean=[0.25, 0.5, -0.125] if c == 3 and draw(st.booleans()) else None,
        max_multiplier=draw(maybe(st.just(1.0))),
        **stated,
    )
    top = crop if len(stated) == 2 else sizes
    blobs: dict[str, list[Array]] = {}
    if recompute:
        mean_size = draw(st.sampled_from((tuple(top), (3, 2))))
        count = np.full((1, 1, 1, 1), recompute + draw(st.integers(0, 2)), np.float32)
        blobs = {"it": [count, normal(draw, 1, c, *mean_size), normal(draw, 1, c, 1, 1)]}
    elif draw(st.booleans()):
        blobs = {"it": [np.zeros((1, 1, 1, 1), np.float32)]}
    return Drawn(layer("DataAugmentation", params), {"x": normal(draw, n, c, *sizes)}, blobs=blobs)
