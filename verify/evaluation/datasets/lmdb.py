"""An LMDB that Caffe's `convert_imageset` made: one Datum an image, in the order of its keys.

A Datum holds an encoded file (`--encoded`), or planes of bytes in BGR as OpenCV decoded them, or floats, and the label.
The keys stay in memory as one run of bytes, the labels as 4 bytes each, the rest in the file.
"""

from __future__ import annotations

import os
import threading
from array import array
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Final
from weakref import WeakValueDictionary

import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError

from prototxt.caffe_pb2 import Datum
from prototxt.errors import Position, RequestError
from prototxt.names import shown
from prototxt.optional import need
from prototxt.words import unreadable
from verify.evaluation.datasets.decoding import decode, opencv
from verify.evaluation.datasets.labels import LARGEST_LABEL, Labels
from verify.evaluation.records import Decoded, ImageFault, Item, Pixels
from weights.wire import LENGTH, VARINT, Malformed, Wire, signed

_LABEL: Final = 5
_DATA: Final = 4
_FLOATS: Final = 6
_opened: WeakValueDictionary[str, Any] = WeakValueDictionary()
_opening = threading.Lock()


@dataclass(frozen=True)
class LmdbImages:
    """The images of a database.

    Attributes:
        path: the folder, as the user gave it.
        keys: all keys, one after the other.
        ends: where each key ends in `keys`.
        labels: one a key, -1 where the Datum has none or is damaged.
    """

    path: str
    keys: bytes
    ends: npt.NDArray[np.int64]
    labels: Labels
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    ignore_orientation: bool = False
    _environment: _Environment = field(default_factory=lambda: _Environment(""), repr=False)

    @property
    def where(self) -> str:
        """The path that the user gave."""
        return self.path

    def __len__(self) -> int:
        return len(self.ends)

    def item(self, index: int) -> Item:
        """The key as text, and the label."""
        label = int(self.labels[index])
        return Item(shown(self._key(index).decode("utf-8", "replace")), None if label < 0 else label)

    def read(self, index: int, *, color: bool) -> Decoded:
        """The pixels.

        Raises:
            ImageFault: the Datum is damaged, or holds no image.
        """
        value = self._environment.get(self._key(index))
        if value is None:
            raise ImageFault("its key is not in the database any more")
        try:
            datum = Datum.FromString(value)
        except DecodeError as fault:
            raise ImageFault("its Datum is damaged") from fault
        if datum.encoded:
            return decode(datum.data, color=color, ignore_orientation=self.ignore_orientation)
        return _as_asked(_stored_planes(datum), color)

    def _key(self, index: int) -> bytes:
        return self.keys[int(self.ends[index - 1]) if index else 0 : int(self.ends[index])]


def open_lmdb(path: str, *, ignore_orientation: bool = False) -> LmdbImages:
    """The images of a database, which is opened for reading only and without a lock file.

    Args:
        path: the folder that has data.mdb in it.
        ignore_orientation: of encoded images; see `decode`.

    Raises:
        RequestError: it is no LMDB, damaged or cut short, empty, or has labels that are no classes.
        MissingDependencyError: the `lmdb` package is not installed.
    """
    environment = _Environment(os.path.abspath(path))
    index = _Index(path)
    try:
        _refuse_cut_short(environment, path)
        with environment.open().begin(buffers=True) as transaction:
            for key, value in transaction.cursor():
                index.add(bytes(key), value)
    except (_package().Error, OSError) as fault:
        raise RequestError(f"is no LMDB, or a damaged one: {fault}", position=Position(path)) from fault
    count = len(index.ends)
    if not count:
        raise RequestError("is an empty LMDB", position=Position(path))
    if index.damaged == count:
        raise RequestError("is an LMDB whose values are not what convert_imageset writes", position=Position(path))
    return LmdbImages(
        path,
        bytes(index.keys),
        np.array(index.ends, np.int64),
        np.array(index.labels, np.int32),
        notes=(f"{index.damaged} values of the database are no Datum",) if index.damaged else (),
        ignore_orientation=ignore_orientation,
        _environment=environment,
    )


class _Index:
    """Keys and labels of a database while they are gathered."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.keys = bytearray()
        self.ends = array("q")
        self.labels = array("i")
        self.damaged = 0

    def add(self, key: bytes, value: Any) -> None:
        """Raises RequestError for a label that is no class."""
        self.keys += key
        self.ends.append(len(self.keys))
        try:
            label = _label(value)
        except Malformed:
            label = None
            self.damaged += 1
        if label is not None and not 0 <= label <= LARGEST_LABEL:
            name = shown(key.decode("utf-8", "replace"))
            raise RequestError(f"the label of {name} is {label}; labels count from 0", position=Position(self.path))
        self.labels.append(-1 if label is None else label)


class _Environment:
    """An LMDB environment, opened when first read; shared, since LMDB allows a process but one for each path.

    One that a fork inherits goes on working: nothing is written, and there is no table of readers to be in.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._held: Any = None

    def open(self) -> Any:
        if self._held is None:
            with _opening:
                key = os.path.realpath(self.path)
                held = _opened.get(key)
                if held is None:
                    held = _package().open(self.path, readonly=True, lock=False, create=False, max_spare_txns=16)
                    _opened[key] = held
                self._held = held
        return self._held

    def get(self, key: bytes) -> bytes | None:
        """Raises ImageFault where the database cannot be read."""
        try:
            with self.open().begin() as transaction:
                value: bytes | None = transaction.get(key)
                return value
        except _package().Error as fault:
            raise ImageFault(f"the database {unreadable(fault)}") from fault

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "_held": None}


def _package() -> ModuleType:
    return need("lmdb", "lmdb", "reading an LMDB")


def _refuse_cut_short(environment: _Environment, path: str) -> None:
    """LMDB maps the file, so that a page which is not there ends the whole process."""
    opened = environment.open()
    needed = (opened.info()["last_pgno"] + 1) * opened.stat()["psize"]
    size = os.path.getsize(os.path.join(path, "data.mdb"))
    if size < needed:
        raise RequestError(f"data.mdb is cut short: it has {size} of {needed} bytes", position=Position(path))


def _label(value: Any) -> int | None:
    """The label of a Datum, None where it has none; looks at the keys of its fields only.

    Raises:
        Malformed: it is no Datum.
    """
    label, content = None, False
    for number, kind, found, _ in Wire(value).records(0, len(value)):
        if number == _LABEL and kind == VARINT:
            label = signed(found, 32)
        content |= number == _FLOATS or (number == _DATA and kind == LENGTH)
    if not content:
        raise Malformed("it has no pixels")
    return label


def _stored_planes(datum: Any) -> Pixels:
    """C×H×W of a Datum that is not encoded."""
    shape = (datum.channels, datum.height, datum.width)
    if min(shape) < 1 or datum.channels not in (1, 3):
        raise ImageFault(f"its Datum is {shape[0]}×{shape[1]}×{shape[2]}; an image has 1 or 3 channels")
    values: npt.NDArray[Any] = np.frombuffer(datum.data, np.uint8)
    if not values.size:
        values = np.fromiter(datum.float_data, np.float32)
        if not np.array_equal(values, np.clip(np.rint(values), 0, 255)):
            raise ImageFault("its Datum holds floats that are no pixels from 0 to 255")
    if values.size != shape[0] * shape[1] * shape[2]:
        raise ImageFault(f"its Datum has {values.size} values for {shape[0]}×{shape[1]}×{shape[2]}")
    return values.reshape(shape).astype(np.uint8, copy=False)


def _as_asked(planes: Pixels, color: bool) -> Decoded:
    cv2 = opencv()
    if len(planes) == 1:
        return Decoded(cv2.merge([planes[0]] * 3), ("greyscale",)) if color else Decoded(planes[0].copy())
    pixels = cv2.merge(list(planes))
    return Decoded(pixels if color else cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY))
