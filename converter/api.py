"""Converting from Python: `convert` writes files, `load` gives a live PyTorch module."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from converter.building.build import build
from converter.building.parameters import RandomParameters
from converter.graph import Graph
from converter.node import Node
from converter.options import FOLDERS, SUFFIXES, File, Fold, Options, Target
from converter.passes import run_passes
from converter.preprocess import bake
from converter.reading import load_parsed, weights_of
from converter.tensor import Tensor
from prototxt import Net
from prototxt.errors import RequestError
from prototxt.names import typed, utf8
from prototxt.optional import need_torch
from weights import (
    CheckedWeights,
    Outputs,
    Weights,
    nonfinite,
    open_weights,
    refuse_overwriting,
    unused_warnings,
)

if TYPE_CHECKING:
    import torch

    from converter.targets.torch_model import Training

log = logging.getLogger(__name__)


@dataclass(eq=False)
class Conversion:
    """What a conversion did.

    Attributes:
        files: the files written.
        graph: the net that was written, after folding.
        net: the parsed prototxt.
        fired: how often each pass fired, by name.
        weights: what the net was filled with; closed once the conversion is over.
        notes: upgrades of old files and refusals of passes, in words.
        warnings: what the user should know though nothing failed.
    """

    files: list[Path]
    graph: Graph
    net: Net
    fired: dict[str, int]
    weights: Weights | None = field(default=None, repr=False)
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


@dataclass(eq=False, repr=False)
class Prepared:
    """A net read and rewritten, ready to be written out.

    Attributes:
        weights: those that it was filled with.
        training: how it is trained, if it is.
    """

    graph: Graph
    net: Net
    fired: dict[str, int]
    notes: list[str]
    warnings: list[str]
    metadata: dict[str, str]
    weights: Weights | None
    training: Training | None = None


def prepare(net: Net, weights: Weights | None, options: Options) -> Prepared:
    """Build the graph and run the passes.

    Raises:
        NetError, UnsupportedError, WeightsError, RequestError: what stops the conversion, all of it at once.
    """
    if options.fold not in get_args(Fold):
        raise RequestError(f"fold {options.fold!r}; expected none, bn or conv")
    if options.train:
        return _prepare_training(net, weights, options)
    make = None if options.random_weights is None else RandomParameters(options.random_weights)
    graph = build(net, weights, input_shapes=options.input_shapes, outputs=options.outputs, make=make)
    notes = [*net.notes, *net.readings]
    fired = run_passes(graph, options.fold, notes.append)
    metadata = dict(options.metadata)
    if not options.preprocessing.is_nothing:
        metadata["resnet_convert.preprocess"] = bake(graph, options.preprocessing)
    used = make.with_file(weights) if make else weights
    return Prepared(graph, net, fired, notes, [*graph.warnings, *_warnings(graph)], metadata, used)


def _prepare_training(net: Net, weights: Weights | None, options: Options) -> Prepared:
    """The training net: whatever has a loss is an output, and nothing is folded."""
    from converter.building.parameters import StartingParameters
    from converter.training.module import check_has_loss, training_graph, training_of

    training = training_of(net)
    check_has_loss(net, training, options.outputs)
    make = StartingParameters(options.random_weights or 0)
    graph = training_graph(net, weights, options, make)
    metadata = dict(options.metadata)
    if not options.preprocessing.is_nothing:
        metadata["resnet_convert.preprocess"] = bake(graph, options.preprocessing)
    notes, warnings = [*net.notes, *net.readings], [*graph.warnings]
    if weights is not None and make.made:
        names = ", ".join(map(repr, make.made))
        warnings.append(f"{weights.path}: has no weights for {names}: they start from the net's fillers")
    return Prepared(graph, net, {}, notes, warnings, metadata, make.with_file(weights), training)


def _warnings(graph: Graph) -> list[str]:
    """What looks wrong though Caffe would run it: one sentence each, with its first layer."""
    nodes: dict[str, list[Node]] = {}
    for node in graph.nodes:
        for caution in filter(None, (node.layer.caution_at([x.shape for x in node.inputs]), *node.cautions)):
            nodes.setdefault(caution, []).append(node)
    found = []
    for caution, (first, *others) in nodes.items():
        origin, more = first.origins[0], f" and {len(others)} more" if others else ""
        found.append(f"{origin.position}: layer {origin}{more}: {caution}")
    return found


def weight_warnings(weights: Weights | None, net: Net, graph: Graph) -> list[str]:
    """Blobs of the file that the net does not use, and layers of the graph with NaN or infinite weights."""
    if weights is None:
        return []
    names = {origin.name for node in graph.nodes for origin in node.origins}
    return unused_warnings(weights, (layer.name for layer in net.layers)) + [
        f"{weights.path}: layer {found.layer.name!r}: blob {found.blob} holds {found.nans} NaN and {found.infinities} "
        f"infinite values of {found.values}"
        for found in nonfinite(weights, names)
    ]


def convert(
    net: File,
    weights: File | None = None,
    *,
    to: Target = "onnx",
    output: File | None = None,
    opset: int | None = None,
    options: Options | None = None,
) -> Conversion:
    """Convert a Caffe net and write the result; nothing is left behind on failure.

    Args:
        net: the .prototxt, of any age; or a .caffemodel alone, whose own structure then counts.
        weights: the .caffemodel or .caffemodel.h5.
        to: `onnx` (one file), `torch` (a folder with model.py and model.safetensors), `caffe` (a folder with prototxt
            and caffemodel), or the weights alone as `safetensors`, `npz` or `hdf5`.
        output: the file or folder; by default beside the prototxt's name in the working directory.
        opset: version of ONNX's operators; by default one that every runtime reads.
        options: everything else.

    Raises:
        CaffeModelError: see `prototxt.errors` for the tree.
    """
    with (
        Outputs() as outputs,
        converted(net, weights, to=to, output=output, opset=opset, options=options, outputs=outputs) as done,
    ):
        return done


@contextmanager
def converted(
    net: File,
    weights: File | None,
    *,
    to: Target,
    output: File | None,
    opset: int | None,
    options: Options | None,
    outputs: Outputs,
) -> Iterator[Conversion]:
    """Like `convert`, for a check before the model gets its name: that is when the block of `outputs` ends.

    Until then the files lie where `outputs.staged` says; the weight file is open until this block ends.
    """
    if to not in get_args(Target):
        raise RequestError(f"target {to!r}; expected {', '.join(get_args(Target))}")
    options = options or Options()
    target = Path(output) if output is not None else Path(default_output(net, to))
    refuse_overwriting(files_of(to, target), [net, weights])
    parsed, weights = load_parsed(net, options, weights), weights_of(net, weights)
    with ExitStack() as stack:
        source = None if weights is None else stack.enter_context(CheckedWeights(open_weights(weights)))
        ready = prepare(parsed, source, options)
        if to == "onnx":
            ready.metadata["resnet_convert.inputs"] = _described(net, weights)
        files = stage(ready, to, target, opset, outputs)
        ready.warnings += weight_warnings(source, parsed, ready.graph)  # what was written has been looked at
        yield Conversion(files, ready.graph, parsed, ready.fired, ready.weights, ready.notes, ready.warnings)


def _described(*read: File | None) -> str:
    """Names and sizes of the files that were read, as JSON; where they lie is not part of the model."""
    files = [Path(path) for path in dict.fromkeys(os.fspath(path) for path in read if path is not None)]
    return json.dumps([{"file": utf8(typed(file.name)), "bytes": file.stat().st_size} for file in files])


def default_output(net: File, to: Target) -> str:
    """`deploy.prototxt` -> `deploy.onnx`; `net.tar.prototxt` -> `net.tar.onnx`."""
    name = Path(net).name
    stem = name[: -len(".prototxt")] if name.endswith(".prototxt") else Path(name).stem
    return f"{stem or 'model'}{SUFFIXES[to]}"


def files_of(to: Target, target: Path) -> list[Path]:
    """The files that a conversion may write, for `refuse_overwriting`."""
    if to == "onnx":
        return [target, target.parent / f"{target.name}.data"]
    return [target / name for name in FOLDERS[to]] if to in FOLDERS else [target]


def write(ready: Prepared, to: Target, target: Path, opset: int | None) -> list[Path]:
    """Write a prepared net in one form, whole or not at all; the files written."""
    with Outputs() as outputs:
        return stage(ready, to, target, opset, outputs)


def stage(ready: Prepared, to: Target, target: Path, opset: int | None, outputs: Outputs) -> list[Path]:
    """Write a prepared net in one form under temporary names; the files that there will be.

    Raises:
        RequestError: what the form cannot hold, or a target that cannot be written.
    """
    if to in FOLDERS:
        return [target / file.name for file in _written(ready, to, outputs.folder(target), opset)]
    return [target.parent / file.name for file in _written(ready, to, outputs.file(target), opset)]


def _written(ready: Prepared, to: Target, target: Path, opset: int | None) -> list[Path]:
    from converter.targets import writers

    if ready.training is not None and to != "torch":
        raise RequestError(f"--train goes with --to torch, not with {to}")
    if opset is not None and to != "onnx":
        raise RequestError(f"--opset goes with --to onnx, not with {to}")
    if to == "onnx":
        from converter.targets.onnx_model import DEFAULT_OPSET, emit_onnx

        model = emit_onnx(ready.graph, opset=DEFAULT_OPSET if opset is None else opset, metadata=ready.metadata)
        return writers.write_onnx(model, target)
    if to == "torch":
        from converter.targets.torch_model import emit_torch

        described = emit_torch(ready.graph, metadata=ready.metadata, training=ready.training)
        return writers.write_torch(described.source, described.state, described.metadata, target)
    if to == "caffe":
        from converter.targets.caffe_model import write_caffe

        return write_caffe(ready.graph, target)
    state = named_weights(ready.graph)
    if to == "safetensors":
        writers.write_safetensors(state, target, ready.metadata)
    elif to == "npz":
        writers.write_npz(state, target)
    else:
        writers.write_hdf5(state, target)
    return [target]


def named_weights(graph: Graph) -> dict[str, Tensor]:
    """Every weight as `layer.parameter`; a BatchNorm's statistics with the scale factor divided out.

    Parameters are `weight` and `bias`; of a BatchNorm `mean`, `variance` and, merged with its Scale, `gamma`, `beta`.
    """
    from converter.layers.batch_norm import normalisation

    state: dict[str, Tensor] = {}
    for node in graph.nodes:
        tensors = node.tensors
        if node.layer.normalises:
            wanted = ("gamma", "beta", "mean", "variance") if "gamma" in tensors else ("mean", "variance")
            tensors = {name: tensor for name, tensor in normalisation(node).items() if name in wanted}
        for name, tensor in tensors.items():
            key, number = utf8(f"{node.name}.{name}"), 1
            while key in state:  # as an escape another layer's name may look the same
                number += 1
                key = utf8(f"{node.name}_{number}.{name}")
            state[key] = tensor
    return state


def load(
    net: File,
    weights: File | None = None,
    *,
    options: Options | None = None,
    train: bool = False,
) -> torch.nn.Module:
    """A Caffe net as a live PyTorch module: the one that `convert(..., to="torch")` writes, in eval mode.

    Its `forward` takes the net's inputs in order (float32 tensors of the shapes in the prototxt, the batch axis free)
    and gives one tensor, or a dict from blob name to tensor when the net has several outputs.

    With `train` the net is loaded in phase TRAIN, and the module, in training mode, trains as Caffe's net did:
    `forward` gives a dict with all losses and the outputs asked for, `module.objective(outputs)` what the losses add up
    to. Layers that the weights lack start from the net's fillers. A deploy net has no loss: ask for its scores.

    Raises:
        CaffeModelError: see `prototxt.errors` for the tree.
        MissingDependencyError: torch is not installed.
    """
    from converter.targets.torch_model import emit_torch, live_module

    need_torch("a live module")
    options = options or Options()
    if train:
        options = replace(options, train=True, phase="TRAIN")
    parsed, weights = load_parsed(net, options, weights), weights_of(net, weights)
    with ExitStack() as stack:
        source = None if weights is None else stack.enter_context(open_weights(weights))
        ready = prepare(parsed, source, options)
        for warning in unused_warnings(source, (layer.name for layer in parsed.layers)):
            log.warning("warning: %s", warning)
        module = live_module(emit_torch(ready.graph, metadata=ready.metadata, training=ready.training))
        return module.train(train)
