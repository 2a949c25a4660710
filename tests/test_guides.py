"""The guides, run from the first block to the last, and what they print."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.documents import ROOT, environment, examples, run, settled

GUIDES = sorted((ROOT / "docs" / "guides").glob("*.md"))


@pytest.mark.slow
@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.stem)
def test_a_guide_does_what_it_says(guide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    (tmp_path / "bin").mkdir()
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    blocks = examples(guide)
    assert len(blocks) >= 3
    for example, printed, status in run(blocks, tmp_path, environment(tmp_path / "bin")):
        assert status == 0, printed
        assert not example.output or settled(printed) == settled(example.output)
