"""What results look like from further away: the error as it settles, class by class, and the worst mistakes."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence

import numpy as np

from prototxt.errors import MissingDependencyError
from prototxt.optional import need
from verify.evaluation.published.intervals import wilson
from verify.evaluation.records import ClassResult, ImageFault, Misjudged, Point, Source
from verify.evaluation.running.results import Results

POINTS = 200
CONFUSIONS = 12
THUMBNAIL = 112
"""Pixels of a thumbnail's longer side."""


def curve(results: Results, confidence: float, *, top5: bool) -> Iterator[Point]:
    """The error after more and more images, in the order of the data set; at most `POINTS` points."""
    ranks = results["rank"][results["label"] >= 0]
    images = len(ranks)
    wrong = {k: np.cumsum(ranks >= k) for k in (1, 5)}
    for count in sorted({round(x) for x in np.linspace(1, images, min(images, POINTS))}) if images else []:
        first, fifth = (wilson(int(wrong[k][count - 1]), count, confidence) for k in (1, 5))
        yield Point(count, first, fifth if top5 else None)


def by_class(results: Results, names: Sequence[str]) -> Iterator[ClassResult]:
    """Every class that has images, in label order, with what it is taken for."""
    labels, best, ranks = results["label"], results["best"][:, 0], results["rank"]
    order = np.argsort(labels, kind="stable")
    found, starts = np.unique(labels[order], return_index=True)
    for label, places in zip(found.tolist(), np.split(order, starts[1:]), strict=True):
        if label < 0:
            continue
        wrong = ranks[places] >= 1
        taken, counts = np.unique(best[places][wrong], return_counts=True)
        ranked = sorted(zip(taken.tolist(), counts.tolist(), strict=True), key=lambda pair: (-pair[1], pair[0]))
        confused = tuple(pair for pair in ranked if pair[0] != label)[:CONFUSIONS]
        name = names[label] if label < len(names) else str(label)
        yield ClassResult(label, name, len(places), int(wrong.sum()), confused)


def misjudged(results: Results, source: Source, count: int) -> Iterator[Misjudged]:
    """The images that the model was surest of and got wrong, `count` of them, with thumbnails."""
    wrong = results[(results["rank"] >= 1) & results["finite"]]
    for record in wrong[np.argsort(-wrong["score"], kind="stable")[:count]]:
        index = int(record["index"])
        best = tuple(int(label) for label in record["best"] if label >= 0)
        thumbnail = _thumbnail(source, index)
        label = int(record["label"])
        yield Misjudged(source.item(index).name, label, best, float(record["score"]), float(record["own"]), thumbnail)


def _thumbnail(source: Source, index: int) -> str:
    try:
        cv2 = need("cv2", "'resnet-convert[evaluate]'", "thumbnails")
        pixels = source.read(index, color=True).pixels
    except (ImageFault, MissingDependencyError):
        return ""  # it was read before; now it is gone, and the page does without its picture
    factor = min(1.0, THUMBNAIL / max(pixels.shape[:2]))
    height, width = (max(1, round(side * factor)) for side in pixels.shape[:2])
    small = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    made, data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 80])
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode() if made else ""
