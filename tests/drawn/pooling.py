"""Pooling over windows of any sort, and over pyramids of them."""

from __future__ import annotations

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st

from tests.drawn.base import Array, Draw, Drawn, apart, drawn, generator, layer, maybe, section, shape

Pair = tuple[int, int]


def pair(draw: Draw, least: int, most: int) -> Pair:
    return draw(st.integers(least, most)), draw(st.integers(least, most))


def written(draw: Draw, name: str, stem: str, given: Pair) -> dict[str, object]:
    """One number for rows and columns, or one for each."""
    if given[0] == given[1] and draw(st.booleans()):
        return {name: given[0]}
    return {f"{stem}_h": given[0], f"{stem}_w": given[1]}


def rounding(draw: Draw) -> dict[str, object]:
    """BVLC's field or the forks', of which the last files have both only where they say the same."""
    return draw(
        st.sampled_from(
            (
                {},
                {"round_mode": "CEIL"},
                {"round_mode": "FLOOR"},
                {"ceil_mode": True},
                {"ceil_mode": False},
                {"ceil_mode": False, "round_mode": "FLOOR"},
            )
        )
    )


def of_one_sign(draw: Draw, *sizes: int) -> Array:
    """Each plane above or below 0: STOCHASTIC divides by sums, which must not be small beside their terms."""
    x = apart(draw, *sizes)
    signs = generator(draw).choice(np.float32([-1, 1]), (*sizes[:2], 1, 1))
    return np.abs(x) * signs


def whole_image(draw: Draw) -> Drawn:
    method = draw(st.sampled_from((None, "MAX", "AVE", "AVE_EXC_PAD", "STOCHASTIC")))
    params = section("pooling_param", pool=method, global_pooling=True, **rounding(draw))
    tops = "out mask" if method in (None, "MAX") and draw(st.booleans()) else "out"
    sizes = shape(draw, 4, most=7)
    make = of_one_sign if method == "STOCHASTIC" else apart
    x = make(draw, *sizes)
    return Drawn(layer("Pooling", params, tops=tops), {"x": x})


def volumes(draw: Draw) -> Drawn:
    """One kernel and one stride for three axes, which BVLC's layer refuses and forks for volumes take."""
    kernel = draw(st.integers(1, 4))
    window: dict[str, object] = {"global_pooling": True}
    stride = draw(maybe(st.integers(1, kernel)))
    if draw(st.booleans()):
        window = {"kernel_size": kernel, "stride": stride}
    method = draw(st.sampled_from((None, "MAX", "AVE")))
    # Of an average no window may hang over the end.
    step = (stride or 1) if method == "AVE" and "kernel_size" in window else 1
    sizes = [kernel + step * draw(st.integers(0, 4)) for _ in range(3)]
    x = apart(draw, *pair(draw, 1, 3), *sizes)
    return Drawn(layer("Pooling", section("pooling_param", pool=method, **window)), {"x": x})


def films(draw: Draw) -> Drawn:
    """A number for each of three axes, as R-C3D and ECO have it; averages without a window over the padded end."""
    kernel, stride = (tuple(draw(st.integers(1, 3)) for _ in range(3)) for _ in range(2))
    pad = tuple(draw(st.integers(0, k - 1)) for k in kernel)
    method = draw(st.sampled_from((None, "MAX", "AVE")))
    given: dict[str, object] = {"kernel_size": kernel, "pad": pad}
    if len(set(stride)) > 1 or draw(st.booleans()):
        given["stride"] = stride
    else:
        given["stride"] = stride[0]
    sizes = []
    for k, s, p in zip(kernel, stride, pad, strict=True):
        size = k + draw(st.integers(0, 5))
        sizes.append(size + (-(size + 2 * p - k) % s if method == "AVE" else 0))
    tops = "out mask" if method in (None, "MAX") and draw(st.booleans()) else "out"
    x = apart(draw, *pair(draw, 1, 3), *sizes)
    return Drawn(layer("Pooling", section("pooling_param", pool=method, **given), tops=tops), {"x": x})


@drawn("Pooling")
@st.composite
def pooling(draw: Draw) -> Drawn:
    """Windows that hang over the image's end, start in the padding, or lie behind the image altogether."""
    other = draw(st.integers(0, 9))
    if other < 3:
        return (whole_image, volumes, films)[other](draw)
    method = draw(st.sampled_from((None, "MAX", "AVE", "AVE_EXC_PAD", "STOCHASTIC")))
    kernel, stride = pair(draw, 1, 5), pair(draw, 1, 6)
    given = written(draw, "kernel_size", "kernel", kernel)
    if stride != (1, 1) or draw(st.booleans()):
        given |= written(draw, "stride", "stride", stride)
    kind = "none" if method == "STOCHASTIC" else draw(st.sampled_from(("none", "both", "sides")))
    before = after = (0, 0)
    if kind == "both":
        before = after = tuple(draw(st.integers(0, k - 1)) for k in kernel)  # type: ignore[assignment]
        given |= written(draw, "pad", "pad", before)
    if kind == "sides":
        before, after = (tuple(draw(st.integers(0, k - 1)) for k in kernel) for _ in "ab")  # type: ignore[assignment]
        given |= dict(zip(("pad_t", "pad_l", "pad_b", "pad_r"), (*before, *after), strict=True))
    sizes = tuple(max(1, k - a - b) + draw(st.integers(0, 7)) for k, a, b in zip(kernel, before, after, strict=True))
    params = section(
        "pooling_param",
        pool=method,
        avg_include_pad=draw(maybe(st.booleans())),
        axis=draw(maybe(st.sampled_from((1, -3)))),
        **given,
        **rounding(draw),
    )
    masked = method in (None, "MAX") and draw(st.booleans())
    make = of_one_sign if method == "STOCHASTIC" else apart
    x = make(draw, *pair(draw, 1, 3), *sizes)
    return Drawn(layer("Pooling", params, tops="out mask" if masked else "out"), {"x": x})


@drawn("SPP")
@st.composite
def spp(draw: Draw) -> Drawn:
    """Pyramids that the image fits: a level's padding must be smaller than its kernel."""
    height, method = draw(st.integers(1, 4)), draw(st.sampled_from((None, "MAX", "AVE", "STOCHASTIC")))
    sizes = shape(draw, 2, least=1, most=17)
    if method == "STOCHASTIC":  # Takes no padding.
        sizes = (2 ** (height - 1) * draw(st.integers(1, 3)), 2 ** (height - 1) * draw(st.integers(1, 3)))
    for bins in (2**level for level in range(height)):
        for size in sizes:
            kernel = -(-size // bins)
            assume((kernel * bins - size + 1) // 2 < kernel)
    params = section("spp_param", pyramid_height=height, pool=method, engine=draw(maybe(st.just("CAFFE"))))
    make = of_one_sign if method == "STOCHASTIC" else apart
    return Drawn(layer("SPP", params), {"x": make(draw, *shape(draw, 2, least=1, most=3), *sizes)})
