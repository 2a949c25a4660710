"""`port --into` on the command line: which files it reads and writes, and which it refuses."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import resnet_convert
from prototxt.errors import CaffeModelError, RequestError
from resnet_convert.cli.main import main
from tests.resnet_convert.modules.nets import SMALL, conv, convolved, models
from weights import open_weights


@pytest.fixture
def small(made: Callable[..., tuple[str, str]]) -> tuple[str, str]:
    """A net, and `mine.py:net` that is it."""
    Path("mine.py").write_text(models())
    return made(*SMALL)


@pytest.mark.parametrize(
    ("name", "load"), [("o.pth", lambda f: torch.load(f, weights_only=True)), ("o.safetensors", load_file)]
)
def test_the_command_line_writes_what_its_framework_reads(
    name: str,
    load: Callable[[str], dict[str, torch.Tensor]],
    small: tuple[str, str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["port", *small, "--into", "mine.py:net", "-o", name, "--report", "page.html"]) == 0
    state = load(name)
    with open_weights(small[1]) as weights:
        (stored,) = [found for found in weights.layers if found.blobs]
        assert np.array_equal(state["0.weight"].numpy(), stored.blobs[0].array())
        assert np.array_equal(state["0.bias"].numpy(), stored.blobs[1].array())
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == f"mine.py:net: 1 layers paired, 2 arrays filled -> {name} (0.0 MB)"
    assert printed[1] == "  s (Softmax, net.prototxt:5) is not in the module, which gives what it reads"
    assert printed[2].startswith("parity: 3 of 3 blobs within bound in PyTorch")
    assert "mine.py:net" in Path("page.html").read_text()


def test_python_writes_the_page_that_it_is_asked_for(made: Callable[..., tuple[str, str]]) -> None:
    module = convolved()
    resnet_convert.port_into(*made(conv("named_here", "data")), module, report="page.html")
    assert "named_here" in Path("page.html").read_text()


def test_the_command_line_says_where_numbers_leave(small: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.py").write_text(models(padding=0))
    assert main(["port", *small, "--into", "mine.py:net"]) == 3
    errors = " ".join(capsys.readouterr().err.split())
    why = "c (Convolution, net.prototxt:2) is 0 (Conv2d) with other settings: padding 1, there 0"
    assert f"warning: {why}; equal with model.0.padding = (1, 1)" in errors
    at = "the numbers leave at c (Convolution, net.prototxt:2), in the module 0 (Conv2d)"
    assert f"{at}: {why}; equal with model.0.padding = (1, 1) (--patch sets it)" in errors
    assert Path("net.safetensors").exists()
    assert main(["port", *small, "--into", "mine.py:net", "--patch", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["patched"] == ["model.0.padding = (1, 1)"]
    assert (facts["differences"], facts["leaves_at"], facts["verification"]["ok"]) == ([], None, True)
    assert facts["followed_by"] == "torch.export"


CHECKED = """
class Net(nn.Sequential):
    def forward(self, x):
        assert x.sum() < 1e9
        return super().forward(x)
"""


def test_the_command_line_says_how_a_module_was_followed(
    small: tuple[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    Path("mine.py").write_text(models().replace("nn.Sequential", "Net") + CHECKED)
    assert main(["port", *small, "--into", "mine.py:net"]) == 0
    printed, errors = capfd.readouterr()
    assert errors == ""
    assert printed.splitlines()[1].startswith(
        "  the module was followed by hooks, since others can't: torch.export: Guard"
    )


BAD = """import sys

def late():
    return sum([1, 2, 3 / 0])

def never():
    raise KeyError("never")
"""


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["net.prototxt", "W", "--into", "vgg16"], 2, "'vgg16' names no module; expected torchvision:NAME, timm:NAME"),
        (["net.prototxt", "W", "--into", "none.py:net"], 2, "none.py: error: no such file"),
        (["net.prototxt", "W", "--into", "mine.py:Nett"], 2, "mine.py: error: has nothing called 'Nett'"),
        (["net.prototxt", "W", "--into", "mine.py:nn"], 2, "mine.py: error: fails to load: TypeError"),
        (["net.prototxt", "W", "--into", "bad.py:late"], 2, "bad.py:4: error: fails to load: ZeroDivisionError: "),
        (["net.prototxt", "W", "--into", "bad.py:never"], 2, "bad.py:7: error: fails to load: KeyError: 'never'"),
        (["net.prototxt", "W", "--into", "odd.py:net"], 2, "odd.py:3: error: fails to load: SyntaxError: "),
        (["net.prototxt", "W", "--into", "mine.py:net", "-o", "o.bin"], 2, "expected a name that ends in .safetensors"),
        (["net.prototxt", "W", "--into", "mine.py:net", "--layout", "timm"], 2, "--layout does not go with --into"),
        (["net.prototxt", "W", "--into", "mine.py:net", "--net", "own"], 2, "--net does not go with --into"),
        (["net.prototxt", "--into", "mine.py:net"], 2, "net.prototxt brings no weights"),
        (["W", "--patch"], 2, "--patch goes with --into MODULE"),
        (["net.prototxt", "W", "--layout", "timm"], 2, "a second file goes with --into MODULE"),
    ],
)
def test_requests_that_make_no_sense_are_refused(
    words: list[str], status: int, said: str, small: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("bad.py").write_text(BAD)
    Path("odd.py").write_text("\n\ndef net(:\n    pass\n")
    assert main(["port", *(small[1] if word == "W" else word for word in words)]) in (status, 1)
    assert said in capsys.readouterr().err


@pytest.mark.skipif(find_spec("torchvision") is not None, reason="the real one is installed")
def test_a_library_that_fails_to_load_is_said(
    small: tuple[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["port", *small, "--into", "torchvision:vgg16"]) == 2
    assert "needs torchvision.models, which is not installed: pip install torchvision" in capsys.readouterr().err
    Path("torchvision").mkdir()
    Path("torchvision/__init__.py").write_text('raise RuntimeError("operator torchvision::nms does not exist")')
    monkeypatch.syspath_prepend(str(Path.cwd()))
    assert main(["port", *small, "--into", "torchvision:vgg16"]) in (1, 2)
    said = "torchvision is installed and cannot be imported: operator torchvision::nms does not exist"
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("place", [0, 1])
def test_no_input_is_written_over(place: int, small: tuple[str, str]) -> None:
    victim = f"in{place}.safetensors"
    shutil.copy(small[place], victim)
    files = [victim if i == place else name for i, name in enumerate(small)]
    with pytest.raises(RequestError, match="is a file that is read"):
        resnet_convert.port_into(*files, "mine.py:net", output=victim)
    Path("code.pth.py").write_text(models())
    with pytest.raises(CaffeModelError):
        resnet_convert.port_into(*small, "code.pth.py:net", output="code.pth.py")
