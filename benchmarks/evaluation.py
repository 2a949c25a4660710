#!/usr/bin/env python3
"""Throughput and memory of an evaluation, beside onnxruntime alone on arrays that lie in memory already.

    python -m benchmarks.evaluation [--rounds 5]

ResNet-20 on the 10,000 CIFAR-10 test images of ../shared, as JPEG files in a zip and as CIFAR's binary file (made from
them). The bare loop and the evaluations take turns in one process; of each round's ratios the median counts, so that
other work on the machine takes from both. Peaks are of whole commands. Exit status 1 when a bar is missed:

    images a second, either form            95 % of the bare loop's
    peak with 10,000 images                 150 MB, and 105 % of 1,000's
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np
import numpy.typing as npt

from benchmarks.msra import SHARED
from benchmarks.speed import Row, measure, table
from converter.api import convert
from converter.options import Options
from verify.evaluation.datasets.opening import open_source
from verify.evaluation.evaluate import Setting, evaluate
from verify.evaluation.running.plan import Plan, choose
from verify.evaluation.running.scorers import ScorerSpec
from verify.evaluation.running.transform import Transform
from verify.machine import processors

NET = SHARED / "golden" / "models" / "cifar10-resnet20"
IMAGES = SHARED / "images" / "cifar10_test_jpeg.zip"
MEAN = np.array([125.3, 123.0, 113.9], np.float32).reshape(3, 1, 1)
BATCH = 32
SHARE = 0.95
PEAK = 150.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        model = work / "resnet20.onnx"
        options = Options(input_shapes={"Data1": ("N", 3, 32, 32)})
        convert(NET / "net.prototxt", NET / "weights.caffemodel", output=model, options=options)
        rows = [*throughput(model, binary_of(IMAGES, work / "test_batch.bin"), rounds), *memory(work)]
    print(table(rows))
    return 0 if all(row.ok for row in rows) else 1


def plan_of(data: Path) -> Plan:
    """Every image of a data set, as the net takes them: RGB without the mean."""
    source = open_source(str(data))
    return Plan(source, (Transform(3, (32, 32), mean=MEAN, rgb=True),), choose(len(source), None, 0), BATCH)


def binary_of(images: Path, target: Path) -> Path:
    """The same images in the form of CIFAR's test_batch.bin: a label, then the planes in RGB."""
    source = open_source(str(images))
    with target.open("wb") as file:
        for index in range(len(source)):
            pixels = source.read(index, color=True).pixels
            file.write(bytes([source.item(index).label or 0]) + pixels[:, :, ::-1].transpose(2, 0, 1).tobytes())
    return target


def throughput(model: Path, binary: Path, rounds: int) -> list[Row]:
    """Images a second of the bare loop and of both forms, in turns."""
    batches = [plan_of(binary).read(batch).inputs[0][0] for batch in range(len(plan_of(binary)))]
    rates: dict[str, list[float]] = {"bare": [], "JPEG in a zip": [], "CIFAR binary": []}
    for _ in range(rounds):
        rates["bare"].append(bare_rate(model, batches))
        rates["JPEG in a zip"].append(evaluation_rate(model, IMAGES))
        rates["CIFAR binary"].append(evaluation_rate(model, binary))
    bare = rates.pop("bare")
    rows = [Row("onnxruntime alone, arrays in memory", 1000 / statistics.median(bare), float("inf"), "ms/image")]
    for form, measured in rates.items():
        slower = statistics.median(alone / rate for alone, rate in zip(bare, measured, strict=True))
        rows.append(Row(f"evaluate, {form}", 1000 / statistics.median(measured), float("inf"), "ms/image"))
        rows.append(Row(f"evaluate, {form}, of that", slower, 1 / SHARE, "×", f"{SHARE:.0%} of its throughput"))
    return rows


def bare_rate(model: Path, batches: list[npt.NDArray[np.float32]]) -> float:
    """Images a second of a loop over arrays; onnxruntime as it comes, with all cores."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = processors()
    session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    session.run(None, {name: batches[0]})
    begun = perf_counter()
    for batch in batches:
        session.run(None, {name: batch})
    return sum(map(len, batches)) / (perf_counter() - begun)


def evaluation_rate(model: Path, data: Path) -> float:
    """Images a second of an evaluation, reading, decoding and preprocessing included."""
    found = evaluate(plan_of(data), ScorerSpec("onnx", str(model), "prob"), Setting("", "", "", {"run": "benchmark"}))
    return found.images / found.seconds


def memory(work: Path) -> list[Row]:
    """Peaks of the whole command with few images and with many."""
    command: list[str | Path] = [sys.executable, "-m", "resnet_convert.cli.main", "evaluate"]
    command += [NET / "net.prototxt", NET / "weights.caffemodel", "--data", IMAGES]
    command += ["--mean", "125.3,123,113.9", "--input-order", "rgb"]
    few = measure([*command, "--limit", "1000"], work).peak / 1e6
    many = measure(command, work).peak / 1e6
    return [
        Row("evaluate, peak with 1,000 images", few, float("inf"), "MB"),
        Row("evaluate, peak with 10,000 images", many, min(1.05 * few, PEAK), "MB", f"{PEAK:.0f} MB, and 5 % more"),
    ]


if __name__ == "__main__":
    sys.exit(main())
