"""Greentea's pooling, whose windows leave gaps and lie over any axes."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.drawn.base import Draw, Drawn, apart, drawn, layer, section


def numbers(draw: Draw, axes: int, least: int, most: int) -> tuple[int, ...]:
    """One for each axis, perhaps the same for all."""
    if draw(st.booleans()):
        return (draw(st.integers(least, most)),) * axes
    return tuple(draw(st.integers(least, most)) for _ in range(axes))


def written(draw: Draw, name: str, stem: str, given: tuple[int, ...]) -> dict[str, object]:
    """One number where all are the same, a list, or those of rows and columns."""
    if len(set(given)) == 1 and draw(st.booleans()):
        return {name: given[0]}
    if len(given) == 2 and stem and draw(st.booleans()):
        return {f"{stem}_h": given[0], f"{stem}_w": given[1]}
    return {name: given}


@drawn("Pooling")
@st.composite
def gapped(draw: Draw) -> Drawn:
    """Windows that hang over the end, lie in the padding altogether, or behind the image.

    Of a pad larger than a window more than one would start behind it, which the fork refuses.
    """
    axes = draw(st.sampled_from((1, 2, 2, 3)))
    method = draw(st.sampled_from((None, "MAX", "AVE"))) if axes == 2 else draw(st.sampled_from((None, "MAX")))
    whole = draw(st.integers(0, 7)) == 0
    kernel, dilation = numbers(draw, axes, 1, 3), (1,) * axes if whole else numbers(draw, axes, 1, 3)
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    stride = numbers(draw, axes, 1, 4)
    pad = (0,) * axes if whole else tuple(min(p, r) for p, r in zip(numbers(draw, axes, 0, 3), reach, strict=True))
    given: dict[str, object] = {"global_pooling": True} if whole else written(draw, "kernel_size", "kernel", kernel)
    if set(stride) != {1} or draw(st.booleans()):
        given |= written(draw, "stride", "stride", stride)
    if any(pad) or draw(st.booleans()):
        given |= written(draw, "pad", "pad", pad)
    sizes = [max(1, r - 2 * p) + draw(st.integers(0, 6)) for r, p in zip(reach, pad, strict=True)]
    params = section("pooling_param", pool=method, **given, **written(draw, "dilation", "", dilation))
    masked = method != "AVE" and draw(st.booleans())
    x = apart(draw, draw(st.integers(1, 2)), draw(st.integers(1, 3)), *sizes)
    return Drawn(layer("Pooling", params, tops="out mask" if masked else "out"), {"x": x})
