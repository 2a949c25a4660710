"""CIFAR-10 and CIFAR-100 in their binary versions: records of label bytes and 32×32 planes of red, green and blue.

CIFAR-10    1 label byte,  3073 bytes a record: test_batch.bin, data_batch_1.bin ... in cifar-10-batches-bin
CIFAR-100   coarse and fine label, 3074 bytes a record: test.bin, train.bin in cifar-100-binary

Source: https://www.cs.toronto.edu/~kriz/cifar.html. The python versions are pickles, which run code when they are
opened, so they are refused.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

import numpy as np

from prototxt.errors import Position, RequestError
from prototxt.names import shown
from prototxt.words import unreadable
from verify.evaluation.datasets.decoding import opencv
from verify.evaluation.datasets.labels import Labels
from verify.evaluation.datasets.stores import SharedFile
from verify.evaluation.records import Decoded, ImageFault, Item

_PIXELS: Final = 3 * 32 * 32
_AT_ONCE: Final = 1000
CIFAR_FILES: Final = {"test_batch.bin": ("batches.meta.txt", 1), "test.bin": ("fine_label_names.txt", 2)}
"""Test file: the file of its class names, and label bytes in a record."""

_PICKLES: Final = ("test_batch", "data_batch_1", "batches.meta")


@dataclass(frozen=True)
class CifarImages:
    """Images of one binary file.

    Attributes:
        path: as the user gave it.
        file: holds the records.
        name: of the file, the first part of each image's name.
        offset: where in the file the records begin.
        label_bytes: 1 or 2 in each record, the last of them the class.
    """

    path: str
    file: SharedFile
    name: str
    offset: int
    label_bytes: int
    labels: Labels
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def where(self) -> str:
        """The path that the user gave."""
        return self.path

    def __len__(self) -> int:
        return len(self.labels)

    def item(self, index: int) -> Item:
        """`test_batch.bin/17` and its label."""
        return Item(f"{self.name}/{index}", int(self.labels[index]))

    def read(self, index: int, *, color: bool) -> Decoded:
        """The pixels; grey as OpenCV makes it of them.

        Raises:
            ImageFault: the file cannot be read any more.
        """
        size = self.label_bytes + _PIXELS
        try:
            record = self.file.read(self.offset + index * size, size)
        except OSError as fault:
            raise ImageFault(f"the file {unreadable(fault)}") from fault
        if len(record) < size:
            raise ImageFault("the file is cut short there")
        planes = np.frombuffer(record, np.uint8, offset=self.label_bytes).reshape(3, 32, 32)
        pixels = planes[::-1].transpose(1, 2, 0)  # a view: the net wants planes again
        if color:
            return Decoded(pixels)
        cv2 = opencv()
        return Decoded(cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY))


def cifar_folder(folder: str) -> CifarImages | None:
    """The test images of an unpacked CIFAR folder; None where it is none.

    Raises:
        RequestError: it holds the python version, or a damaged file.
    """
    for name, (meta, label_bytes) in CIFAR_FILES.items():
        path = os.path.join(folder, name)
        named = os.path.isfile(os.path.join(folder, meta))
        if os.path.isfile(path) and (named or name == "test_batch.bin"):
            classes = _names(os.path.join(folder, meta)) if named else ()
            file, size = SharedFile(path), os.path.getsize(path)
            return open_records(folder, file, 0, size, label_bytes=label_bytes, classes=classes, name=name)
    if sum(os.path.isfile(os.path.join(folder, name)) for name in _PICKLES) >= 2:
        raise python_version(folder)
    if os.path.isfile(os.path.join(folder, "meta")) and os.path.isfile(os.path.join(folder, "test")):
        raise python_version(folder)
    return None


def cifar_file(path: str) -> CifarImages:
    """The images of a `.bin` file, of either kind by its size, and by its name where the size leaves it open.

    Raises:
        RequestError: it is neither.
    """
    size = os.path.getsize(path)
    kinds = [label_bytes for label_bytes in (1, 2) if size and size % (label_bytes + _PIXELS) == 0]
    if not kinds:
        message = f"is no CIFAR file: its {size} bytes are not a number of records of 3073 (CIFAR-10) or 3074 bytes"
        raise RequestError(message, position=Position(path))
    label_bytes = kinds[-1] if os.path.basename(path) in ("test.bin", "train.bin") else kinds[0]
    meta = os.path.join(os.path.dirname(path), "batches.meta.txt" if label_bytes == 1 else "fine_label_names.txt")
    classes = _names(meta) if os.path.isfile(meta) else ()
    name = shown(os.path.basename(path))
    return open_records(path, SharedFile(path), 0, size, label_bytes=label_bytes, classes=classes, name=name)


def open_records(
    path: str, file: SharedFile, offset: int, size: int, *, label_bytes: int, classes: tuple[str, ...], name: str
) -> CifarImages:
    """Images in a part of a file.

    Args:
        path: for messages.
        file: holds the records.
        offset, size: of the part, in bytes.
        label_bytes: 1 for CIFAR-10, 2 for CIFAR-100.
        classes: their names, empty where not known.
        name: of the part, for the names of images.

    Raises:
        RequestError: the part is no number of records, or a label is no class.
    """
    record, count = label_bytes + _PIXELS, 10 if label_bytes == 1 else 100
    if not size or size % record:
        message = f"is no CIFAR-{count} file or is cut short: its {size} bytes are not a number of records of {record}"
        raise RequestError(message, position=Position(path))
    labels = np.empty(size // record, np.int32)
    for start in range(0, len(labels), _AT_ONCE):
        wanted = min(_AT_ONCE, len(labels) - start) * record
        try:
            data = file.read(offset + start * record, wanted)
        except OSError as fault:
            raise RequestError(unreadable(fault), position=Position(path)) from fault
        if len(data) < wanted:
            raise RequestError("is cut short", position=Position(path))
        labels[start : start + _AT_ONCE] = np.frombuffer(data, np.uint8)[label_bytes - 1 :: record]
    strange = np.flatnonzero(labels >= count)
    if len(strange):
        first = int(strange[0])
        message = f"is no CIFAR-{count} file: record {first + 1} has label {labels[first]} of {count} classes"
        raise RequestError(message, position=Position(path))
    return CifarImages(path, file, name, offset, label_bytes, labels, classes if len(classes) == count else ())


def python_version(path: str) -> RequestError:
    """The refusal of the pickled version."""
    message = (
        "is the python version of CIFAR, a pickle that could run any code; take the binary version from the same page"
    )
    return RequestError(message, position=Position(path))


def class_names(data: bytes) -> tuple[str, ...]:
    """The names in `batches.meta.txt` or `fine_label_names.txt`."""
    return tuple(shown(name) for name in data.decode("utf-8", "replace").split())


def _names(path: str) -> tuple[str, ...]:
    with open(path, "rb") as file:
        return class_names(file.read(1 << 16))
