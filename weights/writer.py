"""The writer of `.caffemodel`: today's form (V2), packed floats, streamed."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from math import prod
from typing import Final

import numpy as np

from prototxt.names import to_bytes
from weights.model import Blob, LayerRecord, LayerWeights
from weights.output import atomic_file
from weights.strip import without_fields
from weights.wire import LENGTH, encoded, prefixed

log = logging.getLogger(__name__)

MAX_CAFFE: Final = 2**31 - 1


def write_caffemodel(path: str | os.PathLike[str], name: str, layers: Iterable[LayerWeights]) -> None:
    """Write a V2 `.caffemodel`, a part of a blob in memory at a time where blobs are read so.

    Blobs keep their form: one of the old four-dimensional form is written in it, since Caffe lets only that one stand
    for fewer dimensions. A `LayerRecord` brings its other settings along.

    Args:
        path: the file to make or replace.
        name: the net's name.
        layers: in the order to be written; may be lazy.

    Raises:
        RequestError: the file cannot be written.
        WeightsError: a blob cannot be read.
    """
    with atomic_file(path) as out:
        if name:
            out.write(prefixed(1, to_bytes(name)))
        for layer in layers:
            head = prefixed(1, to_bytes(layer.name)) + prefixed(2, to_bytes(layer.type))
            if isinstance(layer, LayerRecord):
                head += without_fields(layer.param, {1, 2, 7})
            frames = [_frame(blob) for blob in layer.blobs]
            length = len(head) + sum(map(len, frames)) + sum(4 * prod(blob.shape) for blob in layer.blobs)
            out.write(encoded(100 << 3 | LENGTH) + encoded(length) + head)
            for frame, blob in zip(frames, layer.blobs, strict=True):
                out.write(frame)
                for part in blob.parts():
                    out.write(np.require(part, "<f4", "C").data)
        if out.tell() > MAX_CAFFE:
            log.warning("%s is larger than 2 GiB: the original Caffe cannot read it", path)


def _frame(blob: Blob) -> bytes:
    """What goes before a blob's floats: its record in the layer, its shape, and the key and length of `data`."""
    if blob.legacy:
        shape = b"".join(encoded(n << 3) + encoded(dim) for n, dim in enumerate(blob.shape, 1))
    else:
        shape = prefixed(7, prefixed(1, b"".join(map(encoded, blob.shape))))
    size = 4 * prod(blob.shape)
    head = shape + encoded(5 << 3 | LENGTH) + encoded(size)
    return encoded(7 << 3 | LENGTH) + encoded(len(head) + size) + head
