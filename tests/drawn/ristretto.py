"""Layers in numbers of few bits. What they are fed and learned are whole numbers of eighths, so that every sum is exact
and its value, often in the middle between two numbers, is rounded alike everywhere.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import strategies as st

from tests.drawn.base import Array, Draw, Drawn, axis, blob, drawn, generator, layer, maybe, normal, section, shape
from tests.drawn.convolution import case, geometry
from tests.drawn.inner_product import FILLERS

BITS: st.SearchStrategy[tuple[int | None, int | None]] = st.one_of(
    st.just((None, None)),
    st.tuples(st.integers(4, 10), st.integers(-1, 4)),
    st.tuples(st.just(None), st.integers(-3, 7)),
    st.tuples(st.sampled_from((1, 2, 24, 32)), st.sampled_from((-3, 0, 7))),
    st.just((32, None)),
)
"""Of a fixed point and behind it: few enough to saturate, and as many as go without saying."""


def eighths(draw: Draw, *sizes: int, most: int = 40) -> Array:
    """Some of them 0, some the same but for their sign."""
    return (generator(draw).integers(-most, most + 1, sizes) / 8).astype(np.float32)


def formats(draw: Draw) -> str:
    """Any precision with what it reads, by itself or beside fields that it does not."""
    precision = draw(st.sampled_from((None, "DYNAMIC_FIXED_POINT", "MINIFLOAT", "INTEGER_POWER_OF_2_WEIGHTS")))
    given: dict[str, object] = {"precision": precision, "rounding_scheme": draw(maybe(st.just("NEAREST")))}
    every = draw(st.booleans())
    if every or precision != "MINIFLOAT":
        for part in ("layer_in", "layer_out", "params"):
            bits, fraction = draw(BITS)
            given |= {f"bw_{part}": bits, f"fl_{part}": fraction}
    if every or precision == "MINIFLOAT":
        given |= {"mant_bits": draw(st.integers(0, 8) | st.sampled_from((23, 27))), "exp_bits": draw(st.integers(1, 7))}
    if every or precision == "INTEGER_POWER_OF_2_WEIGHTS":
        given |= {"exp_min": draw(maybe(st.integers(-6, 1))), "exp_max": draw(maybe(st.integers(-3, 3)))}
    return section("quantization_param", **given)


def of_eighths(draw: Draw, made: Drawn, weight: tuple[int, ...], outputs: int) -> Drawn:
    """The same net on such numbers, with such weights."""
    learned = [eighths(draw, *weight, most=16)]
    if "bias_term: false" not in made.text:
        learned.append(eighths(draw, outputs, most=16))
    feeds = {name: eighths(draw, *x.shape) for name, x in made.feeds.items()}
    dialects = {} if "MINIFLOAT" in made.text else draw(st.sampled_from(({}, {"": "cpu"}, {"": "gpu"})))
    return replace(made, feeds=feeds, blobs={"it": learned}, dialects=dialects)


@drawn("ConvolutionRistretto")
@st.composite
def convolution_ristretto(draw: Draw) -> Drawn:
    group, found = draw(st.integers(1, 3)), geometry(draw, draw(st.sampled_from((0, 1, 2, 2, 3))))
    channels, outputs = (group * n for n in shape(draw, 2, least=1, most=3))
    stated = group if group > 1 else draw(maybe(st.just(1)))
    made = case(draw, "ConvolutionRistretto", stated, channels, outputs, found, formats(draw))
    return of_eighths(draw, made, (outputs, channels // group, *found.kernel), outputs)


@drawn("DeconvolutionRistretto")
@st.composite
def deconvolution_ristretto(draw: Draw) -> Drawn:
    axes = draw(st.sampled_from((0, 1, 2, 2, 3)))
    group, found = draw(st.integers(1, 3)), geometry(draw, axes, sided=False, transposed=True)
    channels, outputs = (group * n for n in shape(draw, 2, least=1, most=3))
    stated = group if group > 1 else draw(maybe(st.just(1)))
    made = case(draw, "DeconvolutionRistretto", stated, channels, outputs, found, formats(draw))
    return of_eighths(draw, made, (channels, outputs // group, *found.kernel), outputs)


@drawn("FcRistretto")
@st.composite
def fc_ristretto(draw: Draw) -> Drawn:
    x = blob(draw, most=4)
    place, outputs, transposed = axis(draw, x.ndim), draw(st.integers(1, 7)), draw(maybe(st.booleans()))
    params = section(
        "inner_product_param",
        *draw(FILLERS),
        num_output=outputs,
        bias_term=draw(maybe(st.booleans())),
        axis=draw(maybe(st.just(1))) if place == 1 else place,
        transpose=transposed,
    )
    terms = int(np.prod(x.shape[place % x.ndim :]))
    made = Drawn(layer("FcRistretto", f"{params} {formats(draw)}"), {"x": x})
    return of_eighths(draw, made, (terms, outputs) if transposed else (outputs, terms), outputs)


@drawn("LRNRistretto")
@st.composite
def lrn_ristretto(draw: Draw) -> Drawn:
    """Mantissas of so few bits that the power of none lies beside a tie, where a last bit would turn it; or all."""
    mantissa, exponent = draw(
        st.sampled_from(((0, 3), (1, 4), (2, 4), (3, 5), (4, 6), (4, 7), (23, 6), (23, 8), (27, 4)))
    )
    size = draw(maybe(st.sampled_from((1, 3, 5, 7))))
    params = section(
        "lrn_param",
        local_size=size,
        alpha=draw(maybe(st.sampled_from((1, 1e-4, 0.5, 0, -0.25)))),
        beta=draw(maybe(st.sampled_from((0.75, 0.5, 1, 2, 0, -1)))),
        k=draw(maybe(st.sampled_from((1, 2, 0.5)))),
        norm_region=draw(maybe(st.just("ACROSS_CHANNELS"))),
        engine=draw(maybe(st.sampled_from(("DEFAULT", "CAFFE")))),
    )
    how = section(
        "quantization_param",
        precision="MINIFLOAT",
        mant_bits=mantissa,
        exp_bits=exponent,
        rounding_scheme=draw(maybe(st.sampled_from(("NEAREST", "STOCHASTIC")))),
        fl_params=draw(maybe(st.just(3))),
    )
    sizes = shape(draw, 4, least=3, most=7)
    return Drawn(layer("LRNRistretto", f"{params} {how}"), {"x": normal(draw, *sizes)})
