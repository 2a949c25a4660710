"""MS-CNN's and Cascade R-CNN's regions: fields that overlap much, few or no boxes, every way of counting overlaps."""

from __future__ import annotations

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st

from prototxt import parse_net
from tests.drawn.base import (
    Array,
    Draw,
    Drawn,
    drawn,
    fields,
    generator,
    layer,
    maybe,
    net_text,
    normal,
    section,
    shape,
)
from verify.interpreter import run

LIMITS = st.sampled_from((0.0, 0.1, 0.3, 0.5, 0.7, 1.0, -0.5, 1.5))
COUNTS = maybe(st.sampled_from((1, 3, 10, 40)))
LEAST = maybe(st.sampled_from((-3.0, 0.0, 0.25, 4.0, 12.0)))
MODES = st.sampled_from(("", "nms_type: 'IOU'", "nms_type: 'IOMU'", "nms_type: 'IOFU'", "nms_type: 'other'"))


def decided(found: Drawn) -> Drawn:
    """The case, unless another rounding might choose other boxes."""
    trace = run(parse_net(net_text(found)), None, dict(found.feeds))
    assume(all(np.isfinite(step.own) for step in trace.steps))
    return found


def normalised(draw: Draw) -> str:
    """bbox_reg_param: both lists, one, or none."""
    mean = draw(maybe(st.just([0.1, -0.05, 0.02, 0.2])))
    std = draw(maybe(st.just([0.5, 1.5, 0.75, 1.25])))
    return section("bbox_reg_param", bbox_mean=mean, bbox_std=std, cls_aware=draw(maybe(st.booleans())))


def common(draw: Draw, floors: tuple[float, ...]) -> dict[str, object]:
    """What both sections say."""
    return {
        "fg_thr": draw(maybe(st.sampled_from(floors))),
        "iou_thr": draw(maybe(LIMITS)),
        "field_whr": draw(maybe(st.sampled_from((0.5, 2.0, 8.0)))),
        "field_xyr": draw(maybe(st.sampled_from((1.0, 2.0, 5.0)))),
        "max_nms_num": draw(COUNTS),
        "max_post_nms_num": draw(COUNTS),
        "min_size": draw(LEAST),
    }


@drawn("BoxOutput")
@st.composite
def box_output(draw: Draw) -> Drawn:
    images, classes, bottoms = draw(st.integers(1, 3)), draw(st.integers(2, 4)), draw(st.integers(1, 3))
    feeds: dict[str, Array] = {}
    for i in range(bottoms):
        h, w = shape(draw, 2, least=1, most=5)
        feeds[f"head{i}"] = normal(draw, images, classes + 4, h, w)
    sizes = st.lists(st.sampled_from((6, 9, 14, 20, 33)), min_size=bottoms, max_size=bottoms)
    params = fields(
        field_w=draw(sizes), field_h=draw(sizes), downsample_rate=draw(sizes), **common(draw, (-1.5, 0.5, 1.5, 9.0))
    )
    tops = draw(st.sampled_from(("rois", "rois scored")))
    text = f"box_output_param {{ {params} {draw(MODES)} }} {normalised(draw)}"
    return decided(Drawn(layer("BoxOutput", text, " ".join(feeds), tops), feeds))


@drawn("BoxGroupOutput")
@st.composite
def box_group_output(draw: Draw) -> Drawn:
    images = draw(st.integers(1, 2))
    feeds: dict[str, Array] = {}
    groups = []
    for i in range(draw(st.integers(1, 2))):
        h, w = shape(draw, 2, least=1, most=5)
        count = draw(st.integers(1, 3))
        items = images * count
        feeds[f"prob{i}"] = generator(draw).uniform(0, 1, (items, draw(st.just(2)), h, w)).astype(np.float32)
        feeds[f"box{i}"] = normal(draw, items, 4, h, w)
        sizes = st.lists(st.sampled_from((6, 9, 14, 20, 33)), min_size=count, max_size=count)
        group = fields(field_w=draw(sizes), field_h=draw(sizes), stride=draw(st.sampled_from((4, 8, 16))))
        groups.append(f"box_group_param {{ {group} }}")
    params = f"{' '.join(groups)} {fields(**common(draw, (0.1, 0.5, 0.9, 2.0)))}"
    tops = draw(st.sampled_from(("rois", "rois scored")))
    text = f"box_group_output_param {{ {params} {draw(MODES)} }} {normalised(draw)}"
    return decided(Drawn(layer("BoxGroupOutput", text, " ".join(feeds), tops), feeds))


def sized_regions(draw: Draw, rows: int) -> Array:
    """Rows of image, x0, y0, x1, y1; a few have a corner on the wrong side."""
    rng = generator(draw)
    low = rng.uniform(0, 60, (rows, 2))
    high = low + rng.uniform(-0.05, 1, (rows, 2)) * draw(st.sampled_from((10, 100, 400)))
    return np.concatenate([rng.integers(0, 2, (rows, 1)), low, high], axis=1).astype(np.float32)


@drawn("DecodeBBox")
@st.composite
def decode_bbox(draw: Draw) -> Drawn:
    rows = draw(st.integers(1, 12))
    offsets, regions = normal(draw, rows, 8), sized_regions(draw, rows)
    if draw(st.booleans()):
        offsets, regions = offsets.reshape(rows, 8, 1, 1), regions.reshape(rows, 5, 1, 1)
    text = layer("DecodeBBox", normalised(draw), "offsets regions")
    return Drawn(text, {"offsets": offsets, "regions": regions})


@drawn("ScaleRoute")
@st.composite
def scale_route(draw: Draw) -> Drawn:
    rows = draw(st.integers(1, 12))
    feeds = {"regions": sized_regions(draw, rows)}
    assume((feeds["regions"][:, 3:] > feeds["regions"][:, 1:3]).all(axis=1).any())  # Caffe fails where no area is
    if draw(st.booleans()):
        feeds["regions"] = feeds["regions"].reshape(rows, 5, 1, 1)
    for axes in draw(st.lists(st.integers(0, 3), max_size=2)):
        feeds[f"beside{len(feeds)}"] = normal(draw, rows, *shape(draw, axes))
    low = draw(maybe(st.sampled_from((5.0, 40.0, 112.0))))
    high = draw(maybe(st.sampled_from((112.0, 224.0, 500.0))))
    params = section("scale_route_param", low_scale=low, high_scale=high)
    tops = " ".join(f"top_{name}" for name in feeds)
    return decided(Drawn(layer("ScaleRoute", params, " ".join(feeds), tops), feeds, tolerance=0.0))


@drawn("FrcnnOutput")
@st.composite
def frcnn_output(draw: Draw) -> Drawn:
    """The regions are of image 0; some reach beyond the edges, and a few have a corner on the wrong side."""
    rows, classes = draw(st.integers(1, 12)), draw(st.integers(2, 4))
    shared = draw(st.booleans())
    regions = sized_regions(draw, rows)
    regions[:, 0] = 0
    if draw(st.booleans()):
        regions = np.concatenate([regions, normal(draw, rows, 1)], axis=1)
    feeds = {
        "prob": generator(draw).uniform(0, 1, (rows, classes)).astype(np.float32),
        "moves": normal(draw, rows, 8 if shared else 4 * classes) * np.float32(draw(st.sampled_from((0.2, 1)))),
        "regions": regions,
        "size": np.asarray([draw(st.sampled_from(([60, 80], [211.5, 75])))], np.float32),
    }
    if draw(st.booleans()):
        feeds = {name: value[:, :, None, None] for name, value in feeds.items()}
    params = fields(
        conf_thr=draw(maybe(st.sampled_from((0.1, 0.5, 2.0)))),
        iou_thr=draw(maybe(LIMITS)),
        max_det_num=draw(COUNTS),
    )
    saved = section("save_output_param", output_directory=draw(maybe(st.just("found"))))
    mean = draw(maybe(st.just([0.1, -0.05, 0.02, 0.2])))
    std = draw(maybe(st.just([0.5, 1.5, 0.75, 1.25])))
    aware = False if shared else draw(maybe(st.just(True)))
    moved = section("bbox_reg_param", bbox_mean=mean, bbox_std=std, cls_aware=aware)
    text = f"frcnn_output_param {{ {params} {draw(MODES)} {saved} }} {moved}"
    return decided(Drawn(layer("FrcnnOutput", text, " ".join(feeds)), feeds))
