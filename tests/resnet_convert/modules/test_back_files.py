"""`port --from MODULE` on the command line: which files it reads and writes, and which it refuses."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import resnet_convert
from prototxt.errors import CaffeModelError, RequestError, WeightsError
from resnet_convert.cli.main import main
from tests.resnet_convert.modules.nets import SMALL, models, net
from weights import open_weights


@pytest.fixture
def small(in_a_folder: None) -> dict[str, torch.Tensor]:
    """A net, `mine.py:net` that is it, and its state dict, which lies in state.pth."""
    Path("mine.py").write_text(models())
    net(*SMALL)
    made = torch.Generator().manual_seed(4)
    state = {"0.weight": torch.randn(4, 3, 3, 3, generator=made), "0.bias": torch.randn(4, generator=made)}
    torch.save(state, "state.pth")
    return state


SAVED: dict[str, Callable[[dict[str, torch.Tensor]], None]] = {
    "state.safetensors": lambda state: save_file(state, "state.safetensors"),
    "state.pth": lambda state: torch.save(state, "state.pth"),
    "checkpoint.pth": lambda state: torch.save({"state_dict": state, "epoch": 90}, "checkpoint.pth"),
    "parallel.pth": lambda state: torch.save({f"module.{key}": v for key, v in state.items()}, "parallel.pth"),
}


@pytest.mark.parametrize("name", SAVED)
def test_the_command_line_reads_what_frameworks_write(
    name: str, small: dict[str, torch.Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    SAVED[name](small)
    words = ["port", "--from", "mine.py:net", name, "--net", "net.prototxt", "-o", "o.caffemodel"]
    assert main([*words, "--report", "page.html"]) == 0
    with open_weights("o.caffemodel") as weights:
        (stored,) = [found for found in weights.layers if found.blobs]
        assert np.array_equal(stored.blobs[0].array(), small["0.weight"].numpy())
        assert np.array_equal(stored.blobs[1].array(), small["0.bias"].numpy())
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "mine.py:net: 1 layers paired, 2 blobs filled -> o.caffemodel (0.0 MB)"
    assert printed[1] == "  s (Softmax, net.prototxt:5) is not in the module, which gives what it reads"
    assert printed[2].startswith("parity: 3 of 3 blobs within bound in PyTorch")
    assert "mine.py:net" in Path("page.html").read_text()


def test_a_module_may_come_with_its_weights(small: dict[str, torch.Tensor]) -> None:
    loading = (
        "\n\ndef loaded():\n    made = net()\n    made.load_state_dict(torch.load('state.pth'))\n    return made\n"
    )
    Path("mine.py").write_text("import torch" + models() + loading)
    assert main(["port", "--from", "mine.py:loaded", "--net", "net.prototxt", "-q"]) == 0
    with open_weights("loaded.caffemodel") as weights:
        (stored,) = [found for found in weights.layers if found.blobs]
        assert np.array_equal(stored.blobs[0].array(), small["0.weight"].numpy())


@pytest.mark.usefixtures("small")
def test_the_command_line_says_where_numbers_leave(capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.py").write_text(models(padding=0))
    words = ["port", "--from", "mine.py:net", "state.pth", "--net", "net.prototxt"]
    assert main(words) == 3
    errors = " ".join(capsys.readouterr().err.split())
    why = "c (Convolution, net.prototxt:2) is 0 (Conv2d) with other settings: padding 1, there 0"
    mended = "equal with pad: 0 in the prototxt"
    assert f"warning: {why}; {mended}" in errors
    assert f"leave at c (Convolution, net.prototxt:2), in the module 0 (Conv2d): {why}; {mended}" in errors
    assert Path("net.caffemodel").exists()
    assert main([*words, "--no-verify", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["leaves_at"], facts["verification"]) == (None, None)
    assert [(each["layer"], each["advice"]) for each in facts["differences"]] == [("c", "pad: 0")]
    assert facts["blobs"] == [{"layer": "c", "shapes": [[4, 3, 3, 3], [4]]}]


NO_STATE: dict[str, tuple[Callable[[dict[str, torch.Tensor]], object], str]] = {
    "a key that is missing": (lambda s: {"0.weight": s["0.weight"]}, "error: lacks what mine.py:net has: 0.bias"),
    "a key too many": (lambda s: {**s, "fc.bias": s["0.bias"]}, "error: has what mine.py:net does not have: fc.bias"),
    "another shape": (
        lambda s: {**s, "0.weight": s["0.weight"][:, :2]},
        "error: 0.weight is 4×2×3×3, that of mine.py:net 4×3×3×3",
    ),
    "a whole module": (
        lambda _: nn.Linear(2, 2),
        "error: holds torch.nn.modules.linear.Linear, which torch.load",
    ),
    "no dictionary": (lambda s: [s["0.bias"]], "error: holds a list; expected a state dict"),
    "no tensors": (lambda _: {"epoch": 90}, "error: holds no arrays; expected one state dict"),
    "nothing": (lambda _: {}, "error: holds no arrays; expected one state dict"),
}


@pytest.mark.parametrize("what", NO_STATE)
def test_a_state_dict_of_something_else_is_refused(
    what: str, small: dict[str, torch.Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    make, said = NO_STATE[what]
    torch.save(make(small), "state.pth")
    assert main(["port", "--from", "mine.py:net", "state.pth", "--net", "net.prototxt", "-o", "o.caffemodel"]) == 1
    error = capsys.readouterr().err
    assert said in error
    assert "state.pth" in error
    assert not Path("o.caffemodel").exists()


@pytest.mark.usefixtures("small")
def test_no_code_in_a_state_dict_is_run() -> None:
    class Hostile:
        def __reduce__(self) -> tuple[object, ...]:
            return os.mkdir, ("ran",)

    torch.save({"0.weight": Hostile()}, "state.pth")
    with pytest.raises(WeightsError, match=r"holds posix\.mkdir, which .* nothing else is run here"):
        resnet_convert.port_from("net.prototxt", "state.pth", "mine.py:net")
    assert not Path("ran").exists()


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("cut", [0, 1, 40, 300, -1])
@pytest.mark.parametrize("name", ["state.pth", "state.safetensors"])
def test_a_state_dict_that_is_cut_off_is_refused(name: str, cut: int, small: dict[str, torch.Tensor]) -> None:
    SAVED[name](small)
    data = Path(name).read_bytes()[:cut]
    Path(name).write_bytes(data)
    with pytest.raises(WeightsError, match=re.escape(name)):
        resnet_convert.port_from("net.prototxt", name, "mine.py:net")


@pytest.mark.usefixtures("small")
def test_with_force_a_state_dict_is_taken_as_far_as_it_goes(small: dict[str, torch.Tensor]) -> None:
    torch.save({"0.weight": small["0.weight"], "head": small["0.bias"]}, "state.pth")
    done = resnet_convert.port_from("net.prototxt", "state.pth", "mine.py:net", force=True)
    assert [fault.partition("error: ")[2] for fault in done.left] == [
        "lacks what mine.py:net has: 0.bias",
        "has what mine.py:net does not have: head",
    ]
    assert np.array_equal(done.blobs["c"][0], small["0.weight"].numpy())


FROM = ["--from", "mine.py:net", "state.pth", "--net", "net.prototxt"]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["--from", "mine.py:net", "state.pth"], 2, "name its prototxt (--net)"),
        (["--from", "none.py:net", *FROM[2:]], 2, "none.py: error: no such file"),
        (["--from", "torch:net", *FROM[2:]], 2, "'torch:net' names no module; expected torchvision:NAME, timm:NAME"),
        (["--from", "timm:resnet50", "--net", "net.prototxt"], 2, "timm:resnet50 is built without weights; name the"),
        (["--from", "mine.py:net", "none.pth", "--net", "net.prototxt"], 1, "none.pth: error: no such file"),
        (["--from", "mine.py:net", "state.pth", "--net", "none.prototxt"], 1, "none.prototxt: error: can't read the"),
        ([*FROM, "-o", "o.bin"], 2, "expected a name that ends in .caffemodel or .caffemodel.h5"),
        ([*FROM, "--layout", "timm"], 2, "--layout does not go with --from MODULE"),
        ([*FROM, "--prototxt", "p"], 2, "--prototxt does not go with --from MODULE"),
        ([*FROM, "--patch"], 2, "--patch does not go with --from MODULE"),
        ([*FROM, "--into", "mine.py:net"], 2, "--from does not go with --into"),
        (["--from", "mine.py:net", "state.pth", "more", "--net", "net.prototxt"], 2, "more: a second file goes with"),
        (["--from", "mine.py", "state.pth"], 2, "--from 'mine.py': expected torchvision, timm"),
        (["--from", "timm", "state.pth", "--net", "net.prototxt"], 2, "--net 'net.prototxt': expected msra, own, or"),
        ([], 2, "the following arguments are required: WEIGHTS"),
    ],
)
def test_requests_that_make_no_sense_are_refused(
    words: list[str], status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["port", *words]) == status
    assert said in capsys.readouterr().err


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("place", ["net", "weights", "module"])
def test_no_input_is_written_over(place: str) -> None:
    names = {"net": "net.prototxt", "weights": "state.pth", "module": "mine.py"}
    os.symlink(names[place], "in.caffemodel")
    with pytest.raises(RequestError, match="that is read"):
        resnet_convert.port_from("net.prototxt", "state.pth", "mine.py:net", output="in.caffemodel")
    with pytest.raises(CaffeModelError):
        resnet_convert.port_from("net.prototxt", "state.pth", "mine.py:net", output="missing/o.caffemodel")
