"""Pickles of arrays by their names, as Detectron and Detectron2 keep weights (.pkl).

Read by an unpickler that knows dictionaries and NumPy's arrays, under NumPy's names before 2.0 and since, and nothing
else. Even of NumPy nothing is called: what a pickle asks for is answered by a few methods here, which take the bytes of
an array with its shape and type. Strings of Python 2 are Latin-1. Written in protocol 4 with NumPy's older names, which
its newer versions know as well.
"""

from __future__ import annotations

import os
import pickle
import pickletools
import re
import struct
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from math import prod
from typing import Any, BinaryIO, Final

import numpy as np
import numpy.typing as npt

from weights.layouts.arrays import Arrays, LazyArray
from weights.layouts.forms.checkpoint import state_of
from weights.layouts.forms.reading import DAMAGE, fault, lazy
from weights.layouts.forms.safetensors_file import ahead
from weights.model import FloatArray
from weights.output import atomic_file

_MOST_STEPS: Final = 4_000_000
_TEXT_FORM: Final = re.compile(rb"\(dp?\d*\n|\}q[\x00\x01]|\(d|ccollections\nOrderedDict\n")
_TYPE: Final = re.compile(r"[<>|=]?[?bBiufcSUVOmM]\d{0,4}")
_LONG: Final = 1 << 32
_STEPS: Final = {step.code: step for step in pickletools.opcodes}


def is_pickle(head: bytes) -> bool:
    """By a file's first bytes: protocols 2 to 5, and the two before them where a dictionary begins."""
    return (head[:1] == b"\x80" and head[1:2] in (b"\2", b"\3", b"\4", b"\5")) or bool(_TEXT_FORM.match(head))


@contextmanager
def opened(path: str) -> Iterator[dict[str, LazyArray]]:
    """The arrays of a pickled dictionary by name, all in memory.

    Raises:
        WeightsError: a pickle that is damaged, or holds anything but dictionaries, arrays, texts and numbers.
    """
    with _Bounded(path) as file:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of escapes in damaged strings
                _check_steps(file)
                file.seek(0)
                loaded = _ArraysUnpickler(file, path).load()
        except (*DAMAGE, pickle.PickleError) as error:
            raise fault(path, f"is a damaged pickle: {' '.join(str(error).split()) or type(error).__name__}") from error
    state = state_of(loaded, path, lambda value: isinstance(value, _Array))
    yield {name: lazy(path, name, made.values.shape, partial(getattr, made, "values")) for name, made in state.items()}


class _Bounded:
    """A file that gives no more than it has: the unpickler makes room for as much as a pickle says."""

    def __init__(self, path: str) -> None:
        self._file: BinaryIO = open(path, "rb")  # noqa: SIM115 (closed by __exit__)
        self._size = os.fstat(self._file.fileno()).st_size

    def __enter__(self) -> _Bounded:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def seek(self, place: int) -> None:
        self._file.seek(place)

    def tell(self) -> int:
        return self._file.tell()

    def read(self, size: int = -1) -> bytes:
        if size > self._size - self._file.tell():
            raise EOFError(f"it breaks off at byte {self._size:,}")
        return self._file.read(size)

    def readline(self) -> bytes:
        return self._file.readline()


def _check_steps(file: _Bounded) -> None:
    """Read a pickle without following it: places in the unpickler's memory, for which it makes room, are counted."""
    for number, (step, argument) in enumerate(_steps(file)):
        if number > _MOST_STEPS:
            raise ValueError(f"it has more than {_MOST_STEPS:,} steps")
        if step.endswith("PUT") and not 0 <= argument <= number + 1:
            raise ValueError(f"step {number} names place {argument} of the memory")
        if step.startswith("EXT"):
            raise ValueError("it wants an extension of the pickle's writer")


def _steps(file: _Bounded) -> Iterator[tuple[str, Any]]:
    """Steps by name, with what stands behind them; `pickletools.genops` does not take strings of Python 2."""
    name = ""
    while name != "STOP":
        step = _STEPS.get(file.read(1).decode("latin1"))
        if step is None:
            raise ValueError(f"byte {file.tell() - 1:,} begins no step")
        name, kind = step.name, step.arg
        yield name, file.readline() if name == "STRING" else kind and kind.reader(file)  # type: ignore[arg-type]


class _Type:
    """NumPy's dtype, from its name and the order of bytes in its state."""

    __slots__ = ("name", "order")

    def __init__(self, name: str) -> None:
        self.name, self.order = name, "="

    def __setstate__(self, state: Any) -> None:
        self.order = _text(state[1])

    def dtype(self) -> np.dtype[Any]:
        found = np.dtype(self.name)
        if found.hasobject:
            raise ValueError("it holds Python objects in an array")
        return found if self.order not in ("<", ">") else found.newbyteorder(self.order)  # type: ignore[arg-type]


class _Array:
    """NumPy's ndarray, from its state: version, shape, type, whether in Fortran's order, bytes."""

    __slots__ = ("values",)

    def __init__(self) -> None:
        self.values: npt.NDArray[Any] = np.zeros(0, np.float32)

    def __setstate__(self, state: Any) -> None:
        shape, kind, fortran, data = state[-4:]
        self.values = _array(data, kind, shape, "F" if fortran else "C")


def _array(data: Any, kind: Any, shape: Any, order: str) -> npt.NDArray[Any]:
    sizes = tuple(int(size) for size in shape)
    if not isinstance(kind, _Type) or any(size < 0 for size in sizes):
        raise ValueError("an array has no type, or a size below 0")
    dtype, stored = kind.dtype(), data.encode("latin1") if isinstance(data, str) else bytes(data)
    if prod(sizes) * dtype.itemsize != len(stored):
        raise ValueError(f"an array of {sizes} {dtype} has {len(stored):,} bytes")
    return np.frombuffer(stored, dtype).reshape(sizes, order="F" if order == "F" else "C")


def _text(value: Any) -> str:
    return value.decode("latin1") if isinstance(value, bytes) else str(value)


class _ArraysUnpickler(pickle.Unpickler):
    """What it gives a pickle are methods of itself, which hold no state that a pickle could change."""

    def __init__(self, file: _Bounded, path: str) -> None:
        super().__init__(file, encoding="latin1")
        self._path = path
        self._known: dict[tuple[str, str], Callable[..., Any]] = {
            ("collections", "OrderedDict"): self._ordered,
            ("_codecs", "encode"): self._encoded,
            ("__builtin__", "bytes"): self._no_bytes,
            ("builtins", "bytes"): self._no_bytes,
            ("numpy", "ndarray"): self._no_array,
            ("numpy", "dtype"): self._type,
        }
        for package in ("numpy.core", "numpy._core"):
            self._known[f"{package}.multiarray", "_reconstruct"] = self._empty
            self._known[f"{package}.multiarray", "scalar"] = self._scalar
            self._known[f"{package}.numeric", "_frombuffer"] = self._of_buffer

    def find_class(self, module: str, name: str, /) -> Any:
        """The method for one of the known names.

        Raises:
            WeightsError: any other name.
        """
        known = self._known.get((module, name))
        if known is None:
            why = "of a pickle only dictionaries and arrays are read, and nothing is run"
            raise fault(self._path, f"holds {module}.{name}; {why}")
        return known

    def persistent_load(self, pid: Any, /) -> Any:
        """Refuse what lies outside the file."""
        raise ValueError("it refers to what lies outside the file")

    def _ordered(self, items: Iterable[tuple[Any, Any]] = ()) -> dict[Any, Any]:
        return OrderedDict(items)

    def _encoded(self, text: str, encoding: str = "latin1") -> bytes:
        if encoding not in ("latin1", "latin-1"):
            raise ValueError(f"bytes in the encoding {encoding!r}")
        return text.encode("latin1")

    def _no_bytes(self) -> bytes:
        return b""

    def _no_array(self, *_: Any) -> Any:
        raise ValueError("an array is made in no way that NumPy pickles one")

    def _type(self, name: Any, *_: Any) -> _Type:
        if not _TYPE.fullmatch(_text(name)):
            raise ValueError(f"an array of type {_text(name)!r}")
        return _Type(_text(name))

    def _empty(self, *_: Any) -> _Array:
        return _Array()

    def _scalar(self, kind: Any, data: Any) -> _Array:
        made = _Array()
        made.values = _array(data, kind, (), "C")
        return made

    def _of_buffer(self, data: Any, kind: Any, shape: Any, order: Any) -> _Array:
        made = _Array()
        made.values = _array(data, kind, shape, _text(order))
        return made


def write_pickle(
    path: str | os.PathLike[str], arrays: Arrays, key: str = "", beside: Mapping[str, object] | None = None
) -> None:
    """Write arrays as a pickled dictionary of float32 arrays, two in memory at a time.

    Args:
        path: the file to make or replace.
        arrays: by their names.
        key: under which the dictionary lies in one around it; empty for none.
        beside: what else that one holds.

    Raises:
        RequestError: the file cannot be written.
    """
    with atomic_file(path) as out:
        out.write(pickle.PROTO + b"\4")
        if key:
            out.write(pickle.EMPTY_DICT)
            for name, value in (beside or {}).items():
                out.write(_string(name) + _plain(value) + pickle.SETITEM)
            out.write(_string(key))
        out.write(pickle.EMPTY_DICT)
        for name, values in zip(arrays, ahead(arrays.values()), strict=True):
            out.write(_string(name) + _array_head(values))
            out.write(values.astype("<f4", copy=False).data if values.size else b"")
            out.write(pickle.TUPLE + pickle.BUILD + pickle.SETITEM)
        out.write((pickle.SETITEM if key else b"") + pickle.STOP)


def _string(text: str) -> bytes:
    data = text.encode("utf-8", "surrogatepass")
    return pickle.BINUNICODE + struct.pack("<I", len(data)) + data


def _plain(value: object) -> bytes:
    if isinstance(value, bool):
        return pickle.NEWTRUE if value else pickle.NEWFALSE
    return _string(str(value))


def _number(value: int) -> bytes:
    return pickle.BININT + struct.pack("<i", value)


def _global(module: str, name: str) -> bytes:
    return pickle.GLOBAL + f"{module}\n{name}\n".encode()


def _array_head(values: FloatArray) -> bytes:
    """All of an array up to its bytes: a call of `_reconstruct`, and the state as far as it goes before them."""
    empty = _global("numpy", "ndarray") + _number(0) + pickle.TUPLE1 + pickle.SHORT_BINBYTES + b"\1b" + pickle.TUPLE3
    kind = _string("f4") + pickle.NEWFALSE + pickle.NEWTRUE + pickle.TUPLE3
    state = [_number(3), _string("<"), pickle.NONE, pickle.NONE, pickle.NONE, _number(-1), _number(-1), _number(0)]
    return b"".join(
        [
            _global("numpy.core.multiarray", "_reconstruct") + empty + pickle.REDUCE,
            pickle.MARK + _number(1),
            pickle.MARK + b"".join(map(_number, values.shape)) + pickle.TUPLE,
            _global("numpy", "dtype") + kind + pickle.REDUCE,
            pickle.MARK + b"".join(state) + pickle.TUPLE + pickle.BUILD,
            pickle.NEWFALSE,
            pickle.BINBYTES + struct.pack("<I", values.nbytes)
            if values.nbytes < _LONG
            else pickle.BINBYTES8 + struct.pack("<Q", values.nbytes),
        ]
    )
