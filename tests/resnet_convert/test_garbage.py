"""Cycles are looked for only where a command goes on, and never in a process that is not its own."""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path

import pytest

from resnet_convert.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
DIGITS = ROOT / "examples" / "digits"
PAIR = [str(DIGITS / "deploy.prototxt"), str(DIGITS / "digits_resnet.caffemodel")]


def looks(folder: Path, *words: str) -> tuple[bool, int]:
    """Whether cycles are looked for while a command runs, and how many objects are out of it in the end."""
    code = (
        "import gc, sys\n"
        "from resnet_convert.cli.main import main\n"
        "seen = []; gc.callbacks.append(lambda phase, _: seen.append(phase))\n"
        "assert main() == 0\n"
        "print(len(seen), gc.isenabled(), gc.get_freeze_count(), file=sys.stderr)"
    )
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{code}", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    number, enabled, frozen = done.stderr.split()[-3:]
    return int(number) > 0 or enabled == "True", int(frozen)


def test_a_conversion_alone_never_looks(tmp_path: Path) -> None:
    found, frozen = looks(tmp_path, *PAIR, "--no-verify", "-o", "m.onnx")
    assert not found
    assert frozen > 10_000


@pytest.mark.parametrize("words", [[*PAIR, "-o", "m.onnx"], ["verify", *PAIR, "old.onnx"]], ids=["convert", "verify"])
def test_a_comparison_looks(words: list[str], tmp_path: Path) -> None:
    main([*PAIR, "--no-verify", "-q", "-o", str(tmp_path / "old.onnx")])
    assert looks(tmp_path, *words)[0]


def test_in_another_program_nothing_is_changed(tmp_path: Path) -> None:
    before = gc.isenabled(), gc.get_threshold(), gc.get_freeze_count()
    main([*PAIR, "--no-verify", "-q", "-o", str(tmp_path / "m.onnx")])
    assert (gc.isenabled(), gc.get_threshold(), gc.get_freeze_count()) == before
