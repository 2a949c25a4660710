"""Files of named arrays, told apart by content: .safetensors, .npz, .pth, .pkl, .msgpack, HDF5 of Keras or ours.

Numbers of any type come as float32. What a file says is to be run never is.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from weights.layouts.arrays import LazyArray
from weights.layouts.forms import READ, hdf5, opener_of
from weights.layouts.forms.reading import MAX_ARRAYS, fault, undamaged
from weights.layouts.forms.safetensors_file import write_safetensors
from weights.sniff import read_head


def is_array_file(path: str | os.PathLike[str]) -> bool:
    """Whether a file is of one of these forms, and no HDF5 of Caffe's; else it may be a `.caffemodel`.

    Raises:
        WeightsError: the file is missing, unreadable or empty.
    """
    head = read_head(path)
    if hdf5.is_hdf5(head):
        return not hdf5.is_caffes(os.fspath(path))
    return opener_of(path, head) is not None


@contextmanager
def open_arrays(path: str | os.PathLike[str]) -> Iterator[dict[str, LazyArray]]:
    """The arrays of a file by name, in its order; they can be read while the block lasts.

    A `.weights.h5` of one of Keras' ResNets gives the names of the `keras` layout, other HDF5 `layer.parameter`, Flax'
    trees names with slashes. Of a checkpoint the arrays are those of its state dict, without the prefix `module.`.

    Raises:
        WeightsError: a damaged file, one of another kind, or arrays that are no numbers.
        MissingDependencyError: what reads the file is not installed.
    """
    name = os.fspath(path)
    opened = opener_of(name, read_head(name))
    if opened is None:
        raise fault(name, f"is none of {READ}")
    with ExitStack() as stack:
        with undamaged(name):
            arrays = stack.enter_context(opened(name))
        if len(arrays) > MAX_ARRAYS:
            raise fault(name, f"holds more than {MAX_ARRAYS:,} arrays")
        yield arrays


def read_state(path: str | os.PathLike[str]) -> dict[str, npt.NDArray[Any]]:
    """All arrays of a file by name, in memory, of the types that it has; bfloat16 and float8 as float32.

    Arguments and errors as of `open_arrays`.
    """
    with open_arrays(path) as arrays:
        return {name: np.array(array.read()) for name, array in arrays.items()}


__all__ = ["is_array_file", "open_arrays", "read_state", "write_safetensors"]
