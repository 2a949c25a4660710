"""HDF5 of Keras, or of `--to hdf5`; only hard links are followed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from math import prod
from typing import Any, Final

from prototxt.optional import need
from prototxt.words import first_line
from weights.layouts import keras
from weights.layouts.arrays import LazyArray
from weights.layouts.forms.reading import ALWAYS_FINE, DAMAGE, MAX_ARRAYS, MAX_EXPANSION, fault, lazy, undamaged

_MAGIC: Final = b"\x89HDF\r\n\x1a\n"


def is_hdf5(head: bytes) -> bool:
    """By a file's first bytes."""
    return any(head.startswith(_MAGIC, offset) for offset in (0, 512, 1024, 2048))


def is_caffes(path: str) -> bool:
    """Whether an HDF5 file is Caffe's: weights, or a solver's state.

    Raises:
        WeightsError: it is damaged.
    """
    with _file(path) as file, undamaged(path):
        return "data" in file or bool({"iter", "history"} & set(file))


@contextmanager
def opened(path: str) -> Iterator[dict[str, LazyArray]]:
    """The arrays of a file, each read when it is asked for, as `open_arrays` names them."""
    with _file(path) as file:
        found: dict[str, LazyArray] = {}
        _collect(path, file, "", found, 0)
        if not found:
            raise fault(path, "holds no arrays")
        known = keras.named(found)
        yield known if known is not None else {".".join(key.rsplit("/", 1)): array for key, array in found.items()}


def _collect(path: str, group: Any, prefix: str, found: dict[str, LazyArray], depth: int) -> None:
    """Every dataset below a group by its path."""
    h5py = need("h5py", "h5py", "reading .h5 files")
    if depth > 64 or len(found) > MAX_ARRAYS:
        raise fault(path, "nests groups too deep or holds too many arrays")
    for key in group:
        if not isinstance(group.get(key, getlink=True), h5py.HardLink):
            raise fault(path, f"has a link to elsewhere at {prefix + key!r}, which is not followed")
        item = group[key]
        if isinstance(item, h5py.Group):
            _collect(path, item, f"{prefix}{key}/", found, depth + 1)
        elif not isinstance(item, h5py.Dataset) or item.shape is None or item.is_virtual or item.external:
            raise fault(path, f"{prefix + key!r} is no plain array of this file")
        else:
            needed, held = prod(item.shape) * item.dtype.itemsize, item.id.get_storage_size()
            if needed > max(held * MAX_EXPANSION if item.compression else held, ALWAYS_FINE):
                raise fault(path, f"{prefix + key!r} needs {needed:,} bytes, but {held:,} are stored")
            found[prefix + key] = lazy(path, prefix + key, item.shape, partial(item.__getitem__, ()))


@contextmanager
def _file(path: str) -> Iterator[Any]:
    h5py = need("h5py", "h5py", "reading .h5 files")
    try:
        file = h5py.File(path, "r")
    except DAMAGE as error:
        raise fault(path, f"is a damaged HDF5 file: {first_line(error)}") from error
    with file:
        yield file
