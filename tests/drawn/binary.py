"""Sums by the signs of the weights."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.drawn.base import Draw, Drawn, axis, blob, drawn, layer, maybe, section, shape
from tests.drawn.convolution import Geometry, case, geometry
from tests.drawn.inner_product import FILLERS

PAIRS: dict[str, object] = {
    **{"kernel_h": 2, "kernel_w": 2, "stride_h": 2, "stride_w": 1},
    **{"pad_h": 0, "pad_w": 1, "hole_h": 1, "hole_w": 2},
}


def binary(draw: Draw, name: str) -> str:
    return section(name, use_alpha=draw(maybe(st.booleans())), use_binarization=draw(maybe(st.booleans())))


@drawn("BinaryConvolution")
@st.composite
def binary_convolution(draw: Draw) -> Drawn:
    """Of three, two are over an image with room, where a field by itself may count."""
    form, image = draw(st.sampled_from(("any", "one number", "pairs"))), tuple(draw(st.permutations((5, 6))))
    if form == "any":
        group, found = draw(st.integers(1, 3)), geometry(draw, draw(st.sampled_from((0, 1, 2, 2, 3))))
    else:
        group, found = 1, Geometry(PAIRS if form == "pairs" else {"kernel_size": 2}, (2, 2), image)
    channels, outputs = (group * n for n in shape(draw, 2, least=1, most=3))
    how = binary(draw, "binary_convolution_param")
    stated = group if group > 1 else draw(maybe(st.just(1)))
    return case(draw, "BinaryConvolution", stated, channels, outputs, found, how)


@drawn("BinaryInnerProduct")
@st.composite
def binary_inner_product(draw: Draw) -> Drawn:
    """`transpose` changes nothing: the matrix is num_output × inputs."""
    x = blob(draw, most=4)
    place = axis(draw, x.ndim)
    params = section(
        "inner_product_param",
        *draw(FILLERS),
        num_output=draw(st.integers(1, 7)),
        bias_term=draw(maybe(st.booleans())),
        axis=draw(maybe(st.just(1))) if place == 1 else place,
        transpose=draw(maybe(st.booleans())),
    )
    return Drawn(layer("BinaryInnerProduct", f"{params} {binary(draw, 'binary_inner_product_param')}"), {"x": x})
