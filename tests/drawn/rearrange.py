"""Layers that move values about."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.drawn.base import Draw, Drawn, axis, blob, drawn, fields, layer, maybe, normal, number, section, shape


@drawn("ShuffleChannel")
@st.composite
def shuffle_channel(draw: Draw) -> Drawn:
    group, inner = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    n, h, w = shape(draw, 3)
    params = f"shuffle_channel_param {{ {fields(group=group)} }}"
    return Drawn(layer("ShuffleChannel", params), {"x": normal(draw, n, group * inner, h, w)})


@drawn("PixelShuffle")
@st.composite
def pixel_shuffle(draw: Draw) -> Drawn:
    factor = draw(st.integers(1, 3))
    n, c, h, w = shape(draw, 4, least=1, most=5)
    params = section("pixelshuffle_param", upscale_factor=factor)
    return Drawn(layer("PixelShuffle", params), {"x": normal(draw, n, c * factor**2, h, w)})


@drawn("Transpose")
@st.composite
def transpose(draw: Draw) -> Drawn:
    x = blob(draw)
    params = section("transpose_param", dim=list(draw(st.permutations(range(x.ndim)))))
    return Drawn(layer("Transpose", params), {"x": x})


@drawn("Reverse")
@st.composite
def reverse(draw: Draw) -> Drawn:
    x = blob(draw)
    place = axis(draw, x.ndim)
    params = section("reverse_param", axis=draw(maybe(st.just(0))) if place == 0 else place)
    return Drawn(layer("Reverse", params), {"x": x})


@drawn("Squeeze")
@st.composite
def squeeze(draw: Draw) -> Drawn:
    """Some axes of 1 named, or none, which drops all of them, perhaps down to a scalar."""
    sizes = list(shape(draw, draw(st.integers(0, 3)), most=6))
    for _ in range(draw(st.integers(0, 3))):
        sizes.insert(draw(st.integers(0, len(sizes))), 1)
    ones = [i for i, size in enumerate(sizes) if size == 1]
    some = draw(st.lists(st.sampled_from(ones), unique=True)) if ones else []
    axes = [draw(st.sampled_from((a, a - len(sizes)))) for a in some]
    return Drawn(layer("Squeeze", section("squeeze_param", axis=axes)), {"x": normal(draw, *sizes)})


@drawn("Pad")
@st.composite
def pad(draw: Draw) -> Drawn:
    """Any width on any side; none on any of them too."""
    x = blob(draw, most=4)
    most = draw(st.sampled_from((0, 2, 4)))
    widths = [draw(st.integers(0, most)) for _ in range(2 * x.ndim)]
    params = section("pad_param", paddings=widths, constant_values=draw(maybe(number(0, 1))))
    return Drawn(layer("Pad", params), {"x": x})


@drawn("UpsampleDarknet")
@st.composite
def upsample_darknet(draw: Draw) -> Drawn:
    params = section("upsample_darknet_param", stride=draw(maybe(st.integers(1, 4))))
    return Drawn(layer("UpsampleDarknet", params), {"x": normal(draw, *shape(draw, 4, most=6))})
