#!/usr/bin/env python3
"""Run converted golden cases in OpenCV 5 and OpenVINO and compare with what the original Caffe gave.

    .venv-runtimes/bin/python benchmarks/runtimes.py CASES... --command .venv/bin/resnet-convert [--blobs all]

To be run with the Python of an environment made from tests/runtimes/requirements.txt; the converter is a command of
another. CASES are golden cases (net.prototxt, perhaps weights.caffemodel, golden.npz) or folders of them. Each is
converted once and run in each runtime in a process of its own, so that one that crashes costs one cell of the table.
A cell is the largest error as a share of the largest value Caffe gave. Exit status 1 when any is above the bar: 1e-5
for the ResNets, 1e-4 for the rest.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
BAR, BAR_RESNET = 1e-4, 1e-5
UNSET = 1e30
"""Beyond this Caffe's value is the -FLT_MAX of an empty window, which no runtime need repeat."""

CONVERTED_WITHIN, RUN_WITHIN = 300, 300


@dataclass(frozen=True)
class Case:
    """A golden case: what is fed, and what Caffe answered."""

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def bar(self) -> float:
        return BAR_RESNET if "resnet" in self.name.lower() else BAR

    @property
    def weights(self) -> Path | None:
        return next(iter(sorted(self.folder.glob("weights.caffemodel*"))), None)

    def arrays(self) -> dict[str, Array]:
        """What is stored, by key."""
        with np.load(self.folder / "golden.npz") as file:
            return dict(file)

    def feeds(self) -> dict[str, Array]:
        """What Caffe was fed, by blob."""
        return {key[3:]: array for key, array in self.arrays().items() if key.startswith("in:")}

    def answers(self) -> dict[str, Answer]:
        """Caffe's last word on each blob: of the layers that wrote it the last one decides."""
        arrays, found = self.arrays(), {}
        for key, array in arrays.items():
            kind, _, rest = key.partition(":")
            blob = rest.rpartition(":")[2]
            if kind == "out":
                found[blob] = Answer(array.shape, None, array.ravel())
            elif kind == "shape" and f"full:{blob}" in arrays:
                found[blob] = Answer(tuple(array), None, arrays[f"full:{blob}"].ravel())
            elif kind == "shape":
                found[blob] = Answer(tuple(array), arrays.get(f"idx:{rest}"), arrays[f"val:{rest}"])
        return found


@dataclass(frozen=True)
class Answer:
    """Caffe's values of one blob, `values` at the flat positions `where` (None: everywhere)."""

    shape: tuple[int, ...]
    where: Array | None
    values: Array

    def error(self, got: Array) -> float:
        """Largest difference as a share of the largest value."""
        flat = got.ravel().astype(np.float64)
        flat = flat if self.where is None else flat[self.where]
        finite = np.isfinite(self.values) & (np.abs(self.values) < UNSET)
        scale = np.abs(self.values[finite]).max(initial=0) or 1.0
        off = np.abs(flat - self.values)[finite].max(initial=0) / scale
        return float(off) if np.isfinite(off) else float("inf")


@dataclass(frozen=True)
class Outcome:
    """One cell of the table: the worst blob's error, or why there is none."""

    case: str
    runtime: str
    bar: float
    error: float | None = None
    blob: str = ""
    fault: str = ""

    @property
    def ok(self) -> bool:
        return not self.fault and self.error is not None and self.error <= self.bar


def find_cases(paths: Sequence[Path], only: Sequence[str] = ()) -> list[Case]:
    """The cases at or just under each path, whose names are among `only` where it says anything."""
    folders = [p for path in paths for p in ([path] if (path / "net.prototxt").exists() else sorted(path.iterdir()))]
    cases = [Case(p) for p in folders if (p / "net.prototxt").exists() and (p / "golden.npz").exists()]
    return [case for case in cases if not only or case.name in only]


def convert(case: Case, command: Sequence[str], model: Path, blobs: Sequence[str]) -> str:
    """Convert a case; why it failed, or nothing."""
    sizes = [f"{name}={','.join(map(str, array.shape))}" for name, array in case.feeds().items()]
    # From within the folder: messages then name the net without this machine's paths.
    words: list[str | Path] = [*command, "net.prototxt", *([case.weights.name] if case.weights else []), "--to", "onnx"]
    words += ["-o", model, "--no-verify", "--quiet", *(w for size in sizes for w in ("--input-shape", size))]
    words += ["--outputs", ",".join(blobs)] if blobs else []
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=CONVERTED_WITHIN, cwd=case.folder)
    except subprocess.TimeoutExpired:
        return f"conversion took more than {CONVERTED_WITHIN} s"
    return "" if done.returncode == 0 else f"conversion: {_last_line(done.stderr) or done.returncode}"


def run_in(runtime: str, model: Path, feeds: Path, work: Path) -> tuple[dict[str, Array], str]:
    """The model's outputs by name, and why there are none, from a process of its own."""
    answers = work / f"{runtime}.npz"
    words: list[str | Path] = [sys.executable, __file__, "--worker", runtime, model, feeds, answers]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=RUN_WITHIN)
    except subprocess.TimeoutExpired:
        return {}, f"took more than {RUN_WITHIN} s"
    if done.returncode:
        died = f"died of signal {-done.returncode}" if done.returncode < 0 else f"exit status {done.returncode}"
        return {}, _last_line(done.stderr) or died
    with np.load(answers) as file:
        return dict(file), ""


def _last_line(text: str) -> str:
    """The line of a traceback that says what happened, without colour and short."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if "rror" in line or "xception" in line] or lines
    return telling[-1][-300:] if telling else ""


def judge(case: Case, runtime: str, outputs: dict[str, Array], fault: str) -> Outcome:
    """Hold a runtime's outputs against Caffe's."""
    if fault:
        return Outcome(case.name, runtime, case.bar, fault=fault)
    answers = case.answers()
    worst, worst_blob = 0.0, next(iter(outputs), "")
    for blob, array in outputs.items():
        answer = answers.get(blob)
        if answer is None:
            return Outcome(case.name, runtime, case.bar, fault=f"output {blob!r} is no blob that Caffe gave")
        if array.shape != answer.shape:
            shapes = f"{_dims(array.shape)}, Caffe's is {_dims(answer.shape)}"
            return Outcome(case.name, runtime, case.bar, fault=f"{blob!r} is {shapes}")
        error = answer.error(array)
        if error >= worst:
            worst, worst_blob = error, blob
    return Outcome(case.name, runtime, case.bar, worst, worst_blob)


def _dims(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape)) or "a scalar"


def run_case(case: Case, command: Sequence[str], runtimes: Sequence[str], every_blob: bool) -> list[Outcome]:
    """Convert a case and run it in each runtime."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        model, feeds = work / "model.onnx", work / "feeds.npz"
        np.savez(feeds, **case.feeds())  # type: ignore[arg-type]
        fault = convert(case, command, model, list(case.answers()) if every_blob else [])
        if fault:
            return [Outcome(case.name, runtime, case.bar, fault=fault) for runtime in runtimes]
        return [judge(case, runtime, *run_in(runtime, model, feeds, work)) for runtime in runtimes]


def run_opencv(model: str, feeds: dict[str, Array], engine: str = "ENGINE_AUTO") -> dict[str, Array]:
    """OpenCV 5, by default as `readNetFromONNX` sets itself up: its new engine, the classic one as a fallback."""
    cv2 = import_module("cv2")
    net = cv2.dnn.readNetFromONNX(model, getattr(cv2.dnn, engine))
    for name, array in feeds.items():
        net.setInput(array, name)
    names = net.getUnconnectedOutLayersNames()
    return dict(zip(names, map(np.asarray, net.forward(names)), strict=True))


def run_opencv_classic(model: str, feeds: dict[str, Array]) -> dict[str, Array]:
    """The engine of OpenCV 4, which OpenCV 5 still has."""
    return run_opencv(model, feeds, "ENGINE_CLASSIC")


def run_openvino(model: str, feeds: dict[str, Array]) -> dict[str, Array]:
    """OpenVINO on the CPU in float32: where the CPU has bfloat16 it would take that by itself."""
    openvino = import_module("openvino")
    compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    result = compiled(feeds)
    return {output.get_any_name(): np.array(result[output]) for output in compiled.outputs}


RUNTIMES = {
    "opencv": ("cv2", "OpenCV", run_opencv),
    "opencv-classic": ("cv2", "OpenCV (classic engine)", run_opencv_classic),
    "openvino": ("openvino", "OpenVINO", run_openvino),
}
DEFAULT = ("opencv", "openvino")


def work(runtime: str, model: str, feeds: str, answers: str) -> None:
    """What the process of one run does."""
    with np.load(feeds) as file:
        fed = dict(file)
    used = input_names(model)
    outputs = RUNTIMES[runtime][2](model, {name: array for name, array in fed.items() if name in used})
    np.savez(answers, **outputs)  # type: ignore[arg-type]


def input_names(model: str) -> set[str]:
    """The graph's inputs; weights are initializers and never among them."""
    import onnx

    graph = onnx.load(model, load_external_data=False).graph
    names = {value.name for value in graph.input}
    if both := names & {tensor.name for tensor in graph.initializer}:
        raise ValueError(f"weights are graph inputs: {', '.join(sorted(both))}")
    return names


def title(runtime: str) -> str:
    """`OpenCV 5.0.0`."""
    module, name, _ = RUNTIMES[runtime]
    version = import_module(module).__version__.partition("-")[0]
    return f"{name} {version}"


def table(outcomes: Sequence[Outcome], runtimes: Sequence[str]) -> str:
    """Case × runtime in Markdown; why a run gave no numbers stands below, under its number."""
    rows = [["case", "bar", *map(title, runtimes)], ["---", "---:", *["---:"] * len(runtimes)]]
    notes: dict[str, int] = {}
    for case in dict.fromkeys(outcome.case for outcome in outcomes):
        cells = {outcome.runtime: outcome for outcome in outcomes if outcome.case == case}
        bar = next(iter(cells.values())).bar
        rows.append([case, f"{bar:.0e}", *(_cell(cells[runtime], notes) for runtime in runtimes)])
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([*lines, *([""] if notes else []), *(f"{i}. `{note}`" for note, i in notes.items())])


def _cell(outcome: Outcome, notes: dict[str, int]) -> str:
    if outcome.ok:
        return f"{outcome.error:.1e}"
    if not outcome.fault:
        return f"**{outcome.error:.1e}** in `{outcome.blob}`"
    return f"**no** ({notes.setdefault(outcome.fault, len(notes) + 1)})"


DOCUMENT = """\
# Runtimes

What the ONNX files give in the runtimes that people load them into, against the original Caffe on the same input. A
number is the largest error of a case as a share of the largest value that Caffe gave; **bold** is above the bar.
Written by `benchmarks/runtimes.py`, in an environment made from `tests/runtimes/requirements.txt`.

OpenCV reads them with `cv2.dnn.readNetFromONNX(path)`, as it sets itself up. OpenVINO runs on the CPU with
`INFERENCE_PRECISION_HINT` f32: on a CPU that has bfloat16 it computes in that by default, and `nsfw-resnet50-thin` is
then off by 2 % of its largest probability, not by 6e-7.

OpenCV has neither Loop nor MaxRoiPool, so that Fast R-CNN's pooling and heads with overlaps of their own don't run
there. OpenVINO's TopK leaves equal values in any order: `proposal_ported` has the right regions, those that score 0 in
another order.

Of values that no case has: OpenCV's Tanh gives NaN above 44, as a `TanH` may meet where images are 0 to 255, and its
Softplus (`BNLL`) infinity above 88.

"""


SECTIONS = {
    "msra": "MSRA's ResNets, with seeded weights",
    "models": "Trained nets",
    "layers": "Layers",
    "forks": "Layers of forks, against loops over their sources",
}


def document(sections: dict[str, list[Outcome]], runtimes: Sequence[str]) -> str:
    """The page docs/runtimes.md."""
    return DOCUMENT + "\n".join(
        f"## {SECTIONS.get(name, name)}\n\n{summary(outcomes, runtimes)}\n\n{table(outcomes, runtimes)}\n"
        for name, outcomes in sections.items()
    )


def summary(outcomes: Sequence[Outcome], runtimes: Sequence[str]) -> str:
    """One line a runtime: how many cases hold."""
    lines = []
    for runtime in runtimes:
        mine = [outcome for outcome in outcomes if outcome.runtime == runtime]
        lines.append(f"{title(runtime)}: {sum(o.ok for o in mine)} of {len(mine)} cases give Caffe's numbers.")
    return "\n".join(lines)


def main() -> int:
    if sys.argv[1:2] == ["--worker"]:
        work(*sys.argv[2:6])
        return 0
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", type=Path, nargs="+", metavar="CASES")
    parser.add_argument("--command", default="resnet-convert", help="the converter, perhaps with options (%(default)s)")
    parser.add_argument("--only", action="append", default=[], metavar="CASE", help="this case; may be repeated")
    parser.add_argument("--runtime", action="append", choices=list(RUNTIMES), help=f"({', '.join(DEFAULT)})")
    parser.add_argument("--blobs", choices=["outputs", "all"], default="outputs", help="all makes every blob an output")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the cells as JSON as well")
    parser.add_argument("--document", type=Path, metavar="FILE", help="write the tables as a page, a section a folder")
    arguments = parser.parse_args()
    runtimes = arguments.runtime or [r for r in DEFAULT if importlib.util.find_spec(RUNTIMES[r][0])]
    if not runtimes:
        parser.error("neither OpenCV 5 nor OpenVINO is installed here")
    program, *options = shlex.split(arguments.command)
    command, sections = [str(Path(shutil.which(program) or program).absolute()), *options], {}
    for path in arguments.cases:
        # Nets as people load them; a layer's case may be a loss, which is an output only when asked for.
        every_blob = arguments.blobs == "all" or path.name in ("layers", "forks")
        cases = find_cases([path], arguments.only)
        outcomes = [o for case in cases for o in run_case(case, command, runtimes, every_blob)]
        if outcomes:
            sections[path.name] = outcomes
            print(f"{table(outcomes, runtimes)}\n\n{summary(outcomes, runtimes)}\n", flush=True)
    everything = [outcome for outcomes in sections.values() for outcome in outcomes]
    if not everything:
        parser.error("no golden case there")
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(o) | {"ok": o.ok} for o in everything], indent=1) + "\n")
    if arguments.document:
        arguments.document.write_text(document(sections, runtimes), encoding="utf-8")
    return 0 if all(o.ok for o in everything) else 1


if __name__ == "__main__":
    sys.exit(main())
