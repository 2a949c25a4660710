"""A conversion that is killed at any moment leaves files that are whole and of one run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.resnet_convert import killed

LAST = {"external": "m.onnx", "here": "model.py", "report": "parity.html"}
"""The file that makes a set count where it comes one by one into a folder that is there already, or beside another."""


@pytest.mark.slow
@pytest.mark.parametrize("case", killed.CASES)
def test_a_kill_at_any_event_leaves_nothing_the_old_or_the_new(case: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, killed.__file__, str(tmp_path), case], capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    for run in json.loads(done.stdout):
        before, whole = run["before"], run["whole"]
        assert len(run["found"]) > 5
        assert before != whole
        for number, (after, later, links) in enumerate(run["found"], 1):
            incomplete = {name: made for name, made in whole.items() if name != LAST.get(case)}
            old = {name: made for name, made in before.items() if name != "parity.html"}
            assert after in (before, whole, old) or after.items() <= incomplete.items(), number
            assert later == whole
            assert links == 0
        ends = [after for after, _, _ in run["found"]]
        assert before in ends
        assert "notes.txt" in whole
