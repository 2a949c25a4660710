"""An error that was published, and how it was measured."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from prototxt.words import format_shape, listed

IMAGES: Final = {"ImageNet 2012 validation": 50_000, "CIFAR-10 test": 10_000, "examples/digits": 500}
"""The data sets, and how many images each has."""


DIGESTS: Final = ("sha256", "sha384", "sha1", "md5")
"""By the names of hashlib, the one to compare first."""


@dataclass(frozen=True)
class PublishedWeights:
    """The file that the errors were published for; what is not known is empty.

    Attributes:
        file: its name.
        size: in bytes, 0 where it is not known.
        digests: hexadecimal, by the name that hashlib has for it.
    """

    file: str = ""
    size: int = 0
    digests: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Published:
    """What was published of a model, and how it was measured.

    Attributes:
        name: as `--expect` takes it.
        title: the model in words, with whose it is.
        dataset, images: what it was measured on, and how many images that has.
        top1, top5: errors as shares; None where none is known. One of them is.
        variation: as a share, see the module's text; of two figures with differently many digits, the larger.
        shorter: length of the shorter side after resizing; 0 where `warp` counts, or nothing is resized.
        warp: height and width after resizing; (0, 0) where `shorter` counts, or nothing is resized.
        crop: side of what is cut out; 0 for the whole image.
        crops: 1 for the centre, or 10 whose scores are averaged.
        mirror: whether the scores of the mirror image are averaged too, other than in ten crops.
        scales: shorter sides at which a fully convolutional net saw the whole image; empty for the usual way.
        order: of the channels, as the net takes them.
        mean: one value a channel, in that order; empty where `mean_file` counts, or nothing is subtracted.
        mean_file, mean_shape: the mean image: its usual name, and channels, height and width.
        scale: factor after the mean.
        scores: name of a file with the scores of the original Caffe, image by image; the images are then these very
            ones, and the error is exact.
        blob: which blob these scores are.
        note: what else is special, in words.
        source: where the errors stand.
        weights: the file.
    """

    name: str
    title: str
    dataset: str
    images: int
    top1: float | None
    top5: float | None
    variation: float
    source: str
    shorter: int = 0
    warp: tuple[int, int] = (0, 0)
    crop: int = 0
    crops: Literal[1, 10] = 1
    mirror: bool = False
    scales: tuple[int, ...] = ()
    order: Literal["bgr", "rgb", "grey"] = "bgr"
    mean: tuple[float, ...] = ()
    mean_file: str = ""
    mean_shape: tuple[int, ...] = ()
    scale: float = 1.0
    scores: str = ""
    blob: str = ""
    note: str = ""
    weights: PublishedWeights = PublishedWeights()

    @property
    def protocol(self) -> str:
        """How it was measured, in words: `centre crop 224×224 of shorter side 256`."""
        if self.scales:
            sides = listed(list(map(str, self.scales)))
            words = f"whole image, fully convolutional, at shorter side{'s' * (len(self.scales) > 1)} {sides}"
        else:
            what = f" {self.crop}×{self.crop}" if self.crop else ""
            whole = "ten crops" if self.crops == 10 else "centre crop" if self.crop else "whole image"
            words = whole + what + self._resized
        return words + (", with mirrors" if self.mirror else "")

    @property
    def _resized(self) -> str:
        if self.shorter:
            return f" of shorter side {self.shorter}"
        return f" of {self.warp[0]}×{self.warp[1]} (warped)" if any(self.warp) else " as stored"

    @property
    def preprocessing(self) -> str:
        """What is done to the pixels, in words: `BGR, minus 104, 117, 123`."""
        parts = [self.order if self.order == "grey" else self.order.upper()]
        if self.mean:
            parts.append(f"minus {', '.join(f'{value:g}' for value in self.mean)}")
        elif self.mean_file:
            parts.append(f"minus {self.mean_file} ({format_shape(self.mean_shape)})")
        if self.scale != 1:
            parts.append(f"times {self.scale:g}")
        return ", ".join(parts)


def letters(name: str) -> str:
    """A name without case, hyphens and underscores; the point of `1.0` stays."""
    return re.sub(r"[-_\s]", "", name.casefold())
