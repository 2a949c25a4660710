"""The forms of files that hold arrays by name: told apart by content when they are read, by ending when written.

A form has a module with `opened`, which gives the arrays while its block lasts, and a function that writes them.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Final, NamedTuple, TypeAlias

from weights.layouts.arrays import LazyArray
from weights.layouts.forms import hdf5, msgpack_file, npz, pickle_file, safetensors_file, torch_file

Opener: TypeAlias = Callable[[str], AbstractContextManager[dict[str, LazyArray]]]


class _Form(NamedTuple):
    begins: Callable[[bytes], bool]
    opened: Opener


_FORMS: Final = (
    _Form(hdf5.is_hdf5, hdf5.opened),
    _Form(safetensors_file.is_safetensors, safetensors_file.opened),
    _Form(torch_file.is_legacy, torch_file.opened),
    _Form(pickle_file.is_pickle, pickle_file.opened),
    _Form(msgpack_file.is_msgpack, msgpack_file.opened),
)

READ: Final = ".safetensors, .npz, .h5, .pth, .pkl, .msgpack"
"""What they are called."""


def opener_of(path: str | os.PathLike[str], head: bytes) -> Opener | None:
    """What opens a file that begins with `head`; None for a file of no form that is known here."""
    if head.startswith(b"PK\x03\x04"):
        return _opener_of_zip(path, head)
    return next((form.opened for form in _FORMS if form.begins(head)), None)


def _opener_of_zip(path: str | os.PathLike[str], head: bytes) -> Opener | None:
    """By the names in it, which in a damaged one stand at its beginning alone."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, ValueError, RuntimeError, NotImplementedError, zipfile.BadZipFile):
        names = [name for name in ("data.pkl", ".npy") if name.encode() in head]
    if torch_file.is_in(names):
        return torch_file.opened
    return npz.opened if any(name.endswith(".npy") for name in names) else None
