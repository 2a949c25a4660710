"""What a run is held against, errors that were published and Caffe's scores, and what it does otherwise."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path

import numpy as np
import numpy.typing as npt

from prototxt.errors import RequestError
from resnet_convert.images.preprocessing import first_size, transform_of
from resnet_convert.images.subject import Subject
from resnet_convert.requests import EvaluationRequest
from verify.evaluation.causes.corrections import describe_mean, describe_resize, same_mean
from verify.evaluation.published.figure import Published
from verify.evaluation.published.known import weights_note
from verify.evaluation.records import Expected, Source
from verify.evaluation.running.plan import Plan
from verify.evaluation.running.transform import Resize, Transform


def expected_of(
    known: Published | None,
    request: EvaluationRequest,
    subject: Subject,
    plan: Plan,
    theirs: Transform | None,
) -> Expected | None:
    """The errors that a run is held against; `theirs` is what the authors did to images."""
    top1 = None if request.expect_top1 is None else request.expect_top1 / 100
    top5 = None if request.expect_top5 is None else request.expect_top5 / 100
    if known is None:
        return None if top1 is None and top5 is None else Expected(top1=top1, top5=top5)
    return Expected(
        name=known.name,
        title=known.title,
        protocol=f"{known.protocol}; {known.preprocessing}",
        source=known.source,
        top1=known.top1 if top1 is None else top1,
        top5=known.top5 if top5 is None else top5,
        variation=known.variation,
        images=known.images,
        exact=bool(known.scores) and len(plan.indices) == len(plan.source) == known.images,
        other=tuple(_departures(known, request, subject, plan, theirs)),
    )


def published_transform(
    known: Published | None, request: EvaluationRequest, subject: Subject, source: Source, now: Transform
) -> Transform | None:
    """What the authors did to an image; a mean image that is not there is taken to be what is subtracted `now`."""
    if known is None:
        return None
    resize = () if known.scales else None
    plain = replace(request, resize=resize, crop=None, mean=None, scale=None, input_order=None, interpolation="linear")
    try:
        found, _ = transform_of(plain, subject, known, source, crops=known.crops, mirror=known.mirror)
    except RequestError:
        found, _ = transform_of(plain, subject, replace(known, mean_file="", mean=()), source)
        found = replace(found, mean=now.mean)
    return replace(found, resize=None, crop=None) if now.crop is None else found


def _departures(
    known: Published, request: EvaluationRequest, subject: Subject, plan: Plan, theirs: Transform | None
) -> Iterator[str]:
    """Everything that is otherwise than it was published, in words, with the option that makes it so."""
    note = weights_note(known, subject.weights) if subject.weights else None
    if note:
        yield note
    if known.dataset == "CIFAR-10 test" and _are_jpegs(plan):
        yield "the images are compressed as JPEG, those of the published error were not"
    ours = plan.transforms[0]
    scales = scales_of(plan.transforms)
    if scales != known.scales:
        yield f"whole images at shorter sides {', '.join(map(str, scales))} instead of {known.protocol}"
    elif ours.crops != known.crops:
        yield f"{ours.crops} crops instead of {known.crops}"
    if ours.mirror and not known.mirror and ours.crops == 1:
        yield "the mirror images as well"
    if theirs is not None:
        yield from _values(known, request, ours, theirs)
        if ours.crop is not None and not known.scales:
            yield from _sizes(known, ours, theirs, plan.source)


def _values(known: Published, request: EvaluationRequest, ours: Transform, theirs: Transform) -> Iterator[str]:
    if ours.color and ours.rgb != theirs.rgb:
        yield f"{_order(ours)} instead of {_order(theirs)} (--input-order)"
    if not same_mean(ours.mean, theirs.mean):
        yield f"{describe_mean(ours.mean)} instead of {describe_mean(theirs.mean)} (--mean)"
    elif request.mean is not None and known.mean_file and (ours.mean is None or ours.mean.shape[1:] == (1, 1)):
        yield f"{describe_mean(ours.mean)} instead of {known.mean_file} (--mean)"
    if not np.isclose(ours.scale, theirs.scale, rtol=1e-4):
        yield f"a scale of {ours.scale:g} instead of {theirs.scale:g} (--scale)"


def _sizes(known: Published, ours: Transform, theirs: Transform, source: Source) -> Iterator[str]:
    if known.crop and ours.crop != (known.crop, known.crop):
        yield f"a crop of {_size(ours.crop)} instead of {known.crop}×{known.crop} (--crop)"
    one, other, stored = ours.resize, theirs.resize, first_size(source)
    if not known.crop and one is None and stored not in (None, ours.crop):
        yield f"a crop of {_size(ours.crop)} instead of the whole image (--crop)"
    if stored != ours.crop:  # else it matters whether images of the net's size stay as they are
        one, other = _forced(one), _forced(other)
    if one != other:
        yield f"images {describe_resize(one)} instead of {describe_resize(other)} (--resize)"
    if ours.interpolation != theirs.interpolation:
        yield f"{ours.interpolation} interpolation instead of {theirs.interpolation} (--interpolation)"


def _forced(resize: Resize | None) -> Resize | None:
    return None if resize is None else replace(resize, unless_fitting=False)


def _order(transform: Transform) -> str:
    return "RGB" if transform.rgb else "BGR"


def _size(size: tuple[int, int] | None) -> str:
    return "the whole image" if size is None else f"{size[0]}×{size[1]}"


def scales_of(transforms: Sequence[Transform]) -> tuple[int, ...]:
    """Shorter sides at which a net in fully convolutional form sees whole images; empty for one that sees crops."""
    return tuple(each.resize.shorter for each in transforms if each.crop is None and each.resize is not None)


def caffe_scores_of(
    known: Published | None, request: EvaluationRequest, subject: Subject, plan: Plan
) -> Path | npt.NDArray[np.float32] | None:
    """The original Caffe's scores: the file that is named, or that of a published run, beside its net or images."""
    given = request.caffe_scores
    if given is not None:
        return given if isinstance(given, np.ndarray) else Path(given)
    if known is None or not known.scores or subject.scores != known.blob:
        return None
    if len(plan.source) != known.images or plan.transforms[0].crops != known.crops:
        return None
    named = (path for path in (request.labels, request.data) if isinstance(path, (str, PathLike)))
    paths = [subject.weights, subject.net.path, *(os.fspath(path) for path in named)]
    places = [Path(path).resolve().parent / known.scores for path in paths if path]
    return next((place for place in places if place.is_file()), None)


def _are_jpegs(plan: Plan) -> bool:
    first = plan.source.item(int(plan.indices[0])).name if len(plan.indices) else ""
    return first.lower().endswith((".jpg", ".jpeg"))
