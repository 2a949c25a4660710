"""What is fuzzed: readers of files, each with the files that it begins from.

A target reads one file to its end, as the commands do that take such a file, and gives nothing. Only `CaffeModelError`
may leave it, with a message that can be printed.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np

import weights
from benchmarks.parsing import Reading, read_both
from converter.api import prepare
from converter.layers.base import registry
from converter.options import Options
from converter.reading import load_parsed
from converter.targets.onnx_model import DEFAULT_OPSET, emit_onnx
from converter.targets.torch_model import emit_torch
from prototxt import caffe_pb2, format_net, load_net, load_solver, upgrade_solver
from prototxt.careful import is_solver
from prototxt.errors import CaffeModelError
from prototxt.net import read_net_message
from prototxt.parse import read_text
from verify.evaluation.records import Item, Source
from verify.evaluation.running.journal import Journal
from verify.evaluation.running.plan import Plan
from verify.evaluation.running.results import BatchResult, assess
from verify.inputs import input_shapes, seeded
from verify.interpreter import run
from weights.layouts.compare import compare
from weights.solverstate import SolverState

TESTS = Path(__file__).resolve().parents[1] / "tests"
GOLDEN = TESTS / "data" / "golden"
HOSTILE = TESTS / "hostile"
LARGEST_SEED = 6000
LARGEST_HDF5 = 20_000
RUN = {"net": "0123abcd", "data": "val, 8 images"}
_LARGEST_NET = 20_000
"""Values of all blobs of a net that the interpreter runs; what is larger is only slower."""


@dataclass(frozen=True)
class Target:
    """A reader under test.

    Attributes:
        check: reads the file.
        suffix: of the file's name.
        seeds: contents to begin from.
        longest: bytes of the longest content that is tried.
        words: pieces that content of this kind is made of.
    """

    check: Callable[[Path], None]
    suffix: str
    seeds: Callable[[], Iterator[bytes]]
    longest: int = LARGEST_SEED
    words: Callable[[], Iterator[str]] = lambda: iter(())

    def one_input(self, path: Path, data: bytes) -> None:
        """Read `data` as the file `path`.

        Raises:
            Exception: whatever left the reader and is no error of ours, or is one that cannot be printed.
        """
        path.write_bytes(data)
        try:
            self.check(path)
        except CaffeModelError as error:
            str(error).encode()


def _prototxt(path: Path) -> None:
    text = read_text(path)
    if fault := read_both(text, caffe_pb2.NetParameter, Reading()):
        raise AssertionError(f"one pass and careful parser: {fault}")
    if is_solver(text):
        upgrade_solver(load_solver(path))
        return
    with suppress(CaffeModelError):
        format_net(read_net_message(text, str(path))[0])
    net = load_net(path)
    ready = prepare(net, None, Options(random_weights=0))
    emit_onnx(ready.graph, opset=DEFAULT_OPSET, metadata=ready.metadata)
    emit_torch(ready.graph, metadata=ready.metadata)
    values = [*ready.graph.inputs, *(value for node in ready.graph.nodes for value in node.outputs)]
    if sum(math.prod(map(int, value.shape)) for value in values) < _LARGEST_NET:
        shapes = input_shapes(net, [value.name for value in ready.graph.inputs])
        for _ in run(net, ready.weights, seeded(net, shapes)).steps:
            pass


def _caffemodel(path: Path) -> None:
    with weights.open_weights(path) as source:
        list(weights.nonfinite(source))
        ready = prepare(load_parsed(path, Options(), path), source, Options(random_weights=0))
        emit_onnx(ready.graph, opset=DEFAULT_OPSET, metadata=ready.metadata)


def _hdf5(path: Path) -> None:
    for read in (_weights, _state, lambda path: compare(path, path)):
        with suppress(CaffeModelError):
            read(path)
    _weights(path)


def _weights(path: Path) -> None:
    with weights.open_weights(path) as source:
        list(weights.nonfinite(source))


def _mean(path: Path) -> None:
    weights.load_mean(path)


def _state(path: Path) -> None:
    with weights.read_solverstate(path) as state:
        for blob in state.history:
            blob.array()


class _Labels:
    """A data set of which only the labels are asked for: none, and 1, in turns."""

    def item(self, index: int) -> Item:
        return Item(str(index), 1 if index % 2 else None)


PLAN = Plan(cast(Source, _Labels()), (), np.arange(4), 2)


def _journal(path: Path) -> None:
    with Journal(path, RUN, PLAN, resume=True):
        pass


def _files(*patterns: str, largest: int = LARGEST_SEED) -> Iterator[bytes]:
    """Small files of the tests; the hostile ones among them."""
    for folder in (GOLDEN, HOSTILE):
        for pattern in patterns:
            for path in sorted(folder.rglob(pattern)):
                if path.stat().st_size <= largest:
                    yield path.read_bytes()


def _written(name: str, *writers: Callable[[Path], None]) -> Iterator[bytes]:
    """What each of some functions writes into a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        for write in writers:
            write(path)
            yield path.read_bytes()


def _solver_states(name: str) -> Iterator[bytes]:
    history = [weights.blob_from_array(np.arange(n, dtype=np.float32)) for n in (6, 2)]
    plain = SolverState(7, history, learned_net="net_iter_7.caffemodel", current_step=1)
    plateau = SolverState(7, history, minimum_loss=0.5, last_event=3)
    yield from _written(name, *(lambda path, s=state: weights.write_solverstate(path, s) for state in (plain, plateau)))


def _hdf5_files() -> Iterator[bytes]:
    blobs = tuple(weights.blob_from_array(np.ones(shape, np.float32)) for shape in ((2, 3), (2,)))
    layers = [weights.model.LayerWeights(name, "", blobs) for name in ("a", "b/c")]
    yield from _written("w.h5", lambda path: weights.write_hdf5(path, layers))
    yield from _solver_states("s.h5")
    yield from _files("*.h5", largest=LARGEST_HDF5)


def _means() -> Iterator[bytes]:
    values = np.arange(12, dtype=np.float32).reshape(3, 2, 2)
    yield from _written("mean.npy", lambda path: np.save(path, values), lambda path: np.save(path, values[:, 0, 0]))
    yield caffe_pb2.BlobProto(channels=3, height=2, width=2, num=1, data=values.ravel()).SerializeToString()
    shape = caffe_pb2.BlobShape(dim=[3, 2, 2])
    yield caffe_pb2.BlobProto(shape=shape, double_data=values.ravel()).SerializeToString()
    yield from _files("*.binaryproto", "*.npy")


def _journals() -> Iterator[bytes]:
    def write(path: Path) -> None:
        scores = np.eye(2, 3, dtype=np.float32)
        with Journal(path, RUN, PLAN, resume=False) as journal:
            journal.add(BatchResult(0, 3, assess([0, 1], [None, 1], scores)))
            journal.add(BatchResult(1, 3, assess([2], [None], scores[:1]), ((3, "the JPEG is damaged"),), {"CMYK": 1}))

    yield from _written("run.journal", write)
    yield from _files("*.journal")


def _prototxt_words() -> Iterator[str]:
    """Types of layers, fields and enum values, and numbers at the ends of their ranges."""
    yield from (f'"{kind}"' for kind in registry())
    for message in caffe_pb2.NetParameter.DESCRIPTOR.file.message_types_by_name.values():
        yield from (f"{name}: " if field.message_type is None else f"{name} {{ }}" for name, field in _fields(message))
        yield from (name for enum in message.enum_types for name in enum.values_by_name)
    yield from NUMBERS


def _fields(message: object) -> list[tuple[str, object]]:
    return list(message.fields_by_name.items())  # type: ignore[attr-defined]


NUMBERS = (
    *("0", "1", "2", "3", "-1", "-2", "7", "100", "65535", "65536", "1000000000", "2147483647", "-2147483648"),
    *("4294967295", "9223372036854775807", "-9223372036854775808", "18446744073709551615"),
    *("nan", "inf", "-inf", "1e38", "-1e38", "3.5e38", "1e-45", "1e-30", "0.5", "-0.5", "0.99999999", "1e9"),
)

TARGETS = {
    "prototxt": Target(_prototxt, ".prototxt", lambda: _files("*.prototxt"), words=_prototxt_words),
    "caffemodel": Target(_caffemodel, ".caffemodel", lambda: _files("*.caffemodel")),
    "hdf5": Target(_hdf5, ".h5", _hdf5_files, LARGEST_HDF5),
    "mean": Target(_mean, ".binaryproto", _means, 1024),
    "solverstate": Target(_state, ".solverstate", lambda: _solver_states("s.solverstate"), 1024),
    "journal": Target(_journal, ".journal", _journals, words=lambda: iter(json.dumps(RUN).split())),
}
