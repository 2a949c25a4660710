#!/usr/bin/env python3
"""Time and memory of `resnet-convert port`, as ratios to copying the weights, all measured in one run.

    python -m benchmarks.porting [--weights WEIGHTS] [--rounds 5]

Without a file of your own it takes MSRA's ResNet-152 (241 MB), whose seeded weights it makes from ../shared. Copying
and porting take turns; the median counts. Exit status 1 when a bar is missed: each layout in safetensors within
3 × cp + 0.6 s and the file's size + 150 MB.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.msra import SHARED, make_cases
from benchmarks.speed import MB, PYTHON, Row, machine, table, take_turns

LAYOUTS = ("torchvision", "timm", "keras", "detectron2", "mmdet", "flax")


def porting_rows(weights: Path, work: Path, rounds: int, command: str) -> list[Row]:
    """A row a layout in safetensors, and what is told beside: Keras' own file, a way back, a comparison."""

    def port(layout: str, suffix: str = ".safetensors") -> list[str | Path]:
        return [command, "port", weights, "--quiet", "--layout", layout, "-o", work / f"out_{layout}{suffix}"]

    back = work / "source.safetensors"
    used = take_turns(
        work,
        rounds,
        cp=lambda target: ["cp", weights, target],
        **{layout: (lambda target, layout=layout: port(layout)) for layout in LAYOUTS},
        h5=lambda target: port("keras", ".weights.h5"),
        source=lambda target: [*port("torchvision")[:-1], back],
        back=lambda target: [command, "port", back, "--quiet", "--from", "torchvision", "-o", f"{target}.caffemodel"],
        diff=lambda target: [command, "diff", weights, back, "--quiet"],
    )
    cp, size = used["cp"].seconds, weights.stat().st_size / MB
    rows = [Row("cp", cp, float("inf"), "s", f"{size:.0f} MB")]
    for layout in LAYOUTS:
        rows.append(Row(f"--layout {layout}", used[layout].seconds, 3 * cp + 0.6, "s", "3 × cp + 0.6 s"))
        rows.append(Row(f"--layout {layout}, peak", used[layout].peak / MB, size + 150, "MB", "the file + 150 MB"))
    told = {"h5": "--layout keras, .weights.h5", "back": "--from torchvision", "diff": "diff"}
    return rows + [Row(what, used[name].seconds, float("inf"), "s") for name, what in told.items()]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, help="a .caffemodel of yours")
    parser.add_argument("--rounds", type=int, default=5, help="(%(default)s)")
    parser.add_argument("--shared", type=Path, default=SHARED, help="the reference data")
    parser.add_argument("--command", default=str(Path(PYTHON).with_name("resnet-convert")), help="(%(default)s)")
    arguments = parser.parse_args()
    here = machine()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        weights = arguments.weights
        if weights is None:
            [case] = make_cases(work / "nets", (152,), arguments.shared)
            weights = case / "weights.caffemodel"
        rows = porting_rows(weights, work, arguments.rounds, arguments.command)
    print(f"{here}; median of {arguments.rounds}, peaks are the largest\n\n{table(rows)}")
    return 0 if all(row.ok for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
