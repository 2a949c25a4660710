"""Files of named arrays, told apart by content: .safetensors, .npz, and HDF5 of Keras or of `--to hdf5`.

An array is read when it is asked for. Whole and half floats and integers come as float32; pickles are never opened.
"""

from __future__ import annotations

import lzma
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from math import prod
from tokenize import TokenError
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from prototxt.errors import Position, WeightsError
from prototxt.optional import need
from prototxt.words import first_line, format_shape, unreadable
from weights.blobproto import MAX_AXES, MAX_VALUES
from weights.layouts import keras
from weights.layouts.arrays import Arrays, LazyArray
from weights.model import FloatArray
from weights.output import atomic_file
from weights.safetensors_head import TensorEntry, safetensors_head
from weights.sniff import read_head

MAX_ARRAYS: Final = 200_000
_MAX_EXPANSION: Final = 1100  # deflate reaches 1032:1
_ALWAYS_FINE: Final = 1 << 16  # bytes; a chunked dataset that nobody wrote to has its fill value
_HDF5: Final = b"\x89HDF\r\n\x1a\n"
_DAMAGE: Final = (
    *(OSError, RuntimeError, ValueError, TypeError, KeyError, AttributeError, OverflowError, EOFError, MemoryError),
    *(SyntaxError, TokenError, RecursionError, struct.error, zlib.error, lzma.LZMAError, zipfile.BadZipFile),
)


def write_safetensors(path: str | os.PathLike[str], arrays: Arrays, metadata: Mapping[str, str] | None = None) -> None:
    """Write a .safetensors file, two arrays in memory at a time.

    Raises:
        RequestError: the file cannot be written.
    """
    entries = (TensorEntry(name, "float32", array.shape, array.nbytes) for name, array in arrays.items())
    head = safetensors_head(entries, metadata)
    with atomic_file(path) as out:
        out.write(head)
        for values in _ahead(arrays.values()):
            out.write(values.astype("<f4", copy=False).data if values.size else b"")


def _ahead(arrays: Iterable[LazyArray]) -> Iterator[FloatArray]:
    """The arrays in order, the next one made (transposing takes as long as writing) while one is in use."""
    with ThreadPoolExecutor(1) as pool:
        waiting = None
        for array in arrays:
            made = pool.submit(array.array)
            if waiting is not None:
                yield waiting.result()
            waiting = made
        if waiting is not None:
            yield waiting.result()


def is_array_file(path: str | os.PathLike[str]) -> bool:
    """Whether a file is .safetensors, .npz or HDF5 that is not Caffe's; else it may be a `.caffemodel`.

    Raises:
        WeightsError: the file is missing, unreadable or empty.
    """
    head = read_head(path)
    if _is_hdf5(head):
        with _hdf5(os.fspath(path)) as file, _undamaged(os.fspath(path)):
            return "data" not in file and not {"iter", "history"} & set(file)
    return _is_safetensors(head) or head.startswith(b"PK\x03\x04")


@contextmanager
def open_arrays(path: str | os.PathLike[str]) -> Iterator[dict[str, LazyArray]]:
    """The arrays of a file by name, in its order; they can be read while the block lasts.

    A `.weights.h5` of one of Keras' ResNets gives the names of the `keras` layout, other HDF5 `layer.parameter`.

    Raises:
        WeightsError: a damaged file, one of another kind, or arrays that are no numbers.
        MissingDependencyError: what reads the file is not installed.
    """
    name = os.fspath(path)
    head = read_head(name)
    if _is_hdf5(head):
        opener = _from_hdf5
    elif _is_safetensors(head):
        opener = _from_safetensors
    elif head.startswith(b"PK\x03\x04") and b".npy" in head:
        opener = _from_npz
    else:
        raise _fault(name, "is neither .safetensors nor .npz nor .h5")
    with ExitStack() as stack:
        with _undamaged(name):
            arrays = stack.enter_context(opener(name))
        if len(arrays) > MAX_ARRAYS:
            raise _fault(name, f"holds more than {MAX_ARRAYS:,} arrays")
        yield arrays


@contextmanager
def _undamaged(name: str) -> Iterator[None]:
    """Give what libraries raise at a damaged file, each in a way of its own, as an error of ours."""
    try:
        yield
    except _DAMAGE as fault:
        raise _fault(name, f"is damaged: {first_line(fault)}") from fault


@contextmanager
def _from_safetensors(name: str) -> Iterator[dict[str, LazyArray]]:
    library = need("safetensors", "safetensors", "reading .safetensors files")
    try:
        file = library.safe_open(name, framework="np")
    except library.SafetensorError as fault:
        raise _fault(name, f"is a damaged .safetensors file: {first_line(fault)}") from fault
    with file:
        arrays = {}
        for key in file.keys():  # noqa: SIM118 (it is no dictionary)
            shape = tuple(file.get_slice(key).get_shape())
            arrays[key] = _lazy(name, key, shape, partial(_tensor, file, key, library.SafetensorError))
        yield arrays


def _tensor(file: Any, key: str, fault: type[Exception]) -> npt.NDArray[Any]:
    try:
        return np.asarray(file.get_tensor(key))
    except fault as error:
        raise ValueError(first_line(error)) from error


@contextmanager
def _from_npz(name: str) -> Iterator[dict[str, LazyArray]]:
    with open(name, "rb") as raw, zipfile.ZipFile(raw) as archive:
        members = [info for info in archive.infolist() if info.filename.endswith(".npy")]
        keys = {info.filename.removesuffix(".npy"): info for info in members}
        yield {
            key: _lazy(name, key, _npy_shape(archive, key, info), partial(_npy, archive, info))
            for key, info in keys.items()
        }


def _npy_shape(archive: zipfile.ZipFile, key: str, info: zipfile.ZipInfo) -> tuple[int, ...]:
    if info.file_size > max(_MAX_EXPANSION * info.compress_size, _ALWAYS_FINE):
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


def _npy(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> npt.NDArray[Any]:
    with archive.open(info) as member:
        return np.asarray(np.lib.format.read_array(member, allow_pickle=False))


@contextmanager
def _from_hdf5(name: str) -> Iterator[dict[str, LazyArray]]:
    with _hdf5(name) as file:
        found: dict[str, LazyArray] = {}
        _collect(name, file, "", found, 0)
        if not found:
            raise _fault(name, "holds no arrays")
        known = keras.named(found)
        yield known if known is not None else {".".join(key.rsplit("/", 1)): array for key, array in found.items()}


def _collect(name: str, group: Any, prefix: str, found: dict[str, LazyArray], depth: int) -> None:
    """Every dataset below a group by its path; only hard links are followed."""
    h5py = need("h5py", "h5py", "reading .h5 files")
    if depth > 64 or len(found) > MAX_ARRAYS:
        raise _fault(name, "nests groups too deep or holds too many arrays")
    for key in group:
        if not isinstance(group.get(key, getlink=True), h5py.HardLink):
            raise _fault(name, f"has a link to elsewhere at {prefix + key!r}, which is not followed")
        item = group[key]
        if isinstance(item, h5py.Group):
            _collect(name, item, f"{prefix}{key}/", found, depth + 1)
        elif not isinstance(item, h5py.Dataset) or item.shape is None or item.is_virtual or item.external:
            raise _fault(name, f"{prefix + key!r} is no plain array of this file")
        else:
            needed, held = prod(item.shape) * item.dtype.itemsize, item.id.get_storage_size()
            if needed > max(held * _MAX_EXPANSION if item.compression else held, _ALWAYS_FINE):
                raise _fault(name, f"{prefix + key!r} needs {needed:,} bytes, but {held:,} are stored")
            found[prefix + key] = _lazy(name, prefix + key, item.shape, partial(item.__getitem__, ()))


@contextmanager
def _hdf5(name: str) -> Iterator[Any]:
    h5py = need("h5py", "h5py", "reading .h5 files")
    try:
        file = h5py.File(name, "r")
    except _DAMAGE as fault:
        raise _fault(name, f"is a damaged HDF5 file: {first_line(fault)}") from fault
    with file:
        yield file


def _lazy(path: str, name: str, shape: tuple[int, ...], load: Callable[[], npt.NDArray[Any]]) -> LazyArray:
    if len(shape) > MAX_AXES or prod(dim for dim in shape if dim) > MAX_VALUES:
        raise _fault(path, f"{name!r} is {format_shape(shape)}, more than Caffe can hold")

    def read() -> npt.NDArray[Any]:
        try:
            values = np.asarray(load())
        except _DAMAGE as fault:
            raise _fault(path, f"{name!r} {unreadable(fault)}") from fault
        if values.dtype.kind not in "fiu" or values.shape != shape:
            raise _fault(path, f"{name!r} holds {values.dtype} values; expected numbers")
        return values

    return LazyArray(tuple(map(int, shape)), read)


def _is_hdf5(head: bytes) -> bool:
    return any(head.startswith(_HDF5, offset) for offset in (0, 512, 1024, 2048))


def _is_safetensors(head: bytes) -> bool:
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 27


def _fault(path: str, message: str) -> WeightsError:
    return WeightsError(message, position=Position(path))
