"""The drawn tests' seeds: the same draws in every run, others by a number, and the number in what fails."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

FAILS = """
from hypothesis import given, settings, strategies as st

@settings(max_examples=20)
@given(drawn=st.lists(st.integers(0, 10**30), min_size=3, max_size=3))
def test_drawn(drawn):
    print("drawn:", drawn)
    assert False

def test_not_drawn():
    assert False
"""


def drawn(folder: Path, *words: str) -> tuple[str, str]:
    """What a failing test drew, and all that pytest said."""
    (folder / "test_fails.py").write_text(FAILS)
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-c", "/dev/null", f"--rootdir={folder}", folder]
    done = subprocess.run([*command, *words], cwd=ROOT, capture_output=True, text=True)
    return "".join(re.findall(r"drawn: .*", done.stdout)), done.stdout


def test_every_run_draws_the_same_and_a_seed_draws_other_numbers(tmp_path: Path) -> None:
    first, said = drawn(tmp_path)
    assert first
    assert "hypothesis-seed" not in said
    assert drawn(tmp_path)[0] == first
    fresh, said = drawn(tmp_path, "--hypothesis-seed=7")
    assert fresh != first
    assert drawn(tmp_path, "--hypothesis-seed=7")[0] == fresh
    assert drawn(tmp_path, "--hypothesis-seed=8")[0] not in (first, fresh)
    assert said.count("drawn by --hypothesis-seed=7") == 1  # in the header
    assert said.count("drawn again by --hypothesis-seed=7") == 1  # with the failure that hangs on it


def test_what_is_drawn_does_not_hang_on_the_modules_that_are_loaded(tmp_path: Path) -> None:
    """Hypothesis likes the constants of the code that it finds, which depend on what ran before in the same process."""
    first, _ = drawn(tmp_path)
    (tmp_path / "constants.py").write_text(f"MANY = {[10**20 + 7 * n for n in range(500)]}\n")
    (tmp_path / "conftest.py").write_text(
        "import sys; sys.path.insert(0, __file__.rsplit('/', 1)[0]); import constants\n"
    )
    assert drawn(tmp_path)[0] == first
