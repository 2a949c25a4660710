"""Files read piece by piece: what is read of them, and that it makes no difference where a piece ends."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from prototxt.errors import WeightsError
from tests.golden import LAYERS
from tests.weights.caffe_bytes import floats, key, layer, message, shape, text, unpacked_floats, unpacked_shape, varint
from weights import blob_from_array, open_weights, wire, write_caffemodel
from weights.model import LayerWeights
from weights.pieces import PiecewiseFile
from weights.wire import LENGTH, Malformed, Wire


def walk(wire: Wire, start: int, stop: int, depth: int = 3) -> list[object]:
    """All records, and those inside of them where they look like a message."""
    found: list[object] = []
    for number, kind, value, end in wire.records(start, stop):
        found.append((number, kind, value, end, wire.piece(value, end) if kind == LENGTH else b""))
        if kind == LENGTH and depth:
            try:
                found.append(walk(wire, value, end, depth - 1))
            except Malformed as fault:
                found.append(str(fault))
    return found


ODD = b"".join(
    [
        layer("a" * 40, "Scale", unpacked_shape(3, 7) + unpacked_floats(np.arange(21))),
        layer("b", "InnerProduct", shape(*[1] * 30, 5) + floats(np.arange(5))),
        text(1, "n" * 300) + key(1000, 0) + varint(1 << 63) + message(2, message(1, text(1, "old"))),
        key(3, 3) + text(9, "inside a group") + key(3, 4),
        layer("c", "Scale", *[shape(2) + floats([1, 2])] * 40),
    ]
)


@pytest.mark.parametrize("window", [20, 21, 23, 37, 64, 4096])
def test_a_walk_finds_the_same_wherever_its_pieces_end(
    window: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "_WINDOW", window)
    monkeypatch.setattr(wire, "_LONGEST_LOOK", 4)
    path = tmp_path / "w.caffemodel"
    golden = [(case / "weights.caffemodel").read_bytes() for case in sorted(LAYERS.glob("conv*")) if case.is_dir()]
    for data in (ODD, *(data for data in golden[:8] if data)):
        for cut in (len(data), len(data) - 1, len(data) // 2):
            path.write_bytes(data[:cut])
            found: list[object] = []
            for walked in (Wire(data[:cut]), PiecewiseFile(path).wire()):
                try:
                    found.append(walk(walked, 0, cut))
                except Malformed as fault:
                    found.append(str(fault))
            assert found[0] == found[1]


def test_the_index_reads_little_beside_the_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "w.caffemodel"
    layers = [LayerWeights(f"l{n}", "InnerProduct", (blob_from_array(np.ones((n + 1, 50_000))),)) for n in range(10)]
    write_caffemodel(path, "net", layers)
    taken: list[int] = []
    read = PiecewiseFile.read

    def counted(file: PiecewiseFile, start: int, into: memoryview) -> None:
        taken.append(len(into))
        read(file, start, into)

    monkeypatch.setattr(PiecewiseFile, "read", counted)
    with open_weights(path) as weights:
        assert sum(taken) < 11 * 4096
        taken.clear()
        for stored in weights.layers:
            for _ in stored.blobs[0].parts():
                pass
        assert sum(taken) == 4 * 50_000 * 55


def test_a_file_that_is_cut_short_while_its_structure_is_looked_at_is_told(tmp_path: Path) -> None:
    path = tmp_path / "w.caffemodel"
    path.write_bytes(layer("a", "Scale", shape(3) + floats([1, 2, 3])) * 3)
    with PiecewiseFile(path) as file:
        os.truncate(path, 20)
        with pytest.raises(WeightsError, match=r"was cut short while it was read: \d+ bytes should follow at byte 20"):
            list(file.wire().records(0, file.size))
