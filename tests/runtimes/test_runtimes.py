"""The layers in OpenCV 5 and OpenVINO, where an environment with them is named.

    RUNTIMES_PYTHON=.venv-runtimes/bin/python pytest tests/runtimes

The environment is made from requirements.txt beside this file; it cannot be the tests' own, whose OpenCV is 4.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PYTHON = os.environ.get("RUNTIMES_PYTHON")


@pytest.mark.slow
@pytest.mark.skipif(PYTHON is None, reason="RUNTIMES_PYTHON names no Python with OpenCV 5 and OpenVINO")
def test_every_layer_gives_caffes_numbers_in_other_runtimes() -> None:
    assert PYTHON is not None
    cases = ROOT / "tests" / "data" / "golden" / "layers"
    command = str(Path(sys.executable).with_name("resnet-convert"))
    words = [str(Path(PYTHON).absolute()), ROOT / "benchmarks" / "runtimes.py", cases, "--command", command]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
