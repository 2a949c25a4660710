"""Layers that move values without changing them."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.drawn.base import Array, Draw, Drawn, axis, blob, drawn, layer, maybe, normal, section, shape


def placed(draw: Draw, rank: int, default: int, *names: str) -> tuple[int, dict[str, object]]:
    """An axis, and the field that says it, which may be left out where it is the default; old names count from 0."""
    place = draw(st.integers(0, rank - 1))
    if place == default and draw(st.booleans()):
        return place, {}
    name = draw(st.sampled_from(names))
    return place, {name: place if name != "axis" else draw(st.sampled_from((place, place - rank)))}


@drawn("Concat")
@st.composite
def concat(draw: Draw) -> Drawn:
    sizes = shape(draw, draw(st.integers(1, 4)), most=6)
    place, given = placed(draw, len(sizes), 1, "axis", "concat_dim")
    count = draw(st.integers(1, 4))
    feeds = {f"x{i}": normal(draw, *sizes[:place], draw(st.integers(1, 5)), *sizes[place + 1 :]) for i in range(count)}
    return Drawn(layer("Concat", section("concat_param", **given), " ".join(feeds)), feeds)


@drawn("Slice")
@st.composite
def slice_(draw: Draw) -> Drawn:
    """Into equal parts, or at points; one top takes all."""
    sizes = list(shape(draw, draw(st.integers(1, 4)), most=6))
    place, given = placed(draw, len(sizes), 1, "axis", "slice_dim")
    parts = draw(st.integers(1, 4))
    if draw(st.booleans()):
        sizes[place] = parts * draw(st.integers(1, 3))
        points: list[int] = []
    else:
        ends = [draw(st.integers(1, 3)) for _ in range(parts)]
        points = [sum(ends[: i + 1]) for i in range(parts - 1)]
        sizes[place] = sum(ends)
    params = section("slice_param", slice_point=points, **given)
    tops = " ".join(f"out{i}" for i in range(parts))
    return Drawn(layer("Slice", params, tops=tops), {"x": normal(draw, *sizes)})


@drawn("Split")
@st.composite
def split(draw: Draw) -> Drawn:
    return Drawn(layer("Split", tops=" ".join(f"out{i}" for i in range(draw(st.integers(1, 3))))), {"x": blob(draw)})


@drawn("Silence")
@st.composite
def silence(draw: Draw) -> Drawn:
    """It makes nothing: what another layer makes of the same blob stays."""
    feeds = {f"x{i}": blob(draw) for i in range(draw(st.integers(1, 3)))}
    other = 'layer { name: "other" type: "Power" bottom: "x0" top: "out" power_param { scale: 2 } }'
    return Drawn(f"{other}\n{layer('Silence', '', ' '.join(feeds), '')}", feeds, ("out",))


@drawn("Flatten")
@st.composite
def flatten(draw: Draw) -> Drawn:
    """An end just before the start puts an axis of 1 there."""
    x = blob(draw)
    first = draw(st.integers(0, x.ndim - 1))
    last = draw(st.integers(max(0, first - 1), x.ndim - 1))
    given: dict[str, object] = {
        "axis": draw(st.sampled_from((first, first - x.ndim))),
        "end_axis": draw(st.sampled_from((last, last - x.ndim))),
    }
    for name, found, default in (("axis", first, 1), ("end_axis", last, x.ndim - 1)):
        if found == default and draw(st.booleans()):
            del given[name]
    return Drawn(layer("Flatten", section("flatten_param", **given)), {"x": x})


@drawn("Reshape")
@st.composite
def reshape(draw: Draw) -> Drawn:
    """The axes replaced keep their number of values; 0 copies an axis of the same place, -1 takes what is left."""
    x = blob(draw, most=4)
    start = draw(st.integers(0, x.ndim))
    replaced = draw(st.integers(0, x.ndim - start))
    old = list(x.shape[start : start + replaced])
    new = draw(st.permutations(old))
    if len(new) > 1 and draw(st.booleans()):
        new = [new[0] * new[1], *new[2:]]
    for _ in range(draw(st.integers(0, 2))):
        new = [*new]
        new.insert(draw(st.integers(0, len(new))), 1)
    dims = [0 if place < len(old) and d == old[place] and draw(st.booleans()) else d for place, d in enumerate(new)]
    if dims and draw(st.booleans()):
        dims[draw(st.integers(0, len(dims) - 1))] = -1
    given: dict[str, object] = {"axis": draw(st.sampled_from((start, start - x.ndim - 1))), "num_axes": replaced}
    if start == 0 and draw(st.booleans()):
        del given["axis"]
    if start + replaced == x.ndim:
        given["num_axes"] = draw(st.sampled_from((None, -1, replaced)))
    text = f"shape {{ {' '.join(f'dim: {d}' for d in dims)} }}"
    return Drawn(layer("Reshape", section("reshape_param", text, **given)), {"x": x})


@drawn("Crop")
@st.composite
def crop(draw: Draw) -> Drawn:
    x = blob(draw)
    place, given = placed(draw, x.ndim, 2, "axis")
    sizes = [draw(st.integers(1, d)) for d in x.shape]
    room = [d - s for d, s in zip(x.shape, sizes, strict=True)][place:]
    kind = draw(st.sampled_from(("none", "one", "each")))
    if kind == "each":
        given["offset"] = [draw(st.integers(0, r)) for r in room]
    if kind == "one":
        given["offset"] = draw(st.integers(0, min(room)))
    like: Array = normal(draw, *sizes)
    return Drawn(layer("Crop", section("crop_param", **given), "x like"), {"x": x, "like": like})


@drawn("Permute")
@st.composite
def permute(draw: Draw) -> Drawn:
    x = blob(draw)
    order = draw(st.permutations(range(x.ndim)))[: draw(st.integers(0, x.ndim))]
    return Drawn(layer("Permute", section("permute_param", order=list(order))), {"x": x})


@drawn("Tile")
@st.composite
def tile(draw: Draw) -> Drawn:
    x = blob(draw, most=4)
    place = axis(draw, x.ndim)
    given = {"axis": draw(maybe(st.just(1))) if place == 1 else place, "tiles": draw(st.integers(1, 4))}
    if draw(st.integers(0, 3)) == 0:
        given["tiles_from_axis"] = axis(draw, x.ndim)
    return Drawn(layer("Tile", section("tile_param", **given)), {"x": x})
