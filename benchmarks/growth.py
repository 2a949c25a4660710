#!/usr/bin/env python3
"""How the stages of a conversion grow with the net: a net of five times the layers may take 5.5 times as long.

    python -m benchmarks.growth [--shapes chain branches readers inputs] [--most 50000] [--stages build passes …]

    chain       convolution, BatchNorm, Scale and ReLU in place, one behind the other
    branches    so many layers behind one blob, each with an output of its own
    readers     so many readers of one blob, summed up by one layer
    inputs      so many inputs, joined by one layer

`interpreter` and `engine` are the reference and onnxruntime alone; `verification` is the whole check of the ONNX model
with its report as text, JSON and page, in this one process.

A chain is measured at a fifth of `--most` and at `--most`, the others at a fifth of those sizes, inputs at a 25th. Each
size runs in a process of its own, and processor time counts: the least of `--rounds`, since other work on the machine
only ever adds to it. Exit status 1 when a stage grows faster.
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.speed import machine
from converter.building.build import build
from converter.passes import run_passes
from converter.targets.onnx_model import emit_onnx
from converter.targets.torch_model import emit_torch
from converter.targets.writers import write_onnx
from prototxt import Net, load_net
from verify import format_report, verify_model
from verify.engines.onnx import OnnxRuntime
from verify.interpreter import run
from verify.report.page import format_html
from weights import ArrayWeights, Weights, open_weights, write_caffemodel

ALLOWED = 5.5
FACTOR = 5
SHORTEST = 0.02  # seconds: what is shorter is the clock's own noise
SHARE = {"chain": 1, "branches": 5, "readers": 5, "inputs": 25}
"""The largest chain is so many times as long as the net of the shape."""


def chain(size: int) -> str:
    """The prototxt of `size` layers, four of them a block."""
    blob, text = "data", _input("data")
    for number in range(size // 4):
        conv, norm, scale, relu = (f"{kind}{number}" for kind in ("conv", "norm", "scale", "relu"))
        text += _layer(
            "Convolution", conv, [blob], [conv], "convolution_param { num_output: 2 kernel_size: 1 bias_term: false }"
        )
        text += _layer("BatchNorm", norm, [conv], [conv]) + _layer(
            "Scale", scale, [conv], [conv], "scale_param { bias_term: true }"
        )
        text += _layer("ReLU", relu, [conv], [conv])
        blob = conv
    return text


def chain_blobs(size: int) -> dict[str, list[Any]]:
    """The weights of such a chain."""
    blobs: dict[str, list[Any]] = {}
    for number in range(size // 4):
        blobs[f"conv{number}"] = [np.eye(2).reshape(2, 2, 1, 1)]
        blobs[f"norm{number}"] = [np.zeros(2), np.ones(2), np.ones(1)]
        blobs[f"scale{number}"] = [np.ones(2), np.zeros(2)]
    return blobs


def branches(size: int) -> str:
    """Behind one blob `size` layers, every second of which only passes it on."""
    return _input("data") + "".join(
        _layer("Power" if number % 2 else "Dropout", f"branch{number}", ["data"], [f"branch{number}"])
        for number in range(size)
    )


def readers(size: int) -> str:
    """One blob that `size` layers read, and their sum."""
    names = [f"reader{number}" for number in range(size)]
    return (
        _input("data")
        + "".join(_layer("TanH", name, ["data"], [name]) for name in names)
        + _layer("Eltwise", "sum", names, ["sum"])
    )


def inputs(size: int) -> str:
    """An Input layer with `size` tops, and a Concat of them."""
    names = [f"data{number}" for number in range(size)]
    return _input(*names) + _layer("Concat", "all", names, ["all"])


SHAPES: dict[str, Callable[[int], str]] = {"chain": chain, "branches": branches, "readers": readers, "inputs": inputs}


def _input(*tops: str) -> str:
    return _layer("Input", "data", [], tops, "input_param { shape { dim: 1 dim: 2 dim: 2 dim: 2 } }")


def _layer(kind: str, name: str, bottoms: Any, tops: Any, fields: str = "") -> str:
    ends = [f'  bottom: "{blob}"\n' for blob in bottoms] + [f'  top: "{blob}"\n' for blob in tops]
    return f'layer {{\n  name: "{name}"\n  type: "{kind}"\n{"".join(ends)}  {fields}\n}}\n'


def measure(shape: str, size: int, stages: list[str]) -> dict[str, float]:
    """Seconds of processor time of each stage."""
    with tempfile.TemporaryDirectory() as folder:
        net, weights = Path(folder, "net.prototxt"), Path(folder, "net.caffemodel")
        net.write_text(SHAPES[shape](size))
        if shape == "chain":
            write_caffemodel(weights, "chain", ArrayWeights(chain_blobs(size)).layers)
        return _measured(net, weights if weights.exists() else None, Path(folder), set(stages))


def _measured(net: Path, weights: Path | None, folder: Path, stages: set[str]) -> dict[str, float]:
    took: dict[str, float] = {}

    def timed(stage: str, work: Callable[[], Any]) -> Any:
        begin = time.process_time()
        result = work()
        took[stage] = time.process_time() - begin
        return result

    parsed = timed("parse", lambda: load_net(net))
    source = timed("index", lambda: open_weights(weights)) if weights else None
    graph = timed("build", lambda: build(parsed, source))
    timed("passes", lambda: run_passes(graph, "bn", lambda _: None))
    if "fold conv" in stages:
        twin = build(parsed, source)
        timed("fold conv", lambda: run_passes(twin, "conv", lambda _: None))
    if stages & {"onnx", "write", "engine", "verification"}:
        model = timed("onnx", lambda: emit_onnx(graph))
        timed("write", lambda: write_onnx(model, folder / "net.onnx"))
    if "torch" in stages:
        timed("torch", lambda: emit_torch(graph))
    feeds = {value.name: np.ones([int(d) for d in value.shape], np.float32) for value in graph.inputs}
    if "interpreter" in stages:
        timed("interpreter", lambda: run(parsed, source, feeds))
    if "engine" in stages:
        timed("engine", lambda: OnnxRuntime(folder / "net.onnx").run(feeds))
    if "verification" in stages:
        timed("verification", lambda: _checked(parsed, source, folder / "net.onnx"))
    return took


def _checked(net: Net, weights: Weights | None, model: Path) -> str:
    report = verify_model(net, weights, model, apart=False)
    return "\n".join([format_report(report), json.dumps(report.to_json()), format_html(report)])


STAGES = (
    *("parse", "index", "build", "passes", "fold conv", "onnx", "write", "torch"),
    *("interpreter", "engine", "verification"),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--most", type=int, default=50_000, help="layers of the longest chain (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="(%(default)s)")
    parser.add_argument("--one", nargs=2, metavar=("SHAPE", "SIZE"), help="measure one net here, as JSON")
    arguments = parser.parse_args()
    if arguments.one:
        gc.disable()  # Its rounds come when they come, and few of them to a small net.
        shape, size = arguments.one
        print(json.dumps(measure(shape, int(size), arguments.stages)))
        return 0
    print(f"{machine()}; processor time, the least of {arguments.rounds}\n")
    print(f"| net | stage | smaller | larger | times | at most {ALLOWED} |\n| --- | --- | ---: | ---: | ---: | --- |")
    missed = False
    for shape in arguments.shapes:
        size = arguments.most // SHARE[shape]
        small, large = (_least(shape, n, arguments.stages, arguments.rounds) for n in (size // FACTOR, size))
        for stage in (stage for stage in arguments.stages if stage in large):
            times = large[stage] / max(small[stage], SHORTEST / FACTOR)
            missed |= times > ALLOWED
            verdict = "**missed**" if times > ALLOWED else ""
            row = f"| {shape} of {size:,} | {stage} | {small[stage]:.3f} s | {large[stage]:.3f} s |"
            print(f"{row} {times:.1f} | {verdict} |", flush=True)
    return int(missed)


def _least(shape: str, size: int, stages: list[str], rounds: int) -> dict[str, float]:
    words = [sys.executable, "-m", "benchmarks.growth", "--one", shape, str(size), "--stages", *stages]
    runs = [json.loads(subprocess.run(words, capture_output=True, check=True).stdout) for _ in range(rounds)]
    return {stage: min(run[stage] for run in runs) for stage in runs[0]}


if __name__ == "__main__":
    sys.exit(main())
