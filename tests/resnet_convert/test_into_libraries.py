"""The commands of docs/porting.md that name torchvision's and timm's own models, run as they stand there.

Neither library is in the tests' own environment; requirements.txt beside this file says how to run these.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import resnet_convert

ROOT = Path(__file__).resolve().parents[2]
SHOWN = re.compile(r"^    (resnet-convert port .*--into .*)$", re.MULTILINE)
COMMANDS = SHOWN.findall((ROOT / "docs" / "porting.md").read_text(encoding="utf-8"))

needs_libraries = pytest.mark.skipif(
    not (find_spec("torchvision") and find_spec("timm")), reason="torchvision and timm are not installed"
)


class Text:
    """A prototxt, layer by layer; `at` is the blob that the next one reads."""

    def __init__(self) -> None:
        self.layers = ['name: "n" input: "data" input_shape { dim: 1 dim: 3 dim: 224 dim: 224 }']
        self.at = "data"

    def add(self, kind: str, parameters: str = "", *others: str, source: str = "") -> str:
        name = f"{kind}{len(self.layers)}"
        bottoms = " ".join(f'bottom: "{bottom}"' for bottom in (source or self.at, *others))
        self.layers.append(f'layer {{ name: "{name}" type: "{kind}" {bottoms} top: "{name}" {parameters} }}')
        self.at = name
        return name

    def conv(self, out: int, kernel: int, stride: int = 1, pad: int = 0, *, tail: str = "", source: str = "") -> str:
        bias = "false" if "BatchNorm" in tail else "true"
        size = f"num_output: {out} kernel_size: {kernel} stride: {stride} pad: {pad} bias_term: {bias}"
        self.add("Convolution", f"convolution_param {{ {size} }}", source=source)
        for kind in tail.split():
            self.add(kind, "scale_param { bias_term: true }" if kind == "Scale" else "")
        return self.at

    def full(self, out: int) -> str:
        return self.add("InnerProduct", f"inner_product_param {{ num_output: {out} }}")

    def __str__(self) -> str:
        return "\n".join(self.layers)


def vgg16() -> Text:
    text = Text()
    for out, times in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(times):
            text.conv(out, 3, pad=1, tail="ReLU")
        text.add("Pooling", "pooling_param { pool: MAX kernel_size: 2 stride: 2 }")
    for out in (4096, 4096):
        text.full(out)
        text.add("ReLU")
        text.add("Dropout")
    text.full(1000)
    return text


def se_resnet50() -> Text:
    """As its authors wrote it: the stride in the first 1×1, an unpadded pooling, and Axpy for gate and sum."""
    text = Text()
    tail = "BatchNorm Scale ReLU"
    text.conv(64, 7, 2, 3, tail=tail)
    text.add("Pooling", "pooling_param { pool: MAX kernel_size: 3 stride: 2 }")
    for stage, blocks in enumerate((3, 4, 6, 3)):
        width = 64 * 2**stage
        for block in range(blocks):
            source, stride = text.at, 2 if stage and not block else 1
            around = source if block else text.conv(4 * width, 1, stride, tail="BatchNorm Scale", source=source)
            text.conv(width, 1, stride, tail=tail, source=source)
            text.conv(width, 3, 1, 1, tail=tail)
            last = text.conv(4 * width, 1, tail="BatchNorm Scale")
            text.add("Pooling", "pooling_param { pool: AVE global_pooling: true }")
            text.conv(width // 4, 1, tail="ReLU")
            gate = text.conv(4 * width, 1, tail="Sigmoid")
            text.add("Axpy", "", last, around, source=gate)
            text.add("ReLU")
    text.add("Pooling", "pooling_param { pool: AVE global_pooling: true }")
    text.full(1000)
    return text


def of_own() -> Text:
    text = Text()
    text.conv(4, 3, tail="ReLU")
    return text


OWN = """
from torch import nn


class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(3, 4, 3), nn.ReLU())
"""

NETS: dict[str, Callable[[], Text]] = {
    "torchvision:vgg16": vgg16,
    "timm:seresnet50": se_resnet50,
    "my_models.py:Net": of_own,
}


def prepared(into: str, folder: Path) -> None:
    """The files that a command names, with random weights."""
    (folder / "deploy.prototxt").write_text(str(NETS[into]()))
    (folder / "my_models.py").write_text(OWN)
    made = folder / "made"
    how: dict[str, Any] = {"to": "caffe", "fold": "none", "random_weights": 1, "verify": False}
    resnet_convert.convert(folder / "deploy.prototxt", output=made, **how)
    (made / "model.caffemodel").rename(folder / "model.caffemodel")


@needs_libraries
@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_the_documented_commands_work(command: str, tmp_path: Path) -> None:
    program, *words = shlex.split(command)
    assert program == "resnet-convert"
    prepared(words[words.index("--into") + 1], tmp_path)
    run = [sys.executable, "-m", "resnet_convert.cli.main", *words]
    done = subprocess.run(
        run,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert "blobs within bound" in done.stdout
    assert done.returncode == 0, done.stdout
    assert (tmp_path / words[words.index("-o") + 1]).stat().st_size > 400


def test_the_document_names_all_kinds_of_modules() -> None:
    named = [words[words.index("--into") + 1] for words in map(shlex.split, COMMANDS)]
    assert set(named) == set(NETS)
