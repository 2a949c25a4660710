"""A detector's rows of image, class, score and corners as boxes in pixels of the image.

    x of the image = (left + x of the row · width of the crop) · width of the image / width after resizing

and so for y: rows are shares of what the net saw, which is the centre of the resized image.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from prototxt.errors import RequestError
from prototxt.words import format_shape
from resnet_convert.classifying.files import Drawings
from resnet_convert.classifying.images import Images
from resnet_convert.classifying.naming import ClassNames
from resnet_convert.classifying.records import Box, Seen
from verify.engines.engine import Array
from verify.evaluation.records import ImageFault, Pixels
from verify.evaluation.running.scorers import Scorer
from verify.evaluation.running.transform import Transform
from weights import Outputs

COLUMNS = 7


@dataclass(frozen=True)
class Detector:
    """What finds boxes in an image.

    Attributes:
        scorer: the model.
        transform: from image to input.
        names: of the classes.
        threshold: the least score of a box.
        most: boxes that are kept of an image, the best; None for all.
    """

    scorer: Scorer
    transform: Transform
    names: ClassNames
    threshold: float
    most: int | None

    def boxes(self, pixels: Pixels) -> tuple[Box, ...]:
        """The boxes of an image, by falling score.

        Raises:
            RequestError: a model whose answer is no such table, an image that does not go with the net.
        """
        rows = table_of(self.scorer.blob(self.transform.apply(pixels)))
        found = rows[(rows[:, 0] == 0) & (rows[:, 1] >= 0) & (rows[:, 2] >= self.threshold)]
        best = found[np.argsort(-found[:, 2], kind="stable")][: self.most]
        return tuple(self._in_pixels(best, pixels.shape[0], pixels.shape[1]))

    def _in_pixels(self, rows: Array, height: int, width: int) -> Iterator[Box]:
        resize, crop = self.transform.resize, self.transform.crop or (height, width)
        stays = resize is None or (resize.unless_fitting and (height, width) == crop)
        seen = (height, width) if resize is None or stays else resize.size(height, width)
        offset = ((seen[0] - crop[0]) // 2, (seen[1] - crop[1]) // 2)
        places = rows[:, 3:COLUMNS].astype(np.float64) * (*crop[::-1], *crop[::-1]) + (*offset[::-1], *offset[::-1])
        places *= (width / seen[1], height / seen[0]) * 2
        for (_, label, score, *_), corners in zip(rows.tolist(), places.tolist(), strict=True):
            yield Box(int(label), self.names.of(int(label))[0], score, *corners)


def table_of(blob: Array) -> Array:
    """Rows of a blob 1×1×found×7 or wider.

    Raises:
        RequestError: another shape, or values that are no numbers.
    """
    if blob.ndim != 4 or blob.shape[:2] != (1, 1) or blob.shape[3] < COLUMNS:
        raise RequestError(f"the detections are {format_shape(blob.shape)}; expected 1×1×found×{COLUMNS} or wider")
    rows: Array = blob.reshape(-1, blob.shape[3])
    if not np.isfinite(rows[:, :COLUMNS]).all():
        raise NoNumbersError("boxes or their scores are no numbers (NaN or infinity)")
    return rows


class NoNumbersError(RequestError):
    """Values of one image that are no numbers, which the others are looked at without."""


def detected(detector: Detector, images: Images, drawings: Drawings | None) -> Iterator[Seen]:
    """Every image with its boxes, drawn where that is asked for; one that cannot be read with the reason."""
    with Outputs() as outputs:
        for index in range(len(images)):
            seen, pixels = _looked_at(detector, images, index)
            if drawings is not None and not seen.problem:
                seen = replace(seen, drawn=drawings.write(outputs, index, pixels, seen.boxes))
            yield seen


def _looked_at(detector: Detector, images: Images, index: int) -> tuple[Seen, Pixels]:
    """An image's boxes, and its pixels in colour."""
    name = images.item(index).name
    try:
        colored = images.read(index, color=True).pixels
        pixels = colored if detector.transform.color else images.read(index, color=False).pixels
        boxes = detector.boxes(pixels)
    except (ImageFault, NoNumbersError) as fault:
        problem = fault.message if isinstance(fault, NoNumbersError) else str(fault)
        return Seen(name, problem=problem), np.zeros((0, 0, 3), np.uint8)
    except RequestError as error:
        raise RequestError(f"{name}: {error.message}", position=error.position) from error
    return Seen(name, boxes=boxes, width=colored.shape[1], height=colored.shape[0]), colored
