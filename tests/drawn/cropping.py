"""Images cut into pieces, and pieces put together."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.drawn.base import Draw, Drawn, blob, drawn, fields, layer, maybe, normal, section, shape


@drawn("CropCenter")
@st.composite
def crop_center(draw: Draw) -> Drawn:
    x = blob(draw)
    cuts = [draw(st.integers(0, (size - 1) // 2)) for size in x.shape]
    return Drawn(layer("CropCenter", f"crop_center_param {{ {fields(crop_size=cuts)} }}"), {"x": x})


@drawn("Division")
@st.composite
def division(draw: Draw) -> Drawn:
    n, c, h, w = shape(draw, 4)
    height, width = draw(st.integers(1, h)), draw(st.integers(1, w))
    count = draw(st.integers(1, 5))
    rows = [draw(st.integers(0, h - height)) for _ in range(count)]
    columns = [draw(st.integers(0, w - width)) for _ in range(count)]
    params = f"division_param {{ {fields(height=height, width=width, xcoord=columns, ycoord=rows)} }}"
    return Drawn(
        layer("Division", params, "x", " ".join(f"t{i}" for i in range(count))), {"x": normal(draw, n, c, h, w)}
    )


@drawn("Combination")
@st.composite
def combination(draw: Draw) -> Drawn:
    n, c = shape(draw, 2)
    heights = draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    widths = draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    feeds, rows, columns = {}, [], []
    for i, height in enumerate(heights):
        for j, width in enumerate(widths):
            feeds[f"p{i}{j}"] = normal(draw, n, c, height, width)
            rows.append(sum(heights[:i]))
            columns.append(sum(widths[:j]))
    params = f"combination_param {{ {fields(xcoord=columns, ycoord=rows)} }}"
    return Drawn(layer("Combination", params, " ".join(feeds)), feeds)


@drawn("MergeCrop")
@st.composite
def merge_crop(draw: Draw) -> Drawn:
    """Any channels: what STACK makes of unlike ones hangs on the batch."""
    axes, operation = draw(st.integers(1, 3)), draw(maybe(st.sampled_from(("STACK", "ADD"))))
    batch, first = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    second = first if operation == "ADD" else draw(st.integers(1, 6))
    sizes = shape(draw, axes, most=5)
    larger = [size + draw(st.integers(0, 4)) for size in sizes]
    flags = {name: draw(st.lists(st.booleans(), max_size=2)) for name in ("forward", "backward")}
    params = section("mergecrop_param", operation=operation, **flags)
    feeds = {"a": normal(draw, batch, first, *sizes), "b": normal(draw, batch, second, *larger)}
    return Drawn(layer("MergeCrop", params, "a b"), feeds)
