"""Image files and labels put together into an `ImageSet`, whichever form the labels have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePosixPath

import numpy as np
import numpy.typing as npt

from prototxt.errors import Position, RequestError
from prototxt.names import shown
from prototxt.words import plural, unreadable
from verify.evaluation.datasets.image_set import ImageSet, StorePlaces, find
from verify.evaluation.datasets.labels import ImageList, read_annotation, read_ground_truth, read_image_list
from verify.evaluation.datasets.stores import Store, images, tail_of
from verify.evaluation.records import ImageFault


def unlabelled(store: Store) -> ImageSet:
    """Every image of a store, in sorted order.

    Raises:
        RequestError: there is none.
    """
    places = image_places(store)
    if not len(places):
        raise RequestError("holds no images", position=Position(store.where))
    return ImageSet(store, places)


def image_places(store: Store) -> StorePlaces:
    """Where the images of a store are."""
    known = set(images(store.names))
    return np.array([place for place, name in enumerate(store.names) if name in known], np.int32)


def by_image_list(store: Store, text: str, path: str, *, classes: int = 0) -> ImageSet:
    """The images that Caffe's val.txt names, in its order.

    Args:
        store, text, path: the images and the list.
        classes: how many there are, 0 where nobody says.

    Raises:
        RequestError: a line that is at fault, a label beyond the classes, or not one image is there.
    """
    listed = read_image_list(text, path)
    beyond = np.flatnonzero(listed.labels >= classes)
    if classes and len(beyond):
        first = int(beyond[0])
        raise RequestError(
            f"label {listed.labels[first]} is none of the {classes} classes that were listed, 0 to {classes - 1}",
            position=Position(path, int(listed.lines[first])),
        )
    places = find(listed, store)
    if not (places >= 0).any():
        raise RequestError(
            f"{shown(listed.names[0])!r} and the other images of the list are not in {shown(store.where)}",
            position=Position(path, int(listed.lines[0])),
        )
    missing = {int(index): listed.names[index] for index in np.flatnonzero(places < 0)}
    return ImageSet(store, places, listed.labels, notes=tuple(_list_notes(store, listed, places)), missing=missing)


def by_ground_truth(store: Store, text: str, path: str, to_label: npt.NDArray[np.int32]) -> ImageSet:
    """Every image of a store in sorted order, with ILSVRC's ground truth.

    Args:
        store, text, path: the images and the file.
        to_label: label of each ILSVRC ID, from ID 1 on.

    Raises:
        RequestError: a line that is at fault, or another number of lines than of images.
    """
    found = read_ground_truth(text, path, len(to_label))
    made = unlabelled(store)
    if len(made) != len(found):
        raise RequestError(
            f"has labels for {len(found)} images, but {shown(store.where)} holds {len(made)}; the ground truth "
            "goes with all images of the validation set in sorted order",
            position=Position(path),
        )
    return replace(made, labels=to_label[found])


def by_annotations(store: Store, annotations: Store, order: Mapping[str, int]) -> ImageSet:
    """Every image of a store in sorted order, with the class that the XML file of its name gives.

    Args:
        store: the images.
        annotations: the XML files.
        order: label by WordNet ID, or whatever names the classes.

    Raises:
        RequestError: an annotation that is at fault or names an unknown class, or none that fits an image.
    """
    by_stem = {
        PurePosixPath(name).stem: place for place, name in enumerate(annotations.names) if name.lower().endswith(".xml")
    }
    made = unlabelled(store)
    labels = np.full(len(made), -1, np.int32)
    ambiguous = 0
    for index, place in enumerate(made.places):
        found = by_stem.get(PurePosixPath(store.names[place]).stem)
        if found is not None:
            classes = _annotated(annotations, found, order)
            labels[index] = order[classes[0]]
            ambiguous += len(classes) > 1
    if (labels < 0).all():
        raise RequestError(
            f"none of its {len(by_stem)} annotations has the name of an image of {shown(store.where)}",
            position=Position(annotations.where),
        )
    without, over = int((labels < 0).sum()), len(by_stem) - int((labels >= 0).sum())
    notes = [
        f"{plural(without, 'image')} without an annotation, and so without a label" if without else "",
        f"{plural(over, 'annotation')} without an image" if over else "",
        f"{plural(ambiguous, 'annotation')} of several classes, the first of which counts" if ambiguous else "",
    ]
    return replace(made, labels=labels, notes=tuple(filter(None, notes)))


def _annotated(annotations: Store, place: int, order: Mapping[str, int]) -> tuple[str, ...]:
    path = f"{annotations.where}/{shown(annotations.names[place])}"
    try:
        data = annotations.read(place)
    except ImageFault as fault:
        raise RequestError(unreadable(fault), position=Position(path)) from fault
    classes = read_annotation(data, path)
    if classes[0] not in order:
        raise RequestError(f"{shown(classes[0])!r} is not among the {len(order)} classes", position=Position(path))
    return classes


def _list_notes(store: Store, listed: ImageList, places: StorePlaces) -> list[str]:
    notes, where = [], tail_of(store.where)[-1]
    missing = int((places < 0).sum())
    if missing:
        first = shown(listed.names[int(np.flatnonzero(places < 0)[0])])
        notes.append(f"{plural(missing, 'image')} of the list not found in {where}, the first: {first}")
    unnamed = len(set(image_places(store).tolist()).difference(places.tolist()))
    if unnamed:
        notes.append(f"{plural(unnamed, 'image')} of {where} left out: not on the list")
    repeated = len(listed.names) - len(set(listed.names))
    if repeated:
        name, count = Counter(listed.names).most_common(1)[0]
        again = f"{plural(repeated, 'line')} of the list for an image named before"
        notes.append(f"{again} ({shown(name)} is there {count} times)")
        if len(set(zip(listed.names, listed.labels.tolist(), strict=True))) > len(set(listed.names)):
            notes.append("the list gives some images several labels")
    return notes
