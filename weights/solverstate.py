"""Caffe's solver state: what a training run needs to go on, beside the weights.

    SolverState (binary)   1 iter   2 learned_net   3 history (BlobProto each)   4 current_step
                           5 minimum_loss   6 iter_last_event                    forks that know policy plateau
    HDF5                   /iter, /current_step: one int each   /learned_net: a string   /history/<n>
                           /minimum_loss, /iter_last_event                       the same forks

The history has one blob for each learnable blob of the net, in the net's order; Adam and AdaDelta have as many again.
Like a `.caffemodel` the binary form is indexed in place, its numbers are read when a blob is asked for them.

Source: SGDSolver::SnapshotSolverState and RestoreSolverState of BVLC's and Intel's sgd_solver.cpp.
"""

from __future__ import annotations

import logging
import os
import struct
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from math import prod
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, BinaryIO, Final

import numpy as np

from prototxt.errors import Position, WeightsError
from prototxt.words import first_line
from weights.blobproto import BlobFault, BlobReader
from weights.caffemodel import MAX_ITEMS
from weights.hdf5 import _DAMAGE, _library, _Reader
from weights.hdf5_file import new_hdf5
from weights.model import Blob
from weights.output import atomic_file, atomic_path
from weights.pieces import PiecewiseFile
from weights.sniff import sniff_weights
from weights.wire import FIXED32, LENGTH, VARINT, Malformed, Wire, encoded, prefixed, signed

if TYPE_CHECKING:
    import h5py

log = logging.getLogger(__name__)

NO_LOSS: Final = float(np.finfo(np.float32).max)
_MAX_CAFFE: Final = 2**31 - 1
_LONGEST_NAME: Final = 1 << 16


class SolverState:
    """A training run at rest. Use as a context manager, or `close()` it.

    Attributes:
        iteration: how many updates were made.
        current_step: how often the learning rate policy has lowered the rate.
        learned_net: the weights saved with it, as Caffe names them: relative to where it ran. None: not stated.
        history: the solver's memory, in Caffe's order.
        minimum_loss, last_event: of policy plateau; `last_event` is None where the file has no such fields.
        path: the file, for messages.
    """

    def __init__(
        self,
        iteration: int,
        history: Sequence[Blob],
        *,
        learned_net: str | None = None,
        current_step: int = 0,
        minimum_loss: float = NO_LOSS,
        last_event: int | None = None,
        path: str = "solver state",
        closer: Callable[[], None] | None = None,
    ) -> None:
        self.iteration = iteration
        self.history = tuple(history)
        self.learned_net = learned_net
        self.current_step = current_step
        self.minimum_loss = minimum_loss
        self.last_event = last_event
        self.path = path
        self._closer = closer

    def close(self) -> None:
        """Let go of the file. Arrays already handed out stay valid; blobs can be read no more."""
        if self._closer is not None:
            self._closer()

    def __enter__(self) -> SolverState:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def read_solverstate(path: str | os.PathLike[str]) -> SolverState:
    """Open a `.solverstate` or `.solverstate.h5`, told apart by content, without reading a history's numbers.

    Raises:
        WeightsError: the file is missing, damaged or of another kind; the message says which.
        MissingDependencyError: it is HDF5 and h5py is not installed.
    """
    try:
        hdf5 = sniff_weights(path)
    except WeightsError as fault:
        kind, separator, _ = fault.message.partition(", not ")
        if not separator:
            raise
        raise WeightsError(f"{kind}, not a solver state", position=fault.position) from fault
    return _open_hdf5(os.fspath(path)) if hdf5 else _open_binary(path)


def write_solverstate(path: str | os.PathLike[str], state: SolverState) -> None:
    """Write a state that Caffe resumes from: HDF5 where the name ends in `.h5`, as Caffe tells them apart, else binary.

    The binary form has the very bytes that Caffe writes; the fields of policy plateau only where the state has them.

    Raises:
        RequestError: the file cannot be written.
        WeightsError: a history blob cannot be read.
        MissingDependencyError: HDF5 is asked for and h5py is not installed.
    """
    if os.fspath(path).endswith(".h5"):
        _write_hdf5(path, state)
        return
    with atomic_file(path) as out:
        out.write(encoded(1 << 3 | VARINT) + encoded(state.iteration))
        if state.learned_net is not None:
            out.write(prefixed(2, os.fsencode(state.learned_net)))
        for blob in state.history:
            _write_blob(out, blob)
        out.write(encoded(4 << 3 | VARINT) + encoded(state.current_step))
        if state.last_event is not None:
            out.write(encoded(5 << 3 | FIXED32) + struct.pack("<f", state.minimum_loss))
            out.write(encoded(6 << 3 | VARINT) + encoded(state.last_event))
        if out.tell() > _MAX_CAFFE:
            log.warning("%s is larger than 2 GiB: the original Caffe cannot read it", path)


def _write_blob(out: BinaryIO, blob: Blob) -> None:
    """A history record, its data before its shape: the order of their numbers, and Caffe's."""
    size = 4 * prod(blob.shape)
    head = encoded(5 << 3 | LENGTH) + encoded(size) if size else b""
    shape = prefixed(7, prefixed(1, b"".join(map(encoded, blob.shape)))) if blob.shape else prefixed(7, b"")
    out.write(encoded(3 << 3 | LENGTH) + encoded(len(head) + size + len(shape)) + head)
    for part in blob.parts():
        out.write(np.require(part, "<f4", "C").data)
    out.write(shape)


def _open_binary(path: str | os.PathLike[str]) -> SolverState:
    with ExitStack() as on_failure:
        file = on_failure.enter_context(PiecewiseFile(path))
        try:
            state = _indexed(file.wire(), file)
        except Malformed as fault:
            raise WeightsError(f"is damaged or cut short: {fault}", position=Position(file.path)) from fault
        on_failure.pop_all()
    return state


def _indexed(wire: Wire, file: PiecewiseFile) -> SolverState:
    """One walk over a SolverState message."""
    blobs = BlobReader(wire, file.read)
    numbers: dict[int, int] = {}
    name: str | None = None
    loss = NO_LOSS
    history: list[Blob] = []
    for number, kind, value, stop in wire.records(0, wire.size):
        if kind == VARINT and number in (1, 4, 6):
            numbers[number] = signed(value, 32)
        elif kind == LENGTH and number == 2:
            name = os.fsdecode(wire.piece(value, stop))
        elif kind == LENGTH and number == 3:
            history.append(_history_blob(blobs, value, stop, len(history), file.path))
        elif kind == FIXED32 and number == 5:
            (loss,) = struct.unpack("<f", wire.piece(stop - 4, stop))
        elif kind == LENGTH and number in (1, 100):
            what = "is no solver state but a .caffemodel: give the .solverstate saved with it"
            raise WeightsError(what, position=Position(file.path))
    if 1 not in numbers:
        raise WeightsError("is no solver state: it has no iteration", position=Position(file.path))
    return SolverState(
        _count(numbers[1], "iteration", file.path),
        history,
        learned_net=name,
        current_step=_count(numbers.get(4, 0), "current_step", file.path),
        minimum_loss=loss,
        last_event=_count(numbers[6], "iter_last_event", file.path) if 6 in numbers else None,
        path=file.path,
        closer=file.close,
    )


def _history_blob(blobs: BlobReader, start: int, stop: int, index: int, path: str) -> Blob:
    if index >= MAX_ITEMS:
        raise Malformed(f"it holds more than {MAX_ITEMS:,} history blobs")
    try:
        return blobs.read(start, stop)
    except (BlobFault, Malformed) as fault:
        joint = " " if isinstance(fault, BlobFault) else " is damaged: "
        raise WeightsError(f"history blob {index}{joint}{fault}", position=Position(path)) from fault


def _count(value: int, what: str, path: str) -> int:
    if not 0 <= value <= _MAX_CAFFE:
        raise WeightsError(f"has {what} {value}; expected 0 to {_MAX_CAFFE}", position=Position(path))
    return value


def _open_hdf5(path: str) -> SolverState:
    library = _library("read")
    try:
        file = library.File(path, "r")
    except _DAMAGE as fault:
        raise WeightsError(f"is a damaged HDF5 file: {first_line(fault)}", position=Position(path)) from fault
    try:
        return _Hdf5State(path, library).read(file)
    except _DAMAGE as fault:
        file.close()
        raise WeightsError(f"is a damaged HDF5 file: {first_line(fault)}", position=Position(path)) from fault
    except BaseException:
        file.close()
        raise


class _Hdf5State(_Reader):
    """One walk over the root of a `.solverstate.h5`; links and datasets are held to the same rules as in weights."""

    def read(self, file: h5py.File) -> SolverState:
        for key in ("iter", "current_step", "history"):
            if key not in file:
                kind = "Caffe weights" if "data" in file else "not Caffe's"
                raise self._fault(f"is no solver state: it has no {key!r} ({kind})")
        history = self._child(file, "history")
        if not self._is_group(history):
            raise self._fault("has a dataset where the group 'history' belongs")
        name = self._text(file, "learned_net") if "learned_net" in file else None
        event = self._count(file, "iter_last_event") if "iter_last_event" in file else None
        loss = self._number(file, "minimum_loss") if "minimum_loss" in file else NO_LOSS
        return SolverState(
            self._count(file, "iter", "iteration"),
            [self._numbered(history, index) for index in range(len(history))],
            learned_net=name,
            current_step=self._count(file, "current_step"),
            minimum_loss=loss,
            last_event=event,
            path=self._path,
            closer=file.close,
        )

    def _numbered(self, history: h5py.Group, index: int) -> Blob:
        if str(index) not in history:
            raise self._fault(f"has no history blob {index} of {len(history)}")
        return self._blob(self._child(history, str(index)), "history", index)

    def _single(self, file: h5py.File, key: str, kinds: str) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
        dataset = self._child(file, key)
        if self._is_group(dataset) or dataset.shape is None or prod(dataset.shape) != 1:
            raise self._fault(f"has no single value {key!r}")
        if dataset.dtype.kind not in kinds or dataset.dtype.shape or dataset.dtype.itemsize > _LONGEST_NAME:
            raise self._fault(f"its {key!r} is of the wrong kind")
        if dataset.is_virtual or dataset.external:
            raise self._fault(f"has its {key!r} in another file, which is not read")
        return np.asarray(dataset[()])

    def _count(self, file: h5py.File, key: str, what: str = "") -> int:
        return _count(int(self._single(file, key, "iu").reshape(-1)[0]), what or key, self._path)

    def _number(self, file: h5py.File, key: str) -> float:
        return float(self._single(file, key, "f").reshape(-1)[0])

    def _text(self, file: h5py.File, key: str) -> str:
        value = self._single(file, key, "SO").reshape(-1)[0]
        if not isinstance(value, bytes):
            raise self._fault(f"its {key!r} is of the wrong kind")
        return os.fsdecode(value)


def _write_hdf5(path: str | os.PathLike[str], state: SolverState) -> None:
    library = _library("write")
    with atomic_path(path) as temporary, new_hdf5(temporary) as file:
        _write_int(file, "iter", state.iteration)
        if state.learned_net is not None:
            _write_text(library, file, "learned_net", os.fsencode(state.learned_net))
        _write_int(file, "current_step", state.current_step)
        if state.last_event is not None:
            _write_int(file, "iter_last_event", state.last_event)
            file.create_dataset("minimum_loss", data=np.array([state.minimum_loss], "<f4"))
        history = file.create_group("history")
        for index, blob in enumerate(state.history):
            history.create_dataset(str(index), data=blob.array(), dtype="<f4")


def _write_int(file: h5py.File, key: str, value: int) -> None:
    file.create_dataset(key, data=np.array([value], "<i4"))


def _write_text(library: ModuleType, file: h5py.File, key: str, value: bytes) -> None:
    """A string as C writes it: of fixed length, with a 0 at its end, which Caffe's reader counts on."""
    kind = library.h5t.C_S1.copy()
    kind.set_size(len(value) + 1)
    dataset = library.h5d.create(file.id, key.encode(), kind, library.h5s.create(library.h5s.SCALAR))
    dataset.write(library.h5s.ALL, library.h5s.ALL, np.array(value, f"S{len(value) + 1}"), mtype=kind)


__all__ = ["SolverState", "read_solverstate", "write_solverstate"]
