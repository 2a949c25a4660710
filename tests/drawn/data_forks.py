"""Forks' layers that bring data in: what is fed passes through, in the shape that the text states."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.drawn.base import Draw, Drawn, drawn, layer, maybe, normal, section, shape
from tests.drawn.data import READER, fed, transformed


def alone(made: Drawn) -> Drawn:
    """The images only; the shape of what stands beside them is not stated."""
    return Drawn(made.text, made.feeds, made.outputs, sized=tuple(made.feeds))


@drawn("DenseImageData")
@st.composite
def dense_image_data(draw: Draw) -> Drawn:
    """A crop goes before the size to which images are brought."""
    batch, height, width, inner = shape(draw, 4, most=9)
    cropped, colour = draw(st.booleans()), draw(maybe(st.booleans()))
    params = section(
        "dense_image_data_param",
        source="list",
        batch_size=batch,
        is_color=colour,
        new_height=height,
        new_width=width,
        crop_height=inner if cropped else None,
        crop_width=inner if cropped else None,
        label_divide_factor=draw(maybe(st.integers(1, 2))),
    )
    image = (batch, 1 if colour is False else 3, *((inner, inner) if cropped else (height, width)))
    made = fed(draw, "DenseImageData", params, image)
    return Drawn(made.text, made.feeds, made.outputs, sized=("label",) if "label" in made.feeds else ())


@drawn("ImageSegData", "SelectSegBinary", "WindowSegData")
@st.composite
def image_seg_data(draw: Draw) -> Drawn:
    kind = draw(st.sampled_from(["ImageSegData", "SelectSegBinary", "WindowSegData"]))
    batch, height, width, crop = shape(draw, 4, most=9)
    cropped, colour = draw(st.booleans()), draw(maybe(st.booleans()))
    params = section(
        "image_data_param", source="list", batch_size=batch, is_color=colour, new_height=height, new_width=width
    )
    image = (batch, 1 if colour is False else 3, *((crop, crop) if cropped else (height, width)))
    made = fed(draw, kind, f"{params} {transformed(draw, crop if cropped else None)}", image)
    return Drawn(made.text, made.feeds, made.outputs, sized=("label",) if "label" in made.feeds else ())


@drawn("VideoData")
@st.composite
def video_data(draw: Draw) -> Drawn:
    """Frames of one film, or as many images as a segment of several has: colours, or pairs of flow."""
    batch, crop, length, segments = shape(draw, 4, most=6)
    if draw(st.booleans()):
        params = f"{section('data_param', batch_size=batch)} {section('video_data_param', video_file='film')}"
        return alone(fed(draw, "VideoData", f"{params} {transformed(draw, crop)}", (batch, 3, crop, crop)))
    modality = draw(maybe(st.sampled_from(["FLOW", "RGB"])))
    params = section(
        "video_data_param",
        source="films",
        batch_size=batch,
        new_length=length,
        num_segments=segments,
        modality=modality,
    )
    planes = (2 if modality == "FLOW" else 3) * length * segments
    made = fed(draw, "VideoData", f"{params} {transformed(draw, crop)}", (batch, planes, crop, crop))
    return made if modality is not None else alone(made)


@drawn("LaneData")
@st.composite
def lane_data(draw: Draw) -> Drawn:
    batch, channels, crop = shape(draw, 3, most=7)
    database = section("data_param", batch_size=batch, source="a")
    text = f"{database} {transformed(draw, crop, channels)}"
    made = fed(draw, "LaneData", text, (batch, channels, crop, crop))
    return Drawn(made.text, made.feeds, made.outputs, sized=("label",) if "label" in made.feeds else ())


@drawn("BboxData")
@st.composite
def bbox_data(draw: Draw) -> Drawn:
    return alone(fed(draw, "BboxData", "", shape(draw, 4, most=7)))


@drawn("FLOWriter", "FloatWriter", "ImgWriter", "PFMWriter")
@st.composite
def writer(draw: Draw) -> Drawn:
    """It makes nothing: what another layer makes of the same blob stays."""
    kind = draw(st.sampled_from(("FLOWriter", "FloatWriter", "ImgWriter", "PFMWriter")))
    params = section("writer_param", folder="out", prefix="a", scale=draw(maybe(st.just(2.0))))
    return Drawn(f"{READER}\n{layer(kind, params, 'data', '')}", {"data": normal(draw, *shape(draw, 4))}, ("out",))


@drawn("EvalData")
@st.composite
def eval_data(draw: Draw) -> Drawn:
    """Sizes are rounded to whole 32 pixels, a half upwards; beside the boxes stands each image's size."""
    batch, height, width = draw(st.integers(1, 2)), draw(st.sampled_from((20, 48, 79))), draw(st.sampled_from((32, 65)))
    stated = draw(st.booleans())
    params = section(
        "eval_data_param",
        source="list",
        batch_size=batch,
        resize_height=height if stated else None,
        resize_width=width if stated else None,
        short_size=draw(maybe(st.just(600))),
        scale=draw(maybe(st.just(0.5))),
    )
    rounded = {20: 32, 32: 32, 48: 64, 65: 64, 79: 64}
    feeds = {
        "data": normal(draw, batch, 3, rounded[height], rounded[width]),
        "boxes": normal(draw, draw(st.integers(3, 5)), 8, 1, 1),
        "sizes": normal(draw, batch, 2, 1, 1),
    }
    text = f"{layer('EvalData', params, '', 'data boxes sizes')}\n{READER}"
    text += 'layer { name: "also" type: "Power" bottom: "sizes" top: "halves" power_param { scale: 0.5 } }'
    return Drawn(text, feeds, ("out", "boxes", "halves"), sized=("boxes",) if stated else ("data", "boxes"))
