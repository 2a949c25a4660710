#!/usr/bin/env python3
"""Processor time of a batch, for each net beyond the first.

    python -m benchmarks.batch [--rounds 5]

The digits net of the examples to ONNX, once and 41 times, in turns; of all processes, user and system. The minimum
counts: what else the machine does only adds to it. Exit status 1 when the bar is missed:

    a net beyond the first, not verified      0.12 s
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.speed import Row, machine, table

DIGITS = Path(__file__).resolve().parents[1] / "examples" / "digits"
MORE = 40
ALLOWED = 0.12


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="(%(default)s)")
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        turns = [(processor_time(Path(folder), 1), processor_time(Path(folder), 1 + MORE)) for _ in range(rounds)]
    one, many = (min(times) for times in zip(*turns, strict=True))
    rows = [
        Row("a batch of 1 net", one, float("inf"), "s"),
        Row(f"a batch of {1 + MORE} nets", many, float("inf"), "s"),
        Row("a net beyond the first", (many - one) / MORE, ALLOWED, "s", f"{ALLOWED} s"),
    ]
    print(f"{machine()}; minimum of {rounds}\n\n{table(rows)}")
    return 0 if all(row.ok for row in rows) else 1


def processor_time(work: Path, nets: int) -> float:
    """Seconds that a batch takes of the processors, its children's with its own."""
    row = f"{DIGITS}/deploy.prototxt,{DIGITS}/digits_resnet.caffemodel,net"
    zoo = work / "zoo.csv"
    zoo.write_text("net,weights,name\n" + "".join(f"{row}{number}\n" for number in range(nets)))
    words = ["batch", zoo, "-o", work / "out", "--again", "--quiet", "--no-verify"]
    before = os.times()
    subprocess.run([sys.executable, "-m", "resnet_convert", *words], check=True)
    after = os.times()
    return after.children_user - before.children_user + after.children_system - before.children_system


if __name__ == "__main__":
    sys.exit(main())
