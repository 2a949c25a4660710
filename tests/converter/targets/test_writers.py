"""Weights are written as they are read, part by part; the file is what writing them whole would have given."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from converter.targets.writers import write_hdf5
from converter.tensor import Array, Tensor


class InParts:
    """A blob too large to be read whole."""

    def __init__(self, values: Array, size: int) -> None:
        self.values, self.size = values.ravel(), size

    def __call__(self) -> Array:
        raise AssertionError("read whole")

    def parts(self) -> Iterator[Array]:
        """Each part in the same memory as the one before."""
        room = np.empty(self.size, np.float32)
        for start in range(0, self.values.size, self.size):
            part = self.values[start : start + self.size]
            room[: part.size] = part
            yield room[: part.size]


@pytest.mark.parametrize("size", [1, 2, 7, 24, 30, 1000])
@pytest.mark.parametrize("shape", [(), (1,), (11,), (5, 3), (1, 1, 8), (6, 1, 1), (4, 2, 3, 5), (0, 3), (2, 0)])
def test_hdf5_holds_what_was_never_read_whole(shape: tuple[int, ...], size: int, tmp_path: Path) -> None:
    values = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    write_hdf5({"layer.weight": Tensor("layer.weight", shape, InParts(values, size))}, tmp_path / "parts.h5")
    write_hdf5({"layer.weight": values}, tmp_path / "whole.h5")
    with h5py.File(tmp_path / "parts.h5") as file:
        found = file["layer/weight"]
        assert found.shape == shape
        assert np.array_equal(found[()], values)
    assert (tmp_path / "parts.h5").read_bytes() == (tmp_path / "whole.h5").read_bytes()
