"""What several tests here share."""

from __future__ import annotations

import json
from typing import Any

import pytest

from resnet_convert.cli.main import main
from tests.resnet_convert.classifying.digits import NET, WEIGHTS, Found, Refused


@pytest.fixture
def found(capsys: pytest.CaptureFixture[str]) -> Found:
    """What `--json` prints for the digits' net."""

    def run(*words: str, status: int = 0, pair: tuple[str, ...] = (NET, WEIGHTS)) -> dict[str, Any]:
        assert main(["classify", *pair, *words, "--json"]) == status
        made: dict[str, Any] = json.loads(capsys.readouterr().out)
        return made

    return run


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Refused:
    """What a command line says that ends with a status."""

    def run(status: int, *words: str) -> str:
        assert main(["classify", *words]) == status
        return capsys.readouterr().err

    return run
