#!/usr/bin/env python3
"""Put nets of the corpus into the models of torchvision and timm that are named like them, and say what becomes of it.

    python -m benchmarks.into [--corpus ../shared/corpus] [--only NAMES] [--journal FILE] [--document docs/porting.md]

Each net gets seeded random weights and runs on seeded numbers, once in the interpreter and once in the module: as the
library builds it, and where settings differ with `patch` as well. A row says how far the outputs are from each other,
as a share of the largest, or which module's numbers are the first to leave and why. With --document the table between
the marks of that page is written anew. Needs torch, torchvision and timm, and 6 GB.

Exit status 1 when a net is neither equal within 1e-5 nor told where it leaves.
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import sys
import tarfile
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from converter.building.build import build
from converter.building.parameters import RandomParameters
from prototxt import Net, format_net, parse_net, resnet
from prototxt.errors import CaffeModelError
from resnet_convert.modules.into import PortedInto, port_module
from resnet_convert.modules.naming import built
from resnet_convert.requests import PortIntoRequest
from resnet_convert.vision_operators import declare_operators
from verify import run
from weights import ArrayWeights, Outputs, Weights

CORPUS = Path(__file__).resolve().parents[2] / "shared" / "corpus"
BAR = 1e-5
SOEAVER = "soeaver+caffe-model/cls"
SYNOPSYS = "foss-for-synopsys-dwc-arc-processors+synopsys-caffe-models/caffe_models"
MSRA = "KaimingHe+deep-residual-networks/prototxt"
NETS = {
    "VGG-16": (f"{SOEAVER}/vgg/deploy_vgg16-pytorch.prototxt", "torchvision:vgg16"),
    "VGG-19": (f"{SOEAVER}/vgg/deploy_vgg19-pytorch.prototxt", "torchvision:vgg19"),
    "SqueezeNet 1.0": ("DeepScale+SqueezeNet/SqueezeNet_v1.0/deploy.prototxt", "torchvision:squeezenet1_0"),
    "SqueezeNet 1.1": ("DeepScale+SqueezeNet/SqueezeNet_v1.1/deploy.prototxt", "torchvision:squeezenet1_1"),
    "DenseNet-121": (f"{SYNOPSYS}/densenet/caffe_model/121/DenseNet_121.prototxt", "torchvision:densenet121"),
    "DenseNet-161": (f"{SYNOPSYS}/densenet/caffe_model/161/DenseNet_161.prototxt", "torchvision:densenet161"),
    "DenseNet-169": (f"{SYNOPSYS}/densenet/caffe_model/169/DenseNet_169.prototxt", "torchvision:densenet169"),
    "DenseNet-201": ("shicai+DenseNet-Caffe/DenseNet_201.prototxt", "torchvision:densenet201"),
    "MobileNet v1": ("hollance+MobileNet-CoreML/Convert/mobilenet_deploy.prototxt", "timm:mobilenetv1_100"),
    "MobileNet v2": (
        "PaddlePaddle+X2Paddle/test_benchmark/Caffe/MobileNetV2/mobilenet_v2_deploy.prototxt",
        "torchvision:mobilenet_v2",
    ),
    "ResNet-18": (f"{SOEAVER}/resnet/deploy_resnet18-priv.prototxt", "torchvision:resnet18"),
    "ResNet-18 of HolmesShuan": (
        "HolmesShuan+ResNet-18-Caffemodel-on-ImageNet/deploy.prototxt",
        "torchvision:resnet18",
    ),
    "ResNet-34": ("", "torchvision:resnet34"),
    "ResNet-50": (f"{MSRA}/ResNet-50-deploy.prototxt", "torchvision:resnet50"),
    "ResNet-101": (f"{MSRA}/ResNet-101-deploy.prototxt", "torchvision:resnet101"),
    "ResNet-152": (f"{MSRA}/ResNet-152-deploy.prototxt", "torchvision:resnet152"),
    "SE-ResNet-50": ("hujie-frank+SENet/models/SE-ResNet-50.prototxt", "timm:seresnet50"),
    "ResNeXt-50": (f"{SOEAVER}/resnext/deploy_resnext50-32x4d.prototxt", "torchvision:resnext50_32x4d"),
    "ResNeXt-101": (f"{SOEAVER}/resnext/deploy_resnext101-32x4d.prototxt", "timm:resnext101_32x4d"),
    "GoogLeNet": ("BVLC+caffe/models/bvlc_googlenet/deploy.prototxt", "torchvision:googlenet"),
    "CaffeNet": ("BVLC+caffe/models/bvlc_reference_caffenet/deploy.prototxt", "torchvision:alexnet"),
    "Inception-v3": (f"{SOEAVER}/inception/deploy_inception-v3.prototxt", "torchvision:inception_v3"),
    "Inception-v4": (f"{SOEAVER}/inception/deploy_inception-v4.prototxt", "timm:inception_v4"),
}
GATED = ("SE-ResNet-50",)
"""Nets whose gates make another factor for a whole channel of its mean's rounding, where activations are as large as
random statistics leave them: these get the statistics of the input that they are run on."""
MARKS = ("<!-- made by benchmarks.into -->\n", "<!-- end -->\n")
HEAD = """\
| net | model | layers | as the library builds it | after `--patch` |
| --- | --- | ---: | --- | --- |
"""


@dataclass
class Result:
    """A net in a model.

    Attributes:
        net, model: which.
        layers: paired ones with weights.
        built, patched: the outputs' error as a share of the largest value; None where it was not run.
        leaves: the first module whose numbers leave, and why, as built.
        settings: attributes that the patch sets.
        fault: why nothing could be ported.
        crash: what went wrong that nobody foresaw.
        seconds: of the processor, reading to comparison, both runs.
    """

    net: str
    model: str
    layers: int = 0
    built: float | None = None
    patched: float | None = None
    leaves: str = ""
    settings: int = 0
    fault: str = ""
    crash: str = ""
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether it is equal, or said where it is not."""
        errors = [error for error in (self.built, self.patched) if error is not None]
        equal = bool(errors) and errors[-1] <= BAR
        return not self.crash and (equal or bool(self.leaves) or bool(self.fault))


def parsed(corpus: Path, names: Sequence[str]) -> Iterator[tuple[str, Net]]:
    """The nets by name."""
    wanted = {f"prototxt/{NETS[name][0]}": name for name in names if NETS[name][0]}
    with tarfile.open(corpus / "prototxt.tar.xz") as archive:
        for member in archive:
            if member.name in wanted:
                stream = archive.extractfile(member)
                assert stream is not None
                path = Path(member.name).name
                yield wanted[member.name], parse_net(stream.read().decode(), path)
    if "ResNet-34" in names:  # the corpus has it as a training net alone; this is MSRA's form of it
        yield "ResNet-34", parse_net(format_net(resnet(34)), "resnet34.prototxt")


def tried(name: str, net: Net) -> Result:
    """Port a net, as the model is built and patched."""
    model = NETS[name][1]
    result = Result(name, model)
    start = resource.getrusage(resource.RUSAGE_SELF)
    try:
        first = ported(net, model, patch=False, calibrate=name in GATED)
        result.layers, result.built = len(first.layers), error_of(first)
        if first.cause is not None:
            cause = first.cause
            result.leaves = f"{cause.module.label}: {words(cause.why)}" if cause.why is not None else ""
        if any(each.remedy for each in first.mismatches):
            del first
            gc.collect()
            second = ported(net, model, patch=True, calibrate=name in GATED)
            result.patched = error_of(second)
            result.settings = sum(len(each.remedy) for each in second.patched)
    except CaffeModelError as error:
        result.fault = str(error).splitlines()[0]
    except Exception as error:  # noqa: BLE001 (one net shall not stop the others; the status tells)
        traceback.print_exc()
        result.crash = f"{type(error).__name__}: {error}"
    end = resource.getrusage(resource.RUSAGE_SELF)
    result.seconds = round(end.ru_utime + end.ru_stime - start.ru_utime - start.ru_stime, 1)
    gc.collect()
    return result


def words(mismatch: object) -> str:
    """The settings alone of a difference."""
    return str(mismatch).partition("with other settings: ")[2] or str(mismatch)


def ported(net: Net, model: str, *, patch: bool, calibrate: bool) -> PortedInto:
    """A net with random weights in a model."""
    make = RandomParameters(0)
    graph = build(net, None, make=make)
    feeds = {
        value.blob: np.random.default_rng(1).standard_normal((1, *map(int, value.shape[1:]))).astype(np.float32)
        for value in graph.inputs
    }
    weights = make.with_file(None)
    if calibrate:
        weights = calibrated(net, weights, feeds)
    module = built(model)
    request = PortIntoRequest(net.path, None, module, patch=patch, feeds=feeds)
    with Outputs() as outputs:
        return port_module(net, weights, module, request, outputs)


def calibrated(net: Net, weights: Weights, feeds: dict[str, np.ndarray]) -> Weights:
    """The weights with the statistics that each normalisation sees on these inputs."""
    trace = run(net, weights, feeds, train=True)
    seen = {step.layer: trace.steps[step.inputs[0]].value for step in trace.steps if step.inputs}
    blobs = {}
    for layer in net.layers:
        found = weights.get(layer.name)
        held = [blob.array() for blob in found.blobs] if found is not None else []
        if len(held) == 3 and layer.name in seen:
            values = seen[layer.name].astype(np.float64)
            held = [values.mean((0, 2, 3)), values.var((0, 2, 3)), np.ones(1)]
        if held:
            blobs[layer.name] = [np.asarray(each, np.float32) for each in held]
    return ArrayWeights(blobs)


def error_of(done: PortedInto) -> float:
    """Of the module's outputs, as it is shipped."""
    assert done.report is not None
    return max(row.max_rel for row in done.report.shipped)


def table(results: Sequence[Result]) -> str:
    """The rows, as they stand in the document."""
    lines = []
    for each in results:
        if each.fault or each.crash:
            cells = [f"not ported: {each.fault or each.crash}", ""]
        elif each.leaves:
            cells = [f"off by {each.built:.2g}: {each.leaves}", ""]
        else:
            cells = [f"equal ({each.built:.1e})", ""]
        if each.patched is not None:
            word = "equal" if each.patched <= BAR else "off by"
            cells[1] = f"{word} ({each.patched:.1e}), {each.settings} attribute{'s' * (each.settings > 1)}"
        lines.append(f"| {each.net} | `{each.model}` | {each.layers} | {cells[0]} | {cells[1]} |")
    return HEAD + "\n".join(lines) + "\n"


def main() -> int:
    """Run what is asked for; see the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, default=CORPUS, metavar="DIR")
    parser.add_argument("--only", default=",".join(NETS), metavar="NAMES", help="of these nets")
    parser.add_argument("--journal", type=Path, metavar="FILE", help="keep results there, and go on from it")
    parser.add_argument("--document", type=Path, metavar="FILE", help="write the table into this page")
    given = parser.parse_args()
    if not declare_operators():
        print("torchvision is not installed", file=sys.stderr)
        return 2
    results: dict[str, Result] = {}
    if given.journal and given.journal.exists():
        lines = given.journal.read_text(encoding="utf-8").splitlines()
        results = {entry["net"]: Result(**entry) for entry in map(json.loads, lines)}
    for name, net in parsed(given.corpus, [name for name in given.only.split(",") if name not in results]):
        results[name] = tried(name, net)
        print(results[name], flush=True)
        if given.journal:
            with given.journal.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(results[name])) + "\n")
    ordered = [results[name] for name in NETS if name in results]
    print(table(ordered))
    if given.document:
        before, rest = given.document.read_text(encoding="utf-8").split(MARKS[0])
        after = rest.split(MARKS[1])[1]
        given.document.write_text(before + MARKS[0] + table(ordered) + MARKS[1] + after, encoding="utf-8")
    return 0 if all(each.ok for each in ordered) else 1


if __name__ == "__main__":
    sys.exit(main())
