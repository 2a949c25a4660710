"""The examples in the docstrings of `resnet_convert`'s functions: each has one, and it gives what it says."""

from __future__ import annotations

import doctest
import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

import resnet_convert

ROOT = Path(__file__).resolve().parents[2]
NAMED = {name: getattr(resnet_convert, name) for name in resnet_convert.__all__ if not name.startswith("_")}
FUNCTIONS = [name for name, value in NAMED.items() if inspect.isfunction(value)]
TYPES = [name for name, value in NAMED.items() if inspect.isclass(value)]
SLOW = ("load", "port", "port_into")
APART = ("load_plugin",)
"""What it does lasts as long as its process."""


def examples_of(name: str) -> doctest.DocTest:
    (found,) = doctest.DocTestFinder(recurse=False).find(
        NAMED[name], name, module=False, globs={"resnet_convert": resnet_convert}
    )
    return found


def test_every_public_name_is_a_function_a_type_or_a_choice() -> None:
    assert len(FUNCTIONS) >= 17
    assert set(NAMED) - {*FUNCTIONS, *TYPES} == {"Target"}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_says_what_it_raises_and_shows_how_it_is_called(name: str) -> None:
    said = inspect.getdoc(NAMED[name]) or ""
    assert examples_of(name).examples
    assert f"resnet_convert.{name}(" in said
    assert "Raises:" in said


@pytest.mark.parametrize("name", TYPES)
def test_a_type_says_what_each_of_its_attributes_is(name: str) -> None:
    said = NAMED[name].__doc__ or ""
    own = [field for field in vars(NAMED[name]).get("__annotations__", {}) if not field.startswith("_")]
    assert said
    assert [field for field in own if field not in said] == []


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in FUNCTIONS])
def test_an_example_gives_what_it_says(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    if name in APART:
        code = f"from tests.resnet_convert.test_examples import failures_of; print(failures_of({name!r}))"
        path = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run([sys.executable, "-c", code], env=path, capture_output=True, text=True, check=True)
        assert done.stdout == "\n"
    else:
        assert failures_of(name) == ""


def failures_of(name: str) -> str:
    said: list[str] = []
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    doctest.DocTestRunner(optionflags=flags).run(examples_of(name), out=said.append)
    return "".join(said)


def test_an_example_that_does_not_give_what_it_says_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong() -> None:
        """An example:

        >>> resnet_convert.resnet(50).name
        'ResNet-51'
        """

    monkeypatch.setitem(NAMED, "wrong", wrong)
    assert "Expected:\n    'ResNet-51'\nGot:\n    'ResNet-50'" in failures_of("wrong")
