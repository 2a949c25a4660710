"""Forward and backward beside the original Caffe's, case by case."""

from __future__ import annotations

import math
import shutil
import sys
from pathlib import Path

import pytest

from benchmarks.check_training import BOUND, check_grad, main
from benchmarks.comparing import beside

CASES = sorted((Path(__file__).resolve().parents[1] / "data" / "golden" / "train" / "grad").iterdir())


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.name)
def test_gradients_are_caffes(case: Path) -> None:
    errors = dict(check_grad(case))
    assert len(errors) >= 2
    assert {name: error for name, error in errors.items() if not error <= BOUND} == {}


def test_a_case_that_cannot_be_built_falls_short_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(CASES[0], tmp_path / "good")
    shutil.copytree(CASES[0], tmp_path / "a_bad_one")
    (tmp_path / "a_bad_one" / "net.prototxt").write_text('layer { name: "n" type: "Nothing" bottom: "x" top: "y" }')
    monkeypatch.setattr(sys, "argv", ["check_training.py", "grad", str(tmp_path)])
    assert main() == 1
    bad, good, total = capsys.readouterr().out.splitlines()
    assert bad.startswith("BAD a_bad_one")
    assert "unknown layer type 'Nothing'" in bad
    assert good.startswith("ok  good")
    assert total == "1 of 2 cases within 0.0001"


def test_the_comparison_notices_what_it_should() -> None:
    import numpy as np

    expected = np.array([[1.0, -4.0, 2.0]], np.float32)
    assert beside(expected, expected) == 0
    assert beside(expected + np.float32(0.04), expected) == pytest.approx(0.01, rel=1e-5)
    assert beside(expected[:, :2], expected) == math.inf
    assert beside(np.zeros(3), np.zeros(3, np.float32)) == 0
    assert beside(np.full(3, 1e-9), np.zeros(3, np.float32)) == math.inf
