#!/usr/bin/env python3
"""What onnxsim finds to remove in the ONNX files of each family of nets, and how fast they run beside another tree's.

    python3 -m venv .venv-emitted && .venv-emitted/bin/pip install -c constraints.txt -r benchmarks/emitted.txt
    .venv-emitted/bin/python -m benchmarks.emitted [--each 2] [--only SSD]              # what could be removed
    .venv-emitted/bin/python -m benchmarks.emitted --time [--baseline ../before] [--only SSD]     # how fast it runs

A family's nets are the shortest and the longest prototxts of it, in turns, that convert and whose weights take less
than 100 MB. They get weights that are neither 0 nor 1: a bias of 0 is nothing that could be left out of a trained net.
Convolutions take in what follows them (`--fold conv`), as onnxsim would have it; the default keeps Caffe's layers.
Exit status 1 when an operator goes for which benchmarks/needless.py has no reason. Before it is asked, the judge is
shown a net with an operator in it that changes nothing, and has to find it.

--time runs the nets of TIMED in onnxruntime, those of both trees in turns and each in its best of some rounds, with
batches of 1 and 8 and on one and two cores, and beside them OpenCV 4 on the Caffe files. Models that are the same to
the byte are run once. It counts processor time, in which a busy machine hardly shows, unless told otherwise. Exit
status 1 when a model is slower than the other tree's by more than the noise.
"""

from __future__ import annotations

import argparse
import filecmp
import logging
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from benchmarks.corpus import CORPUS, read_corpus
from benchmarks.corpus_inputs import given_shapes
from benchmarks.corpus_work import Entry
from benchmarks.families import FAMILIES, family
from prototxt.errors import CaffeModelError

if TYPE_CHECKING:
    from onnx import ModelProto

    from converter.graph import Graph
    from converter.node import Parameter

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
HEAVY = 100_000_000
"""Bytes of weights from which on a net is passed over."""


@dataclass(frozen=True)
class Verdict:
    """What onnxsim makes of a model.

    Attributes:
        before, after: operators.
        removed, added: by type, how many fewer and how many more there are.
        reasons: why operators stay that it would do without, and their types.
        unexplained: names of those for which there is no reason.
    """

    net: str
    family: str
    before: int
    after: int
    removed: Counter[str]
    added: Counter[str]
    reasons: Mapping[str, Counter[str]]
    unexplained: Sequence[str]


def judge(model: ModelProto, net: str, family: str) -> Verdict:
    """Run onnxsim over a model."""
    from benchmarks.needless import Surroundings, all_nodes, gone, reason

    simple, _ = import_module("onnxsim").simplify(model)
    before, after = (Counter(node.op_type for node in all_nodes(m.graph.node)) for m in (model, simple))
    surroundings, reasons, unexplained = Surroundings(model), defaultdict[str, Counter[str]](Counter), []
    for node in gone(model, simple):
        why = reason(surroundings, node)
        if why is None:
            unexplained.append(node.name)
        else:
            reasons[why.why][node.op_type] += 1
    return Verdict(net, family, before.total(), after.total(), before - after, after - before, reasons, unexplained)


SMALL = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 9 dim: 8 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param { num_output: 4 kernel_size: 3 } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool" pooling_param { kernel_size: 2 stride: 2 } }
"""


def overlooked(opset: int) -> list[str]:
    """The types of operators that change nothing which the judge lets pass, each put in a net that is clean."""
    import onnx

    from benchmarks.needless import NEEDLESS, with_needless

    with tempfile.TemporaryDirectory() as folder:
        model = convert(Entry("prototxt/small", "v2", True, SMALL), Path(folder), opset)
        clean = onnx.load(str(model))
    if (verdict := judge(clean, "small", "")).unexplained:
        raise RuntimeError(f"a net of two layers has needless operators: {verdict.unexplained}")
    planted = {kind: with_needless(clean, "conv", (1, 4, 7, 6), kind) for kind in NEEDLESS}
    return [kind for kind, model in planted.items() if "needless" not in judge(model, kind, "").unexplained]


def convert(entry: Entry, work: Path, opset: int) -> Path | None:
    """The ONNX file of a net of the corpus; None where it has too many weights.

    Raises:
        CaffeModelError: it does not convert.
    """
    from converter.api import Prepared, write
    from converter.building.build import build
    from converter.options import Options
    from converter.passes import run_passes
    from converter.reading import load_parsed

    text, model = work / "net.prototxt", work / "model.onnx"
    text.write_text(entry.text, encoding="utf-8", errors="surrogateescape")
    net = load_parsed(text, Options(allow_unknown=True))
    graph = build(net, None, input_shapes=given_shapes(entry.file), make=_Drawn())
    if _weight_bytes(graph) > HEAVY:
        return None
    fired = run_passes(graph, "conv", lambda _: None)
    write(Prepared(graph, net, fired, [], [], {}, None), "onnx", model, opset)
    return model


class _Drawn:
    """Values that no two blobs share."""

    def __init__(self) -> None:
        self.numbers = np.random.default_rng(0)

    def __call__(self, _: object, parameter: Parameter) -> npt.NDArray[np.float32]:
        shape = tuple(map(int, parameter.shape))
        return self.numbers.uniform(0.1, 0.9, shape).astype(np.float32)


def _weight_bytes(graph: Graph) -> int:
    return sum({id(t): t.nbytes for node in graph.nodes for t in node.tensors.values()}.values())


def shortest_and_longest(entries: Sequence[Entry]) -> Iterator[Entry]:
    """In turns from both ends of their order by length."""
    ordered = sorted(entries, key=lambda entry: (len(entry.text), entry.file))
    for place in range(len(ordered)):
        yield ordered[place // 2 if place % 2 == 0 else -1 - place // 2]


def judge_families(each: int, only: Sequence[str], opset: int) -> list[Verdict]:
    """The verdicts on so many nets of each family, printed as they come."""
    import onnx

    nets: dict[str, list[Entry]] = defaultdict(list)
    for entry in read_corpus(CORPUS):
        if entry.deploy and any(word.lower() in f"{family(entry).name} {entry.file}".lower() for word in only):
            nets[family(entry).name].append(entry)
    found: list[Verdict] = []
    print("| family | net | operators | without | what goes |\n| --- | --- | ---: | ---: | --- |")
    for kind in FAMILIES:
        mine: list[Verdict] = []
        for entry in shortest_and_longest(nets[kind.name]):
            if len(mine) == each:
                break
            with tempfile.TemporaryDirectory() as folder:
                try:
                    model = convert(entry, Path(folder), opset)
                except CaffeModelError:
                    continue
                if model is not None:
                    mine.append(judge(onnx.load(str(model)), entry.file.removeprefix("prototxt/"), kind.name))
                    print(_row(mine[-1]), flush=True)
        found += mine
    return found


def _row(verdict: Verdict) -> str:
    gone = ", ".join(f"{kind} {number}" for kind, number in sorted(verdict.removed.items()))
    come = ", ".join(f"{kind} {number}" for kind, number in sorted(verdict.added.items()))
    what = gone + (f" for {come}" if come else "")
    return f"| {verdict.family} | `{verdict.net}` | {verdict.before} | {verdict.after} | {what} |"


def report(found: Sequence[Verdict]) -> int:
    """Say what stays and why; exit status."""
    for why in dict.fromkeys(why for verdict in found for why in verdict.reasons):
        nets = [verdict for verdict in found if why in verdict.reasons]
        kinds = sum((verdict.reasons[why] for verdict in nets), Counter[str]())
        what = ", ".join(f"{kind} {number}" for kind, number in sorted(kinds.items()))
        print(f"{what}, in {len(nets)} nets: {why}")
    for verdict in found:
        if verdict.unexplained:
            print(f"**no reason** in {verdict.net}: {', '.join(verdict.unexplained)}")
    clean = sum(not verdict.removed for verdict in found)
    bad = sum(bool(verdict.unexplained) for verdict in found)
    print(f"{clean} of {len(found)} nets have nothing to remove; {bad} something without a reason")
    return 1 if bad else 0


@dataclass(frozen=True)
class Timed:
    """A net to be timed: a golden case or a member of the corpus, its input and that input's height and width."""

    name: str
    net: str
    blob: str
    size: tuple[int, int]


TIMED = (
    Timed("ResNet-50", "KaimingHe+deep-residual-networks/prototxt/ResNet-50-deploy.prototxt", "data", (224, 224)),
    Timed("SqueezeNet", "songhan+SqueezeNet-Deep-Compression/SqueezeNet_deploy.prototxt", "data", (227, 227)),
    Timed("MobileNet", "hollance+MobileNet-CoreML/Convert/mobilenet_deploy.prototxt", "data", (224, 224)),
    Timed("retinaface-mnet", "golden/models/retinaface-mnet", "data", (640, 640)),
    Timed("SSD300", "xman0810+models/object_detection/ssd/caffe/ssd300/deploy.prototxt", "data", (300, 300)),
    Timed("MobileNet-SSD", "chuanqi305+MobileNet-SSD/voc/MobileNetSSD_deploy.prototxt", "data", (300, 300)),
    Timed("YOLOv3", "eric612+MobileNet-YOLO/models/darknet_yolov3/yolov3.prototxt", "data", (416, 416)),
)
NOISE = 1.05
"""The ratio from which on a model counts as slower."""


def resnet_convert(tree: Path, words: Sequence[str | Path]) -> None:
    """Run a tree's command, whose last word is what it writes.

    Raises:
        CalledProcessError: it fails.
        FileNotFoundError: it writes nothing: a tree from before `python -m resnet_convert` was the command.
    """
    command = [sys.executable, "-m", "resnet_convert", "--no-verify", "--quiet", *map(str, words)]
    subprocess.run(command, check=True, cwd=tree, env={**os.environ, "PYTHONPATH": str(tree)})
    Path(words[-1]).stat()


def files_of(timed: Timed, corpus: tarfile.TarFile, work: Path) -> list[str | Path]:
    """The prototxt, and the caffemodel or the word that stands in for one."""
    golden = SHARED / timed.net
    if golden.is_dir():
        return [golden / "net.prototxt", golden / "weights.caffemodel"]
    file = corpus.extractfile(f"prototxt/{timed.net}")
    assert file is not None
    text = work / "net.prototxt"
    text.write_bytes(file.read())
    return [text, "--random-weights", "0"]


def onnx_run(model: Path, threads: int, image: npt.NDArray[np.float32]) -> Callable[[], object]:
    """What runs a model once."""
    ort: Any = import_module("onnxruntime")
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    (blob,) = (given.name for given in session.get_inputs())
    return lambda: session.run(None, {blob: image})


def opencv_run(folder: Path, threads: int, blob: str, image: npt.NDArray[np.float32]) -> Callable[[], object]:
    """What runs the Caffe files once in OpenCV 4."""
    cv2: Any = import_module("cv2")
    cv2.setNumThreads(threads)
    net = cv2.dnn.readNetFromCaffe(str(folder / "deploy.prototxt"), str(folder / "model.caffemodel"))
    names = net.getUnconnectedOutLayersNames()

    def run() -> object:
        net.setInput(image, blob)
        return net.forward(names)

    run()
    return run


def best_in_turns(
    runs: Mapping[str, Callable[[], object]], rounds: int, clock: Callable[[], float]
) -> dict[str, float]:
    """The shortest time of each, in seconds; the first round counts for nothing."""
    best = dict.fromkeys(runs, float("inf"))
    for turn in range(rounds + 1):
        for name, run in runs.items():
            start = clock()
            run()
            took = clock() - start
            best[name] = min(best[name], took if turn else float("inf"))
    return best


def time_net(timed: Timed, files: Sequence[str | Path], arguments: argparse.Namespace, work: Path) -> list[float]:
    """Print a row for each batch and number of threads; the ratios to the other tree."""
    ratios = []
    for batch in arguments.batch:
        shape = (batch, 3, *timed.size)
        sized = [*files, "--input-shape", f"{timed.blob}={','.join(map(str, shape))}"]
        now, before, caffe = (work / f"{batch}{name}" for name in ("now.onnx", "before.onnx", "caffe"))
        resnet_convert(ROOT, [*sized, "--to", "onnx", "-o", now])
        if arguments.baseline:
            resnet_convert(arguments.baseline.resolve(), [*sized, "--to", "onnx", "-o", before])
        resnet_convert(ROOT, [*sized, "--to", "caffe", "-o", caffe])
        same = before.exists() and filecmp.cmp(now, before, shallow=False)
        image = (np.random.default_rng(0).standard_normal(shape) * 30).astype(np.float32)
        for threads in arguments.threads:
            runs = {"now": onnx_run(now, threads, image)}
            if before.exists() and not same:
                runs["before"] = onnx_run(before, threads, image)
            other = ""
            try:
                runs["OpenCV"] = opencv_run(caffe, threads, timed.blob, image)
            except import_module("cv2").error as error:  # a layer that it does not have
                other = f"no: {str(error).splitlines()[0][-80:]}"
            clock = time.perf_counter if arguments.clock == "wall" else time.process_time
            best = best_in_turns(runs, arguments.rounds, clock)
            ratio = best["now"] / best["before"] if "before" in best else None
            ratios += [] if ratio is None else [ratio]
            against = "the same file" if same else "" if ratio is None else f"{ratio:.3f}"
            other = other or f"{best['OpenCV'] * 1e3:.1f}"
            print(f"| {timed.name} | {batch} | {threads} | {best['now'] * 1e3:.1f} | {against} | {other} |", flush=True)
    return ratios


def time_all(arguments: argparse.Namespace) -> int:
    """Time the nets; exit status."""
    ratios = []
    print("| net | batch | threads | now, ms | to before | OpenCV 4, ms |\n| --- | ---: | ---: | ---: | ---: | ---: |")
    with tarfile.open(CORPUS / "prototxt.tar.xz") as corpus:
        for timed in TIMED:
            if any(word.lower() in timed.name.lower() for word in arguments.only):
                with tempfile.TemporaryDirectory() as folder:
                    work = Path(folder)
                    ratios += time_net(timed, files_of(timed, corpus, work), arguments, work)
    return 1 if any(ratio > NOISE for ratio in ratios) else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[""], metavar="WORD", help="families or nets with one of these")
    parser.add_argument("--each", type=int, default=2, help="nets of a family (%(default)s)")
    parser.add_argument("--opset", type=int, default=13, help="(%(default)s)")
    parser.add_argument("--time", action="store_true", help="time the models instead")
    parser.add_argument("--baseline", type=Path, metavar="TREE", help="a checkout to compare with")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5, help="of which the best counts (%(default)s)")
    parser.add_argument("--clock", choices=["processor", "wall"], default="processor", help="(%(default)s)")
    arguments = parser.parse_args()
    if arguments.time:
        return time_all(arguments)
    if missed := overlooked(arguments.opset):
        raise SystemExit(f"the judge overlooks {', '.join(missed)} that change nothing: its word counts for little")
    return report(judge_families(arguments.each, arguments.only, arguments.opset))


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)  # of this process alone: what nets lack is not asked here
    sys.exit(main())
