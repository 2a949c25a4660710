"""Data sets as people have them: one function looks at what is there and gives a `Source`.

folder, .tar, .zip    with val.txt, ILSVRC's ground truth or XML annotations; class folders; or no labels at all
LMDB                  of Caffe's convert_imageset
CIFAR                 the binary versions, also in a tar
one image
"""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Final

from prototxt.errors import Position, RequestError
from prototxt.words import unreadable
from verify.evaluation.datasets.archives import TarStore, open_archive
from verify.evaluation.datasets.cifar import (
    CIFAR_FILES,
    CifarImages,
    cifar_file,
    cifar_folder,
    class_names,
    open_records,
)
from verify.evaluation.datasets.class_folders import class_folders
from verify.evaluation.datasets.class_order import ClassOrder, caffe_classes, listed_classes
from verify.evaluation.datasets.image_set import ImageSet
from verify.evaluation.datasets.labelling import by_annotations, by_ground_truth, by_image_list, unlabelled
from verify.evaluation.datasets.labels import is_ground_truth, text_of
from verify.evaluation.datasets.lmdb import LmdbImages, open_lmdb
from verify.evaluation.datasets.stores import FolderStore, Store
from verify.evaluation.records import ImageFault, Source

_LARGEST_LIST: Final = 1 << 30
_HEAD: Final = 512


def open_source(
    data: str | os.PathLike[str],
    *,
    labels: str | os.PathLike[str] | None = None,
    synsets: str | os.PathLike[str] | None = None,
    ignore_orientation: bool = False,
) -> Source:
    """The images of a data set with their labels.

    Args:
        data: a folder, an archive, an LMDB, a CIFAR file or an image.
        labels: Caffe's val.txt, ILSVRC's ground truth, or a folder or archive of XML annotations; also by its name
            inside `data`. Without it class folders tell the labels, if there are any.
        synsets: a list of the net's classes in label order, or ILSVRC's meta.mat; without it ILSVRC's are in Caffe's
            order.
        ignore_orientation: leave images as they are stored whatever their EXIF orientation, as OpenCV 2.4 did.

    Raises:
        RequestError: nothing there, nothing that is a data set, labels that are at fault or do not fit; it names the
            file, and the line of a list.
        MissingDependencyError: an LMDB without the `lmdb` package, meta.mat without scipy.
    """
    path = os.fspath(data)
    order = None if synsets is None else listed_classes(os.fspath(synsets))
    opened = _open(path, ignore_orientation)
    if not isinstance(opened, _Files):
        if labels is not None:
            raise _fault(path, "has its labels in it; leave out the file of labels")
        return replace(opened, classes=opened.classes if order is None else order.names)
    made = _labelled(opened.store, None if labels is None else os.fspath(labels), order)
    notes = (*opened.store.notes, *made.notes)
    return replace(made, notes=notes, ignore_orientation=ignore_orientation)


class _Files:
    """A store, for which labels are still to be found."""

    def __init__(self, store: Store) -> None:
        self.store = store


def _open(path: str, ignore_orientation: bool) -> LmdbImages | CifarImages | _Files:
    if _is_folder(path):
        if os.path.isfile(os.path.join(path, "data.mdb")):
            return open_lmdb(path, ignore_orientation=ignore_orientation)
        if os.path.isfile(os.path.join(path, "CURRENT")) and any(n.startswith("MANIFEST-") for n in os.listdir(path)):
            raise _fault(path, "is a LevelDB, which is not read here; convert_imageset makes an LMDB (--backend lmdb)")
        return cifar_folder(path) or _Files(FolderStore(path))
    if os.path.basename(path) == "data.mdb":
        return open_lmdb(os.path.dirname(path) or ".", ignore_orientation=ignore_orientation)
    head = _head(path)
    archive = open_archive(path, head)
    if archive is not None:
        return _cifar_in(archive) or _Files(archive)
    if path.lower().endswith(".bin"):
        return cifar_file(path)
    if head.startswith(b"\x80") and head[1:2] in (b"\2", b"\3", b"\4", b"\5"):
        raise _fault(path, "is a pickle, which could run any code and is not opened; CIFAR has a binary version too")
    image = FolderStore(os.path.dirname(path) or ".", [os.path.basename(path)])
    image.where = path
    return _Files(image)


def _labelled(store: Store, labels: str | None, order: ClassOrder | None) -> ImageSet:
    if labels is None:
        found = class_folders(store, order, caffe_classes())
        return found if found is not None else _without_labels(store)
    if os.path.isdir(labels):
        return _annotated(store, FolderStore(labels), order)
    if not os.path.exists(labels) and labels in store.names:
        path = f"{store.where}/{labels}"
        data = _inside(store, labels, path)
    else:
        head, path = _head(labels), labels
        annotations = open_archive(labels, head)
        if annotations is not None:
            return _annotated(store, annotations, order)
        data = _read_list(labels)
    text = text_of(data, path)
    if is_ground_truth(text):
        chosen = order or caffe_classes()
        if chosen.of_id is None:
            raise _fault(path, "holds IDs of ILSVRC 2012, but the list of classes has other classes than that")
        return replace(by_ground_truth(store, text, path, chosen.of_id), classes=chosen.names)
    names = () if order is None else order.names
    return replace(by_image_list(store, text, path, classes=len(names)), classes=names)


def _annotated(store: Store, annotations: Store, order: ClassOrder | None) -> ImageSet:
    chosen = order or caffe_classes()
    return replace(by_annotations(store, annotations, chosen.labels), classes=chosen.names)


def _without_labels(store: Store) -> ImageSet:
    made = unlabelled(store)
    lists = [name for name in store.names if PurePosixPath(name).name in ("val.txt", "test.txt", "train.txt")]
    note = f"{lists[0]} is in it, and was not read: name it as the file of labels" if lists else ""
    return replace(made, notes=(note,) if note else ())


def _cifar_in(archive: Store) -> CifarImages | None:
    """CIFAR's test images in a tar, as they are downloaded."""
    by_name = {PurePosixPath(name).name: place for place, name in enumerate(archive.names)}
    for name, (meta, label_bytes) in CIFAR_FILES.items():
        if name in by_name and meta in by_name:
            if not isinstance(archive, TarStore):
                raise _fault(archive.where, "is a CIFAR in a zip, which is not read as it is; unpack it")
            offset, size = archive.extent(by_name[name])
            classes = class_names(_inside(archive, archive.names[by_name[meta]], archive.where))
            made = open_records(
                archive.where, archive.file, offset, size, label_bytes=label_bytes, classes=classes, name=name
            )
            return replace(made, notes=archive.notes)
    return None


def _inside(store: Store, name: str, path: str) -> bytes:
    try:
        return store.read(list(store.names).index(name))
    except ImageFault as fault:
        raise _fault(path, unreadable(fault)) from fault


def _is_folder(path: str) -> bool:
    """Raises RequestError for what is neither a folder nor a file."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as fault:  # ValueError: a null character
        raise _fault(path, unreadable(fault)) from fault
    if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
        raise _fault(path, "is neither a folder nor a file")
    return stat.S_ISDIR(mode)


def _head(path: str) -> bytes:
    if _is_folder(path):
        raise _fault(path, "is a folder; a file is needed")
    try:
        with open(path, "rb") as file:
            head = file.read(_HEAD)
    except OSError as fault:
        raise _fault(path, unreadable(fault)) from fault
    if not head:
        raise _fault(path, "is empty")
    return head


def _read_list(path: str) -> bytes:
    size = os.path.getsize(path)
    if size > _LARGEST_LIST:
        raise _fault(path, f"has {size >> 20} MB, which no list of labels has")
    with open(path, "rb") as file:
        return file.read()


def _fault(path: str, message: str) -> RequestError:
    return RequestError(message, position=Position(path))
