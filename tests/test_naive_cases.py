"""The stored cases of forks' layers are what the loops give."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tests.naive  # noqa: F401 (registers the cases)
from tests.naive.__main__ import FORKS, write
from tests.naive.base import cases


@pytest.mark.parametrize("name", sorted(cases()))
def test_stored_cases_are_what_the_loops_give(name: str, tmp_path: Path) -> None:
    write(cases()[name](), tmp_path / name)
    made, stored = tmp_path / name, FORKS / name
    assert sorted(p.name for p in made.iterdir()) == sorted(p.name for p in stored.iterdir())
    assert (made / "net.prototxt").read_text() == (stored / "net.prototxt").read_text()
    with np.load(made / "golden.npz") as new, np.load(stored / "golden.npz") as old:
        assert new.files == old.files
        for key in new.files:
            np.testing.assert_allclose(new[key], old[key], rtol=1e-6, atol=1e-7)


def test_no_stored_case_lacks_its_loop() -> None:
    assert {p.name for p in FORKS.iterdir()} == set(cases())
