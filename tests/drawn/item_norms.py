"""Normalisation by an item's own mean and deviation."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from tests.drawn.base import Draw, Drawn, drawn, generator, layer, maybe, normal, section, shape

EPS = maybe(st.sampled_from((1e-5, 0.001, 0.5)))


@drawn("InstanceNorm")
@st.composite
def instance_norm(draw: Draw) -> Drawn:
    x = normal(draw, *shape(draw, 4, most=6)) * np.float32(draw(st.sampled_from((1, 10)))) + 1
    return Drawn(layer("InstanceNorm"), {"x": x})


@drawn("GroupNorm")
@st.composite
def group_norm(draw: Draw) -> Drawn:
    """Three names of the number of groups; with `group`, or where the file has them, two blobs a channel."""
    n, each, *sizes = shape(draw, draw(st.integers(3, 5)), most=6)
    name, groups = draw(st.sampled_from(("group_num", "group_ratio", "group", ""))), draw(st.integers(1, 4))
    if not name:
        groups, each = 32, 1 + each % 2
    params = section("group_norm_param", eps=draw(EPS), **({name: groups} if name else {}))
    x = normal(draw, n, groups * each, *sizes) + 1
    blobs = {}
    if name == "group" or draw(st.booleans()):
        source = generator(draw)
        blobs["it"] = [source.standard_normal((1, groups * each, 1, 1)).astype(np.float32) for _ in range(2)]
    return Drawn(layer("GroupNorm", params), {"x": x}, blobs=blobs)


@drawn("LayerNorm")
@st.composite
def layer_norm(draw: Draw) -> Drawn:
    affine = draw(maybe(st.booleans()))
    params = section("layer_norm_param", eps=draw(EPS), elementwise_affine=affine)
    x = normal(draw, *shape(draw, draw(st.integers(2, 5)), most=6)) + 1
    blobs = {}
    if affine is not False:
        source = generator(draw)
        blobs["it"] = [source.standard_normal(x.shape[1:]).astype(np.float32) for _ in range(2)]
    return Drawn(layer("LayerNorm", params), {"x": x}, blobs=blobs)
