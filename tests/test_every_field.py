"""Every field of every section of every layer type is used alike by both sides, without effect, or named."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from docs.make_layers import read_paths
from resnet_convert.layer_types import FIELDS, HELD
from tests.every_field import GOOD, walk, walked_kinds


@pytest.mark.slow
@pytest.mark.parametrize("kind", walked_kinds())
def test_no_field_is_read_in_silence_and_the_list_says_which_are_read(kind: str, tmp_path: Path) -> None:
    walked = walk(kind, tmp_path)
    assert {each.path: each.verdict for each in walked if each.verdict not in GOOD} == {}
    written = json.loads(FIELDS.read_text(encoding="utf-8"))[kind]
    # Which values a field may have, and so its star, hangs on the nets that were drawn.
    assert _names(read_paths(walked)) == _names(written), f"python -m docs.make_layers {kind}"


def _names(paths: Sequence[str]) -> list[str]:
    return [path.removesuffix(HELD) for path in paths]
