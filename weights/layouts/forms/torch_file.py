"""PyTorch's files: .pth, .pt, .ckpt, as a zip or in the form before it; .pth.tar is the same.

Read by `torch.load(weights_only=True)` and in no other way, all tensors at once; numbers that numpy has no type for
(bfloat16, float8) come as float32. Written by `torch.save`.
"""

from __future__ import annotations

import os
import pickle
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import IO, Any, Final, cast

import numpy as np
import numpy.typing as npt

from prototxt.optional import need_torch
from prototxt.words import first_line
from weights.hdf5_file import KeepingFile
from weights.layouts.arrays import Arrays, LazyArray
from weights.layouts.forms.checkpoint import state_of
from weights.layouts.forms.reading import ALWAYS_FINE, DAMAGE, fault, lazy, refuse_expansion
from weights.output import atomic_path

_LEGACY: Final = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"
_EXPANSION: Final = 16  # torch.save compresses nothing; who packs such a file anew gains a little
_ASKED: Final = re.compile(r"GLOBAL ([\w.]+)")
_STATED: Final = re.compile(r"WeightsUnpickler error:\s*(.+)")
_WRONG: Final = (*DAMAGE, pickle.PickleError, AssertionError)


def is_legacy(head: bytes) -> bool:
    """Whether a file begins as PyTorch's did before 1.6."""
    return head[:1] == b"\x80" and head.startswith(_LEGACY, 2)


def is_in(members: list[str]) -> bool:
    """Whether the files of a zip are those of one of PyTorch's."""
    return any(name == "data.pkl" or name.endswith("/data.pkl") for name in members)


@contextmanager
def opened(path: str) -> Iterator[dict[str, LazyArray]]:
    """The tensors of a state dict, or of a checkpoint that has one in it, by name."""
    torch = need_torch("reading PyTorch's files")
    if zipfile.is_zipfile(path):
        _check_archive(path)
    state = state_of(_loaded(torch, path), path, lambda value: isinstance(value, torch.Tensor))
    for name, tensor in state.items():
        _check_size(path, name, tensor, torch)
    yield {name: lazy(path, name, tuple(tensor.shape), partial(_values, tensor)) for name, tensor in state.items()}


def _loaded(torch: Any, path: str) -> object:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old forms, which are read all the same
            loaded: object = torch.load(path, map_location="cpu", weights_only=True)
            return loaded
    except _WRONG as error:
        asked, stated = _ASKED.search(str(error)), _STATED.search(str(error))
        if asked is None:
            raise fault(path, f"is damaged: {stated[1] if stated else first_line(error)}") from error
        why = f"holds {asked[1]}, which torch.load(weights_only=True) does not read, and nothing else is run here"
        raise fault(path, f"{why}; save model.state_dict() alone where the file comes from") from error


def _check_archive(path: str) -> None:
    """Refuse what no `torch.save` made, before PyTorch unpacks it."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    names = [member.filename for member in members]
    if any("/code/" in name for name in names) and any(name.endswith("constants.pkl") for name in names):
        raise fault(path, "is a TorchScript archive, which is code; save the module's state_dict() instead")
    needed, stored = sum(member.file_size for member in members), os.path.getsize(path)
    most = stored if all(member.compress_type == zipfile.ZIP_STORED for member in members) else _EXPANSION * stored
    if needed > max(most, ALWAYS_FINE):
        raise fault(path, f"unpacks to {needed:,} bytes, but {stored:,} are stored")


def _check_size(path: str, name: str, tensor: Any, torch: Any) -> None:
    """Refuse a view that repeats a few numbers without end."""
    if tensor.layout != torch.strided or tensor.is_meta:
        raise fault(path, f"{name!r} is {'meta' if tensor.is_meta else tensor.layout}; expected a tensor with numbers")
    refuse_expansion(path, name, tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes())


def _values(tensor: Any) -> npt.NDArray[Any]:
    plain = tensor.detach().resolve_conj().resolve_neg()
    known = plain.dtype.itemsize > 1 and str(plain.dtype) != "torch.bfloat16"
    if plain.is_floating_point() and not known:
        plain = plain.float()
    values: npt.NDArray[Any] = plain.numpy()
    return values


def write_torch(
    path: str | os.PathLike[str], arrays: Arrays, key: str = "", beside: Mapping[str, object] | None = None
) -> None:
    """Write a file that `torch.load(weights_only=True)` reads, all arrays in memory at once.

    Args:
        path: the file to make or replace.
        arrays: by their names in the state dict.
        key: under which the state dict lies in a checkpoint around it; empty for none.
        beside: what else that one holds.

    Raises:
        RequestError: the file cannot be written.
        MissingDependencyError: PyTorch is not installed.
    """
    torch = need_torch("writing PyTorch's files")
    state = {name: torch.from_numpy(np.require(array.array(), requirements="W")) for name, array in arrays.items()}
    with atomic_path(path) as temporary:
        save({**(beside or {}), key: state} if key else state, temporary)


def save(content: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """`torch.save`, whose own error hides why a file cannot be written.

    Raises:
        OSError: writing failed; the first failure.
    """
    import torch

    with KeepingFile(path) as out:
        torch.save(content, cast(IO[bytes], out))
