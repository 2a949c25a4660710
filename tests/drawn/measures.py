"""What is read off a net's scores."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from tests.drawn.base import Array, Draw, Drawn, apart, axis, drawn, generator, layer, maybe, section, shape


def labels_of(draw: Draw, scores: Array, place: int, ignored: int | None) -> Array:
    """A class for each position, a tenth of them the one to ignore, with or without the axis of the classes."""
    source = generator(draw)
    lead, behind = scores.shape[:place], scores.shape[place + 1 :]
    found = source.integers(0, scores.shape[place], (*lead, *behind)).astype(np.float32)
    if ignored is not None:
        found = np.where(source.random(found.shape) < draw(st.sampled_from((0.1, 1.0))), np.float32(ignored), found)
    form = draw(st.sampled_from(("same", "one", "flat")))
    if form == "one" or not found.shape or not lead:
        return found.reshape(*lead, 1, *behind)
    return found.reshape(lead[0], -1) if form == "flat" else found


def scored(draw: Draw, *, least: int = 1) -> tuple[Array, int, dict[str, object]]:
    """Scores of two axes or more, the axis of the classes, and the field that says it."""
    scores = apart(draw, *shape(draw, draw(st.integers(2, 4)), most=6))
    place = axis(draw, scores.ndim, least=least)
    given = {"axis": draw(maybe(st.just(1))) if place == 1 else place}
    return scores, place % scores.ndim, given


@drawn("Accuracy")
@st.composite
def accuracy(draw: Draw) -> Drawn:
    """Scores may tie, which counts against the label."""
    scores, place, given = scored(draw, least=0)
    if draw(st.booleans()):
        scores = np.round(scores)
    ignored = draw(maybe(st.sampled_from((0, 1, 255, -1))))
    params = section(
        "accuracy_param",
        top_k=draw(maybe(st.integers(1, scores.shape[place]))),
        ignore_label=ignored,
        **given,
    )
    feeds = {"scores": scores, "labels": labels_of(draw, scores, place, ignored)}  # type: ignore[arg-type]
    tops = draw(st.sampled_from(("out", "out classes")))
    return Drawn(layer("Accuracy", params, "scores labels", tops), feeds)


@drawn("EltwiseAccuracy")
@st.composite
def eltwise_accuracy(draw: Draw) -> Drawn:
    """Scores may tie, of which the last is the best; a label may be no class."""
    scores = apart(draw, *shape(draw, 4, most=6))
    if draw(st.booleans()):
        scores = np.round(scores)
    n, classes, h, w = scores.shape
    labels = generator(draw).integers(-1, classes + 1, (n, 1, h, w)).astype(np.float32)
    params = section(
        "eltwise_accuracy_param",
        top_k=draw(maybe(st.integers(1, classes))),
        ignore_label=draw(maybe(st.sampled_from((0, 1, 255, -1)))),
    )
    return Drawn(layer("EltwiseAccuracy", params, "scores labels"), {"scores": scores, "labels": labels})


@drawn("ArgMax")
@st.composite
def argmax(draw: Draw) -> Drawn:
    """Values may tie: the last of equal ones comes first."""
    x = apart(draw, *shape(draw, draw(st.integers(1, 4)), most=6))
    if draw(st.booleans()):
        x = np.round(x)
    place = draw(st.none() | st.integers(0, x.ndim - 1))
    size = x[0].size if place is None else x.shape[place]
    params = section(
        "argmax_param",
        out_max_val=draw(maybe(st.booleans())),
        top_k=draw(maybe(st.integers(1, size))),
        axis=None if place is None else draw(st.sampled_from((place, place - x.ndim))),
    )
    return Drawn(layer("ArgMax", params), {"x": x})
