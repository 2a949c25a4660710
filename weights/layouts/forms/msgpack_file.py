"""Flax's .msgpack: a tree of dictionaries, its arrays in MessagePack's extension types.

    ndarray     type 1: a message of its own: shape, the type's name, bytes in C order
    a scalar    type 3: the same
    above 1 GiB a dictionary {"__msgpack_chunked_array__": True, "shape": {"0": …}, "chunks": {"0": flat array, …}}

Names of the tree are joined by slashes. Source: flax/serialization.py.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import numpy.typing as npt

from prototxt.optional import need
from prototxt.words import first_line, named
from weights.layouts.arrays import Arrays, LazyArray
from weights.layouts.flax import tree
from weights.layouts.forms.reading import DAMAGE, fault, lazy
from weights.model import FloatArray
from weights.output import atomic_file

log = logging.getLogger(__name__)

_NDARRAY, _SCALAR = 1, 3
_CHUNKED: Final = "__msgpack_chunked_array__"
_CHUNK: Final = 1 << 28  # values, 1 GiB of them
_DEEPEST: Final = 64
_MOST_AXES: Final = 64
_TYPES: Final = set("bool float16 float32 float64 int8 int16 int32 int64 uint8 uint16 uint32 uint64".split())
_PACKAGE: Final = "'resnet-convert[flax]'"


def is_msgpack(head: bytes) -> bool:
    """By a file's first bytes: a dictionary, which begins with a string of up to 255 bytes."""
    if head[:1] == b"\xde":
        return _is_string(head[3:5])
    if head[:1] == b"\xdf":
        return _is_string(head[5:7])
    return 0x80 < (head[0] if head else 0) <= 0x8F and _is_string(head[1:3])


def _is_string(head: bytes) -> bool:
    return len(head) == 2 and (0xA1 <= head[0] <= 0xBF or head[0] == 0xD9)


@contextmanager
def opened(path: str) -> Iterator[dict[str, LazyArray]]:
    """The arrays of a tree by their names with slashes, all in memory."""
    msgpack = need("msgpack", _PACKAGE, "reading .msgpack files")
    unpack = partial(_unpacked, msgpack)
    try:
        data = Path(path).read_bytes()
        loaded = msgpack.unpackb(data, ext_hook=unpack, strict_map_key=False, max_array_len=_MOST_AXES)
        found: dict[str, npt.NDArray[Any]] = {}
        left_out: list[str] = []
        _flatten(loaded, "", found, left_out, 0)
    except (*DAMAGE, msgpack.UnpackException) as error:
        raise fault(path, f"is damaged: {first_line(error)}") from error
    if left_out:
        log.warning("%s: warning: left out, since they are no arrays: %s", path, named(left_out, 5))
    if not found:
        raise fault(path, "holds no arrays")
    yield {name: lazy(path, name, array.shape, partial(_self, array)) for name, array in found.items()}


def _self(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return array


def _unpacked(msgpack: Any, code: int, data: bytes) -> npt.NDArray[Any] | None:
    if code not in (_NDARRAY, _SCALAR):
        return None
    shape, kind, stored = msgpack.unpackb(data, raw=True, max_array_len=_MOST_AXES)
    sizes, name = tuple(map(int, shape)), bytes(kind).decode("ascii", "replace")
    if any(size < 0 for size in sizes):
        raise ValueError(f"an array of {sizes}")
    if name == "bfloat16":  # the upper half of a float32
        whole = np.frombuffer(stored, "<u2").astype("<u4") << 16
        return whole.view("<f4").reshape(sizes)
    if name not in _TYPES:
        raise ValueError(f"an array of {name}; expected numbers")
    return np.frombuffer(stored, np.dtype(name).newbyteorder("<")).reshape(sizes)


def _flatten(place: object, prefix: str, found: dict[str, npt.NDArray[Any]], left_out: list[str], depth: int) -> None:
    """Every array below a dictionary by its path."""
    if depth > _DEEPEST:
        raise ValueError(f"dictionaries are nested deeper than {_DEEPEST}")
    if isinstance(place, np.ndarray):
        found[prefix] = place
    elif isinstance(place, Mapping) and _CHUNKED in place:
        found[prefix] = _whole(place)
    elif isinstance(place, Mapping):
        for name, value in place.items():
            _flatten(value, f"{prefix}/{name}" if prefix else str(name), found, left_out, depth + 1)
    else:
        left_out.append(prefix or type(place).__name__)


def _whole(chunked: Mapping[str, Any]) -> npt.NDArray[Any]:
    shape, chunks = ([chunked[key][str(n)] for n in range(len(chunked[key]))] for key in ("shape", "chunks"))
    return np.concatenate(chunks).reshape(tuple(map(int, shape)))


def write_msgpack(path: str | os.PathLike[str], arrays: Arrays) -> None:
    """Write a file that `flax.serialization.msgpack_restore` and `from_bytes` read, one array in memory at a time.

    Args:
        path: the file to make or replace.
        arrays: by their names with slashes.

    Raises:
        RequestError: the file cannot be written.
        MissingDependencyError: msgpack is not installed.
    """
    msgpack = need("msgpack", _PACKAGE, "writing .msgpack files")
    with atomic_file(path) as out:
        _write(out, msgpack.Packer(autoreset=True), tree(arrays))


def _write(out: BinaryIO, packer: Any, place: Mapping[str, Any]) -> None:
    out.write(packer.pack_map_header(len(place)))
    for name, value in sorted(place.items()):  # as Flax does
        out.write(packer.pack(name))
        if isinstance(value, LazyArray):
            _write_array(out, packer, value.array())
        else:
            _write(out, packer, value)


def _write_array(out: BinaryIO, packer: Any, values: FloatArray) -> None:
    if values.size <= _CHUNK:
        out.write(packer.pack_ext_type(_NDARRAY, packer.pack([list(values.shape), "float32", values.tobytes()])))
        return
    flat = values.reshape(-1)
    chunks = {str(number): flat[start : start + _CHUNK] for number, start in enumerate(range(0, flat.size, _CHUNK))}
    out.write(packer.pack_map_header(3))
    out.write(packer.pack(_CHUNKED) + packer.pack(True))
    out.write(packer.pack("shape") + packer.pack({str(axis): size for axis, size in enumerate(values.shape)}))
    out.write(packer.pack("chunks") + packer.pack_map_header(len(chunks)))
    for number, chunk in chunks.items():
        out.write(packer.pack(number))
        _write_array(out, packer, chunk)
