"""The original Caffe's answers as test cases, and the one comparison that every layer's test uses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from converter.api import prepare
from converter.graph import Graph
from converter.options import Fold, Options
from converter.targets.onnx_model import DEFAULT_OPSET, emit_onnx
from converter.targets.torch_model import emit_torch, live_module
from converter.targets.writers import write_onnx
from prototxt import load_net
from weights import Weights, open_weights

LAYERS = Path(__file__).parent / "data" / "golden" / "layers"
FORKS = LAYERS.with_name("forks")
Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class GoldenCase:
    """A folder with net.prototxt, perhaps weights, and what Caffe answered."""

    folder: Path

    def __str__(self) -> str:
        return self.folder.name

    @property
    def net(self) -> Path:
        return self.folder / "net.prototxt"

    @property
    def weights(self) -> Path | None:
        return next(iter(sorted(self.folder.glob("weights.caffemodel*"))), None)

    def feeds(self) -> dict[str, Array]:
        with np.load(self.folder / "golden.npz") as golden:
            return {key[3:]: golden[key] for key in golden.files if key.startswith("in:")}

    def expected(self) -> dict[str, Array]:
        """Caffe's final value of each blob."""
        with np.load(self.folder / "golden.npz") as golden:
            return {key.rpartition(":")[2]: golden[key] for key in golden.files if key.startswith("out:")}


def golden_cases(*starts: str) -> list[GoldenCase]:
    """The layer cases, the original Caffe's and those by loops, that begin with one of the words; all for none."""
    folders = sorted(p.parent for root in (LAYERS, FORKS) for p in root.glob("*/net.prototxt"))
    return [GoldenCase(f) for f in folders if not starts or f.name.startswith(starts)]


def graph_of(
    net: Path,
    weights: Path | Weights | None,
    outputs: list[str],
    fold: Fold = "bn",
    shapes: Mapping[str, Array] | None = None,
) -> Graph:
    """The graph that the command line would build."""
    source = open_weights(weights) if isinstance(weights, Path) else weights
    sizes = {name: feed.shape for name, feed in (shapes or {}).items()}
    return prepare(load_net(net), source, Options(fold=fold, outputs=outputs, input_shapes=sizes)).graph


def run_onnx(graph: Graph, feeds: Mapping[str, Array], folder: Path, opset: int = DEFAULT_OPSET) -> dict[str, Array]:
    """What onnxruntime makes of a graph; the file is held to onnx's full check first."""
    return _run_file(_written(graph, folder, opset), graph, feeds)


def _written(graph: Graph, folder: Path, opset: int) -> Path:
    path = folder / "model.onnx"
    write_onnx(emit_onnx(graph, opset=opset), path)
    return path


def _run_file(path: Path, graph: Graph, feeds: Mapping[str, Array]) -> dict[str, Array]:
    import onnx
    import onnxruntime

    onnx.checker.check_model(str(path), full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # Threads cost more than these small tensors do.
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [i.name for i in session.get_inputs()]
    results = session.run(None, {name: feeds[name] for name in names})
    return dict(zip(graph.output_names, results, strict=True))


def run_torch(graph: Graph, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """What the generated module makes of a graph."""
    import torch

    module = live_module(emit_torch(graph))
    with torch.no_grad():
        out = module(*(torch.from_numpy(feeds[v.name]) for v in graph.inputs))
    results = out if isinstance(out, dict) else {graph.output_names[0]: out}
    return {name: value.numpy() for name, value in results.items()}


def assert_close(got: Array, expected: Array, what: str, tolerance: float = 1e-5, scale: float = 0.0) -> None:
    """Equal shape, and values within `tolerance` of the largest; Caffe's ±FLT_MAX of empty windows are left out.

    Args:
        scale: what `tolerance` is a share of at least, where all values may lie near nothing by rounding.
    """
    assert got.shape == expected.shape, what
    finite = np.isfinite(expected) & (np.abs(expected) < 1e30)
    scale = np.abs(expected[finite]).max(initial=max(scale, 1e-30))
    error = np.abs(got[finite].astype(np.float64) - expected[finite]).max(initial=0) / scale
    assert error <= tolerance, f"{what}: off by {error:.2e} of the largest value"


def assert_parity(case: GoldenCase, folder: Path, *opsets: int, folds: Sequence[Fold] = ("bn",)) -> None:
    """A golden case gives Caffe's numbers as an ONNX model of each opset in onnxruntime and as a PyTorch module.

    A way of folding that changes nothing gives the bytes of another one's model, which are not run again.
    """
    expected, feeds = case.expected(), case.feeds()
    read = {bottom for layer in load_net(case.net).layers for bottom in layer.bottoms if bottom not in layer.tops}
    outputs = [blob for blob in expected if blob not in read and "_split_" not in blob]
    seen: set[bytes] = set()
    for fold in folds:
        graph = graph_of(case.net, case.weights, outputs, fold, feeds)
        runs = {}
        for opset in opsets or (DEFAULT_OPSET,):
            path = _written(graph, folder, opset)
            if path.read_bytes() not in seen:
                seen.add(path.read_bytes())
                runs[f"onnx, opset {opset}"] = _run_file(path, graph, feeds)
        if runs:
            runs["torch"] = run_torch(graph, feeds)
        for name, results in runs.items():
            for blob in outputs:
                assert_close(results[blob], expected[blob], f"{case} {blob} in {name}, fold {fold}")
