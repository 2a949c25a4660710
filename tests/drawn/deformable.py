"""Deformable convolutions, whose offsets reach into the image, to its edges and beyond."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from tests.drawn.base import Array, Draw, Drawn, drawn, fields, generator, layer, maybe, normal, section, uniform
from tests.drawn.convolution import values, written


def case(draw: Draw, kind: str, name: str, modulated: bool) -> Drawn:
    """A top no larger than the bottom, as its offsets have the bottom's size."""
    kernel, stride, dilation = values(draw, 2, 1, 3), values(draw, 2, 1, 2), values(draw, 2, 1, 2)
    pad = tuple(draw(st.integers(0, d * (k - 1) // 2)) for k, d in zip(kernel, dilation, strict=True))
    sizes = [
        max(1, d * (k - 1) + 1 - 2 * p) + draw(st.integers(0, 3)) for k, d, p in zip(kernel, dilation, pad, strict=True)
    ]
    group, split = draw(st.integers(1, 2)), draw(st.integers(1, 3))
    channels, outputs = group * split * draw(st.integers(1, 2)), group * draw(st.integers(1, 3))
    given = written(draw, "kernel_size", "kernel", kernel) | {"dilation": list(dilation)}
    if set(stride) != {1} or draw(st.booleans()):
        given |= written(draw, "stride", "stride", stride)
    if any(pad) or draw(st.booleans()):
        given |= written(draw, "pad", "pad", pad)
    fillers = draw(st.sampled_from(([], [uniform("weight_filler"), uniform("bias_filler")])))
    params = section(
        name,
        *fillers,
        fields(num_output=outputs, group=draw(maybe(st.just(1))) if group == 1 else group, **given),
        bias_term=draw(maybe(st.booleans())),
        deformable_group=draw(maybe(st.just(split))),
    )
    x, taps = normal(draw, 2, channels, *sizes), kernel[0] * kernel[1]
    feeds = {"x": x, "offset": offsets(draw, 2, 2 * split * taps, *sizes)}
    if modulated:
        feeds["factor"] = normal(draw, 2, split * taps, *sizes)
    return Drawn(layer(kind, params, " ".join(feeds)), feeds)


def offsets(draw: Draw, *sizes: int) -> Array:
    """Quarters of pixels, and whole ones: with those a place is at an edge exactly, and stays there."""
    steps = (
        generator(draw).integers(-12, 13, sizes) if draw(st.booleans()) else generator(draw).integers(-3, 4, sizes) * 4
    )
    return (steps / 4).astype(np.float32)


@drawn("DeformableConvolution")
@st.composite
def deformable(draw: Draw) -> Drawn:
    return case(draw, "DeformableConvolution", "deformable_convolution_param", modulated=False)


@drawn("ModulatedDeformableConvolution")
@st.composite
def modulated(draw: Draw) -> Drawn:
    kind = "ModulatedDeformableConvolution"
    return case(draw, kind, "modulated_deformable_convolution_param", modulated=True)
