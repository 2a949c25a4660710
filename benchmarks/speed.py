#!/usr/bin/env python3
"""Time and memory of a conversion, as ratios to copying the weights, all measured in one run.

    python -m benchmarks.speed [--net NET --weights WEIGHTS] [--rounds 5]

Without files of your own it takes MSRA's ResNet-152 (241 MB) and, for the verification, ResNet-50, whose seeded weights
it makes from ../shared. Copying and converting take turns, so that a machine that slows down slows both; the median
counts. Peak memory is what the kernel says of the child, mapped file pages included. Exit status 1 when a bar is
missed:

    --to onnx, not verified       3 × cp + 0.6 s, and the file's size + 150 MB
    --to torch, not verified      5 × cp + the time of importing torch
    import resnet_convert         none of torch, onnx, h5py, onnxruntime
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

from benchmarks.msra import SHARED, make_cases

MB = 1e6
FRAMEWORKS = ("torch", "onnx", "h5py", "onnxruntime")
PYTHON = sys.executable


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
    """Run the commands in turn; the medians by name. Each is given a fresh path, which is removed after it."""
    seen: dict[str, list[Usage]] = {name: [] for name in commands}
    for turn in range(rounds):
        for name, command in commands.items():
            target = work / f"{name}_{turn}"
            seen[name].append(measure(command(target), work))
            shutil.rmtree(target) if target.is_dir() else target.unlink(missing_ok=True)
    return {
        name: Usage(statistics.median(u.seconds for u in usages), max(u.peak for u in usages))
        for name, usages in seen.items()
    }


def conversion_rows(convert: Sequence[str], net: Path, weights: Path, work: Path, rounds: int) -> list[Row]:
    """The bars of --to onnx and --to torch."""
    files: list[str | Path] = [*convert, net, weights, "--no-verify", "--quiet"]
    used = take_turns(
        work,
        rounds,
        cp=lambda target: ["cp", weights, target],
        onnx=lambda target: [*files, "--to", "onnx", "-o", target],
        torch=lambda target: [*files, "--to", "torch", "-o", target],
        import_torch=lambda target: [PYTHON, "-c", "import torch"],
    )
    cp, size = used["cp"].seconds, weights.stat().st_size
    imported = used["import_torch"].seconds
    return [
        Row("cp", cp, float("inf"), "s", f"{size / MB:.0f} MB"),
        Row("import torch", imported, float("inf"), "s"),
        Row("--to onnx", used["onnx"].seconds, 3 * cp + 0.6, "s", "3 × cp + 0.6 s"),
        Row("--to onnx, peak", used["onnx"].peak / MB, size / MB + 150, "MB", "the file + 150 MB"),
        Row("--to torch", used["torch"].seconds, 5 * cp + imported, "s", "5 × cp + import torch"),
        Row("--to torch, peak", used["torch"].peak / MB, float("inf"), "MB"),
    ]


def import_rows(work: Path, rounds: int) -> list[Row]:
    """What `import resnet_convert` loads, and how long it takes."""
    code = f"import resnet_convert, sys; print(*sorted(set({FRAMEWORKS!r}) & set(sys.modules)))"
    loaded = subprocess.run([PYTHON, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    used = take_turns(work, rounds, package=lambda target: [PYTHON, "-c", "import resnet_convert"])
    return [
        Row("import resnet_convert", used["package"].seconds, float("inf"), "s"),
        Row("frameworks it loads", len(loaded), 0, "", ", ".join(loaded) or "none of " + ", ".join(FRAMEWORKS)),
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
    parser.add_argument("--rounds", type=int, default=5, help="(%(default)s)")
    parser.add_argument("--shared", type=Path, default=SHARED, help="the reference data")
    parser.add_argument("--command", default=str(Path(PYTHON).with_name("resnet-convert")), help="(%(default)s)")
    arguments = parser.parse_args()
    if (arguments.net is None) != (arguments.weights is None):
        parser.error("--net and --weights go together")
    convert, here = [arguments.command], machine()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        if arguments.net is None:
            large, small = [(c / "net.prototxt", c / "weights.caffemodel") for c in _resnets(work, arguments.shared)]
        else:
            large = small = (arguments.net, arguments.weights)
        rows = conversion_rows(convert, *large, work, arguments.rounds)
        rows += import_rows(work, arguments.rounds)
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
