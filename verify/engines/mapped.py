"""An ONNX model whose weights stay in its file: what onnxruntime is given is the graph, and where they lie.

It maps them into memory, where a model that it reads is there twice at times. TensorProto's fields that say so:

    2 data_type       7 for int64
    9 raw_data        is taken out
    13 external_data  key and value: location (the file's name), offset, length
    14 data_location  1

protobuf merges repeated fields of concatenated messages, so more outputs come as a few bytes behind the rest:
ModelProto{graph{output{name}}}.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from weights.pieces import PiecewiseFile
from weights.wire import LENGTH, VARINT, Wire, encoded, prefixed

GRAPH, INITIALIZER, DATA_TYPE, RAW_DATA, EXTERNAL_DATA, DATA_LOCATION = 7, 5, 2, 9, 13, 14
SMALL = 1 << 10
"""Bytes of a tensor that are handed over: sizes and axes, which a graph cannot be made ready without."""
INT64, LARGEST_SIZES = 7, 1 << 17
"""Sizes can be many: a Split into the steps of a long sequence has one for each."""
_SIZES = encoded(DATA_TYPE << 3 | VARINT) + encoded(INT64)


def mapped(path: Path) -> bytes:
    """The model in a file, its weights left there.

    Raises:
        Malformed: it is no protobuf message.
        WeightsError: it cannot be read.
    """
    with PiecewiseFile(path) as file:
        return b"".join(_model(file.wire(), path.name))


def more_outputs(names: Iterable[str]) -> bytes:
    """ModelProto{graph = 7 {output = 12 {name = 1}}} in protobuf's wire format."""
    outputs = b"".join(prefixed(12, prefixed(1, name.encode())) for name in names)
    return prefixed(GRAPH, outputs) if outputs else b""


def _model(wire: Wire, name: str) -> Iterator[bytes]:
    for first, number, start, end in _records(wire, 0, wire.size):
        yield prefixed(GRAPH, b"".join(_graph(wire, start, end, name))) if number == GRAPH else wire.piece(first, end)


def _graph(wire: Wire, start: int, end: int, name: str) -> Iterator[bytes]:
    for first, number, begin, stop in _records(wire, start, end):
        large = number == INITIALIZER and stop - begin > SMALL
        yield prefixed(number, b"".join(_tensor(wire, begin, stop, name))) if large else wire.piece(first, stop)


def _tensor(wire: Wire, start: int, end: int, name: str) -> Iterator[bytes]:
    small = SMALL
    for first, number, begin, stop in _records(wire, start, end):
        if number == DATA_TYPE and wire.piece(first, stop) == _SIZES:
            small = LARGEST_SIZES
        if number != RAW_DATA or stop - begin < small:
            yield wire.piece(first, stop)
        else:
            where = {"location": name, "offset": str(begin), "length": str(stop - begin)}
            for key, value in where.items():
                yield prefixed(EXTERNAL_DATA, prefixed(1, key.encode()) + prefixed(2, value.encode()))
            yield encoded(DATA_LOCATION << 3 | VARINT) + encoded(1)


def _records(wire: Wire, pos: int, stop: int) -> Iterator[tuple[int, int, int, int]]:
    """Of each record where it begins, its field's number, where its payload begins, and where it ends."""
    for number, kind, value, end in wire.records(pos, stop):
        yield pos, number, value if kind == LENGTH else end, end
        pos = end
