"""NaN and infinity among stored numbers, looked for while a blob is read for another reason, where it is."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from math import prod
from typing import Final, NamedTuple

import numpy as np

from weights.model import Blob, FloatArray, LayerWeights, Weights, in_parts

_TOGETHER: Final = 1 << 16  # values that are looked at together, so that they stay in the processor's cache


class NonFinite(NamedTuple):
    """A blob with numbers that are none: how many NaN and how many infinities of how many values."""

    layer: LayerWeights
    blob: int
    nans: int
    infinities: int
    values: int


class CheckedWeights(Weights):
    """The same weights; whoever reads a blob to its end has looked for NaN and infinity, and `nonfinite` need not."""

    def __init__(self, weights: Weights) -> None:
        layers = [
            replace(layer, blobs=tuple(map(_watched, layer.blobs))) if layer.blobs else layer
            for layer in weights.layers
        ]
        super().__init__(weights.path, layers, name=weights.name, closer=weights.close)


def nonfinite(weights: Weights, names: Collection[str] | None = None) -> Iterator[NonFinite]:
    """Each blob that holds NaN or infinity, in file order; reads a part at a time what nobody has looked at yet.

    Args:
        weights: where to look.
        names: of the layers that count; by default all of them.
    """
    for layer in weights.layers:
        if names is not None and layer.name not in names:
            continue
        for index, blob in enumerate(layer.blobs):
            if blob.stored:
                nans, infinities = _found(blob)
                if nans or infinities:
                    yield NonFinite(layer, index, nans, infinities, prod(blob.shape))


def _watched(blob: Blob) -> Blob:
    return Blob(blob.shape, blob.legacy, _Watched(blob.read)) if blob.stored else blob


class _Watched:
    """Reads a blob, and counts NaN and infinities the first time."""

    def __init__(self, read: Callable[[], FloatArray]) -> None:
        self._read = read
        self.found: tuple[int, int] | None = None

    def __call__(self) -> FloatArray:
        values = self._read()
        if self.found is None:
            self.found = _count(values)
        return values

    def parts(self) -> Iterator[FloatArray]:
        """As of `Blob`."""
        if self.found is not None:
            yield from in_parts(self._read)
            return
        nans = infinities = 0
        for part in in_parts(self._read):
            more = _count(part)
            nans, infinities = nans + more[0], infinities + more[1]
            yield part
        self.found = nans, infinities


def _found(blob: Blob) -> tuple[int, int]:
    watched = blob.read if isinstance(blob.read, _Watched) else _Watched(blob.read)
    if watched.found is None:
        for _ in watched.parts():
            pass
    assert watched.found is not None
    return watched.found


def _count(values: FloatArray) -> tuple[int, int]:
    """How many are NaN, and how many infinite."""
    flat, nans, infinities = values.reshape(-1), 0, 0
    for begin in range(0, flat.size, _TOGETHER):
        some = flat[begin : begin + _TOGETHER]
        if not np.isfinite(some).all():
            nans += int(np.isnan(some).sum())
            infinities += int(np.isinf(some).sum())
    return nans, infinities
