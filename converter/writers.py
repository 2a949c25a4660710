"""Writing models to disk: streamed, one tensor in memory at a time, whole files or none."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from converter.graph import Tensor
from converter.onnx_model import OnnxModel, initializer_header
from prototxt.errors import RequestError
from weights import atomic_directory, atomic_file, atomic_path
from weights.safetensors_head import Entry, safetensors_head

Values = Tensor | npt.NDArray[Any]
LARGEST_MODEL = (1 << 31) - 1  # protobuf's own limit for one message


def read(values: Values) -> npt.NDArray[Any]:
    """The numbers, in C order and of the stated shape."""
    array = values.load() if isinstance(values, Tensor) else values
    return np.ascontiguousarray(array).reshape(tuple(map(int, values.shape)))


def _write_values(out: BinaryIO, values: Values) -> None:
    array = read(values)
    out.write(array.astype(array.dtype.newbyteorder("<"), copy=False).data if array.size else b"")


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def write_onnx(model: OnnxModel, path: Path, *, largest: int = LARGEST_MODEL) -> list[Path]:
    """Write one normal ModelProto; above 2 GB the weights go into `<name>.data` beside it.

    The lengths are computed first, so that each tensor is written straight from where it lies.

    Returns:
        the files written.

    Raises:
        RequestError: the target can't be written.
    """
    graph = model.proto.graph.SerializeToString()
    outer = type(model.proto)()
    outer.CopyFrom(model.proto)
    outer.ClearField("graph")
    head = outer.SerializeToString()
    headers = [(initializer_header(name, values), values) for name, values in model.initializers]
    tensors = [(_tensor_frame(header, nbytes), nbytes, values) for (header, nbytes), values in headers]
    length = len(graph) + sum(len(frame) + nbytes for frame, nbytes, _ in tensors)
    if len(head) + length + 16 > largest:
        return _write_external(model, path)
    with atomic_file(path) as out:
        out.write(head + b"\x3a" + _varint(length) + graph)  # field 7 of ModelProto
        for frame, _, values in tensors:
            out.write(frame)
            _write_values(out, values)
    return [path]


def _tensor_frame(header: bytes, nbytes: int) -> bytes:
    """Everything of a GraphProto.initializer (field 5) up to its raw data (field 9 of TensorProto)."""
    data = b"\x4a" + _varint(nbytes)
    return b"\x2a" + _varint(len(header) + len(data) + nbytes) + header + data


def _write_external(model: OnnxModel, path: Path) -> list[Path]:
    from onnx import TensorProto

    target = path.with_name(path.name + ".data")
    proto = type(model.proto)()
    proto.CopyFrom(model.proto)
    offset = 0
    with atomic_file(target) as out:
        for name, values in model.initializers:
            header, nbytes = initializer_header(name, values)
            tensor = proto.graph.initializer.add()
            tensor.ParseFromString(header)
            if nbytes < 1024:
                tensor.raw_data = read(values).tobytes()
                continue
            tensor.data_location = TensorProto.EXTERNAL
            padding = -offset % 4096  # page by page, so that runtimes can map the tensors
            out.write(b"\0" * padding)
            offset += padding
            places = {"location": target.name, "offset": offset, "length": nbytes}
            for key, place in places.items():
                tensor.external_data.add(key=key, value=str(place))
            _write_values(out, values)
            offset += nbytes
        with atomic_file(path) as main:
            main.write(proto.SerializeToString())
    return [path, target]


def write_safetensors(state: Mapping[str, Values], path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write a .safetensors file: a JSON header, then the tensors in order.

    Raises:
        RequestError: the target can't be written.
    """
    head = safetensors_head((_entry(name, values) for name, values in state.items()), metadata)
    with atomic_file(path) as out:
        out.write(head)
        for values in state.values():
            _write_values(out, values)


def _entry(name: str, values: Values) -> Entry:
    kind = "float32" if isinstance(values, Tensor) else values.dtype.name
    return Entry(name, kind, tuple(map(int, values.shape)), values.nbytes)


def write_npz(state: Mapping[str, Values], path: Path) -> None:
    """Write an .npz file that `numpy.load` opens; stored, not compressed, with a fixed date: same input, same bytes."""
    with atomic_path(path) as target, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, values in state.items():
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            with archive.open(entry, "w", force_zip64=True) as out:
                np.lib.format.write_array(out, read(values), allow_pickle=False)


def write_hdf5(state: Mapping[str, Values], path: Path) -> None:
    """Write an HDF5 file with one dataset a tensor, named `layer/parameter`."""
    import h5py

    with atomic_path(path) as target, h5py.File(target, "w") as file:
        for name, values in state.items():
            layer, _, parameter = name.rpartition(".")
            array = read(values)
            try:
                group = file.require_group(layer) if layer else file
                group.create_dataset(parameter, data=array, track_times=False)
            except (TypeError, ValueError) as error:
                # HDF5 takes a slash as a folder: a layer `a/weight` wants one where layer `a` has its weight.
                raise RequestError(f"HDF5 has no room for {name!r} beside another layer's weights: {error}") from None


def write_torch(source: str, state: Mapping[str, Values], metadata: Mapping[str, str], folder: Path) -> list[Path]:
    """Write `model.py` and `model.safetensors` into a folder."""
    with atomic_directory(folder) as target:
        (target / "model.py").write_text(source, encoding="utf-8")
        write_safetensors(state, target / "model.safetensors", metadata)
    return [folder / "model.py", folder / "model.safetensors"]
