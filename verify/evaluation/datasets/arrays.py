"""Images that are in memory already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from prototxt.errors import RequestError
from prototxt.optional import need
from prototxt.words import format_shape
from verify.evaluation.records import Decoded, Item


@dataclass(frozen=True)
class ArrayImages:
    """Images of one size in an array, as a `Source`.

    Attributes:
        pixels: N×H×W×C, uint8; C is 1 (grey) or 3 (B, G, R).
        labels: N class numbers; None where nobody says.
    """

    pixels: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64] | None = None
    where: str = "the array of images"
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.pixels)

    def item(self, index: int) -> Item:
        """Its place as its name."""
        return Item(f"image {index}", None if self.labels is None else int(self.labels[index]))

    def read(self, index: int, *, color: bool) -> Decoded:
        """The pixels, in as many channels as are asked for."""
        found = self.pixels[index]
        if color:
            return Decoded(np.repeat(found, 3, axis=2) if found.shape[2] == 1 else found)
        return Decoded(found[..., 0] if found.shape[2] == 1 else _grey(found))


def array_images(
    pixels: npt.NDArray[np.uint8], labels: Sequence[int] | npt.NDArray[np.integer[Any]] | None
) -> ArrayImages:
    """Images with their labels.

    Raises:
        RequestError: no N×H×W×C of uint8, or not a label for each image.
    """
    if pixels.ndim != 4 or pixels.shape[3] not in (1, 3) or pixels.dtype != np.uint8:
        form = format_shape(pixels.shape)
        raise RequestError(f"images are {form} of {pixels.dtype}; expected N×H×W×3 or N×H×W×1 of uint8")
    if labels is None:
        return ArrayImages(pixels)
    numbers = np.asarray(labels, np.int64)
    if numbers.shape != (len(pixels),):
        raise RequestError(f"{numbers.size} labels for {len(pixels)} images; expected one for each")
    return ArrayImages(pixels, numbers)


def _grey(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """As OpenCV makes it of B, G and R."""
    cv2 = need("cv2", "'resnet-convert[evaluate]'", "grey images of coloured ones")
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY), np.uint8)
