"""Every field of every section of every layer type is used alike by both sides, without effect, or named."""

from __future__ import annotations

from pathlib import Path

import pytest

from docs.make_layers import PAGE, described, fields_of
from tests.every_field import GOOD, walk, walked_kinds


@pytest.mark.slow
@pytest.mark.parametrize("kind", walked_kinds())
def test_no_field_is_read_in_silence_and_the_page_says_which_are_read(kind: str, tmp_path: Path) -> None:
    walked = walk(kind, tmp_path)
    assert {each.path: each.verdict for each in walked if each.verdict not in GOOD} == {}
    assert described(walked) == fields_of(PAGE.read_text(encoding="utf-8"))[kind], "python -m docs.make_layers --walk"
