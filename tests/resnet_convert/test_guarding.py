"""No verb writes over a file that it reads, nor two outputs into one, whatever name either goes by."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from resnet_convert.cli.main import main

DIGITS = Path(__file__).resolve().parents[2] / "examples" / "digits"
PAIR = ["net.prototxt", "net.caffemodel"]
IMAGES = ["--data", "val", "--labels", "val.txt"]
RUNS = [
    ["convert", *PAIR, "-o", "net.caffemodel"],
    ["convert", *PAIR, "-o", "m.onnx", "--report", "net.prototxt"],
    ["convert", *PAIR, "-o", "m.onnx", "--report", "m.onnx"],
    ["convert", *PAIR, "-o", "m.onnx", "--mean", "mean.binaryproto", "--report", "mean.binaryproto"],
    ["convert", *PAIR, "--to", "caffe", "-o", "m_caffe", "--report", "m_caffe/deploy.prototxt"],
    ["verify", *PAIR, "model.onnx", "--report", "model.onnx"],
    ["verify", *PAIR, "model.onnx", "model.onnx", "--report", "net.prototxt"],
    ["evaluate", *PAIR, *IMAGES, "--report", "val.txt"],
    ["evaluate", *PAIR, *IMAGES, "--journal", "net.prototxt"],
    ["evaluate", *PAIR, *IMAGES, "--scores", "out", "--junit", "out"],
    ["evaluate", *PAIR, *IMAGES, "--model", "model.onnx", "--report", "model.onnx"],
    ["recalibrate", *PAIR, *IMAGES, "-o", "net.caffemodel"],
    ["port", "net.caffemodel", "--layout", "torchvision", "-o", "net.caffemodel"],
    ["upgrade", "net.prototxt", "-o", "net.prototxt"],
    ["batch", "summary.json", "-o", "."],
]
LINKS: dict[str, Callable[[str, str], None]] = {
    "by its name": lambda _, __: None,
    "through a symbolic link": os.symlink,
    "through a hard link": os.link,
}


def state(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(autouse=True)
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    shutil.copy(DIGITS / "deploy.prototxt", "net.prototxt")
    shutil.copy(DIGITS / "digits_resnet.caffemodel", "net.caffemodel")
    for name in ("mean.binaryproto", "val.txt"):
        shutil.copy(DIGITS / name, name)
    Path("val").mkdir()
    first = Path("val.txt").read_text().split()[0]
    shutil.copy(DIGITS / "val" / first, Path("val") / first)
    Path("model.onnx").write_bytes(b"a model")
    Path("summary.json").write_text("net\nnet.prototxt\n")


@pytest.mark.parametrize("how", LINKS)
@pytest.mark.parametrize("words", RUNS, ids=" ".join)
def test_an_output_that_is_an_input_is_refused_and_nothing_is_written(
    words: list[str], how: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = words[-1]
    if how != "by its name" and Path(output).is_file():
        LINKS[how](str(Path(output).resolve()), "link")
        words = [*words[:-1], "link"]
    before = state(tmp_path)
    assert main(words) == 2
    error = capsys.readouterr().err
    assert "that is read" in error or "that is written as well" in error or "no journal" in error
    assert state(tmp_path) == before
