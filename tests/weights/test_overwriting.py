"""An output that is an input, or another output, is refused before anything is written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from prototxt.errors import RequestError
from weights import refuse_overwriting


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.prototxt").write_text("name: 'n'")
    Path("sub").mkdir()


def link(name: str, aim: str) -> str:
    os.symlink(aim, name)
    return name


def hard(name: str, aim: str) -> str:
    os.link(aim, name)
    return name


@pytest.mark.parametrize(
    "other",
    [
        lambda: "net.prototxt",
        lambda: "sub/../net.prototxt",
        lambda: Path("net.prototxt").absolute(),
        lambda: link("link", "net.prototxt"),
        lambda: link("link", link("further", "net.prototxt")),
        lambda: f"{link('folder', '.')}/net.prototxt",
        lambda: hard("hard", "net.prototxt"),
    ],
    ids=["name", "path", "absolute", "link", "links", "folder", "hard link"],
)
def test_an_output_that_is_an_input_by_any_name_is_refused(other) -> None:
    name = other()
    for output, read in ((name, "net.prototxt"), ("net.prototxt", name)):
        with pytest.raises(RequestError, match="that is read; name another file to write") as caught:
            refuse_overwriting([None, "new", output], [None, "gone", read])
        assert caught.value.position is not None
        assert caught.value.position.path == str(output)
    assert Path("net.prototxt").read_text() == "name: 'n'"


@pytest.mark.parametrize("made", [True, False])
def test_two_outputs_that_are_one_file_are_refused(made: bool) -> None:
    if made:
        Path("sub/a").touch()
    link("folder", "sub")
    for pair in (["sub/a", "sub/a"], ["sub/a", "folder/a"], [link("aim", "sub/a"), "sub/a"]):
        with pytest.raises(RequestError, match="that is written as well; name two files"):
            refuse_overwriting(pair, ["net.prototxt"])


def test_a_folder_that_is_read_takes_new_files_and_older_ones_of_ours_alone() -> None:
    Path("sub/image.png").write_bytes(b"\x89PNG")
    Path("sub/parity.html").write_text("<!DOCTYPE html>\n<title>parity</title>")
    Path("sub/run.journal").write_text('{"resnet_convert_journal": 1}')
    refuse_overwriting(["sub/new.html", "sub/parity.html", "sub/run.journal", "out.html"], ["sub"])
    link("elsewhere", "sub")
    for output in ("sub/image.png", "elsewhere/image.png"):
        with pytest.raises(RequestError, match="is in a folder that is read, and not of ours"):
            refuse_overwriting([output], ["sub"])


def test_other_files_and_names_that_no_file_can_have_pass() -> None:
    Path("old.onnx").touch()
    refuse_overwriting(["old.onnx", "net.onnx", "net.onnx.data", "a\0b"], ["net.prototxt", "sub", "104,117,123", "\0"])
