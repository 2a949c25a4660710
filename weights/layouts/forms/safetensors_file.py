"""safetensors: a JSON head, then the arrays."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from prototxt.optional import need
from prototxt.words import first_line
from weights.layouts.arrays import Arrays, LazyArray
from weights.layouts.forms.reading import fault, lazy
from weights.model import FloatArray
from weights.output import atomic_file
from weights.safetensors_head import TensorEntry, safetensors_head


def is_safetensors(head: bytes) -> bool:
    """By a file's first bytes."""
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 27


@contextmanager
def opened(path: str) -> Iterator[dict[str, LazyArray]]:
    """The arrays of a file, each read when it is asked for."""
    library = need("safetensors", "safetensors", "reading .safetensors files")
    try:
        file = library.safe_open(path, framework="np")
    except library.SafetensorError as error:
        raise fault(path, f"is a damaged .safetensors file: {first_line(error)}") from error
    with file:
        arrays = {}
        for key in file.keys():  # noqa: SIM118 (it is no dictionary)
            shape = tuple(file.get_slice(key).get_shape())
            arrays[key] = lazy(path, key, shape, partial(_tensor, file, key, library.SafetensorError))
        yield arrays


def _tensor(file: Any, key: str, kind: type[Exception]) -> npt.NDArray[Any]:
    try:
        return np.asarray(file.get_tensor(key))
    except kind as error:
        raise ValueError(first_line(error)) from error


def write_safetensors(path: str | os.PathLike[str], arrays: Arrays, metadata: Mapping[str, str] | None = None) -> None:
    """Write a .safetensors file, two arrays in memory at a time.

    Raises:
        RequestError: the file cannot be written.
    """
    entries = (TensorEntry(name, "float32", array.shape, array.nbytes) for name, array in arrays.items())
    head = safetensors_head(entries, metadata)
    with atomic_file(path) as out:
        out.write(head)
        for values in ahead(arrays.values()):
            out.write(values.astype("<f4", copy=False).data if values.size else b"")


def ahead(arrays: Iterable[LazyArray]) -> Iterator[FloatArray]:
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
