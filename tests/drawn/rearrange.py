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


@drawn("Pad")
@st.composite
def pad_of_images(draw: Draw) -> Drawn:
    """inisis' form: a border of any sort on any side, or all sides cut."""
    n, c, h, w = shape(draw, 4, least=3, most=8)
    if draw(st.booleans()):
        sides = [-1 - draw(st.integers(0, (size - 3) // 2)) for size in (h, h, w, w)]
    else:
        sides = [draw(st.integers(0, size - 1)) for size in (h, h, w, w)]
    params = section(
        "pad_param",
        **dict(zip(("pad_u", "pad_d", "pad_l", "pad_r"), sides, strict=True)),
        pad_type=draw(maybe(st.sampled_from(("CONSTANT", "REPLICATE", "REFLECT")))),
        pad_value=draw(maybe(number(0, 1))),
    )
    return Drawn(layer("Pad", params), {"x": normal(draw, n, c, h, w)})


@drawn("Unsqueeze")
@st.composite
def unsqueeze(draw: Draw) -> Drawn:
    x = blob(draw, most=4)
    dim = draw(st.integers(-x.ndim - 1, x.ndim))
    return Drawn(layer("Unsqueeze", section("unsqueeze_param", dim=dim)), {"x": x})


@drawn("UpsampleDarknet")
@st.composite
def upsample_darknet(draw: Draw) -> Drawn:
    params = section("upsample_darknet_param", stride=draw(maybe(st.integers(1, 4))))
    return Drawn(layer("UpsampleDarknet", params), {"x": normal(draw, *shape(draw, 4, most=6))})
