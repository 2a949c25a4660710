"""Small files that once broke something, each on the command line, beside the run that is wanted of it."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SECONDS = 120


@dataclass(frozen=True)
class Wanted:
    """A run as `NAME.txt` shows it.

    Attributes:
        words: of the command line, behind `resnet-convert`.
        output: what both streams show, as `shows` reads it.
        status: of the process.
        left: files that were not there before.
    """

    words: list[str]
    output: list[str]
    status: int
    left: list[str]

    @classmethod
    def read(cls, path: Path) -> Wanted:
        command, *lines = path.read_text(encoding="utf-8").splitlines()
        left = [line.removeprefix("leaves ") for line in lines if line.startswith("leaves ")]
        at = next(number for number, line in enumerate(lines) if line.startswith("status "))
        program, *words = shlex.split(command.removeprefix("$ "))
        assert program == "resnet-convert"
        return cls(words, lines[:at], int(lines[at].removeprefix("status ")), left)


def run(words: list[str], folder: Path) -> tuple[str, int]:
    """What the command line prints, both streams as they come, and its status; a run that hangs fails the test."""
    process = subprocess.Popen(
        [sys.executable, "-m", "resnet_convert", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=SECONDS)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    return output.decode("utf-8"), process.returncode


def shows(output: str, wanted: list[str]) -> bool:
    """Whether the lines are those that are wanted; `...` is anything on a line, and any lines where it stands alone."""
    lines = (r"(?:.*\n)*" if line == "..." else ".*".join(map(re.escape, line.split("..."))) + r"\n" for line in wanted)
    return re.fullmatch("".join(lines), output) is not None


@pytest.mark.parametrize("name", sorted(path.stem for path in HERE.glob("*.txt")))
def test_a_hostile_file_gives_what_is_wanted_and_leaves_nothing_else(name: str, tmp_path: Path) -> None:
    wanted = Wanted.read(HERE / f"{name}.txt")
    given = {word for word in wanted.words if (HERE / word).is_file()}
    for each in given:
        shutil.copy(HERE / each, tmp_path)
    output, status = run(wanted.words, tmp_path)
    assert [char for char in output if not char.isprintable() and char != "\n"] == []
    assert "Traceback" not in output
    assert shows(output, wanted.output), output
    assert status == wanted.status
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*given, *wanted.left])


def test_every_hostile_file_says_what_is_wanted_of_it() -> None:
    others = {"README.md", "__init__.py", "__pycache__", "small.prototxt", Path(__file__).name}
    bounded = (ROOT / "tests" / "test_bounded.py").read_text(encoding="utf-8")  # has the messages of the rest
    files = {path.name for path in HERE.iterdir() if not re.search(rf'"{re.escape(path.stem)}(\.\w+)?"', bounded)}
    runs = {Path(name).stem: Wanted.read(HERE / name).words for name in files - others if name.endswith(".txt")}
    assert {Path(name).stem for name in files - others} == runs.keys()
