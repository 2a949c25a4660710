"""Images by their paths, and arrays, as one `Source`: files, folders, archives, and patterns that no shell expanded."""

from __future__ import annotations

import os
from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property
from glob import glob, has_magic
from itertools import accumulate
from typing import Any

import numpy as np

from prototxt.errors import CaffeModelError, Position, RequestError, raise_all
from verify.evaluation.datasets.archives import open_archive
from verify.evaluation.datasets.arrays import array_images
from verify.evaluation.datasets.image_set import ImageSet
from verify.evaluation.datasets.opening import open_source
from verify.evaluation.datasets.stores import FolderStore
from verify.evaluation.records import Decoded, Item, Source

_HEAD = 512

NONE_GIVEN = "no image is given; name files, folders or archives of images behind the weights"


@dataclass(frozen=True)
class Images:
    """Images of several sources, one after the other, as a `Source` without labels.

    Attributes:
        parts: the sources.
        paths: of each part's images, before their names; None for those of an array, which have their place.
    """

    parts: tuple[Source, ...]
    paths: tuple[str | None, ...]
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def where(self) -> str:
        """The paths, for messages."""
        return ", ".join(part.where for part in self.parts)

    def __len__(self) -> int:
        return self._ends[-1] if self.parts else 0

    def item(self, index: int) -> Item:
        """Its path."""
        part, own = self._place(index)
        path = self.paths[part]
        return Item(f"image {index}" if path is None else os.path.join(path, self.parts[part].item(own).name))

    def read(self, index: int, *, color: bool) -> Decoded:
        """The pixels.

        Raises:
            ImageFault: the image cannot be read or decoded.
        """
        part, own = self._place(index)
        return self.parts[part].read(own, color=color)

    def _place(self, index: int) -> tuple[int, int]:
        part = bisect_right(self._ends, index)
        return part, index - (self._ends[part - 1] if part else 0)

    @cached_property
    def _ends(self) -> list[int]:
        return list(accumulate(map(len, self.parts)))


def images_of(given: Any, *, ignore_orientation: bool = False) -> Images:
    """What somebody gave as images.

    Args:
        given: a path, a pattern, an array H×W×C or N×H×W×C of uint8 (B, G, R, or grey with C 1), or several of them.
        ignore_orientation: leave images as they are stored whatever their EXIF orientation.

    Raises:
        RequestError: none at all, a path that is not there, a folder without images; all of them together.
    """
    parts: list[Source] = []
    paths: list[str | None] = []
    errors: list[CaffeModelError] = []
    for each in expanded(given):
        try:
            part, path = (_array(each), None) if isinstance(each, np.ndarray) else _opened(each, ignore_orientation)
        except RequestError as error:
            errors.append(error)
            continue
        parts.append(part)
        paths.append(path)
    raise_all(errors)
    if not parts:
        raise RequestError(NONE_GIVEN)
    return Images(tuple(parts), tuple(paths))


def expanded(given: Any) -> list[Any]:
    """Arrays and paths, one by one, in place of the patterns what fits them; a pattern that fits nothing stays."""
    found: list[Any] = []
    for each in [given] if isinstance(given, (str, os.PathLike, np.ndarray)) else given:
        if isinstance(each, np.ndarray):
            found.append(each)
            continue
        path = os.fspath(each)
        fits = has_magic(path) and not os.path.lexists(path)
        found += (sorted(glob(path, recursive=True)) if fits else []) or [path]
    return found


def _array(pixels: np.ndarray[Any, Any]) -> Source:
    return array_images(pixels[None] if pixels.ndim == 3 else pixels, None)


def _opened(path: str, ignore_orientation: bool) -> tuple[Source, str]:
    """The images of a path, and what stands before their names."""
    if not os.path.lexists(path):
        what = "nothing fits this pattern" if has_magic(path) else "no such file or folder"
        raise RequestError(f"{what}; expected an image", position=Position(path))
    if os.path.isfile(path) and not _holds_several(path):
        folder, name = os.path.split(path)
        store = FolderStore(folder or ".", [name])
        return ImageSet(store, np.zeros(1, np.int32), ignore_orientation=ignore_orientation), folder
    return open_source(path, ignore_orientation=ignore_orientation), path


def _holds_several(path: str) -> bool:
    """Whether a file is an archive or a database; any other is taken for an image, whatever its name."""
    try:
        with open(path, "rb") as file:
            head = file.read(_HEAD)
    except OSError:  # which the image's reader says
        return False
    return path.lower().endswith((".bin", ".mdb")) or open_archive(path, head) is not None
