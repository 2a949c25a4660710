"""Convolutions over none to three spatial axes, forwards and backwards."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st

from tests.drawn.base import Array, Draw, Drawn, drawn, layer, maybe, normal, section, shape, uniform

ENGINES = maybe(st.sampled_from(("DEFAULT", "CAFFE", "CUDNN")))


@dataclass
class Geometry:
    """Fields of a convolution_param, and the spatial sizes of a bottom that they fit."""

    fields: dict[str, object]
    kernel: tuple[int, ...]
    sizes: tuple[int, ...]


def values(draw: Draw, axes: int, least: int, most: int) -> tuple[int, ...]:
    return tuple(draw(st.integers(least, most)) for _ in range(axes))


def written(draw: Draw, name: str, stem: str, given: tuple[int, ...]) -> dict[str, object]:
    """One number for all axes, one an axis, or the fields of rows and columns."""
    if len(set(given)) == 1 and draw(st.booleans()):
        return {name: given[0]}
    if len(given) == 2 and stem and draw(st.booleans()):
        return {f"{stem}_h": given[0], f"{stem}_w": given[1]}
    return {name: list(given)}


def padding(draw: Draw, axes: int, sided: bool) -> tuple[dict[str, object], tuple[int, ...], tuple[int, ...]]:
    """Nothing, the same on both sides, perhaps wider than the kernel, or an amount for each of four sides."""
    kind = draw(st.sampled_from(("none", "both", "sides") if sided and axes == 2 else ("none", "both")))
    if kind == "none":
        return {}, (0,) * axes, (0,) * axes
    before = values(draw, axes, 0, 4)
    if kind == "both":
        return written(draw, "pad", "pad", before), before, before
    after = values(draw, axes, 0, 4)
    names = dict(zip(("pad_t", "pad_l", "pad_b", "pad_r"), (*before, *after), strict=True))
    return {n: v for n, v in names.items() if v or draw(st.booleans())}, before, after


def geometry(draw: Draw, axes: int, *, sided: bool = True, transposed: bool = False) -> Geometry:
    """A window and an image that it fits, as small as it can be or a little larger.

    The smallest image is not what the kernel covers: it may lack less than a stride of that. Without spatial axes one
    number, or none, stands for each field.
    """
    if not axes:
        names = draw(st.lists(st.sampled_from(("kernel_size", "stride", "dilation", "pad")), unique=True))
        return Geometry({name: draw(st.integers(1, 4)) for name in names}, (), ())
    kernel, stride, dilation = values(draw, axes, 1, 4), values(draw, axes, 1, 5), values(draw, axes, 1, 3)
    if draw(st.booleans()):
        dilation = (1,) * axes
    pads, before, after = padding(draw, axes, sided)
    given = written(draw, "kernel_size", "kernel", kernel) | pads
    if set(stride) != {1} or draw(st.booleans()):
        given |= written(draw, "stride", "stride", stride)
    if set(dilation) != {1} or draw(st.booleans()):
        hole = axes == 2 and draw(st.booleans())
        given |= written(draw, "hole", "hole", dilation) if hole and not transposed else {"dilation": list(dilation)}
    if "hole" in given and isinstance(given["hole"], list):  # Not repeated as `dilation` is.
        given |= dict(zip(("hole_h", "hole_w"), given.pop("hole"), strict=True))  # type: ignore[arg-type]
    extents = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    ends = [a + b for a, b in zip(before, after, strict=True)]
    if transposed:  # The image must be larger than what padding takes off the top.
        least = [max(1, -(-(p - e + 1) // s) + 1) for p, e, s in zip(ends, extents, stride, strict=True)]
    else:
        least = [max(1, e - p - draw(st.integers(0, s - 1))) for e, p, s in zip(extents, ends, stride, strict=True)]
    return Geometry(given, kernel, tuple(size + draw(st.integers(0, 4 if axes < 3 else 2)) for size in least))


def bottoms(draw: Draw, sizes: tuple[int, ...]) -> dict[str, Array]:
    """One, or two that the same weights serve."""
    return {f"x{i}": normal(draw, *sizes) for i in range(draw(st.sampled_from((1, 1, 2))))}


def case(
    draw: Draw, kind: str, group: int | None, channels: int, outputs: int, found: Geometry, more: str = ""
) -> Drawn:
    """The layer, with one or more axes before the channels, or none; `more` are other sections of it."""
    lead = draw(st.sampled_from(((2,), (2,), (), (2, 3))))
    given = dict(found.fields)
    if len(lead) != 1 or draw(st.booleans()):
        rank = len(lead) + 1 + len(found.sizes)
        given["axis"] = draw(st.sampled_from((len(lead), len(lead) - rank)))
    rectifies = kind == "Convolution" and draw(st.booleans())
    if rectifies:
        given |= {"relu": True, "negative_slope": draw(maybe(st.sampled_from((0, 0.25))))}
    params = section(
        "convolution_param",
        *draw(st.sampled_from(([], [uniform("weight_filler"), uniform("bias_filler")]))),
        num_output=outputs,
        bias_term=draw(maybe(st.booleans())),
        group=group,
        engine=draw(maybe(st.just("MKLDNN"))) if rectifies else draw(ENGINES),
        force_nd_im2col=draw(maybe(st.booleans())),
        **given,
    )
    feeds = bottoms(draw, (*lead, channels, *found.sizes))
    tops = " ".join(f"out{i}" for i in range(len(feeds)))
    return Drawn(layer(kind, f"{params} {more}".rstrip(), " ".join(feeds), tops), feeds)


@drawn("Convolution")
@st.composite
def convolution(draw: Draw) -> Drawn:
    group = draw(st.integers(1, 3))
    found = geometry(draw, draw(st.sampled_from((0, 1, 2, 2, 3))))
    channels, outputs = (group * n for n in shape(draw, 2, least=1, most=3))
    return case(draw, "Convolution", group if group > 1 else draw(maybe(st.just(1))), channels, outputs, found)


@drawn("Deconvolution")
@st.composite
def deconvolution(draw: Draw) -> Drawn:
    group = draw(st.integers(1, 3))
    found = geometry(draw, draw(st.sampled_from((0, 1, 2, 2, 3))), sided=False, transposed=True)
    channels, outputs = (group * n for n in shape(draw, 2, least=1, most=3))
    return case(draw, "Deconvolution", group if group > 1 else draw(maybe(st.just(1))), channels, outputs, found)


@drawn("DepthwiseConvolution")
@st.composite
def depthwise(draw: Draw) -> Drawn:
    channels = draw(st.integers(1, 4))
    found, group = geometry(draw, draw(st.sampled_from((0, 1, 2, 2, 3)))), draw(st.sampled_from((None, channels)))
    return case(draw, "DepthwiseConvolution", group, channels, channels * draw(st.integers(1, 3)), found)


@drawn("ConvolutionDepthwise")
@st.composite
def depthwise_too(draw: Draw) -> Drawn:
    """Any `group`, which is not looked at; any `num_output`, of which only multiples of the channels count."""
    channels = draw(st.integers(1, 4))
    outputs, group = draw(maybe(st.integers(0, 9))), draw(maybe(st.integers(1, 5)))
    found = geometry(draw, draw(st.sampled_from((0, 1, 2, 2, 3))))
    return case(draw, "ConvolutionDepthwise", group, channels, outputs, found)  # type: ignore[arg-type]


@drawn("Im2col")
@st.composite
def im2col(draw: Draw) -> Drawn:
    found = geometry(draw, draw(st.sampled_from((1, 2, 2, 3))))
    lead = draw(st.sampled_from(((2,), (2,), (), (2, 3))))
    given = dict(found.fields)
    if len(lead) != 1 or draw(st.booleans()):
        given["axis"] = draw(st.sampled_from((len(lead), -1 - len(found.sizes))))
    params = section("convolution_param", force_nd_im2col=draw(maybe(st.booleans())), **given)
    return Drawn(layer("Im2col", params), {"x": normal(draw, *lead, draw(st.integers(1, 3)), *found.sizes)})
