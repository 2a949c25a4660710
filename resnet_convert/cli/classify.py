"""`resnet-convert classify`: the best classes of images, or a detector's boxes on them."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from os.path import isdir

from prototxt.columns import aligned
from prototxt.names import shown
from resnet_convert.classification import classified
from resnet_convert.classifying.records import Box, Classification, ClassScore, Seen
from resnet_convert.cli.arguments import request_of, shown_of
from resnet_convert.cli.models import LIST, print_table
from resnet_convert.cli.statuses import DONE, MODEL_AT_FAULT
from resnet_convert.cli.terminal import progress, say, say_json, table
from resnet_convert.published_models import models
from resnet_convert.requests import ClassificationRequest

NUMBERS = (0, 1)
"""The columns of numbers: score and class."""

WEIGHT_FILES = (".caffemodel", ".h5", ".hdf5")


def run(parsed: Namespace) -> int:
    """Classify and print; 1 if nothing can be said of an image."""
    if getattr(parsed, "expect", None) == LIST:
        print_table(models())
        return DONE
    request, asked = _request(parsed), shown_of(parsed)
    with progress(asked.talks) as line:
        found = classified(request, (lambda done, of: line(f"{done:,} of {of:,} images")) if line else None)
    if asked.json:
        say_json(found.to_json(), request)
    if asked.talks:
        _print(found)
    for seen in found.images:
        if seen.problem:
            say(f"{seen.image}: error: {seen.problem}", failed=True)
    return DONE if found.ok else MODEL_AT_FAULT


def _request(parsed: Namespace) -> ClassificationRequest:
    """The request; a net that brings its weights has an image in their place."""
    images, weights = list(getattr(parsed, "images", ())), getattr(parsed, "weights", None)
    if weights is not None and _is_image(getattr(parsed, "net", ""), weights):
        images.insert(0, weights)
        weights = None
    given = {"net": getattr(parsed, "net", ""), "weights": weights, "images": tuple(images)}
    return request_of(ClassificationRequest, parsed, **given)


def _is_image(net: str, second: str) -> bool:
    whole = isdir(net) or net.endswith(WEIGHT_FILES)  # a zoo's folder, or a caffemodel with its net
    return isdir(second) or (whole and not second.endswith(WEIGHT_FILES))


def _print(found: Classification) -> None:
    for seen in found.images:
        if not seen.problem:
            table(_lines(seen, found))
    say(f"  {found.preprocessing}; {found.engine}", *(f"  note: {note}" for note in found.notes))


def _lines(seen: Seen, found: Classification) -> Iterator[str]:
    """An image with its classes or boxes, a line each."""
    if found.finds == "boxes":
        drawn = f" -> {shown(seen.drawn)}" if seen.drawn else ""
        number = f"{len(seen.boxes):,} boxes" if len(seen.boxes) != 1 else "1 box"
        yield f"{shown(seen.image)} ({seen.width}×{seen.height}): {number}{drawn}"
        rows = list(map(_of_box, seen.boxes))
    else:
        yield shown(seen.image)
        rows = [_of_class(each, "{:.4f}" if found.probabilities else "{:.4g}") for each in seen.classes]
    yield from (f"  {line}" for line in aligned(rows, NUMBERS)) if rows else ()


def _of_class(each: ClassScore, form: str) -> tuple[str, ...]:
    return form.format(each.score), str(each.label), shown(each.name or each.wnid)


def _of_box(box: Box) -> tuple[str, ...]:
    place = f"{box.left:.0f},{box.top:.0f} to {box.right:.0f},{box.bottom:.0f}"
    return f"{box.score:.2f}", str(box.label), shown(box.name), place
