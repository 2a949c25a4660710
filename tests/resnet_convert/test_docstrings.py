"""The examples in the docstrings of Python's functions, run in a folder that has the files they name."""

from __future__ import annotations

import inspect
import re
import shutil
import textwrap
from pathlib import Path

import pytest

import resnet_convert

DIGITS = Path(__file__).resolve().parents[2] / "examples" / "digits"
STAGE = {
    "deploy.prototxt": "deploy.prototxt",
    "model.caffemodel": "digits_resnet.caffemodel",
    "cat.jpg": "val/digits_val_00000001.png",
    "mean.binaryproto": "mean.binaryproto",
    "synset_words.txt": "synset_words.txt",
}


def examples(name: str) -> list[str]:
    """The indented blocks behind `::` of a function's docstring."""
    documented = inspect.getdoc(getattr(resnet_convert, name)) or ""
    return [textwrap.dedent(block) for block in re.findall(r"::\n\n((?:    .*\n)+)", documented)]


@pytest.mark.parametrize(
    ("name", "prints"),
    [
        ("classify", r"eight 0\.999\d+\n"),
        ("layers", r"(?:.+ (?:True|False) (?:True|False) (?:yes|no|in part)\n){150,}"),
        ("models", r"resnet-50 0\.247 44ee2b08\w+ https://github.com/KaimingHe/(?:.|\n)*"),
    ],
)
def test_a_docstrings_example_runs(
    name: str, prints: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for made, source in STAGE.items():
        shutil.copy(DIGITS / source, made)
    (example,) = examples(name)
    exec(compile(f"import resnet_convert\n{example}", name, "exec"), {})
    assert re.fullmatch(prints, capsys.readouterr().out)
