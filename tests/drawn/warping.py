"""Images bent by flows, places and matrices that reach into the image, to its edges and beyond."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from tests.drawn.base import Array, Draw, Drawn, drawn, generator, layer, maybe, normal, section, shape
from tests.drawn.deformable import offsets


@drawn("FlowWarp")
@st.composite
def flow_warp(draw: Draw) -> Drawn:
    n, c, *sizes = shape(draw, 4, least=1, most=7)
    params = section("flow_warp_param", fill_value=draw(maybe(st.just("ZERO"))))
    feeds = {"x": normal(draw, n, c, *sizes), "flow": offsets(draw, n, 2, *sizes)}
    return Drawn(layer("FlowWarp", params, "x flow"), feeds)


@drawn("Warp")
@st.composite
def warp(draw: Draw) -> Drawn:
    """PWC-Net's; LiteFlowNet's beside a Grid of its own is a golden case."""
    n, c, *sizes = shape(draw, 4, least=1, most=7)
    return Drawn(layer("Warp", "", "x flow"), {"x": normal(draw, n, c, *sizes), "flow": offsets(draw, n, 2, *sizes)})


@drawn("SpatialTransformer")
@st.composite
def spatial_transformer(draw: Draw) -> Drawn:
    """Measured by the image: where all places lie on its far edge, the answer is what rounding leaves of it."""
    n, c, *sizes = shape(draw, 4, least=1, most=7)
    names = [f"theta_{row}_{column}" for row in (1, 2) for column in (1, 2, 3)]
    fixed = draw(st.sets(st.sampled_from(names), max_size=5) | st.just(set()))
    given = {name: draw(st.integers(-20, 20)) / 10 for name in names if name in fixed}
    params = section(
        "st_param",
        transform_type=draw(maybe(st.just("affine"))),
        sampler_type=draw(maybe(st.just("bilinear"))),
        output_H=draw(maybe(st.integers(1, 8))),
        output_W=draw(maybe(st.integers(1, 8))),
        to_compute_dU=draw(maybe(st.booleans())),
        de_transform=draw(maybe(st.just(False))),
        **given,
    )
    free = 6 - len(fixed)
    theta = matrix_numbers(draw, n, free).reshape(draw(st.sampled_from(((n, free), (n, free, 1, 1)))))
    x = normal(draw, n, c, *sizes)
    reach = float(np.abs(x).max())
    return Drawn(layer("SpatialTransformer", params, "x theta"), {"x": x, "theta": theta}, scale=reach)


def matrix_numbers(draw: Draw, *sizes: int) -> Array:
    """Between identity and what turns the image and shifts parts of it out of sight."""
    return generator(draw).uniform(-1.5, 1.5, sizes).astype(np.float32)


@drawn("Grid")
@st.composite
def grid(draw: Draw) -> Drawn:
    return Drawn(layer("Grid"), {"x": normal(draw, *shape(draw, 4, least=1, most=7))})
