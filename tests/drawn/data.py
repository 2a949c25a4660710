"""Layers that bring data in or take it out: what is fed passes through, in the shape that the text states."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.drawn.base import (
    Array,
    Draw,
    Drawn,
    blob,
    drawn,
    fields,
    generator,
    layer,
    maybe,
    normal,
    section,
    shape,
    uniform,
)

READER = 'layer { name: "reader" type: "Power" bottom: "data" top: "out" power_param { scale: 2 shift: 1 } }'


def fed(
    draw: Draw, kind: str, params: str, image: tuple[int, ...], *, sized: bool = False, label: bool = False
) -> Drawn:
    """A data layer with a blob of images and perhaps labels, and a layer that reads the first."""
    labelled = label or draw(st.booleans())
    feeds: dict[str, Array] = {"data": normal(draw, *image)}
    if labelled:
        feeds["label"] = generator(draw).integers(0, 9, image[0]).astype("float32")
    text = f"{layer(kind, params, '', ' '.join(feeds))}\n{READER}"
    return Drawn(text, feeds, ("out", "label") if labelled else ("out",), sized=("data",) if sized else ())


def dims(sizes: tuple[int, ...]) -> str:
    return f"shape {{ {fields(dim=list(sizes))} }}"


@drawn("Input")
@st.composite
def input_(draw: Draw) -> Drawn:
    """One shape for all tops, one a top, or none, where the caller gives it."""
    count = draw(st.integers(1, 3))
    alike = draw(st.booleans())
    sizes = [shape(draw, draw(st.integers(0, 5)), most=6) for _ in range(1 if alike else count)]
    names = [f"x{i}" for i in range(count)]
    feeds = {name: normal(draw, *sizes[0 if alike else i]) for i, name in enumerate(names)}
    stated = draw(st.booleans())
    params = section("input_param", *map(dims, sizes)) if stated else ""
    readers = [
        READER.replace('"reader"', f'"r{n}"').replace('"data"', f'"{n}"').replace("out", f"of_{n}") for n in names
    ]
    text = "\n".join([layer("Input", params, "", " ".join(names)), *readers])
    return Drawn(text, feeds, tuple(f"of_{n}" for n in names), sized=() if stated else tuple(names))


SIDES = (("crop_h", "crop_w"), ("crop_height", "crop_width"))


def cropped_to(draw: Draw, crop: int | tuple[int, int] | None) -> dict[str, int | None]:
    """A crop: a square by its own name, or two sides by some fork's names, one perhaps the square's."""
    if not isinstance(crop, tuple):
        return {"crop_size": crop}
    stated = dict(zip(draw(st.sampled_from(SIDES)), crop, strict=True))
    left_out = draw(st.sampled_from([None, *stated]))
    return stated if left_out is None else {**stated, left_out: None, "crop_size": stated[left_out]}


def transformed(draw: Draw, crop: int | tuple[int, int] | None, channels: int | None = None) -> str:
    """A transform_param; it can say how many channels there are by a mean for each, or by a colour flag."""
    colour: dict[str, object] = {}
    if channels is not None:
        flags = {1: "force_gray", 3: "force_color"}
        if channels in flags and draw(st.booleans()):
            colour = {flags[channels]: True}
        elif channels > 1:
            colour = {"mean_value": [10 * n for n in range(channels)]}
    return section(
        "transform_param",
        **cropped_to(draw, crop),
        scale=draw(maybe(st.just(0.5))),
        mirror=draw(maybe(st.booleans())),
        **colour,
    )


def of_database(kind: str) -> st.SearchStrategy[Drawn]:
    @st.composite
    def make(draw: Draw) -> Drawn:
        batch, channels, height, width = shape(draw, 4, most=7)
        crop, stated = (height, width), draw(st.booleans())
        transform = transformed(draw, crop, channels) if stated else transformed(draw, None)
        database = section("data_param", batch_size=batch, source="a", backend=draw(maybe(st.just("LMDB"))))
        drawn_net = fed(draw, kind, f"{database} {transform}", (batch, channels, *crop), sized=not stated)
        if kind == "Data" or "label" not in drawn_net.feeds:
            return drawn_net
        return Drawn(drawn_net.text, drawn_net.feeds, drawn_net.outputs, sized=(*drawn_net.sized, "label"))

    return make()


drawn("Data")(lambda: of_database("Data"))
drawn("AnnotatedData")(lambda: of_database("AnnotatedData"))


@drawn("ImageData")
@st.composite
def image_data(draw: Draw) -> Drawn:
    """Images keep their sizes unless they are cropped or resized, and are of colour unless said."""
    batch, height, width, *crop = shape(draw, 5, most=7)
    cropped, resized, colour = draw(maybe(st.just(True))), draw(st.booleans()), draw(maybe(st.booleans()))
    params = section(
        "image_data_param",
        source="list",
        batch_size=batch,
        is_color=colour,
        shuffle=draw(maybe(st.booleans())),
        new_height=height if resized else None,
        new_width=width if resized else None,
    )
    sizes = (crop[0], crop[1]) if cropped else (height, width)
    image = (batch, 1 if colour is False else 3, *sizes)
    text = f"{params} {transformed(draw, sizes if cropped else None)}"
    return fed(draw, "ImageData", text, image, sized=not (cropped or resized))


@drawn("MemoryData")
@st.composite
def memory_data(draw: Draw) -> Drawn:
    batch, channels, height, width = image = shape(draw, 4, most=6)
    params = section("memory_data_param", batch_size=batch, channels=channels, height=height, width=width)
    return fed(draw, "MemoryData", params, image, label=True)


@drawn("MemoryData")
@st.composite
def memory_data_of_any_shape(draw: Draw) -> Drawn:
    """Greentea's, whose labels have as many axes."""
    sizes = shape(draw, draw(st.integers(1, 5)), most=6)
    params = section("memory_data_param", dim=sizes)
    feeds = {"data": normal(draw, *sizes)}
    if draw(st.booleans()):
        feeds["label"] = normal(draw, sizes[0], *[1] * (len(sizes) - 1))
    outputs = ("out", *(name for name in feeds if name == "label"))
    return Drawn(f"{layer('MemoryData', params, '', ' '.join(feeds))}\n{READER}", feeds, outputs)


@drawn("WindowData")
@st.composite
def window_data(draw: Draw) -> Drawn:
    """Crops are of colour; the size stands in either section, today's or the old one."""
    batch, crop = shape(draw, 2, most=7)
    old = draw(st.booleans())
    params = section(
        "window_data_param", source="list", batch_size=batch, crop_size=crop if old else None, fg_threshold=0.5
    )
    return fed(draw, "WindowData", f"{params} {transformed(draw, None if old else crop)}", (batch, 3, crop, crop))


@drawn("HDF5Data")
@st.composite
def hdf5_data(draw: Draw) -> Drawn:
    """Only the files know the shapes."""
    image = shape(draw, draw(st.integers(1, 5)), most=6)
    params = section("hdf5_data_param", source="list", batch_size=image[0], shuffle=draw(maybe(st.booleans())))
    found = fed(draw, "HDF5Data", params, image, sized=True)
    return Drawn(found.text, found.feeds, found.outputs, sized=tuple(found.feeds))


@drawn("DummyData")
@st.composite
def dummy_data(draw: Draw) -> Drawn:
    """Shapes once or once a top, or the four old fields, each of them once or once a top."""
    count = draw(st.integers(1, 3))
    names = ["data", *(f"x{i}" for i in range(1, count))]
    if draw(st.booleans()):
        sizes = [shape(draw, draw(st.integers(1, 5)), most=6) for _ in range(draw(st.sampled_from((1, count))))]
        parts, old = [dims(s) for s in sizes], {}
        sizes = sizes * count if len(sizes) == 1 else sizes
    else:
        columns = [[draw(st.integers(1, 5)) for _ in range(draw(st.sampled_from((1, count))))] for _ in range(4)]
        parts, old = [], dict(zip(("num", "channels", "height", "width"), columns, strict=True))
        sizes = [tuple(c[i % len(c)] for c in columns) for i in range(count)]
    if draw(st.booleans()):
        parts.append("data_filler { type: 'constant' value: 3 }")
    feeds = {name: normal(draw, *sizes[i]) for i, name in enumerate(names)}
    text = f"{layer('DummyData', section('dummy_data_param', *parts, **old), '', ' '.join(names))}\n{READER}"
    return Drawn(text, feeds, ("out", *names[1:]))


@drawn("HDF5Output")
@st.composite
def hdf5_output(draw: Draw) -> Drawn:
    """It makes nothing: what another layer makes of the same blob stays."""
    x = blob(draw)
    feeds = {"data": x, "label": normal(draw, x.shape[0])}
    params = "hdf5_output_param { file_name: 'out.h5' }"
    return Drawn(f"{READER}\n{layer('HDF5Output', params, 'data label', '')}", feeds, ("out",))


@drawn("Parameter")
@st.composite
def parameter(draw: Draw) -> Drawn:
    """A learned blob of any shape, a scalar too, beside what is fed."""
    sizes = shape(draw, draw(st.integers(0, 5)), most=6)
    filled = draw(st.sampled_from(([], [uniform("blob_filler")], [uniform("filler")])))
    axis = draw(maybe(st.just(2)))
    params = section("parameter_param", dims(sizes), *filled, norm_axis=axis)
    return Drawn(
        f"{READER}\n{layer('Parameter', params, '', 'learned')}",
        {"data": blob(draw)},
        ("out", "learned"),
        blobs={"it": [normal(draw, *sizes)]},
    )
