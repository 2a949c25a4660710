"""Single images as one request: the best classes of each, or a detector's boxes on it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace

import numpy as np

from prototxt.errors import Position, RequestError
from prototxt.words import format_shape
from resnet_convert.classifying.best import Best, scored
from resnet_convert.classifying.boxes import Detector, detected
from resnet_convert.classifying.drawing import in_the_font
from resnet_convert.classifying.files import drawings_of
from resnet_convert.classifying.images import Images, images_of
from resnet_convert.classifying.naming import ClassNames, for_boxes, for_scores, given_names
from resnet_convert.classifying.records import Classification, Seen
from resnet_convert.images.preprocessing import transform_of
from resnet_convert.images.scored import VIEWS_AT_ONCE, baked_into, left_to_do, opened_model
from resnet_convert.images.subject import Subject, subject_of
from resnet_convert.option import takes
from resnet_convert.requests import ClassificationRequest
from verify.evaluation.published.figure import Published
from verify.evaluation.published.known import find
from verify.evaluation.running.plan import Plan
from verify.evaluation.running.transform import Transform

TOP = 5
THRESHOLD = 0.5

Told = Callable[[int, int], None]
"""Is told how many images are done, of how many."""


@takes(ClassificationRequest)
def classify(request: ClassificationRequest) -> Classification:
    """Name the best classes of images, or find a detector's boxes in them, with a converted net as Caffe would.

    Arguments are the fields of `ClassificationRequest`: those of the command line's verb, with arrays where it has
    files: images H×W×C or N×H×W×C of uint8 (B, G, R, or grey with C 1), a mean of C values or C×H×W.

    Returns:
        for each image its classes with their scores, or its boxes in pixels; `ok` is False where one cannot be read.

    Raises:
        CaffeModelError: files that cannot be read, a net that takes no images or gives neither scores of classes nor
            boxes, labels that do not fit it.
        MissingDependencyError: OpenCV, or what runs the net, is not installed.

    Example:
        >>> found = resnet_convert.classify(
        ...     "examples/digits/deploy.prototxt",
        ...     "examples/digits/digits_resnet.caffemodel",
        ...     "examples/digits/val/digits_val_00000001.png",
        ...     mean="examples/digits/mean.binaryproto",
        ...     labels="examples/digits/synset_words.txt",
        ... )
        >>> best = found.images[0].classes[0]
        >>> best.label, best.name, round(best.score, 3)
        (8, 'eight', 1.0)
    """
    return classified(request)


def classified(request: ClassificationRequest, told: Told | None = None) -> Classification:
    """What `classify` does, telling how far it is."""
    known = None if request.expect is None else find(request.expect)
    names = given_names(request.labels)
    images = images_of(request.images, ignore_orientation=request.ignore_orientation)
    drawings = drawings_of(request, images)
    subject = subject_of(request)
    names = _fitting(names, subject, known)
    transform, notes = _prepared(request, subject, known, images)
    with ExitStack() as stack:
        spec = stack.enter_context(opened_model(subject, request))
        baked = baked_into(request)
        if baked is not None:
            transform = left_to_do(transform, baked)
            notes = [*notes, "mean, scale and order of channels are baked into the model"]
        scorer = spec.open()
        if subject.box_classes is None:
            best = Best(request.top or TOP, names, _classes_of(subject))
            seen = scored(best, scorer, _plan(request, images, transform))
        else:
            floor = THRESHOLD if request.threshold is None else request.threshold
            seen = detected(Detector(scorer, transform, names, floor, request.top), images, drawings)
        found = tuple(_telling(seen, len(images), told))
    return Classification(
        net=os.fspath(request.net),
        weights=os.fspath(request.weights or request.net),
        engine=scorer.name,
        preprocessing=str(transform),
        finds="classes" if subject.box_classes is None else "boxes",
        blob=subject.scores,
        probabilities=subject.probabilities or subject.box_classes is not None,
        images=found,
        notes=(*subject.notes, *notes, *_remarks(subject, names, found)),
    )


def _fitting(names: ClassNames, subject: Subject, known: Published | None) -> ClassNames:
    """The names, held to the classes of the net.

    Raises:
        RequestError: they are others, or the net gives no classes.
    """
    if subject.box_classes is not None:
        return for_boxes(names, subject.box_classes)
    imagenet = known is not None and known.dataset.startswith("ImageNet")
    return for_scores(names, _classes_of(subject), imagenet=imagenet)


def _prepared(
    request: ClassificationRequest, subject: Subject, known: Published | None, images: Images
) -> tuple[Transform, list[str]]:
    """What is done to an image; a detector sees all of it, as SSD's warped images, where nobody says otherwise."""
    if known is not None and known.scales:
        raise RequestError(f"{known.name} is measured on whole images of several sizes; classify takes one size")
    if subject.box_classes is None:
        for option, value in (("--threshold", request.threshold), ("-o", request.output)):
            if value is not None:
                raise RequestError(f"{option} is for boxes, and {subject.scores!r} gives scores of classes")
        return transform_of(request, subject, known, images, crops=request.crops, mirror=request.mirror)
    if request.mirror or request.crops == 10:
        raise RequestError("--mirror and --crops average scores; this net gives boxes")
    warped = request.resize is None and known is None
    size = request.crop or subject.shape[2:]
    asked = replace(request, resize=size) if warped else request
    transform, notes = transform_of(asked, subject, known, images, crops=1)
    return transform, [f"images are warped to {format_shape(size)} (--resize)", *notes] if warped else notes


def _plan(request: ClassificationRequest, images: Images, transform: Transform) -> Plan:
    batch = request.batch_size or max(1, VIEWS_AT_ONCE // transform.views)
    return Plan(images, (transform,), np.arange(len(images)), batch, keep_scores=True)


def _classes_of(subject: Subject) -> int:
    """How many classes the scores are of.

    Raises:
        RequestError: they are none: another number of axes, a map, a single value.
    """
    shape = subject.scores_shape
    found = f"{subject.scores!r} is {format_shape(shape)}"
    hint = "--outputs names another blob"
    if len(shape) < 2 or str(shape[0]) != str(subject.shape[0]) or len(shape) == 3:
        raise RequestError(f"{found}, no scores of classes for an image; {hint}", position=_where(subject))
    if any(str(size) != "1" for size in shape[2:]):
        why = "values for each place, no scores of classes for an image"
        raise RequestError(f"{found}: {why}; {hint}", position=_where(subject))
    if str(shape[1]) == "1":
        raise RequestError(f"{found}: one value, no scores of classes; {hint}", position=_where(subject))
    return int(shape[1])


def _where(subject: Subject) -> Position:
    return Position(subject.net.path)


def _telling(seen: Iterator[Seen], total: int, told: Told | None) -> Iterator[Seen]:
    for done, each in enumerate(seen, 1):
        yield each
        if told is not None:
            told(done, total)


def _remarks(subject: Subject, names: ClassNames, images: tuple[Seen, ...]) -> Iterator[str]:
    if names.note:
        yield names.note
    if subject.box_classes is None and not subject.probabilities:
        yield "no Softmax is at the end: the scores are no probabilities, and may be no scores of classes at all"
    if any(not in_the_font(box.name) for seen in images if seen.drawn for box in seen.boxes):
        yield "names that are not ASCII are drawn as the number of their class"
