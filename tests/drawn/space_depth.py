"""Pixels traded for channels or images."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.drawn.base import Draw, Drawn, drawn, fields, layer, maybe, normal, shape


@drawn("DepthToSpace")
@st.composite
def depth_to_space(draw: Draw) -> Drawn:
    block, inner = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    n, h, w = shape(draw, 3, most=6)
    kind = draw(maybe(st.sampled_from(["NHWC", "NCHW", "DCR", "CRD"])))
    sizes = (n, h, w, inner * block**2) if kind in (None, "NHWC") else (n, inner * block**2, h, w)
    params = f"{fields(block_size=block)} {f'data_format: {kind!r}' if kind else ''}"
    return Drawn(layer("DepthToSpace", f"depth_to_space_param {{ {params} }}"), {"x": normal(draw, *sizes)})


def _blocks(draw: Draw, axes: int) -> list[int]:
    return [draw(st.integers(1, 3)) for _ in range(draw(st.integers(1, min(axes - 1, 3))))]


@drawn("SpaceToBatchND")
@st.composite
def space_to_batch(draw: Draw) -> Drawn:
    axes = draw(st.integers(2, 5))
    block = _blocks(draw, axes)
    sizes = list(shape(draw, axes, least=1, most=6))
    paddings = []
    for axis, b in enumerate(block, 1):
        before = draw(st.integers(0, 3))
        paddings += [before, -(sizes[axis] + before) % b + b * draw(st.integers(0, 1))]
    params = fields(block_shape=block, paddings=paddings)
    return Drawn(layer("SpaceToBatchND", f"space_to_batch_nd_param {{ {params} }}"), {"x": normal(draw, *sizes)})


@drawn("BatchToSpaceND")
@st.composite
def batch_to_space(draw: Draw) -> Drawn:
    axes = draw(st.integers(2, 5))
    block = _blocks(draw, axes)
    sizes = list(shape(draw, axes, most=6))
    crops = []
    for axis, b in enumerate(block, 1):
        before = draw(st.integers(0, sizes[axis] * b - 1))
        crops += [before, draw(st.integers(0, sizes[axis] * b - 1 - before))]
        sizes[0] *= b
    params = fields(block_shape=block, crops=crops)
    return Drawn(layer("BatchToSpaceND", f"batch_to_space_nd_param {{ {params} }}"), {"x": normal(draw, *sizes)})


@drawn("Reshape")
@st.composite
def pixels_of_channels(draw: Draw) -> Drawn:
    r, inner = draw(st.integers(2, 4)), draw(st.integers(1, 3))
    n, h, w = shape(draw, 3, most=6)
    return Drawn(
        layer("Reshape", f"reshape_param {{ pixelshuffler: {r} }}"), {"x": normal(draw, n, inner * r * r, h, w)}
    )
