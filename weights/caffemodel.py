"""Caffe's binary weight file: a NetParameter message, indexed in place.

    NetParameter      1 name   100 layer (V2)   2 layers (V1; V0 inside)
    LayerParameter    1 name     2 type   3 bottom   4 top   7 blobs
    V1LayerParameter  4 name     5 type   6 blobs    1 layer (V0)
    V0LayerParameter  1 name     2 type  50 blobs

Where a file has both `layers` and `layer`, the old ones count: Caffe's upgrade builds the net from them alone.
"""

from __future__ import annotations

import logging
import os
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Final

from prototxt.errors import Position, WeightsError
from prototxt.names import from_bytes
from weights.blobproto import BlobFault, BlobReader
from weights.legacy import v0_type, v1_type
from weights.model import LayerWeights, Weights
from weights.pieces import PiecewiseFile
from weights.wire import LENGTH, VARINT, Malformed, Wire

log = logging.getLogger(__name__)

MAX_ITEMS: Final = 200_000
BOTTOM, TOP = 3, 4
"""Fields of a layer in today's form."""


@dataclass(eq=False, repr=False)
class _Fields:
    """What one layer's message said, before its blobs are read."""

    name: str = ""
    type: str = ""
    blobs: list[tuple[int, int]] = field(default_factory=list)
    bottoms: list[str] = field(default_factory=list)
    tops: list[str] = field(default_factory=list)


class _Index:
    """One walk over a NetParameter."""

    def __init__(self, wire: Wire, blobs: BlobReader, path: str) -> None:
        self._wire = wire
        self._blobs = blobs
        self._path = path
        self._items = 0
        self._left_out: dict[str, list[str]] = {}

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
        for what, (first, *others) in self._left_out.items():
            more = f" and {len(others)} more have" if others else " has"
            log.warning("%s: warning: %s%s %s, which Caffe does not read: left out", self._path, first, more, what)
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
            elif number == BOTTOM:
                found.bottoms.append(self._text(value, end))
            elif number == TOP:
                found.tops.append(self._text(value, end))

    def _text(self, start: int, stop: int) -> str:
        return from_bytes(self._wire.piece(start, stop))

    def _layer(self, found: _Fields) -> LayerWeights:
        self._items += 1 + len(found.blobs)
        if self._items > MAX_ITEMS:
            raise Malformed(f"it holds more than {MAX_ITEMS:,} layers and blobs")
        blobs = []
        for index, (start, stop) in enumerate(found.blobs):
            try:
                blobs.append(self._blobs.read(start, stop))
                for what in self._blobs.left_out:
                    self._left_out.setdefault(what, []).append(f"blob {index} of layer {found.name!r}")
            except (BlobFault, Malformed) as fault:
                joint = " " if isinstance(fault, BlobFault) else " is damaged: "
                raise WeightsError(
                    f"blob {index}{joint}{fault}",
                    position=Position(self._path),
                    layer=found.name,
                    layer_type=found.type or None,
                ) from fault
        return LayerWeights(found.name, found.type, tuple(blobs), bottoms=tuple(found.bottoms), tops=tuple(found.tops))


def open_caffemodel(path: str | os.PathLike[str]) -> Weights:
    """Open and index a `.caffemodel`.

    Raises:
        WeightsError: it cannot be read, is damaged, or a blob's shape and numbers disagree.
    """
    with ExitStack() as on_failure:
        file = on_failure.enter_context(PiecewiseFile(path))
        wire = file.wire()
        try:
            name, layers = _Index(wire, BlobReader(wire, file.read), file.path).net(wire.size)
        except Malformed as fault:
            raise WeightsError(f"is damaged or cut short: {fault}", position=Position(file.path)) from fault
        if not layers:
            raise WeightsError("is no .caffemodel: it holds no layers", position=Position(file.path))
        on_failure.pop_all()
    return Weights(file.path, layers, name=name, closer=file.close)
