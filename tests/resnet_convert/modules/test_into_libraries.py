"""The commands of docs/porting.md that name models of torchvision, timm and Keras, run as they stand there.

None of the libraries is in the tests' own environment: requirements.txt beside this file says how to run those of the
first two, that of tests/weights/layouts has Keras.
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

ROOT = Path(__file__).resolve().parents[3]
SHOWN = re.compile(r"^    resnet-convert (port .*)$", re.MULTILINE)
COMMANDS = [shlex.split(words) for words in SHOWN.findall((ROOT / "docs" / "porting.md").read_text(encoding="utf-8"))]


def module_of(words: list[str], flag: str) -> str:
    """The module that a command names behind a flag; empty without the flag."""
    return words[words.index(flag) + 1] if flag in words else ""


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


def make():
    from keras import Sequential, layers

    return Sequential([layers.Input((224, 224, 3)), layers.Conv2D(4, 3), layers.ReLU()])
"""

NETS: dict[str, Callable[[], Text]] = {
    "torchvision:vgg16": vgg16,
    "timm:seresnet50": se_resnet50,
    "keras:VGG16": vgg16,
    "my_models.py:Net": of_own,
    "my_models.py:make": of_own,
}
LIBRARIES = {"my_models.py:Net": "torch", "my_models.py:make": "keras"}
"""What builds those that do not say so themselves."""


def prepared(into: str, folder: Path) -> None:
    """The files that a command names, with random weights."""
    (folder / "deploy.prototxt").write_text(str(NETS[into]()))
    (folder / "my_models.py").write_text(OWN)
    made = folder / "made"
    how: dict[str, Any] = {"to": "caffe", "fold": "none", "random_weights": 1, "verify": False}
    resnet_convert.convert(folder / "deploy.prototxt", output=made, **how)
    (made / "model.caffemodel").rename(folder / "model.caffemodel")


def run(words: list[str], folder: Path) -> str:
    """What a command prints that ends as it should."""
    done = subprocess.run(
        [sys.executable, "-m", "resnet_convert.cli.main", *words],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert (folder / words[words.index("-o") + 1]).stat().st_size > 400
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("into", NETS)
def test_the_documented_commands_work(into: str, tmp_path: Path) -> None:
    """Into a module, and out of it again where the document shows that."""
    library = LIBRARIES.get(into, into.partition(":")[0])
    if find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    prepared(into, tmp_path)
    for flag in ("--into", "--from"):
        for words in COMMANDS:
            if module_of(words, flag) == into:
                assert "blobs within bound" in run(words, tmp_path)


def test_all_documented_commands_are_run() -> None:
    named = {module_of(words, flag) for words in COMMANDS for flag in ("--into", "--from")} - {""}
    assert named == set(NETS)
