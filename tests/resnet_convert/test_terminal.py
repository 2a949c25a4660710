"""What the command line prints cannot act on a terminal, fits its width, and says how far long work is."""

from __future__ import annotations

import fcntl
import logging
import os
import pty
import re
import subprocess
import sys
import termios
from pathlib import Path
from struct import pack

import numpy as np
import pytest

from resnet_convert.cli import terminal
from resnet_convert.cli.main import main
from resnet_convert.cli.verbs import VERBS
from tests.weights.layouts.porting_nets import seeded_arrays, weights_of
from weights import ArrayWeights, write_caffemodel

ROOT = Path(__file__).resolve().parents[2]
DIGITS = ROOT / "examples" / "digits"
EVIL = "a\x1b[2J\n\u202eb\x00\x9b31m\u2028" + "long" * 100
WORD = repr(EVIL.encode())[2:-1].replace("'", "\\'")


def net() -> str:
    """A net whose every name would clear the screen, turn the line around or fill it."""
    data = f'layer {{ name: "{WORD}0" type: "Input" top: "{WORD}d" input_param {{ shape {{ dim: 1 dim: 3 }} }} }}'
    scale = f'layer {{ name: "{WORD}1" type: "Scale" bottom: "{WORD}d" top: "{WORD}s" }}'
    extra = f'layer {{ name: "{WORD}2" type: "ReLU" bottom: "{WORD}s" top: "{WORD}r" }}'
    Path("net.prototxt").write_text(f'name: "{WORD}n"\n{data}\n{scale}\n{extra}\n')
    blobs = {f"{EVIL}1": [np.ones(3, np.float32)], f"{EVIL}unused": [np.ones(2, np.float32)]}
    write_caffemodel("net.caffemodel", EVIL, ArrayWeights(blobs).layers)
    return "net.prototxt"


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def commands() -> dict[str, list[list[str]]]:
    """For each verb, runs that print names, warnings or errors of `net()`."""
    pair = ["net.prototxt", "net.caffemodel"]
    return {
        "convert": [[*pair, "--explain", "-o", "m.onnx"], [pair[0], "--outputs", "nope"], ["no\x1b[2J.prototxt"]],
        "verify": [[*pair, "m.onnx", "-v"], [*pair, "no\x1b[2J.onnx"]],
        "inspect": [pair],
        "view": [pair, [pair[0], "-o", "no\x1b[2J.txt"], ["no\x1b[2J"]],
        "upgrade": [[pair[0], "-o", "new.prototxt"], ["no\x1b[2J"]],
        "diff": [[pair[1], "other.caffemodel"], [pair[1], pair[0]]],
        "port": [[pair[1], "--layout", "timm"], ["other.caffemodel", "--layout", "timm", "-o", "out.safetensors"]],
        "batch": [["zoo.csv", "-o", "out", "-j", "1"]],
        "evaluate": [[*pair, "--data", "no\x1b[2J"], [*pair, "--data", str(DIGITS / "val")]],
        "classify": [[*pair, "no\x1b[2J"], [*pair, str(DIGITS / "val"), "--labels", "no\x1b[2J"], [pair[0], "m.onnx"]],
        "layers": [["no\x1b[2J" + "o" * 2000], ["ReLU"]],
        "models": [["no\x1b[2J" + "o" * 2000], ["resnet-50"]],
        "recalibrate": [[*pair, "--data", str(DIGITS / "val")]],
    }


@pytest.mark.parametrize("verb", VERBS)
def test_no_name_acts_on_the_terminal(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    net()
    resnet = weights_of(seeded_arrays(50, 7))
    write_caffemodel("other.caffemodel", "r", [*resnet.layers, *ArrayWeights({EVIL: [np.ones(2, np.float32)]}).layers])
    Path("zoo.csv").write_text("net,weights\nnet.prototxt,net.caffemodel\nnet.prototxt,\n")
    main(["convert", "net.prototxt", "net.caffemodel", "-o", "m.onnx", "-q"])
    capsys.readouterr()
    printed = ""
    for words in commands()[verb]:
        main([verb, *words])
        printed += "".join(capsys.readouterr())
    assert printed
    assert [c for c in printed.replace("\n", "") if not c.isprintable()] == []
    assert max(map(len, re.findall(r"\S+", printed))) < 1000


def test_the_middle_of_a_long_name_is_left_out() -> None:
    assert terminal.tidy("layer " + "x" * 500) == "layer " + "x" * 79 + "…" + "x" * 79
    assert terminal.tidy("a short line") == "a short line"


def _resize(descriptor: int, columns: int) -> None:
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, pack("HHHH", 24, columns, 0, 0))


SLOW = """
import sys, time
from resnet_convert.cli import terminal
terminal.PATIENCE = 0.05
with terminal.progress(True) as line:
    for done in range(6):
        if line:
            line("running the net", done, 12)
        time.sleep(0.25)
    print("done")
"""


def seen_of(code: str, columns: int = 60, **environment: str) -> str:
    Path("slow.py").write_text(code)
    ours, theirs = pty.openpty()
    _resize(theirs, columns)
    own = {name: value for name, value in os.environ.items() if name != "COLUMNS"}  # it would stand for the width
    child = subprocess.Popen(
        [sys.executable, "slow.py"],
        stdin=theirs, stdout=theirs, stderr=theirs, env={**own, "PYTHONPATH": str(ROOT), **environment},
    )  # fmt: skip
    os.close(theirs)
    seen = b""
    while True:
        try:
            part = os.read(ours, 1 << 16)
        except OSError:  # Linux's word for the end
            break
        if not part:
            break
        seen += part
    os.close(ours)
    assert child.wait() == 0
    return seen.decode()


def test_a_terminal_is_told_how_far_long_work_is() -> None:
    seen = seen_of(SLOW)
    assert re.search(r"\r\x1b\[Klayer [1-5] of 12, \d s left: running the net", seen)
    assert seen.endswith("\r\x1b[K") or seen.rstrip().endswith("\x1b[K")
    assert "\x1b[3" not in seen  # no colour


def test_nothing_is_drawn_where_it_cannot_be_wiped() -> None:
    assert "\x1b" not in seen_of(SLOW, TERM="dumb")
    done = subprocess.run([sys.executable, "slow.py"], capture_output=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert (done.stdout, done.stderr) == (b"done\n", b"")


def test_sentences_wrap_at_the_terminals_width_and_files_get_whole_lines() -> None:
    words = [str(DIGITS / "deploy.prototxt"), str(DIGITS / "digits_resnet.caffemodel"), "--no-verify", "-o", "m.onnx"]
    code = f"from resnet_convert.cli.main import main; main({words!r})"
    lines = seen_of(code, columns=50).splitlines()
    assert len(lines) > 1
    assert max(len(line) for line in lines) < 50 or any(" " not in line.strip() for line in lines if len(line) >= 50)
    done = subprocess.run([sys.executable, "-m", "resnet_convert", *words], capture_output=True, text=True)
    assert len(done.stdout.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["convrt", "a", "b"], "unknown verb 'convrt', and no file of that name; did you mean 'convert'?"),
        (["summary"], "did you mean 'inspect'?"),
        (["Verify", "a"], "did you mean 'verify'?"),
        (["xyzzy"], "expected convert, verify, evaluate, classify, batch,"),
    ],
)
def test_a_mistyped_verb_is_named_with_the_nearest(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert message in capsys.readouterr().err


def test_a_file_that_is_called_like_a_mistyped_verb_still_wins(capsys: pytest.CaptureFixture[str]) -> None:
    Path("summary").write_text((DIGITS / "deploy.prototxt").read_text())
    assert main(["summary", str(DIGITS / "digits_resnet.caffemodel"), "--no-verify", "-o", "m.onnx"]) == 0
    Path("inspect").write_text((DIGITS / "deploy.prototxt").read_text())
    assert main(["inspect", "--random-weights", "1", "--no-verify", "-o", "m.onnx"]) == 2  # the verb, with an option
    assert main(["inspect"]) == 1  # the file, whose weights are missing
    assert "layers need weights" in capsys.readouterr().err


def test_what_the_library_logs_goes_its_own_way_again_after_a_command(caplog: pytest.LogCaptureFixture) -> None:
    main(["inspect", str(ROOT / "examples" / "digits" / "deploy.prototxt")])
    logging.getLogger("weights").warning("for the program that runs us")
    assert caplog.messages == ["for the program that runs us"]
