"""A layout's arrays as a file: the form is that of the file's ending."""

from __future__ import annotations

import os
from pathlib import Path

from weights.layouts import keras
from weights.layouts.arrays import Arrays
from weights.layouts.base import Layout
from weights.layouts.forms.msgpack_file import write_msgpack
from weights.layouts.forms.npz import write_npz
from weights.layouts.forms.pickle_file import write_pickle
from weights.layouts.forms.safetensors_file import write_safetensors
from weights.layouts.forms.torch_file import write_torch

ANY = (".safetensors", ".npz")
"""What every layout can be written as."""


def endings(layout: Layout) -> tuple[str, ...]:
    """Of the files that a layout can be written as."""
    return (*ANY, *layout.endings)


def write_arrays(path: str | os.PathLike[str], arrays: Arrays, layout: Layout) -> None:
    """Write what `layout.to` gave to a file that ends in one of its `endings`.

    Raises:
        RequestError: the file cannot be written.
        MissingDependencyError: what writes it is not installed.
    """
    suffix = Path(path).suffix
    if suffix in (".pth", ".pt"):
        write_torch(path, arrays, layout.state_key, layout.beside)
    elif suffix == ".pkl":
        write_pickle(path, arrays, layout.state_key, layout.beside)
    elif suffix == ".msgpack":
        write_msgpack(path, arrays)
    elif suffix == ".h5":
        keras.write_h5(path, arrays)
    elif suffix == ".npz":
        write_npz(path, arrays)
    else:
        write_safetensors(path, arrays, {"format": "pt", "resnet_convert.layout": layout.name})
