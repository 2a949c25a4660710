#!/usr/bin/env python3
"""What the check of a model costs beside another tree's: processor time and peak memory, as ratios in one run.

    python -m benchmarks.verification --baseline ../before [--net FOLDER...] [--rounds 3] [--chains]

Without folders of your own (net.prototxt, weights.caffemodel) it takes MSRA's ResNet-50 and ResNet-152, whose seeded
weights it makes from ../shared, the corpus' VGG-16 with random ones, and retinaface-mnet of the golden models. The two
trees check the same ONNX file in turns, and the least time counts; the peak is that of the larger of the two processes.
`--chains` adds nets of 10,000 and 50,000 layers in a row. Exit status 1 when a bar is missed:

    processor time, peak    0.6 of the other tree's, each
    50,000 layers           5.5 times the processor time of 10,000
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.msra import SHARED, make_cases

TREE = Path(__file__).resolve().parents[1]
VGG = "prototxt/soeaver+caffe-model/cls/vgg/deploy_vgg16-pytorch.prototxt"
COST, GROWTH = 0.6, 5.5
LAUNCHER = """
import os, subprocess, sys
child = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, used = os.wait4(child.pid, 0)
print(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, status)
"""
"""In a process of its own: the kernel counts a child's peak from its parent's on."""


def cost(tree: Path, *words: str | Path) -> tuple[float, float]:
    """Seconds of processor time and MiB that a command of a tree takes, its own processes and all."""
    environment = {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", LAUNCHER, sys.executable, "-m", "resnet_convert", *map(str, words)]
    done = subprocess.run(command, cwd=tree, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    seconds, peak, status = done.stdout.split()
    if status != "0":
        raise RuntimeError(f"{tree}: status {status} of {' '.join(map(str, words))}")
    return float(seconds), float(peak)


def cases(work: Path) -> Iterator[Path]:
    """The folders of the four nets."""
    yield from make_cases(work, (50, 152))
    folder = work / "VGG-16"
    folder.mkdir()
    with tarfile.open(SHARED / "corpus" / "prototxt.tar.xz") as corpus:
        for member in corpus:
            if member.name == VGG and (file := corpus.extractfile(member)) is not None:
                (folder / "net.prototxt").write_bytes(file.read())
                break
    pair = folder / "pair"
    cost(TREE, folder / "net.prototxt", "--random-weights", "0", "--to", "caffe", "--fold", "none", "-o", pair, "-q")
    (pair / "model.caffemodel").rename(folder / "weights.caffemodel")
    yield folder
    yield SHARED / "golden" / "models" / "retinaface-mnet"


def chain(work: Path, layers: int) -> Path:
    """A net of so many layers in a row."""
    folder = work / f"chain of {layers}"
    folder.mkdir()
    lines = ['layer { name: "l0" type: "Input" top: "l0" input_param { shape { dim: 1 dim: 3 dim: 2 } } }']
    lines += [
        f'layer {{ name: "l{i}" type: "Power" bottom: "l{i - 1}" top: "l{i}" power_param {{ scale: 1.001 }} }}'
        for i in range(1, layers + 1)
    ]
    (folder / "net.prototxt").write_text("\n".join(lines), encoding="utf-8")
    return folder


def files(folder: Path) -> list[Path]:
    """A case's net, and its weights where it has some."""
    return [path for path in (folder / "net.prototxt", folder / "weights.caffemodel") if path.exists()]


def checks(folder: Path, work: Path, trees: Sequence[Path], rounds: int) -> list[tuple[float, float]]:
    """What the check of one net costs in each tree: the least of some rounds."""
    model = work / f"{folder.name}.onnx"
    cost(TREE, *files(folder), "--no-verify", "-q", "--to", "onnx", "-o", model)
    seen = [[cost(tree, "verify", *files(folder), model, "-q") for tree in trees] for _ in range(rounds)]
    return [(min(s for s, _ in each), min(p for _, p in each)) for each in zip(*seen, strict=True)]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--baseline", type=Path, help="the tree to compare with")
    parser.add_argument("--net", type=Path, nargs="+", help="folders of net.prototxt and weights.caffemodel")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--chains", action="store_true")
    asked = parser.parse_args()
    trees = [TREE, *([asked.baseline.resolve()] if asked.baseline else [])]
    missed = False
    print("| net | seconds | MiB | before | | of the time | of the peak |\n| --- |" + " ---: |" * 6)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for case in asked.net or cases(work):
            (seconds, peak), *others = checks(case, work, trees, asked.rounds)
            row = [case.name, f"{seconds:.2f}", f"{peak:.0f}"]
            for was, held in others:
                row += [f"{was:.2f}", f"{held:.0f}", f"{seconds / was:.2f}", f"{peak / held:.2f}"]
                missed |= seconds > COST * was or peak > COST * held
            print(f"| {' | '.join(row)} |", flush=True)
        if asked.chains:
            short, long = (checks(chain(work, layers), work, trees[:1], 1)[0][0] for layers in (10_000, 50_000))
            print(f"\n50,000 layers in a row: {long / short:.1f} times the processor time of 10,000")
            missed |= long > GROWTH * short
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
