"""NumPy's archives: a zip of .npy files."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from prototxt.words import format_shape
from weights.layouts.arrays import Arrays, LazyArray
from weights.layouts.forms.reading import ALWAYS_FINE, MAX_EXPANSION, lazy
from weights.output import atomic_file


@contextmanager
def opened(path: str) -> Iterator[dict[str, LazyArray]]:
    """The arrays of a file, each read when it is asked for; pickles in it are never opened."""
    with open(path, "rb") as raw, zipfile.ZipFile(raw) as archive:
        members = [info for info in archive.infolist() if info.filename.endswith(".npy")]
        keys = {info.filename.removesuffix(".npy"): info for info in members}
        yield {
            key: lazy(path, key, _shape(archive, key, info), partial(_array, archive, info))
            for key, info in keys.items()
        }


def _shape(archive: zipfile.ZipFile, key: str, info: zipfile.ZipInfo) -> tuple[int, ...]:
    if info.file_size > max(MAX_EXPANSION * info.compress_size, ALWAYS_FINE):
        raise ValueError(f"{key!r} has {info.file_size:,} bytes, but {info.compress_size:,} bytes are stored")
    with archive.open(info) as member:
        version = np.lib.format.read_magic(member)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(member)
    if dtype.hasobject:
        raise ValueError(f"{key!r} holds Python objects, which are never read")
    if prod(shape) * dtype.itemsize > info.file_size:
        raise ValueError(f"{key!r} is {format_shape(shape)}, but {info.file_size:,} bytes are stored")
    return tuple(shape)


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> npt.NDArray[Any]:
    with archive.open(info) as member:
        return np.asarray(np.lib.format.read_array(member, allow_pickle=False))


def write_npz(path: str | os.PathLike[str], arrays: Arrays) -> None:
    """Write an .npz, not compressed, one array in memory at a time.

    Raises:
        RequestError: the file cannot be written.
    """
    with atomic_file(path) as out, zipfile.ZipFile(out, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array.array(), allow_pickle=False)
