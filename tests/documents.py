"""Documents whose examples are run: the blocks of a page, each with what it prints."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"```(sh|python)\n(.*?)```\n(?:\n```\n(.*?)```\n)?", re.DOTALL)
QUIET = "import contextlib, io\nwith contextlib.redirect_stdout(io.StringIO()):\n    exec({before!r})\n{code}"


class Example(NamedTuple):
    """A block of a document: its language, what is run, what it prints; empty where the document does not show it."""

    language: str
    code: str
    output: str


def examples(document: Path) -> list[Example]:
    return [Example(*groups) for groups in BLOCK.findall(document.read_text(encoding="utf-8"))]


def environment(folder: Path) -> dict[str, str]:
    """An environment whose `resnet-convert` and `python` are this checkout's; their scripts are put into the folder."""
    for name, module in (("python", ""), ("resnet-convert", "-m resnet_convert.cli.main")):
        command = folder / name
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" {module} "$@"\n', encoding="utf-8")
        command.chmod(0o755)
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"PATH": path, "PYTHONPATH": str(ROOT)}


def run(blocks: list[Example], folder: Path, env: dict[str, str]) -> Iterator[tuple[Example, str, int]]:
    """Run the blocks in turn in one folder; a program goes on where the one before it ended.

    Yields:
        each with what it printed and its exit status.
    """
    python = ""
    for example in blocks:
        if example.language == "python":
            words = [sys.executable, "-c", QUIET.format(before=python, code=example.code)]
            python = f"{python}\n{example.code}"
        else:
            words = ["sh", "-e", "-c", example.code]
        done = subprocess.run(
            words, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        yield example, done.stdout, done.returncode


VARYING = re.compile(r"[\d.]+ s \([\d,]+ images/s\)|onnxruntime [\d.]+|worst .*bound .*|\d\.\de-\d\d")


def settled(output: str) -> str:
    """What a command prints, without times, versions and what hangs on the last bits."""
    return VARYING.sub("…", output)
