"""The worked examples of docs/porting.md, run one after the other in one folder, and what they print."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "porting.md"
BLOCK = re.compile(r"```(sh|python)\n(.*?)```\n(?:\n```\n(.*?)```\n)?", re.DOTALL)


class Example(NamedTuple):
    """A block of the document: its language, what is run, what it prints."""

    language: str
    code: str
    output: str


def examples() -> list[Example]:
    return [Example(*groups) for groups in BLOCK.findall(DOCUMENT.read_text(encoding="utf-8"))]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment whose `resnet-convert` and `python` are this checkout's."""
    folder = tmp_path_factory.mktemp("bin")
    for name, module in (("python", ""), ("resnet-convert", "-m resnet_convert.cli.main")):
        command = folder / name
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" {module} "$@"\n', encoding="utf-8")
        command.chmod(0o755)
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"PATH": path, "PYTHONPATH": str(ROOT)}


@pytest.mark.slow
def test_the_examples_print_what_the_document_says(environment: dict[str, str], tmp_path: Path) -> None:
    pytest.importorskip("torch")
    assert len(examples()) == 9
    python = ""
    for example in examples():
        if example.language == "python":  # each goes on where the one before ended
            before, python = python, f"{python}\n{example.code}"
            quiet = "import contextlib, io\nwith contextlib.redirect_stdout(io.StringIO()):\n"
            code = f"{quiet}    exec({before!r})\n{example.code}"
            words = [sys.executable, "-c", code]
        else:
            words = ["sh", "-e", "-c", example.code]
        done = subprocess.run(
            words,
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert (done.stdout, done.returncode) == (example.output, 0)
