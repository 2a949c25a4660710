#!/usr/bin/env python3
"""Time and memory of a conversion, as ratios to copying the weights, all measured in one run.

    python -m benchmarks.speed [--net NET --weights WEIGHTS] [--rounds 7]

Without files of your own it takes MSRA's ResNet-152 (241 MB) and, for the verification, ResNet-50, whose seeded weights
it makes from ../shared. Copying and converting take turns, so that a machine that slows down slows both; the median
counts. Peak memory is what the kernel says of the child. Without files of your own the peak is measured for VGG-16
(553 MB) and for a net of 2.6 GB too. Exit status 1 when a bar is missed; `np` is the time of `import numpy`:

    --to onnx, torch, safetensors, not verified     1.5 × cp + 3 × np, and 110 MB whatever the file's size
    inspect                                         110 MB
    import resnet_convert         none of torch, onnx, h5py, onnxruntime
    --help, --version             0.6 × np, the time of `python -c "import numpy"`
    the digits net, not verified  2.2 × np
    verify ResNet-50 in ONNX      15 s and 2 GB
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.large import products, vgg16
from benchmarks.msra import SHARED, make_cases

MB = 1e6
FRAMEWORKS = ("torch", "onnx", "h5py", "onnxruntime")
PYTHON = sys.executable
TARGETS = ("onnx", "torch", "safetensors")
LARGEST_PEAK = 110  # MB
DIGITS = Path(__file__).resolve().parents[1] / "examples" / "digits"


@dataclass(frozen=True)
class Usage:
    """What one child took: seconds on the clock and peak resident bytes."""

    seconds: float
    peak: float


@dataclass(frozen=True)
class Row:
    """One bar: what was measured, what is allowed, and in which unit."""

    what: str
    measured: float
    allowed: float
    unit: str
    how: str = ""

    @property
    def ok(self) -> bool:
        return self.measured <= self.allowed


LAUNCHER = """
import json, os, subprocess, sys, time
start = time.perf_counter()
child = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, used = os.wait4(child.pid, 0)
print(json.dumps([time.perf_counter() - start, used.ru_maxrss, os.waitstatus_to_exitcode(status)]))
"""
"""Starts and waits for the command in a process of its own: the kernel counts a child's peak from its parent's on."""


def measure(words: Sequence[str | Path], work: Path) -> Usage:
    """Run a command, silently; CalledProcessError with its last words where it fails."""
    with tempfile.TemporaryFile(dir=work) as errors:
        launched = subprocess.run(
            [sys.executable, "-c", LAUNCHER, *words], stdout=subprocess.PIPE, stderr=errors, check=True
        )
        seconds, peak, status = json.loads(launched.stdout)
        if status:
            errors.seek(0)
            raise subprocess.CalledProcessError(status, words, stderr=errors.read().decode()[-500:])
    return Usage(seconds, peak * (1 if sys.platform == "darwin" else 1024))


def take_turns(work: Path, rounds: int, **commands: Callable[[Path], Sequence[str | Path]]) -> dict[str, Usage]:
    """Run the commands in turn; the medians by name. Each is given a fresh path, which is removed after it.

    Each round begins with another: what ran before leaves memory that is quicker or slower to write to.
    """
    seen: dict[str, list[Usage]] = {name: [] for name in commands}
    order = list(commands)
    for turn in range(rounds):
        for name in order:
            target = work / f"{name}_{turn}"
            seen[name].append(measure(commands[name](target), work))
            shutil.rmtree(target) if target.is_dir() else target.unlink(missing_ok=True)
        order.append(order.pop(0))
    return {
        name: Usage(statistics.median(u.seconds for u in usages), max(u.peak for u in usages))
        for name, usages in seen.items()
    }


def conversion_rows(convert: Sequence[str], net: Path, weights: Path, work: Path, rounds: int) -> list[Row]:
    """The bars of `--to` and of `inspect`."""
    used = take_turns(
        work,
        rounds,
        cp=lambda target: ["cp", weights, target],
        np=lambda target: [PYTHON, "-c", "import numpy"],
        **{to: _conversion(convert, net, weights, to) for to in TARGETS},
        inspect=lambda target: [*convert, "inspect", net, weights],
    )
    cp, np, size = used["cp"].seconds, used["np"].seconds, weights.stat().st_size
    rows = [Row("cp", cp, float("inf"), "s", f"{size / MB:.0f} MB"), Row("import numpy", np, float("inf"), "s")]
    for to in TARGETS:
        rows.append(Row(f"--to {to}", used[to].seconds, 1.5 * cp + 3 * np, "s", "1.5 × cp + 3 × np"))
        rows.append(Row(f"--to {to}, peak", used[to].peak / MB, LARGEST_PEAK, "MB"))
    rows.append(Row("inspect", used["inspect"].seconds, float("inf"), "s"))
    rows.append(Row("inspect, peak", used["inspect"].peak / MB, LARGEST_PEAK, "MB"))
    return rows


def peak_rows(convert: Sequence[str], work: Path) -> list[Row]:
    """The peaks of nets whose weights are many times as large."""
    rows = []
    for make in (vgg16, products):
        net, weights = make(work)
        for to in TARGETS:
            (used,) = take_turns(work, 1, **{to: _conversion(convert, net, weights, to)}).values()
            size = f"{weights.stat().st_size / MB:.0f} MB"
            rows.append(Row(f"{net.parent.name} --to {to}, peak", used.peak / MB, LARGEST_PEAK, "MB", size))
        shutil.rmtree(net.parent)
    return rows


def _conversion(convert: Sequence[str], net: Path, weights: Path, to: str) -> Callable[[Path], list[str | Path]]:
    """The command, with its files in a folder, which goes as one."""

    def command(target: Path) -> list[str | Path]:
        target.mkdir()
        return [*convert, net, weights, "--no-verify", "--quiet", "--to", to, "-o", target / "model"]

    return command


def import_rows(work: Path, rounds: int) -> list[Row]:
    """What `import resnet_convert` loads, and how long it takes."""
    code = f"import resnet_convert, sys; print(*sorted(set({FRAMEWORKS!r}) & set(sys.modules)))"
    loaded = subprocess.run([PYTHON, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    used = take_turns(work, rounds, package=lambda target: [PYTHON, "-c", "import resnet_convert"])
    return [
        Row("import resnet_convert", used["package"].seconds, float("inf"), "s"),
        Row("frameworks it loads", len(loaded), 0, "", ", ".join(loaded) or "none of " + ", ".join(FRAMEWORKS)),
    ]


def start_rows(convert: Sequence[str], work: Path, rounds: int) -> list[Row]:
    """The bars of what takes no longer than its start: the answers about the command line, and a small net."""
    digits = [DIGITS / "deploy.prototxt", DIGITS / "digits_resnet.caffemodel", "--to", "onnx", "--no-verify", "--quiet"]
    used = take_turns(
        work,
        rounds,
        np=lambda target: [PYTHON, "-c", "import numpy"],
        help=lambda target: [*convert, "--help"],
        version=lambda target: [*convert, "--version"],
        digits=lambda target: [*convert, *digits, "-o", target],
    )
    np = used["np"].seconds
    bars = {"help": ("--help", 0.6), "version": ("--version", 0.6), "digits": ("the digits net, --to onnx", 2.2)}
    rows = [Row(what, used[name].seconds / np, bar, "× np", f"{bar} × np") for name, (what, bar) in bars.items()]
    return [Row("np: import numpy", np, float("inf"), "s"), *rows]


def peer_rows(convert: Sequence[str], net: Path, weights: Path, work: Path, rounds: int) -> list[Row]:
    """What others need for the same files: to read them, not to write anything."""
    model = work / "read.onnx"
    measure([*convert, net, weights, "--no-verify", "--quiet", "--to", "onnx", "-o", model], work)
    upb = "import sys; from prototxt import caffe_pb2 as c; c.NetParameter.FromString(open(sys.argv[1], 'rb').read())"
    opencv = "import sys, cv2; cv2.dnn.readNetFromCaffe(*sys.argv[1:])"
    used = take_turns(
        work,
        rounds,
        upb=lambda target: [PYTHON, "-c", upb, weights],
        onnx=lambda target: [PYTHON, "-c", "import sys, onnx; onnx.load(sys.argv[1])", model],
        opencv=lambda target: [PYTHON, "-c", opencv, net, weights],
    )
    reads = {
        "upb": "protobuf (upb) parses the caffemodel",
        "onnx": "onnx.load of the ONNX file",
        "opencv": "OpenCV 4 reads both Caffe files",
    }
    return [
        row
        for name, what in reads.items()
        for row in (
            Row(what, used[name].seconds, float("inf"), "s"),
            Row(f"{what}, peak", used[name].peak / MB, float("inf"), "MB"),
        )
    ]


def verification_rows(convert: Sequence[str], net: Path, weights: Path, work: Path) -> list[Row]:
    """The bars of `resnet-convert verify` with onnxruntime, every blob, batch 1."""
    model = work / "verified.onnx"
    measure([*convert, net, weights, "--no-verify", "--quiet", "--to", "onnx", "-o", model], work)
    used = measure([*convert[:1], "verify", net, weights, model, "--quiet"], work)
    return [
        Row(f"verify {net.parent.name}", used.seconds, 15, "s", "15 s"),
        Row(f"verify {net.parent.name}, peak", used.peak / MB, 2000, "MB", "2 GB"),
    ]


def table(rows: Sequence[Row]) -> str:
    """In Markdown."""
    lines = ["| what | measured | at most | |", "| --- | ---: | ---: | --- |"]
    for row in rows:
        limited = row.allowed != float("inf")
        allowed = f"{_number(row.allowed)} {row.unit}" if limited else ""
        verdict = ("" if row.ok else "**missed** ") + row.how
        lines.append(f"| {row.what} | {_number(row.measured)} {row.unit} | {allowed} | {verdict} |")
    return "\n".join(lines)


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 or value == int(value) else f"{value:.2f}"


def machine() -> str:
    """The class of machine in general words, and how busy it is: a load above its cores slows down everything."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    python = platform.python_version()
    return (
        f"{platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GB, Python {python}, load {os.getloadavg()[0]:.1f}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", type=Path, help="a .prototxt of yours")
    parser.add_argument("--weights", type=Path, help="and its .caffemodel")
    parser.add_argument("--rounds", type=int, default=7, help="(%(default)s)")
    parser.add_argument("--shared", type=Path, default=SHARED, help="the reference data")
    parser.add_argument("--command", default=str(Path(PYTHON).with_name("resnet-convert")), help="(%(default)s)")
    arguments = parser.parse_args()
    if (arguments.net is None) != (arguments.weights is None):
        parser.error("--net and --weights go together")
    convert, here = [arguments.command], machine()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # nobody compiles the program each time that it starts
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        if arguments.net is None:
            large, small = [(c / "net.prototxt", c / "weights.caffemodel") for c in _resnets(work, arguments.shared)]
        else:
            large = small = (arguments.net, arguments.weights)
        rows = conversion_rows(convert, *large, work, arguments.rounds)
        if arguments.net is None:
            rows += peak_rows(convert, work)
        rows += import_rows(work, arguments.rounds)
        rows += start_rows(convert, work, max(7, arguments.rounds))
        rows += peer_rows(convert, *large, work, 3)
        try:
            rows += verification_rows(convert, *small, work)
        except subprocess.CalledProcessError as error:
            rows.append(Row("verify", float("nan"), 15, "s", f"failed: {error.stderr.strip().splitlines()[-1]}"))
    print(f"{here}; median of {arguments.rounds}, peaks are the largest\n\n{table(rows)}")
    return 0 if all(row.ok for row in rows) else 1


def _resnets(work: Path, shared: Path) -> tuple[Path, Path]:
    small, large = make_cases(work / "nets", (50, 152), shared)
    return large, small


if __name__ == "__main__":
    sys.exit(main())
