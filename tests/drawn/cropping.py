"""Images cut into pieces, and pieces put together."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.drawn.base import Draw, Drawn, blob, drawn, fields, layer, maybe, normal, section, shape, uniform


@drawn("AutoCrop")
@st.composite
def auto_crop(draw: Draw) -> Drawn:
    """Made smaller by a convolution or a pooling, larger again, and cut to the image or to what is left of it.

    The second kernel follows from how far in the cut shall begin, so that this is a whole number that fits.
    """
    pools, cut, stride = draw(st.booleans()), draw(st.integers(0, 1)), draw(st.integers(1, 3))
    dilation = 1 if pools else draw(st.integers(1, 2))
    kernels, pads, larger, shrunk = [], [], [], []
    for _ in range(2):
        kernel = draw(st.integers(stride if pools else 1, 3))  # A pooling's last window may lie outside the image else.
        further, back = draw(st.integers(max(1, stride - 1), 3)), draw(st.integers(0, 1))
        reach = (kernel - 1) * dilation + 1
        pad = draw(st.integers(0, reach // 2))
        kernels.append(kernel)
        pads.append(pad)
        larger.append(reach - 2 * pad + 2 * further + 2 * back)
        shrunk.append(back)
    window = {"kernel_h": kernels[0], "kernel_w": kernels[1], "pad_h": pads[0], "pad_w": pads[1]}
    up = fields(kernel_h=larger[0], kernel_w=larger[1], pad_h=shrunk[0], pad_w=shrunk[1], stride=stride, num_output=2)
    weight = uniform("weight_filler")
    text = (
        _made("down", "Pooling", f"pooling_param {{ {fields(**window, stride=stride)} }}", "x")
        if pools
        else _made(
            "down", "Convolution",
            f"convolution_param {{ {fields(**window, stride=stride, dilation=dilation, num_output=3)} {weight} }}", "x",
        )
    )  # fmt: skip
    text += _made("up", "Deconvolution", f"convolution_param {{ {up} {weight} }}", "down")
    if cut:
        text += _made("like", "Convolution", f"convolution_param {{ num_output: 1 kernel_size: 3 {weight} }}", "x")
    text += layer("AutoCrop", "", f"up {'like' if cut else 'x'}")
    return Drawn(text, {"x": normal(draw, *shape(draw, 4, least=4, most=12))})


def _made(name: str, kind: str, params: str, bottom: str) -> str:
    return layer(kind, params, bottom, name).replace('"it"', f'"{name}"') + "\n"


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
