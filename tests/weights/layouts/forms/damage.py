"""Files that break off or have other bytes: what a reader owes is numbers, or one error of ours in one line."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from prototxt.errors import WeightsError
from weights.layouts.files import read_state


def assert_cuts_are_errors(path: Path, data: bytes, sizes: Iterable[int]) -> None:
    """Each beginning of a file is refused."""
    for size in sizes:
        path.write_bytes(data[:size])
        with pytest.raises(WeightsError) as caught:
            read_state(path)
        told = str(caught.value).removeprefix(f"{path}: error: ")
        assert told.split()[0] in ("is", "has", "holds")
        assert "\n" not in told


def assert_changes_are_errors_or_numbers(path: Path, data: bytes, seed: int, times: int = 300) -> None:
    """With three bytes changed a file is read or refused, and a tenth of the times at least refused."""
    rng, refused = np.random.default_rng(seed), 0
    for _ in range(times):
        changed = bytearray(data)
        for place in rng.integers(0, min(len(data), 2500), 3):
            changed[place] = rng.integers(256)
        path.write_bytes(changed)
        try:
            read_state(path)
        except WeightsError:
            refused += 1
    assert refused > times // 10
