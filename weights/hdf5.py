"""Caffe's HDF5 weight file: `/data/<layer>/<index>`, one dataset a blob (Net::ToHDF5, CopyTrainedLayersFromHDF5).

A `/` in a layer's name makes nested groups, so a layer is any group under `/data` that holds datasets, or nothing at
all. A parameter that another layer owns is left out, so that a layer may have blob 1 and no blob 0. `/diff`, of the
same form, holds gradients.

HDF5 can point out of itself and promise more than it has. Only hard links are followed; external and virtual data, and
datasets larger than their bytes in the file could be, are refused.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from importlib import import_module
from math import prod
from types import ModuleType
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import numpy as np

from prototxt.errors import MissingDependencyError, Position, RequestError, WeightsError
from prototxt.names import from_bytes, is_utf8, to_bytes
from prototxt.words import first_line, format_shape, unreadable
from weights.blobproto import MAX_AXES, MAX_VALUES
from weights.hdf5_file import new_hdf5
from weights.match import hole
from weights.model import Blob, FloatArray, LayerWeights, Weights
from weights.output import atomic_path

if TYPE_CHECKING:
    import h5py

Link: TypeAlias = str | bytes
MAX_ITEMS: Final = 200_000
MAX_DEPTH: Final = 64
_BLOB_INDEX: Final = "0|[1-9][0-9]{0,4}"
_MAX_EXPANSION: Final = 1100  # deflate reaches 1032:1
_ALWAYS_FINE: Final = 1 << 16  # bytes
_DAMAGE: Final = (OSError, RuntimeError, ValueError, TypeError, KeyError, AttributeError, OverflowError, MemoryError)


def open_hdf5(path: str | os.PathLike[str], *, part: Literal["data", "diff"] = "data") -> Weights:
    """The layers of a `.caffemodel.h5`; numbers are read when a blob is asked for them. HDF5 knows no layer types.

    Args:
        path: the file.
        part: `data` for the weights, `diff` for the gradients that a snapshot may hold beside them.

    Raises:
        WeightsError: the file is damaged, not Caffe's, or one of its datasets is not plain numbers.
        MissingDependencyError: h5py is not installed.
    """
    h5 = _library("read")
    name = os.fspath(path)
    try:
        file = h5.File(name, "r")
    except _DAMAGE as fault:
        raise WeightsError(f"is a damaged HDF5 file: {first_line(fault)}", position=Position(name)) from fault
    try:
        layers = _Reader(name, h5).layers(file, part)
    except BaseException:
        file.close()
        raise
    return Weights(name, layers, closer=file.close)


def write_hdf5(path: str | os.PathLike[str], layers: Iterable[LayerWeights]) -> None:
    """Write `layers` as a `.caffemodel.h5` that the original Caffe loads, one blob in memory at a time.

    Raises:
        RequestError: a name that HDF5 cannot hold, layers that need the same place, or the file cannot be written.
        MissingDependencyError: h5py is not installed.
    """
    h5 = _library("write")
    written: set[str] = set()
    with atomic_path(path) as temporary, new_hdf5(temporary) as file:
        data = file.create_group("data")
        for layer in layers:
            if layer.name in written:
                raise RequestError(f"HDF5 cannot hold two layers named {layer.name!r}")
            written.add(layer.name)
            arrays = ((str(index), blob) for index, blob in enumerate(layer.blobs) if blob.stored)
            try:
                group = _new_group(h5, data, layer.name)
                for key, blob in arrays:
                    group.create_dataset(key, data=blob.array(), dtype="<f4")
            except (TypeError, ValueError) as fault:  # h5py's ways to say that a name is taken
                raise RequestError(f"HDF5 has no place left for layer {layer.name!r}: {first_line(fault)}") from fault
            except RuntimeError as fault:
                raise OSError(first_line(fault)) from fault


class _Reader:
    """One walk over the groups under `/data`."""

    def __init__(self, path: str, library: ModuleType) -> None:
        self._path = path
        self._h5 = library
        self._items = 0
        self._layers: list[LayerWeights] = []

    def layers(self, file: h5py.File, part: str) -> list[LayerWeights]:
        try:
            if part not in file:
                raise self._fault(_no_data(set(file), part))
            root = self._child(file, part)
            if not self._is_group(root):
                raise self._fault(f"has a dataset where the group {part!r} belongs")
            for link in root:
                self._visit(root, link, _name(link), 1)
        except _DAMAGE as fault:
            raise self._fault(f"is a damaged HDF5 file: {first_line(fault)}") from fault
        if not self._layers:
            raise self._fault(f"holds no layers under {part!r}")
        return self._layers

    def _visit(self, parent: h5py.Group, link: Link, name: str, depth: int) -> None:
        """Note the group `link` as a layer, its subgroups as further ones."""
        if depth > MAX_DEPTH:
            raise self._fault(f"nests groups deeper than {MAX_DEPTH}")
        group = self._child(parent, link)
        if not self._is_group(group):
            raise self._fault(f"has a dataset {name!r} where a layer belongs")
        blobs: dict[int, Blob] = {}
        groups: list[Link] = []
        for key in group:
            child = self._child(group, key)
            if self._is_group(child):
                groups.append(key)
            elif not re.fullmatch(_BLOB_INDEX, _name(key)):
                raise self._fault(f"has a dataset {_name(key)!r} where blobs are numbered", name)
            else:
                blobs[int(key)] = self._blob(child, name, int(key))
        if blobs or not groups:
            count = max(blobs, default=-1) + 1
            self._note_items(count - len(blobs))
            filled = tuple(blobs.get(index) or hole() for index in range(count))
            self._layers.append(LayerWeights(name, "", filled))
        for key in groups:
            self._visit(group, key, f"{name}/{_name(key)}", depth + 1)

    def _child(self, group: h5py.Group, key: Link) -> h5py.Group | h5py.Dataset:
        self._note_items(1)
        link = key.encode() if isinstance(key, str) else key
        if group.id.links.get_info(link).type != self._h5.h5l.TYPE_HARD:
            raise self._fault(f"has a link to elsewhere at {_name(key)!r}, which is not followed")
        return group[key]

    def _note_items(self, count: int) -> None:
        self._items += count
        if self._items > MAX_ITEMS:
            raise self._fault(f"holds more than {MAX_ITEMS:,} layers and blobs")

    def _is_group(self, item: object) -> bool:
        return isinstance(item, self._h5.Group)

    def _blob(self, dataset: h5py.Dataset, layer: str, index: int) -> Blob:
        if not isinstance(dataset, self._h5.Dataset):
            raise self._fault(f"blob {index} is no array", layer)
        shape = dataset.shape
        if shape is None or dataset.dtype.kind not in "fiu" or dataset.dtype.shape:
            raise self._fault(f"blob {index} holds no numbers", layer)
        if len(shape) > MAX_AXES or prod(dim for dim in shape if dim) > MAX_VALUES:
            raise self._fault(f"blob {index} is {format_shape(shape)}, more than Caffe can hold", layer)
        if dataset.is_virtual or dataset.external:
            raise self._fault(f"blob {index} lies in another file, which is not read", layer)
        needed, held = prod(shape) * dataset.dtype.itemsize, dataset.id.get_storage_size()
        most = held * _MAX_EXPANSION if dataset.compression else held
        if needed > max(most, _ALWAYS_FINE if dataset.chunks else 0):
            raise self._fault(
                f"blob {index} is {format_shape(shape)}, {needed:,} bytes, but {held:,} bytes are stored", layer
            )
        return Blob(tuple(shape), False, self._numbers(dataset, layer, index))

    def _numbers(self, dataset: h5py.Dataset, layer: str, index: int) -> Callable[[], FloatArray]:
        size = _size(dataset)

        def read() -> FloatArray:
            try:
                with np.errstate(over="ignore", invalid="ignore"):
                    values = np.require(dataset[()], np.float32, "C")
                if _size(dataset) < size:  # behind the file's end the library reads zeros
                    raise OSError("the file was cut short while it was read")
                return values
            except _DAMAGE as fault:
                why = unreadable(fault) if dataset else "cannot be read: the file is closed"
                raise self._fault(f"blob {index} {why}", layer) from fault

        return read

    def _fault(self, message: str, layer: str | None = None) -> WeightsError:
        return WeightsError(message, position=Position(self._path), layer=layer)


def _size(dataset: h5py.Dataset) -> int:
    """Bytes of the file that a dataset lies in."""
    return os.fstat(dataset.file.id.get_vfd_handle()).st_size


def _no_data(keys: set[str], part: str) -> str:
    if {"iter", "history"} & keys:
        return "is a solver state (.solverstate.h5), which has no weights: give the .caffemodel.h5 saved with it"
    if {"model_weights", "layer_names"} & keys:
        return "is a Keras weight file, not Caffe's"
    return f"is an HDF5 file but not Caffe's: it has no group {part!r}"


def _new_group(library: ModuleType, data: h5py.Group, name: str) -> h5py.Group:
    if "\0" in name or any(part in ("", ".") for part in name.split("/")):
        raise RequestError(f"HDF5 cannot hold a layer named {name!r}")
    if is_utf8(name):
        return data.require_group(name)
    for part in to_bytes(name).split(b"/"):  # h5py itself writes UTF-8 alone
        known = data.id.links.exists(part)
        data = data[part] if known else library.Group(library.h5g.create(data.id, part))
    return data


def _name(link: Link) -> str:
    """A link's name; h5py gives bytes that are no UTF-8 as such."""
    return from_bytes(link.encode() if isinstance(link, str) else link)


def _library(verb: str) -> ModuleType:
    try:
        return import_module("h5py")
    except ImportError as fault:
        raise MissingDependencyError(f"h5py is needed to {verb} .caffemodel.h5 files: pip install h5py") from fault
