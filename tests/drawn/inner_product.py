"""Matrix products and look-ups in a table."""

from __future__ import annotations

import math

from hypothesis import strategies as st

from tests.drawn.base import Draw, Drawn, axis, blob, drawn, generator, layer, maybe, normal, section, shape, uniform

FILLERS = st.sampled_from(([], [uniform("weight_filler"), uniform("bias_filler")]))


@drawn("InnerProduct")
@st.composite
def inner_product(draw: Draw) -> Drawn:
    x = blob(draw, most=4)
    place = axis(draw, x.ndim)
    params = section(
        "inner_product_param",
        *draw(FILLERS),
        num_output=draw(st.integers(1, 7)),
        bias_term=draw(maybe(st.booleans())),
        axis=draw(maybe(st.just(1))) if place == 1 else place,
        transpose=draw(maybe(st.booleans())),
        relu=draw(maybe(st.booleans())),
        negative_slope=draw(maybe(st.just(0.25))),
        normalize=draw(maybe(st.booleans())),
    )
    return Drawn(layer("InnerProduct", params), {"x": x})


@drawn("InnerProduct")
@st.composite
def product_of_bottoms(draw: Draw) -> Drawn:
    """The weights are a bottom, in any shape of as many items as there are outputs, and so is the bias."""
    x = blob(draw, most=4)
    place, outputs, biased = axis(draw, x.ndim), draw(st.integers(1, 7)), draw(st.booleans())
    inner = x.shape[place:]
    shaped = draw(st.sampled_from(((math.prod(inner),), inner, (1, math.prod(inner)))))
    feeds = {"x": x, "weights": normal(draw, outputs, *(shaped if len(shaped) < 4 else (math.prod(inner),)))}
    if biased:
        feeds["bias"] = normal(draw, *draw(st.sampled_from(((outputs,), (1, outputs)))))
    params = section(
        "inner_product_param",
        *draw(FILLERS),
        num_output=draw(maybe(st.just(outputs))),
        bias_term=draw(maybe(st.booleans())) if biased else False,
        axis=draw(maybe(st.just(1))) if place == 1 else place,
        transpose=draw(maybe(st.booleans())),
        normalize=draw(maybe(st.booleans())),
    )
    return Drawn(layer("InnerProduct", params, " ".join(feeds)), feeds)


@drawn("Embed")
@st.composite
def embed(draw: Draw) -> Drawn:
    """Indices are truncated, so they may carry a fraction."""
    rows = draw(st.integers(1, 11))
    params = section(
        "embed_param",
        *draw(FILLERS),
        num_output=draw(st.integers(1, 7)),
        input_dim=rows,
        bias_term=draw(maybe(st.booleans())),
    )
    source = generator(draw)
    sizes = shape(draw, draw(st.integers(1, 4)), most=5)
    fork = draw(st.sampled_from(("bvlc", "bottom_up_attention")))
    if fork == "bottom_up_attention" and draw(st.booleans()):
        sizes = (*sizes[:-1], 1)
    index = source.integers(0, rows, sizes) + source.choice((0, 0.25, 0.75), sizes)
    return Drawn(layer("Embed", params), {"x": index.astype("float32")}, dialects={"Embed": fork})
