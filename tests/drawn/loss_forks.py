"""Losses of the forks for finding objects."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from tests.drawn.base import Draw, Drawn, drawn, fields, generator, layer, maybe, normal, shape


@drawn("SmoothL1Loss")
@st.composite
def smooth_l1_loss(draw: Draw) -> Drawn:
    sigma = draw(maybe(st.sampled_from([0.5, 1.0, 3.0])))
    params = f"smooth_l1_loss_param {{ {fields(sigma=sigma)} }}" if draw(st.booleans()) else ""
    sizes = shape(draw, draw(st.integers(1, 4)), most=6)
    feeds = {f"x{i}": normal(draw, *sizes) for i in range(draw(st.integers(2, 4)))}
    return Drawn(layer("SmoothL1Loss", params, " ".join(feeds)), feeds)


def divisor(draw: Draw) -> str:
    mode = draw(maybe(st.sampled_from(["FULL", "VALID", "BATCH_SIZE", "NONE", "PRE_FIXED"])))
    fixed = draw(st.sampled_from([0.5, 2.0, 128.0])) if mode == "PRE_FIXED" else None
    normalize = draw(maybe(st.booleans())) if mode is None else None
    return fields(normalization=mode, pre_fixed_normalizer=fixed, normalize=normalize)


@drawn("SmoothL1LossOHEM")
@st.composite
def smooth_l1_loss_ohem(draw: Draw) -> Drawn:
    sizes = shape(draw, draw(st.integers(2, 4)), most=6)
    feeds = {f"x{i}": normal(draw, *sizes) for i in range(draw(st.integers(2, 3)))}
    tops = draw(st.sampled_from(["out", "out place"]))
    return Drawn(layer("SmoothL1LossOHEM", f"loss_param {{ {divisor(draw)} }}", " ".join(feeds), tops), feeds)


@drawn("SoftmaxWithLossOHEM")
@st.composite
def softmax_with_loss_ohem(draw: Draw) -> Drawn:
    sizes = shape(draw, draw(st.integers(2, 4)), most=6)
    axis = draw(st.integers(1, len(sizes) - 1))  # LossLayer asks for as many items of both bottoms.
    ignored = draw(maybe(st.integers(-1, sizes[axis])))
    given = list(sizes)
    given[axis] = 1
    if draw(st.booleans()):
        del given[axis]
    marks = generator(draw).integers(0, sizes[axis], given).astype(np.float32)
    if ignored is not None:
        marks[generator(draw).random(given) < 0.3] = ignored
    tops = draw(st.sampled_from(["out", "out softmax", "out softmax place"]))
    params = f"loss_param {{ {divisor(draw)} {fields(ignore_label=ignored)} }} softmax_param {{ axis: {axis} }}"
    return Drawn(layer("SoftmaxWithLossOHEM", params, "x labels", tops), {"x": normal(draw, *sizes), "labels": marks})
