"""Runs conversions that are killed at each file-system event: `python tests/resnet_convert/killed.py FOLDER CASE`.

Prints as JSON what stands in the folder after each kill, and after the run that follows it. The runs are forks of this
process, which has imported and run everything before.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from converter.targets import writers
from resnet_convert.cli.main import main

EVENTS = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.chmod", "os.truncate"}
HIDDEN = ".resnet-convert-"
TIMES = re.compile(rb'"seconds":{[^}]*}')  # of a report
State = dict[str, str]

NET = """
name: "n"
layer { name: "d" type: "Input" top: "d" input_param { shape { dim: 1 dim: 20 } } }
layer { name: "a" type: "InnerProduct" bottom: "d" top: "x"
  inner_product_param { num_output: 20 weight_filler { type: "xavier" } } }
layer { name: "b" type: "ReLU" bottom: "x" top: "y" }
"""

CASES: dict[str, list[str]] = {
    "onnx": ["--to", "onnx", "-o", "m.onnx"],
    "external": ["--to", "onnx", "-o", "m.onnx"],
    "torch": ["--to", "torch", "-o", "m"],
    "caffe": ["--to", "caffe", "-o", "m"],
    "here": ["--to", "torch", "-o", "."],
    "safetensors": ["--to", "safetensors", "-o", "m.safetensors"],
    "npz": ["--to", "npz", "-o", "m.npz"],
    "hdf5": ["--to", "hdf5", "-o", "m.h5"],
    "report": ["--to", "caffe", "-o", "m", "--report", "parity.html"],
}


def state(folder: Path) -> State:
    """A digest of what is in each file that is not hidden, by its path."""
    files = ((path, TIMES.sub(b"", path.read_bytes())) for path in visible(folder) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(data).hexdigest() for path, data in files}


def visible(folder: Path) -> list[Path]:
    """What stands in a folder and those in it, but for our hidden ones."""
    return [path for path in folder.rglob("*") if not any(part.startswith(HIDDEN) for part in path.parts)]


def convert(words: list[str], seed: int) -> None:
    verify = [] if "--report" in words else ["--no-verify"]
    with contextlib.redirect_stdout(io.StringIO()):
        assert main(["../net.prototxt", "--random-weights", str(seed), *words, *verify]) == 0


def forked(work: Callable[[], None]) -> int:
    """How a process ended that did the work."""
    child = os.fork()
    if child == 0:
        work()
        os._exit(0)
    return os.waitpid(child, 0)[1]


def killed_at(event: int, work: Callable[[], None]) -> Callable[[], None]:
    left = event

    def hook(name: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        writing = name == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if name in EVENTS or writing:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def run() -> None:
        sys.addaudithook(hook)
        work()

    return run


def runs(base: Path, case: str, *, over: bool) -> dict[str, Any]:
    """The states after the kills and after the runs behind them, with what stood there before and what should."""
    words, here, old = CASES[case], base / case, base / f"{case}_{over}"
    old.mkdir()
    os.chdir(old)
    (old / "notes.txt").write_text("mine")
    if over:
        convert(words, seed=1)
    before = state(old)
    found: list[tuple[State, State, int]] = []
    for event in range(1, 1000):
        shutil.rmtree(here, ignore_errors=True)
        shutil.copytree(old, here)
        os.chdir(here)
        ended = forked(killed_at(event, lambda: convert(words, seed=2)))
        after = state(here)
        if not os.WIFSIGNALED(ended):
            assert ended == 0
            return {"before": before, "found": found, "whole": after}
        convert(words, seed=2)
        found.append((after, state(here), sum(path.is_symlink() for path in visible(here))))
    raise AssertionError("it never ends")


def all_runs(folder: Path, case: str) -> None:
    os.environ["SOURCE_DATE_EPOCH"] = "0"
    (folder / "net.prototxt").write_text(NET)
    if case == "external":
        writers.write_onnx.__kwdefaults__["largest"] = 100
    sys.stdout.write(json.dumps([runs(folder, case, over=over) for over in (False, True)]))


if __name__ == "__main__":
    all_runs(Path(sys.argv[1]), sys.argv[2])
