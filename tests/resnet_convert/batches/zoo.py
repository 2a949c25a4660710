"""A small zoo of nets and plugins, good ones and bad ones, and what a batch over it left, files and processes."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

INPUT = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 5 } } }\n'
RELU = INPUT + 'layer { name: "r" type: "ReLU" bottom: "x" top: "y" }\n'
UNKNOWN = INPUT + "".join(f'layer {{ name: "{n}" type: "Nope{n}" bottom: "x" top: "{n}" }}\n' for n in "abc")
TWICE = INPUT + 'layer { name: "t" type: "Twice" bottom: "x" top: "y" }\n'

TRIPLES = """\
from dataclasses import dataclass
from converter.layers.base import Layer, register
from verify.layers import registry


@register
@dataclass(frozen=True)
class Twice(Layer):
    types = ("Twice",)

    def onnx(self, g, node, *x):
        return g.op("Mul", x[0], g.scalar(3.0))


@registry.register("Twice")
def twice(call):
    return [call.x * registry.np.float32(2)]
"""
"""A plugin whose ONNX operators are not what its layer means."""

SLEEPS = """\
import os, subprocess, sys, time
from pathlib import Path
here = Path(__file__).parent
if not (here / "awake").exists():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
    (here / "pids.tmp").write_text(f"{os.getpid()} {child.pid} {os.getppid()}")
    (here / "pids.tmp").rename(here / "pids")
    time.sleep(300)
"""
"""A plugin that hangs with a child of its own, until a file says that it need not."""


FILES = {
    "relu.prototxt": RELU,
    "unknown.prototxt": UNKNOWN,
    "twice.prototxt": TWICE,
    "triples.py": TRIPLES,
    "turns.py": TRIPLES.replace('"Mul", x[0], g.scalar(3.0)', '"Transpose", x[0]'),
    "sleeps.py": SLEEPS,
    "dies.py": "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n",
    "leaves.py": "raise SystemExit(7)\n",
    "exits.py": "import os\nos._exit(0)\n",
    "raises.py": "1 / 0\n",
}


def make_zoo(folder: Path) -> None:
    """The nets and plugins as files."""
    for name, text in FILES.items():
        (folder / name).write_text(text)


def manifest(*rows: Sequence[str], head: str = "net name plugin", to: str = "zoo.csv") -> str:
    """Write a manifest of rows that each begin with the head's columns; its path."""
    with open(to, "w", newline="") as file:
        csv.writer(file).writerows([head.split(), *rows])
    return to


def statuses(out: str = "out") -> dict[str, str]:
    """Status of each net, from the summary."""
    return {net["name"]: net["status"] for net in json.loads(Path(out, "summary.json").read_bytes())["nets"]}


def messages(out: str = "out") -> dict[str, str]:
    """What the summary says of each net."""
    return {net["name"]: net["message"] for net in json.loads(Path(out, "summary.json").read_bytes())["nets"]}


def files(folder: str) -> list[str]:
    """Every file below a folder."""
    return sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file())


def wait_for(what: Callable[[], bool], seconds: float = 240.0) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    """Whether a process is there and more than a zombie that nobody asks for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
