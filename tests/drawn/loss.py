"""The losses that a net is trained to lower."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from tests.drawn.base import Array, Draw, Drawn, blob, drawn, generator, layer, maybe, normal, number, section, shape
from tests.drawn.measures import labels_of, scored

IGNORED = maybe(st.sampled_from((0, 1, 255, -1)))


def normalization(draw: Draw, ignored: object) -> str:
    """A loss_param: how the sum is divided, by the field of today, the old flag or both, and what isn't counted."""
    return section(
        "loss_param",
        ignore_label=ignored,
        normalization=draw(maybe(st.sampled_from(("FULL", "VALID", "BATCH_SIZE", "NONE")))),
        normalize=draw(maybe(st.booleans())),
    )


def of_softmax(draw: Draw, kind: str, name: str) -> Drawn:
    scores, place, given = scored(draw, least=1)
    ignored = draw(IGNORED)
    labels = labels_of(draw, scores, place, ignored)  # type: ignore[arg-type]
    feeds = {"scores": scores, "labels": labels}
    if kind == "InfogainLoss":
        classes = scores.shape[place]
        forms = ((classes, classes), (1, 1, classes, classes), (classes * classes,))
        # Losses must not be small beside their terms, so the matrix has one sign.
        feeds["matrix"] = np.abs(normal(draw, *draw(st.sampled_from(forms)))) + np.float32(0.1)
    params = f"{section(name, **given)} {normalization(draw, ignored)} {draw(st.sampled_from(('', 'loss_weight: 3')))}"
    return Drawn(layer(kind, params, " ".join(feeds), draw(st.sampled_from(("out", "out softmax")))), feeds)


@drawn("SoftmaxWithLoss")
@st.composite
def softmax_with_loss(draw: Draw) -> Drawn:
    return of_softmax(draw, "SoftmaxWithLoss", "softmax_param")


@drawn("InfogainLoss")
@st.composite
def infogain_loss(draw: Draw) -> Drawn:
    return of_softmax(draw, "InfogainLoss", "infogain_loss_param")


def labelled(draw: Draw, scores: Array, classes: int) -> dict[str, Array]:
    """One label an item, truncated."""
    source, items = generator(draw), scores.shape[0]
    labels = source.integers(0, classes, items) + source.choice((0, 0.5), items)
    tail = draw(st.sampled_from(((), (1,), (1, 1, 1))))
    return {"scores": scores, "labels": labels.astype(np.float32).reshape(items, *tail)}


@drawn("MultinomialLogisticLoss")
@st.composite
def multinomial_logistic_loss(draw: Draw) -> Drawn:
    """Entries may be 0, whose logarithm is cut off."""
    sizes = shape(draw, draw(st.integers(1, 4)), most=6)
    scores = generator(draw).random(sizes).astype(np.float32) * np.float32(0.9)
    if draw(st.booleans()):
        scores[:1] = 0
    feeds = labelled(draw, scores, scores[0].size)
    return Drawn(layer("MultinomialLogisticLoss", "", "scores labels"), feeds)


@drawn("HingeLoss")
@st.composite
def hinge_loss(draw: Draw) -> Drawn:
    scores = blob(draw, most=4)
    params = section("hinge_loss_param", norm=draw(maybe(st.sampled_from(("L1", "L2")))))
    return Drawn(layer("HingeLoss", params, "scores labels"), labelled(draw, scores, scores[0].size))


@drawn("EuclideanLoss")
@st.composite
def euclidean_loss(draw: Draw) -> Drawn:
    """The second bottom may have another shape of as many values an item."""
    x = blob(draw, most=4)
    other = normal(draw, *x.shape)
    if draw(st.booleans()):
        other = other.reshape(x.shape[0], -1)
    return Drawn(layer("EuclideanLoss", "", "x y"), {"x": x, "y": other})


@drawn("ContrastiveLoss")
@st.composite
def contrastive_loss(draw: Draw) -> Drawn:
    """Pairs near each other and far apart, on either side of the margin."""
    items, values = shape(draw, 2, most=7)
    sizes, others = (draw(st.sampled_from(((items, values), (items, values, 1, 1)))) for _ in range(2))
    if draw(st.booleans()):
        sizes, others = (items,), (items, 1)
    source = generator(draw)
    first = source.standard_normal(sizes).astype(np.float32)
    second = first + source.standard_normal(sizes).astype(np.float32) * np.float32(draw(st.sampled_from((0.1, 1))))
    second = second.reshape(others)
    labels = source.choice(np.float32([0, 1, 0.5, 2]), items).reshape(items, *draw(st.sampled_from(((), (1,)))))
    params = section(
        "contrastive_loss_param",
        margin=draw(maybe(number(1, 5))),
        legacy_version=draw(maybe(st.booleans())),
    )
    feeds = {"a": first, "b": second, "similar": labels}
    return Drawn(layer("ContrastiveLoss", params, "a b similar"), feeds)


@drawn("SigmoidCrossEntropyLoss")
@st.composite
def sigmoid_cross_entropy_loss(draw: Draw) -> Drawn:
    """Targets of 0 and 1, of anything between, and some to ignore."""
    x, source = normal(draw, *shape(draw, draw(st.integers(1, 4)), most=6)), generator(draw)
    target = source.random(x.shape) if draw(st.booleans()) else source.integers(0, 2, x.shape)
    ignored = draw(IGNORED)
    if ignored is not None:
        target = np.where(source.random(x.shape) < 0.2, ignored, target)
    if draw(st.booleans()):
        target = target.reshape(x.shape[0], -1)
    feeds = {"x": x, "target": target.astype(np.float32)}
    return Drawn(layer("SigmoidCrossEntropyLoss", normalization(draw, ignored), "x target"), feeds)
