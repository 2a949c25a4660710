"""Image files with labels, as a `Source`: a store, and which of its files are meant in which order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from prototxt.names import shown
from verify.evaluation.datasets.decoding import decode
from verify.evaluation.datasets.labels import ImageList, Labels
from verify.evaluation.datasets.stores import Store, folder_of, images, tail_of
from verify.evaluation.records import Decoded, ImageFault, Item

StorePlaces = npt.NDArray[np.int32]
"""Where in a store's names an image is; -1 for one that is missing."""


@dataclass(frozen=True)
class ImageSet:
    """Images that lie in files.

    Attributes:
        store: where the files are.
        places: which of them, in order.
        labels: one an image, -1 for none; None where nobody says.
        missing: name by index, of the images that a list names and that are not there.
    """

    store: Store
    places: StorePlaces
    labels: Labels | None = None
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    missing: dict[int, str] = field(default_factory=dict)
    ignore_orientation: bool = False

    @property
    def where(self) -> str:
        """The path that the user gave."""
        return self.store.where

    def __len__(self) -> int:
        return len(self.places)

    def item(self, index: int) -> Item:
        """Name, with control characters as escapes, and label."""
        place = int(self.places[index])
        name = self.missing[index] if place < 0 else self.store.names[place]
        label = -1 if self.labels is None else int(self.labels[index])
        return Item(name if name.isprintable() else shown(name), None if label < 0 else label)

    def read(self, index: int, *, color: bool) -> Decoded:
        """The pixels.

        Raises:
            ImageFault: the file is missing, cannot be read or is damaged.
        """
        place = int(self.places[index])
        if place < 0:
            raise ImageFault(f"it is on the list, but not in {shown(self.where)}")
        data = self.store.read(place)
        return decode(data, color=color, ignore_orientation=self.ignore_orientation)


def find(listed: ImageList, store: Store) -> StorePlaces:
    """Where a list's names are in a store, under whichever way of writing them finds the most.

    As they are; without the leading folders that the data folder already ends with (`val/a.JPEG` in `.../val`); or
    behind the folders that hold all images of the store (`a.JPEG` in a tar of `val/`).
    """
    known = {name: place for place, name in enumerate(store.names)}
    best = np.full(len(listed.names), -1, np.int32)
    for change in _ways(store):
        places = np.fromiter((known.get(change(name), -1) for name in listed.names), np.int32, len(listed.names))
        if (places >= 0).sum() > (best >= 0).sum():
            best = places
        if (best >= 0).all():
            break
    return best


def common_folder(names: Sequence[str]) -> tuple[str, ...]:
    """The parts of the folder that all the files are in."""
    shared: tuple[str, ...] | None = None
    for folder in {folder_of(name) for name in names}:
        parts = tuple(folder.split("/")) if folder else ()
        if shared is None:
            shared = parts
        shared = shared[: next((i for i, (a, b) in enumerate(zip(shared, parts, strict=False)) if a != b), len(parts))]
    return shared or ()


def _ways(store: Store) -> list[Callable[[str], str]]:
    tail = tail_of(store.where)
    above = common_folder(images(store.names))
    ways: list[Callable[[str], str]] = [str]
    for count in range(1, min(len(tail), 8) + 1):
        ways.append(_without("/".join(tail[-count:]) + "/"))
    for count in range(len(above), 0, -1):
        ways.append(("/".join(above[:count]) + "/").__add__)
    return ways


def _without(prefix: str) -> Callable[[str], str]:
    return lambda name: name.removeprefix(prefix)
