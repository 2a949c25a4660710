"""Writing models to disk: streamed, one tensor in memory at a time.

What writing fails at stays half written: `converter.api` writes under temporary names (`weights.Outputs`).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np
import numpy.typing as npt

from converter.targets.onnx_model import OnnxModel, initializer_head
from converter.targets.onnx_wire import GRAPH, elsewhere
from converter.tensor import Tensor
from prototxt.errors import RequestError
from prototxt.optional import need
from weights.hdf5_file import new_hdf5
from weights.safetensors_head import TensorEntry, safetensors_head
from weights.wire import LENGTH, encoded, prefixed

Values = Tensor | npt.NDArray[Any]
Place = tuple[int | slice, ...]
LARGEST_MODEL = (1 << 31) - 1  # protobuf's own limit for one message
SMALLEST_OUTSIDE = 1024  # bytes of a tensor that a file of its own is worth
SMALLEST_WHOLE_OUTSIDE = 1 << 17  # sizes, axes and places: shapes follow from them, for which no other file is read
LONGEST_PLACE = 65_000  # bytes of a name; ZIP and HDF5 count them in 16 bits
_BUFFER = 1 << 17  # less than a part of a tensor, which is then written from where it lies


def new_file(path: Path) -> BinaryIO:
    """A file to write, with room in memory for many small tensors."""
    return path.open("wb", buffering=_BUFFER)


def read(values: Values) -> npt.NDArray[Any]:
    """The numbers, in C order and of the stated shape."""
    array = values.load() if isinstance(values, Tensor) else values
    return np.ascontiguousarray(array).reshape(tuple(map(int, values.shape)))


def _parts(values: Values) -> Iterator[npt.NDArray[Any]]:
    """The numbers in their order, in flat parts, each good until the next."""
    return values.parts() if isinstance(values, Tensor) else iter((read(values).reshape(-1),))


def _write_values(out: IO[bytes], values: Values) -> None:
    for part in _parts(values):
        out.write(part.astype(part.dtype.newbyteorder("<"), copy=False).data if part.size else b"")


def write_onnx(model: OnnxModel, path: Path, *, largest: int = LARGEST_MODEL) -> list[Path]:
    """Write one normal ModelProto; above 2 GB the weights go into `<name>.data` beside it.

    The lengths are computed first, so that each tensor is written straight from where it lies.

    Returns:
        the files written.
    """
    frames = [_tensor_frame(initializer_head(name, values), values.nbytes) for name, values in model.initializers]
    tensors = sum(len(frame) + values.nbytes for frame, (_, values) in zip(frames, model.initializers, strict=True))
    length = len(model.nodes) + len(model.values) + tensors
    if len(model.opening) + len(model.closing) + length + 16 > largest:
        return _write_external(model, path)
    with new_file(path) as out:
        out.write(model.opening + model.closing + encoded(GRAPH << 3 | LENGTH) + encoded(length))
        out.write(model.nodes + model.values)
        for frame, (_, values) in zip(frames, model.initializers, strict=True):
            out.write(frame)
            _write_values(out, values)
    return [path]


def _tensor_frame(head: bytes, nbytes: int) -> bytes:
    """Everything of a GraphProto.initializer (field 5) up to its raw data (field 9 of TensorProto)."""
    data = encoded(9 << 3 | LENGTH) + encoded(nbytes)
    return encoded(5 << 3 | LENGTH) + encoded(len(head) + len(data) + nbytes) + head + data


def _write_external(model: OnnxModel, path: Path) -> list[Path]:
    target = path.with_name(path.name + ".data")
    tensors: list[bytes] = []
    offset = 0
    with new_file(target) as out:
        for name, values in model.initializers:
            head = initializer_head(name, values)
            whole = not isinstance(values, Tensor) and values.dtype.kind in "iu"
            if values.nbytes < (SMALLEST_WHOLE_OUTSIDE if whole else SMALLEST_OUTSIDE):
                tensors.append(_tensor_frame(head, values.nbytes) + read(values).tobytes())
                continue
            padding = -offset % 4096  # page by page, so that runtimes can map the tensors
            out.write(b"\0" * padding)
            offset += padding
            tensors.append(prefixed(5, head + elsewhere(target.name, offset, values.nbytes)))
            _write_values(out, values)
            offset += values.nbytes
    graph = prefixed(GRAPH, b"".join([model.nodes, *tensors, model.values]))
    path.write_bytes(model.opening + graph + model.closing)
    return [path, target]


def write_safetensors(state: Mapping[str, Values], path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write a .safetensors file: a JSON header, then the tensors in order."""
    head = safetensors_head((_entry(name, values) for name, values in state.items()), metadata)
    with new_file(path) as out:
        out.write(head)
        for values in state.values():
            _write_values(out, values)


def _entry(name: str, values: Values) -> TensorEntry:
    return TensorEntry(name, _kind(values), tuple(map(int, values.shape)), values.nbytes)


def _kind(values: Values) -> str:
    """Numpy's name of the type."""
    return "float32" if isinstance(values, Tensor) else values.dtype.name


def write_npz(state: Mapping[str, Values], path: Path) -> None:
    """Write an .npz file that `numpy.load` opens; stored, not compressed, with a fixed date: same input, same bytes.

    Raises:
        RequestError: a layer's name that would lead out of a folder into which the archive is unpacked.
    """
    import zipfile

    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, values in state.items():
            _check_place(name, f"{name}.npy", "a ZIP archive")
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            with archive.open(entry, "w", force_zip64=True) as out:
                kind, shape = _kind(values), tuple(map(int, values.shape))
                head = {"descr": np.dtype(kind).newbyteorder("<").str, "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(out, head)
                _write_values(out, values)


def write_hdf5(state: Mapping[str, Values], path: Path) -> None:
    """Write an HDF5 file with one dataset a tensor, named `layer/parameter`.

    Raises:
        RequestError: layers' names that HDF5 cannot hold, or not beside each other.
        MissingDependencyError: h5py is not installed.
    """
    need("h5py", "h5py", "writing HDF5 files")
    with new_hdf5(path) as file:
        for name, values in state.items():
            layer, _, parameter = name.rpartition(".")
            _check_place(name, f"{layer}/{parameter}" if layer else parameter, "HDF5", unfit={"", "."})
            shape, done = tuple(map(int, values.shape)), 0
            try:
                group = file.require_group(layer) if layer else file
                dataset = group.create_dataset(parameter, shape, _kind(values), track_times=False)
            except (TypeError, ValueError) as error:
                # HDF5 takes a slash as a folder: a layer `a/weight` wants one where layer `a` has its weight.
                raise RequestError(f"HDF5 has no room for {name!r} beside another layer's weights: {error}") from None
            for part in _parts(values):
                for place, block in _blocks(shape, done, part):
                    dataset[place] = block
                done += part.size


def _blocks(shape: Sequence[int], start: int, values: npt.NDArray[Any]) -> Iterator[tuple[Place, npt.NDArray[Any]]]:
    """Values that follow each other from a flat position on, as blocks of the array, and the place of each in it."""
    if not shape:
        yield (), values.reshape(())
        return
    row = prod(shape[1:])
    while values.size:
        index, within = divmod(start, row)
        whole = values.size // row if within == 0 else 0
        taken = whole * row or min(row - within, values.size)
        part, values, start = values[:taken], values[taken:], start + taken
        if whole:
            yield (slice(index, index + whole),), part.reshape(whole, *shape[1:])
        else:
            yield from (((index, *place), block) for place, block in _blocks(shape[1:], within, part))


def write_torch(source: str, state: Mapping[str, Values], metadata: Mapping[str, str], folder: Path) -> list[Path]:
    """Write `model.py` and `model.safetensors` into a folder."""
    folder.mkdir(exist_ok=True)
    files = [folder / "model.py", folder / "model.safetensors"]
    files[0].write_text(source, encoding="utf-8")
    write_safetensors(state, files[1], metadata)
    return files


def _check_place(name: str, place: str, holder: str, *, unfit: Collection[str] = ()) -> None:
    """Refuse a name that a file format with folders, or who unpacks it, would read as another place."""
    outside = place.startswith("/") or re.match("[A-Za-z]:", place) or ".." in re.split(r"[/\\]", place)
    if outside or any(part in unfit for part in place.split("/")) or len(place.encode()) > LONGEST_PLACE:
        raise RequestError(f"{holder} cannot hold weights named {_cut(name)!r}")


def _cut(name: str) -> str:
    return name if len(name) <= 80 else f"{name[:40]}…{name[-40:]}"
