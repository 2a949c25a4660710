"""Caffe's binary weight file: a NetParameter message, indexed in place.

    NetParameter      1 name   100 layer (V2)   2 layers (V1; V0 inside)
    LayerParameter    1 name     2 type   7 blobs
    V1LayerParameter  4 name     5 type   6 blobs    1 layer (V0)
    V0LayerParameter  1 name     2 type  50 blobs

Where a file has both `layers` and `layer`, the old ones count: Caffe's upgrade builds the net from them alone.
"""

from __future__ import annotations

import logging
import mmap
import os
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from prototxt.errors import Position, WeightsError

from .blobproto import BlobFault, BlobReader
from .legacy import v0_type, v1_type
from .model import LayerWeights, Weights
from .wire import LENGTH, VARINT, ByteArray, Malformed, Wire

log = logging.getLogger(__name__)

MAX_ITEMS: Final = 200_000


class MappedFile:
    """A file mapped copy-on-write: arrays into it are writable, so that torch takes them, and never change the file."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Map `path`.

        Raises:
            WeightsError: it cannot be read or is empty.
        """
        self.path = os.fspath(path)
        try:
            with open(self.path, "rb") as file:
                self.map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        except (OSError, ValueError) as fault:
            reason = fault.strerror if isinstance(fault, OSError) and fault.strerror else str(fault)
            raise WeightsError(f"cannot be read: {reason}", position=Position(self.path)) from fault
        # Arrays must be made from this one: `np.ndarray(..., buffer=map)` does not keep the map from being closed,
        # and reading such an array afterwards is a segmentation fault.
        self._bytes: ByteArray | None = np.frombuffer(self.map, np.uint8)

    def data(self) -> ByteArray:
        """The bytes; raises WeightsError once closed."""
        if self._bytes is None:
            raise WeightsError("is closed, its weights can be read no more", position=Position(self.path))
        return self._bytes

    def close(self) -> None:
        """Unmap, or where arrays still look into the map let the last of them do it."""
        self._bytes = None
        try:
            self.map.close()
        except BufferError:
            log.debug("%s stays mapped while arrays look into it", self.path)


@dataclass
class _Fields:
    """What one layer's message said, before its blobs are read."""

    name: str = ""
    type: str = ""
    blobs: list[tuple[int, int]] = field(default_factory=list)


class _Index:
    """One walk over a NetParameter."""

    def __init__(self, wire: Wire, blobs: BlobReader, path: str) -> None:
        self._wire = wire
        self._blobs = blobs
        self._path = path
        self._items = 0

    def net(self, size: int) -> tuple[str, list[LayerWeights]]:
        name = ""
        old: list[LayerWeights] = []
        new: list[LayerWeights] = []
        for number, kind, value, stop in self._wire.records(0, size):
            if kind != LENGTH:
                continue
            if number == 100:
                new.append(self._layer(self._v2(value, stop)))
            elif number == 2:
                old.append(self._layer(self._v1(value, stop)))
            elif number == 1:
                name = self._text(value, stop)
        if old and new:
            log.warning("%s has layers of the old and of the new form: as in Caffe only the old count", self._path)
        return name, old or new

    def _v2(self, start: int, stop: int) -> _Fields:
        found = _Fields()
        self._walk(found, start, stop, name=1, type_name=2, blobs=7)
        return found

    def _v1(self, start: int, stop: int) -> _Fields:
        found = _Fields()
        nested = _Fields()
        is_v0 = False
        for number, kind, value, end in self._wire.records(start, stop):
            if number == 1 and kind == LENGTH:
                is_v0 = True
                self._walk(nested, value, end, name=1, type_name=2, blobs=50)
            elif number == 4 and kind == LENGTH:
                found.name = self._text(value, end)
            elif number == 5 and kind == VARINT:
                kept = v1_type(value)
                found.type = found.type if kept is None else kept
            elif number == 6 and kind == LENGTH:
                found.blobs.append((value, end))
        if is_v0:
            nested.type = v0_type(nested.type)
            return nested
        return found

    def _walk(self, found: _Fields, start: int, stop: int, *, name: int, type_name: int, blobs: int) -> None:
        for number, kind, value, end in self._wire.records(start, stop):
            if kind != LENGTH:
                continue
            if number == blobs:
                found.blobs.append((value, end))
            elif number == name:
                found.name = self._text(value, end)
            elif number == type_name:
                found.type = self._text(value, end)

    def _text(self, start: int, stop: int) -> str:
        return self._wire.data[start:stop].decode("utf-8", "backslashreplace")

    def _layer(self, found: _Fields) -> LayerWeights:
        self._items += 1 + len(found.blobs)
        if self._items > MAX_ITEMS:
            raise Malformed(f"it holds more than {MAX_ITEMS:,} layers and blobs")
        blobs = []
        for index, (start, stop) in enumerate(found.blobs):
            try:
                blobs.append(self._blobs.read(start, stop))
            except (BlobFault, Malformed) as fault:
                joint = " " if isinstance(fault, BlobFault) else " is damaged: "
                raise WeightsError(
                    f"blob {index}{joint}{fault}",
                    position=Position(self._path),
                    layer=found.name,
                    layer_type=found.type or None,
                ) from fault
        return LayerWeights(found.name, found.type, tuple(blobs))


def open_caffemodel(path: str | os.PathLike[str]) -> Weights:
    """Map and index a `.caffemodel`.

    Raises:
        WeightsError: it cannot be read, is damaged, or a blob's shape and numbers disagree.
    """
    file = MappedFile(path)
    with ExitStack() as on_failure:
        on_failure.callback(file.close)
        with Wire(file.map) as wire:
            try:
                name, layers = _Index(wire, BlobReader(wire, file.data), file.path).net(len(file.map))
            except Malformed as fault:
                raise WeightsError(f"is damaged or cut short: {fault}", position=Position(file.path)) from fault
        if not layers:
            raise WeightsError("is no .caffemodel: it holds no layers", position=Position(file.path))
        on_failure.pop_all()
    return Weights(file.path, layers, name=name, closer=file.close)
