"""From a decoded image to what the net is fed, by the rules of Caffe's tools.

    resize      the shorter side to S (the other by the same factor, rounded to the nearest), or both sides to H×W
                (`convert_imageset --resize_height --resize_width`), with OpenCV's own `resize`
    crop        the centre: offset (size - crop) / 2, rounded down; or ten: four corners, the centre, their mirrors
    values      (pixel - mean) * scale in float32, the mean image read at the crop's own offset, before any mirroring

Source: data_transformer.cpp, io.cpp and convert_imageset.cpp of BVLC Caffe; the order of the ten crops is that of
pycaffe's `oversample`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from operator import attrgetter
from typing import Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from prototxt.errors import RequestError
from prototxt.optional import need
from prototxt.words import format_shape, plural
from verify.engines.engine import Array
from verify.evaluation.records import Pixels

Interpolation: TypeAlias = Literal["nearest", "linear", "cubic", "area", "lanczos"]
INTERPOLATIONS: dict[Interpolation, str] = {
    "nearest": "INTER_NEAREST",
    "linear": "INTER_LINEAR",
    "cubic": "INTER_CUBIC",
    "area": "INTER_AREA",
    "lanczos": "INTER_LANCZOS4",
}

AT_ONCE: Final = 1 << 16
"""Bytes of images that are cut and cast at once: small ones take longer for Python's steps than for their pixels."""


@dataclass(frozen=True)
class Resize:
    """To what size an image is brought before it is cropped.

    Attributes:
        shorter: length of the shorter side; 0 where `warp` counts.
        warp: height and width, whatever the image's own were.
        unless_fitting: leave an image alone that has the size of the crop already: it was prepared before.
    """

    shorter: int = 0
    warp: tuple[int, int] = (0, 0)
    unless_fitting: bool = False

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width after it."""
        if not self.shorter:
            return self.warp
        short = min(height, width)
        longer = (max(height, width) * self.shorter + short // 2) // short
        return (self.shorter, longer) if height <= width else (longer, self.shorter)

    def __str__(self) -> str:
        what = f"shorter side {self.shorter}" if self.shorter else f"warped to {self.warp[0]}×{self.warp[1]}"
        return f"{what} (images of the net's size as they are)" if self.unless_fitting else what


@dataclass(frozen=True)
class Transform:
    """What is done to an image before the net.

    Attributes:
        channels: of the net's input, 3 or 1.
        crop: height and width of the net's input; None feeds the whole image (fully convolutional nets).
        resize: before the crop; None for images that are stored in their final size.
        crops: 1, or 10 whose scores are averaged.
        mirror: with one crop, its mirror image as well.
        mean: C×1×1 or C×H×W in the net's order of channels; None for nothing. An image of the crop's size is
            subtracted as it is, one of the resized image's size at the crop's offset.
        scale: factor, after the mean.
        rgb: whether the net takes RGB; BGR is Caffe's order.
        interpolation: of the resizing.
    """

    channels: int
    crop: tuple[int, int] | None
    resize: Resize | None = None
    crops: Literal[1, 10] = 1
    mirror: bool = False
    mean: npt.NDArray[np.float32] | None = None
    scale: float = 1.0
    rgb: bool = False
    interpolation: Interpolation = "linear"

    def __post_init__(self) -> None:
        if self.channels not in (1, 3):
            raise RequestError(f"an input of {self.channels} channels takes no images; expected 1 or 3")
        if self.crops == 10 and self.crop is None:
            raise RequestError("ten crops need a crop size")
        if self.mean is not None and self.mean.shape[0] not in (1, self.channels):
            seen = f"the mean is {format_shape(self.mean.shape)}"
            raise RequestError(f"{seen}, but the net's input has {plural(self.channels, 'channel')}")

    @property
    def color(self) -> bool:
        """Whether images are read in colour."""
        return self.channels == 3

    @property
    def views(self) -> int:
        """How many pictures of each image the net sees."""
        return 10 if self.crops == 10 else 2 if self.mirror else 1

    def apply(self, pixels: Pixels) -> Array:
        """The views of an image, V×C×H×W.

        Raises:
            RequestError: an image or a mean image whose size does not go with the crop.
        """
        pixels = self._resized(pixels)
        height, width = self.crop or pixels.shape[:2]
        views = np.empty((1, self.views, self.channels, height, width), np.float32)
        self._fill(pixels[None], views)
        return self._scaled(views[0])

    def apply_to_all(self, images: Sequence[Pixels], room: Room) -> Array:
        """The views of several images, one after the other, cut to the crop: N·V×C×H×W.

        Args:
            images: as they were decoded.
            room: where they are put, good until it is used again.

        Raises:
            RequestError: as `apply` does.
        """
        assert self.crop is not None
        whole = room.take((len(images), self.views, self.channels, *self.crop))
        filled = 0
        for alike in _alike(map(self._resized, images)):
            self._fill(alike, whole[filled : filled + len(alike)])
            filled += len(alike)
        return self._scaled(whole.reshape(-1, *whole.shape[2:]))

    def _fill(self, images: npt.NDArray[np.uint8], views: Array) -> None:
        """The views N×V×C×h×w of images N×H×W×C or N×H×W, without a mean image.

        What goes off every pixel alike goes off all images of a batch at once.
        """
        height, width = views.shape[3:]
        size = images.shape[1:3]
        if size[0] < height or size[1] < width:
            raise RequestError(_too_small(size, height, width))
        planes = images.reshape(-1, *size, self.channels).transpose(0, 3, 1, 2)
        if self.rgb:
            planes = planes[:, ::-1]
        for number, (top, left, mirrored) in enumerate(self._places(size, height, width)):
            into = views[:, number, :, :, ::-1] if mirrored else views[:, number]
            np.copyto(into, planes[:, :, top : top + height, left : left + width])
            if self._has_mean_image:
                into -= self._mean(size, top, left, height, width)

    def _scaled(self, views: Array) -> Array:
        if self.mean is not None and not self._has_mean_image:
            views -= self.mean
        if self.scale != 1:
            views *= np.float32(self.scale)
        return views

    @property
    def _has_mean_image(self) -> bool:
        return self.mean is not None and self.mean.shape[1:] != (1, 1)

    def _places(self, size: tuple[int, int], height: int, width: int) -> Iterator[tuple[int, int, bool]]:
        """Offset of each view in an image of some size, and whether it is mirrored."""
        down, right = size[0] - height, size[1] - width
        corners = [(top, left) for top in (0, down) for left in (0, right)] if self.crops == 10 else []
        for mirrored in (False, True) if self.views > 1 else (False,):
            for top, left in [*corners, (down // 2, right // 2)]:
                yield top, left, mirrored

    def _mean(self, size: tuple[int, int], top: int, left: int, height: int, width: int) -> npt.NDArray[np.float32]:
        assert self.mean is not None
        its = self.mean.shape[1:]
        if its == (height, width):
            return self.mean
        if its != size:
            raise RequestError(
                f"the mean image is {its[0]}×{its[1]}, which is neither the image's {size[0]}×{size[1]} nor the "
                f"crop's {height}×{width}; give mean values, or resize to its size"
            )
        return self.mean[:, top : top + height, left : left + width]

    def size_of(self, height: int, width: int) -> tuple[int, int]:
        """Height and width that an image of some size has before it is cropped."""
        if self.resize is None or (self.resize.unless_fitting and (height, width) == self.crop):
            return height, width
        return self.resize.size(height, width)

    def _resized(self, pixels: Pixels) -> Pixels:
        if self.resize is None:
            return pixels
        height, width = self.size_of(*pixels.shape[:2])
        if pixels.shape[:2] == (height, width):
            return pixels
        cv2 = need("cv2", "'resnet-convert[evaluate]'", "resizing images")
        how = getattr(cv2, INTERPOLATIONS[self.interpolation])
        resized: Pixels = cv2.resize(pixels, (width, height), interpolation=how)
        return resized

    def __str__(self) -> str:
        order = "grey" if self.channels == 1 else "RGB" if self.rgb else "BGR"
        parts = [order, str(self.resize) if self.resize else "as stored"]
        if self.resize and self.interpolation != "linear":
            parts[-1] += f" ({self.interpolation})"
        if self.crop is None:
            parts.append("whole")
        else:
            parts.append(f"{'ten crops' if self.crops == 10 else 'centre'} {self.crop[0]}×{self.crop[1]}")
        if self.mirror:
            parts.append("and its mirror")
        if self.mean is not None:
            values = ",".join(f"{value:g}" for value in self.mean.ravel()[:3])
            image = f"a mean image {self.mean.shape[1]}×{self.mean.shape[2]}"
            parts.append(f"minus {image if self._has_mean_image else values}")
        if self.scale != 1:
            parts.append(f"times {self.scale:.9g}")
        return ", ".join(parts)


class Room:
    """Memory that a thread uses for one batch after the other.

    Memory taken anew for each is cleared by the system page by page, which costs a small image more than its decoding.
    """

    def __init__(self) -> None:
        self._floats = np.empty(0, np.float32)

    def take(self, shape: tuple[int, ...]) -> Array:
        """An array of any values, good until the next is taken."""
        size = math.prod(shape)
        if size > self._floats.size:
            self._floats = np.empty(size, np.float32)
        return self._floats[:size].reshape(shape)


def _alike(images: Iterable[Pixels]) -> Iterator[npt.NDArray[np.uint8]]:
    """Images of one shape that follow each other, N×H×W×C or N×H×W, as many as `AT_ONCE` bytes hold; at least one."""
    for shape, same in groupby(images, key=attrgetter("shape")):
        most = max(1, AT_ONCE // max(1, math.prod(shape)))
        while some := list(islice(same, most)):
            yield some[0][None] if len(some) == 1 else np.stack(some)


def _too_small(size: tuple[int, int], height: int, width: int) -> str:
    return (
        f"an image of {size[0]}×{size[1]} is smaller than the net's {height}×{width}: give --resize, "
        "with a number for the shorter side (256) or a size (256x256)"
    )
