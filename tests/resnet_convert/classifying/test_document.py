"""docs/classify.md, run from the first block to the last, and what it prints."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest

from tests.documents import ROOT, environment, examples, run, settled
from tests.resnet_convert.classifying.colors import quarters, write_detector


@pytest.mark.slow
def test_the_document_does_what_it_says(tmp_path: Path) -> None:
    for made, name in zip(write_detector(tmp_path), ("ssd.prototxt", "ssd.caffemodel"), strict=True):
        Path(made).rename(tmp_path / name)
    (tmp_path / "labelmap_voc.prototxt").write_text(
        "".join(f'item {{ name: "{name}" label: {label} }}\n' for label, name in enumerate(("none", "car", "bus")))
    )
    cv2.imwrite(str(tmp_path / "street.jpg"), quarters(480, 640, blue="nw", red="se"))
    (tmp_path / "bin").mkdir()
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    blocks = examples(ROOT / "docs" / "classify.md")
    assert [example.language for example in blocks] == ["sh", "sh", "python"]
    for example, printed, status in run(blocks, tmp_path, environment(tmp_path / "bin")):
        assert status == 0, printed
        assert not example.output or settled(printed) == settled(example.output)
    assert cv2.imread(str(tmp_path / "out.png")).shape == (480, 640, 3)
