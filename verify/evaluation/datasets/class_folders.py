"""Class folders: the images of a class in a folder of its name, as torchvision's ImageFolder has them.

The classes are the sorted names of the folders. Where all of them are WordNet IDs of ILSVRC 2012 they are in Caffe's
order, even if only some of the thousand are there; a list of classes of the user's may give another order.

The class is the last folder of a path (`test/bird/0001.jpg`), except folders that are the same for all
(`n01443537/images/0.JPEG`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from prototxt.errors import Position, RequestError
from prototxt.names import shown
from prototxt.words import few, plural
from verify.evaluation.datasets.class_order import ClassOrder
from verify.evaluation.datasets.image_set import ImageSet, common_folder
from verify.evaluation.datasets.labels import Labels
from verify.evaluation.datasets.stores import Store, folder_of, images

_SHOWN = 3


def class_folders(store: Store, order: ClassOrder | None, builtin: ClassOrder) -> ImageSet | None:
    """The images of a store labelled by their folders; None where they all lie in one.

    Args:
        store: the files.
        order: of the classes, where the user gives it.
        builtin: Caffe's.

    Raises:
        RequestError: a folder that `order` does not name.
    """
    names = images(store.names)
    above = common_folder(names)
    level = _level([folder_of(name) for name in names], above)
    if level is None:
        return _one_folder(store, names, above, order or builtin)
    of_image = [_part(folder_of(name), level) for name in names]
    classes = sorted({*filter(None, of_image), *_empty(store, above, level)})
    chosen = _choose(classes, order, builtin, store)
    numbers = np.fromiter((chosen.labels.get(name, -1) for name in of_image), np.int32, len(names))
    remarks = _remarks(of_image, classes, names, level, above)
    if chosen is builtin and len(classes) < len(builtin.labels):
        remarks.append(f"{len(classes)} of the {len(builtin.labels)} classes of ILSVRC 2012 are there")
    return _image_set(store, names, numbers, chosen.names, remarks)


def _level(folders: Sequence[str], above: Sequence[str]) -> int | None:
    """Which part of the images' folders is the class: the last that is not the same for all; None without any.

    Where some images lie deeper than others it is the first below the folders that all are in.
    """
    parts = {tuple(folder.split("/")) if folder else () for folder in folders}
    depths = {len(entry) for entry in parts if len(entry) > len(above)}
    if not depths:
        return None
    if len(depths) > 1:
        return len(above)
    below = [entry for entry in parts if len(entry) > len(above)]
    (depth,) = depths
    varying = [at for at in range(len(above), depth) if len({entry[at] for entry in below}) > 1]
    return varying[-1] if varying else depth - 1


def _one_folder(store: Store, names: Sequence[str], above: Sequence[str], order: ClassOrder) -> ImageSet | None:
    """All images in one folder: that is a class only where a list of classes says so."""
    label = order.labels.get(above[-1]) if above else None
    if label is None:
        return None
    return _image_set(store, names, np.full(len(names), label, np.int32), order.names, ())


def _choose(classes: Sequence[str], order: ClassOrder | None, builtin: ClassOrder, store: Store) -> ClassOrder:
    if order is not None:
        strange = [name for name in classes if name not in order.labels]
        if strange:
            message = f"the list of classes does not name these folders: {_some(strange)}"
            raise RequestError(message, position=Position(store.where))
        return order
    if all(name in builtin.labels for name in classes):
        return builtin
    return ClassOrder({name: i for i, name in enumerate(classes)}, tuple(map(shown, classes)), None)


def _some(names: Sequence[str]) -> str:
    return few(list(map(shown, names)), _SHOWN)


def _remarks(
    of_image: Sequence[str], classes: Sequence[str], names: Sequence[str], level: int, above: Sequence[str]
) -> list[str]:
    notes = []
    stray = of_image.count("")
    if stray:
        notes.append(f"{plural(stray, 'image')} beside the class folders, not in one, and so without a label")
    empty = sorted(set(classes).difference(of_image))
    if empty:
        notes.append(f"{len(empty)} class folders hold no image and count as classes all the same: {_some(empty)}")
    if level > len(above):
        several = sorted({name.split("/")[len(above)] for name in names if name.count("/") > level})
        if len(several) > 1:
            notes.append(f"the class folders of {len(several)} folders were put together: {_some(several)}")
    return notes


def _empty(store: Store, above: Sequence[str], level: int) -> list[str]:
    """Folders beside the class folders, which hold images or not; they count, as in torchvision."""
    if level > len(above):
        return []
    prefix = "".join(f"{part}/" for part in above)
    return [
        folder[len(prefix) :]
        for folder in store.folders
        if folder.startswith(prefix) and "/" not in folder[len(prefix) :]
    ]


def _part(folder: str, level: int) -> str:
    parts = folder.split("/", level + 1)
    return parts[level] if len(parts) > level else ""


def _image_set(
    store: Store, names: Sequence[str], labels: Labels, classes: tuple[str, ...], notes: Sequence[str]
) -> ImageSet:
    known = {name: place for place, name in enumerate(store.names)}
    places = np.fromiter((known[name] for name in names), np.int32, len(names))
    return ImageSet(store, places, labels, classes, tuple(notes))
