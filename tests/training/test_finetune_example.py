"""The worked example, run as its document shows it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def figures(text: str) -> list[float]:
    """Every number of an output, in order."""
    return [float(number) for number in re.findall(r"\d+(?:\.\d+)?", text)]


@pytest.mark.slow
def test_the_example_prints_what_its_document_shows(tmp_path: Path) -> None:
    """Word for word but for the figures: training is chaotic, and rounds otherwise on another processor."""
    script = str(ROOT / "examples" / "finetune.py")
    run = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=True)
    document = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"<!-- fine-tuning -->\n```\n(.*?)```", document, re.DOTALL)
    without = re.compile(r"(loss|error) [\d.]+")
    assert without.sub(r"\1 x", run.stdout) == without.sub(r"\1 x", shown)
    lines, expected = run.stdout.splitlines(), shown.splitlines()
    assert lines[0] == expected[0]
    assert figures(lines[1])[2] == pytest.approx(figures(expected[1])[2], rel=0.2)  # the loss of the first 50
    assert figures(lines[4])[2] < figures(lines[1])[2] / 3
    assert figures(lines[5])[0] < 6
    assert (tmp_path / "moved_digits.png").stat().st_size > 10_000
    assert (tmp_path / "moved_digits.caffemodel").stat().st_size > 300_000
