"""Prior boxes and detections of SSD and the forks that changed them."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from tests.drawn.base import Array, Draw, Drawn, apart, drawn, fields, generator, layer, maybe, normal, shape

CODES = ("CORNER", "CENTER_SIZE", "CORNER_SIZE")
VARIANCES = ([], [0.3], [0.1, 0.15, 0.2, 0.25])


def sizes(draw: Draw, count: int, least: float = 1.0) -> list[float]:
    """Sizes in pixels, some with fractions."""
    return [draw(st.integers(1, 60)) + draw(st.sampled_from((0, 0.25, 0.7))) + least for _ in range(count)]


def around(draw: Draw, **own: object) -> str:
    """The section of a layer of prior boxes: its own fields, and those of image, step, variance and clip."""
    both = draw(st.booleans())
    step, image = (draw(st.sampled_from((None, "both", "each"))) for _ in range(2))
    given = fields(
        **own,
        clip=draw(maybe(st.booleans())),
        variance=draw(st.sampled_from(VARIANCES)),
        offset=draw(maybe(st.sampled_from((0, 0.25, 0.5, 1)))) if "offset_h" not in own else None,
        step=7.5 if step == "both" else None,
        step_h=9 if step == "each" else None,
        step_w=6.25 if step == "each" else None,
        img_size=40 if image == "both" and both else None,
        img_h=50 if image == "each" else None,
        img_w=30 if image == "each" else None,
    )
    return f"prior_box_param {{ {given} }}"


def prior_feeds(draw: Draw) -> dict[str, Array]:
    rows, columns = shape(draw, 2, least=1, most=5)
    return {"x": normal(draw, 2, 3, rows, columns), "image": normal(draw, 2, 1, 41, 53)}


@drawn("PriorBoxClustered")
@st.composite
def prior_box_clustered(draw: Draw) -> Drawn:
    count = draw(st.integers(1, 5))
    params = around(draw, width=sizes(draw, count), height=sizes(draw, count))
    return Drawn(layer("PriorBoxClustered", params, "x image"), prior_feeds(draw))


@drawn("PriorBox")
@st.composite
def prior_box(draw: Draw) -> Drawn:
    fork = draw(st.sampled_from(("ssd", "synopsys", "textboxes", "opencv", "faceboxes", "listed")))
    count = draw(st.integers(1, 3))
    least = [60.0] * count if fork == "synopsys" and draw(st.booleans()) else sizes(draw, count)
    own: dict[str, object] = {
        "min_size": least,
        "max_size": [size + more for size, more in zip(least, sizes(draw, count), strict=True)]
        if draw(st.booleans())
        else [],
        "aspect_ratio": draw(st.lists(st.sampled_from((1, 2, 0.5, 3, 1 / 3)), max_size=3)),
        "flip": draw(maybe(st.booleans())),
    }
    if fork == "synopsys":
        own |= {"tf": draw(maybe(st.booleans())), "yx_order": draw(maybe(st.booleans()))}
    elif fork == "textboxes":
        own |= {"denser_prior_boxes": draw(st.booleans())}
    elif fork == "opencv":
        places = draw(st.integers(1, 2))
        own |= {"offset_h": [0.5, 1.0][:places], "offset_w": [0.5, 0.25][:places]}
    elif fork == "faceboxes":
        dense = draw(st.sampled_from(([32, 64, 128], [256], [512.5])))
        own |= {"min_size": dense, "max_size": [], "aspect_ratio": [], "faceboxes": True}
    elif fork == "listed":
        names = draw(st.sampled_from((("width", "height"), ("box_width", "box_height"))))
        own = {name: sizes(draw, count) for name in names}
    return Drawn(layer("PriorBox", around(draw, **own), "x image"), prior_feeds(draw))


def boxes(draw: Draw, count: int) -> Array:
    """Prior boxes that overlap often, the first with a size of its own, and variances."""
    rng = generator(draw)
    low, size = rng.uniform(0, 0.5, (count, 2)), rng.uniform(0.2, 0.5, (count, 2))
    corners = np.concatenate([low, low + size], axis=1)
    variances = rng.uniform(0.1, 0.2, (count, 4))
    return np.stack([corners.ravel(), variances.ravel()])[None].astype(np.float32)


def scores(draw: Draw, *dims: int) -> Array:
    """Between -1 and 2, no two alike."""
    values = apart(draw, *dims)
    return (values / np.abs(values).max() * np.float32(1.5) + np.float32(0.5)).astype(np.float32)


def suppression(draw: Draw) -> dict[str, object]:
    """What SSD's layer says of classes and suppression, but for num_classes and the way offsets are coded."""
    nms = fields(
        nms_threshold=draw(maybe(st.sampled_from((0, 0.2, 0.45, 0.6, 0.9, 1.5)))),
        top_k=draw(maybe(st.sampled_from((-1, 0, 1, 4, 9, 200)))),
        eta=draw(maybe(st.sampled_from((0.5, 0.85, 0.97, 1)))),
    )
    return {
        "background_label_id": draw(maybe(st.integers(-1, 2))),
        "confidence_threshold": draw(maybe(st.sampled_from((-2, 0.3, 0.8, 3)))),
        "keep_top_k": draw(maybe(st.sampled_from((-1, 0, 1, 5, 300)))),
        "nms_param": nms,
    }


def detection(given: dict[str, object], bottoms: str) -> str:
    nms = given.pop("nms_param")
    text = f"detection_output_param {{ {fields(**given)} nms_param {{ {nms} }} }}"
    return layer("DetectionOutput", text, bottoms)


@drawn("DetectionOutput")
@st.composite
def detection_output(draw: Draw) -> Drawn:
    fork = draw(st.sampled_from(("ssd", "refinedet", "textboxes", "intel", "levels", "grids")))
    classes, shared = draw(st.integers(1, 3)), draw(st.booleans())
    given = suppression(draw) | {"num_classes": classes}
    if fork in ("levels", "grids"):
        return levels(draw, given, classes, shared, grid=fork == "grids")
    images, count = draw(st.integers(1, 3)), draw(st.integers(4, 12))
    values = 4
    feeds = {"scores": scores(draw, images, count * classes), "priors": boxes(draw, count)}
    if fork == "textboxes":
        polygon = draw(st.booleans())
        given |= {"share_location": shared, "code_type": "CENTER_SIZE", "use_polygon": polygon}
        values = 12 if polygon else 9
    elif fork == "intel":
        regions = np.concatenate(
            [np.zeros((count, 1), np.float32), boxes(draw, count)[0, 0].reshape(-1, 4) * 90], axis=1
        )
        feeds["priors"] = regions.reshape(1, 1, -1).astype(np.float32)
        given |= {"share_location": shared, "code_type": draw(st.sampled_from(CODES)), "normalized": False}
        given |= {"input_width": 100, "input_height": 80, "variance_encoded_in_target": True}
    else:
        given |= {"code_type": draw(st.sampled_from(CODES)), "variance_encoded_in_target": draw(maybe(st.booleans()))}
        shared = shared or fork == "refinedet"
        given |= {"share_location": shared}
    feeds["offsets"] = normal(draw, images, count * (1 if shared else classes) * values) * np.float32(0.3)
    bottoms = "offsets scores priors"
    if fork == "refinedet":
        feeds["objects"] = scores(draw, images, count * 2)
        bottoms += " objects"
        stated = draw(st.booleans())
        if stated:
            given |= {"objectness_score": 0.4}
        if not stated or draw(st.booleans()):
            feeds["moves"] = normal(draw, images, count * 4) * np.float32(0.2)
            bottoms += " moves"
    return Drawn(detection(given, bottoms), feeds)


def levels(draw: Draw, given: dict[str, object], classes: int, shared: bool, *, grid: bool) -> Drawn:
    """Synopsys' fork: two or three levels, flat or in planes, with priors of each level or of all."""
    grids = draw(st.lists(st.tuples(*(st.integers(1, n) for n in (3, 2, 3))), min_size=2, max_size=3))
    values = 4 if shared else 4 * classes
    counts = [ratios * rows * columns for ratios, rows, columns in grids]
    all_scores = scores(draw, sum(counts) * classes)
    feeds: dict[str, Array] = {}
    for i, (part, (ratios, rows, columns)) in enumerate(
        zip(np.split(all_scores, np.cumsum(counts)[:-1] * classes), grids, strict=True)
    ):
        places = rows * columns
        feeds[f"scores{i}"] = part.reshape((1, classes, ratios, places) if grid else (1, -1))
        planes = normal(draw, 1, ratios * values, rows, columns) * np.float32(0.3)
        feeds[f"offsets{i}"] = planes if grid else planes.reshape(1, -1)
    apart_ = not grid and draw(st.booleans())
    if apart_:
        feeds |= {f"priors{i}": boxes(draw, count) for i, count in enumerate(counts)}
    else:
        feeds["priors"] = boxes(draw, sum(counts))
    given |= {"share_location": shared, "code_type": draw(st.sampled_from(CODES)), "nbottom": len(grids)}
    given |= {"no_permute": grid, "variance_encoded_in_target": draw(maybe(st.booleans()))}
    names = [f"{kind}{i}" for kind in ("scores", "offsets") for i in range(len(grids))]
    names += [f"priors{i}" for i in range(len(grids))] if apart_ else ["priors"]
    return Drawn(detection(given, " ".join(names)), feeds)


@drawn("DetectionOutputExtended")
@st.composite
def detection_output_extended(draw: Draw) -> Drawn:
    images, rows, columns, anchors = draw(st.integers(1, 3)), *shape(draw, 2, least=1, most=4), draw(st.integers(1, 3))
    count = rows * columns * anchors
    given = suppression(draw) | {
        "num_classes": 2,
        "share_location": draw(maybe(st.just(True))),
        "code_type": draw(st.sampled_from(CODES)),
        "variance_encoded_in_target": draw(maybe(st.booleans())),
    }
    feeds = {
        "offsets": normal(draw, images, rows, columns, 4 * anchors) * np.float32(0.3),
        "scores": scores(draw, images, rows, columns, 2 * anchors),
        "priors": boxes(draw, count),
    }
    text = detection(given, " ".join(feeds)).replace("DetectionOutput", "DetectionOutputExtended")
    return Drawn(text, feeds)
