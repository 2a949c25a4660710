"""NaN and infinity are counted while blobs are read, and no blob is read for it again."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from weights import Blob, CheckedWeights, LayerWeights, Weights, nonfinite
from weights.model import FloatArray


class Counted:
    """A blob's values, given in parts or whole, and how often."""

    def __init__(self, values: list[float], part: int) -> None:
        self.values, self.part, self.times = np.array(values, np.float32), part, 0

    def __call__(self) -> FloatArray:
        self.times += 1
        return self.values.copy()

    def parts(self) -> Iterator[FloatArray]:
        self.times += 1
        for start in range(0, len(self.values), self.part):
            yield self.values[start : start + self.part]


NAN, INF = float("nan"), float("inf")


def weights_of(*reads: Counted) -> tuple[Weights, list[Counted]]:
    layers = [LayerWeights(f"l{n}", "Scale", (Blob(read.values.shape, False, read),)) for n, read in enumerate(reads)]
    return Weights("w", layers), list(reads)


@pytest.mark.parametrize("how", ["parts", "whole", "not at all", "a part of it"])
def test_what_was_read_is_not_read_again(how: str) -> None:
    plain, reads = weights_of(
        Counted([1, NAN, 3, INF, -INF], 2), Counted([3e38, 3e38], 2), Counted([7], 1), Counted([1, 2, NAN], 3)
    )
    checked = CheckedWeights(plain)
    for layer in checked.layers:
        (blob,) = layer.blobs
        if how == "parts":
            assert np.array_equal(
                np.concatenate([*map(np.array, blob.parts())]), reads[int(layer.name[1])].values, equal_nan=True
            )
        elif how == "whole":
            assert np.array_equal(blob.array(), reads[int(layer.name[1])].values, equal_nan=True)
        elif how == "a part of it":
            next(blob.parts(), None)
    found = [(f.layer.name, f.blob, f.nans, f.infinities, f.values) for f in nonfinite(checked)]
    assert found == [("l0", 0, 1, 2, 5), ("l3", 0, 1, 0, 3)]
    assert found == [(f.layer.name, f.blob, f.nans, f.infinities, f.values) for f in nonfinite(plain)]
    again = 1 + (how == "a part of it")
    assert [read.times - 1 for read in reads] == [again] * 4  # once more for the plain weights


def test_only_the_layers_asked_for_are_read() -> None:
    plain, reads = weights_of(Counted([NAN], 1), Counted([NAN], 1))
    assert [found.layer.name for found in nonfinite(plain, {"l1"})] == ["l1"]
    assert [read.times for read in reads] == [0, 1]
