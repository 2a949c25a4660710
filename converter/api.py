"""Converting from Python: `convert` writes files, `load` gives a live PyTorch module."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from converter.build import InputShapes, build
from converter.graph import Graph, Node, Tensor
from converter.parameters import RandomParameters
from converter.passes import Fold, run_passes
from converter.preprocess import Preprocessing, bake
from prototxt import Net, load_net
from prototxt.errors import RequestError
from weights import Weights, is_caffemodel, load_structure, nonfinite, open_weights

if TYPE_CHECKING:
    import torch

    from converter.torch_model import Training

log = logging.getLogger(__name__)

Target = Literal["onnx", "torch", "safetensors", "npz", "hdf5", "caffe"]
SUFFIXES: dict[Target, str] = {
    "onnx": ".onnx",
    "torch": "_torch",
    "safetensors": ".safetensors",
    "npz": ".npz",
    "hdf5": ".h5",
    "caffe": "_caffe",
}
File = str | PathLike[str]


@dataclass
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


@dataclass(frozen=True)
class Options:
    """How a net is read and rewritten; the same for every target.

    Attributes:
        fold: `none` keeps BatchNorm and Scale apart, `bn` merges them, `conv` folds both into the convolution before.
        outputs: blobs to give, in this order; by default those that no layer reads.
        input_shapes: sizes by input blob, in place of the prototxt's; a letter leaves an axis free.
        phase, level, stages: Caffe's net state.
        allow_unknown: leave out prototxt fields that the schema lacks.
        dialects: layer type -> fork whose meaning of it holds, where forks differ ("" for all types).
        random_weights: seed for the weights that no file gives; None refuses them.
        preprocessing: baked into the graph.
        train: make a module that trains as Caffe's net did: all losses, nothing folded (with `to="torch"`).
    """

    fold: Fold = "bn"
    outputs: Sequence[str] = ()
    input_shapes: InputShapes = field(default_factory=dict)
    phase: str = "TEST"
    level: int = 0
    stages: Sequence[str] = ()
    allow_unknown: bool = False
    dialects: Mapping[str, str] = field(default_factory=dict)
    random_weights: int | None = None
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    train: bool = False


@dataclass
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
    metadata = {}
    if not options.preprocessing.is_nothing:
        metadata["resnet_convert.preprocess"] = bake(graph, options.preprocessing)
    used = make.with_file(weights) if make else weights
    return Prepared(graph, net, fired, notes, _warnings(graph), metadata, used)


def _prepare_training(net: Net, weights: Weights | None, options: Options) -> Prepared:
    """The training net: whatever has a loss is an output, and nothing is folded."""
    from converter.parameters import StartingParameters
    from converter.training.module import check_has_loss, training_graph, training_of

    training = training_of(net)
    check_has_loss(net, training)
    make = StartingParameters(options.random_weights or 0)
    graph = training_graph(net, weights, options, make)
    metadata = {}
    if not options.preprocessing.is_nothing:
        metadata["resnet_convert.preprocess"] = bake(graph, options.preprocessing)
    notes, warnings = [*net.notes, *net.readings], []
    if weights is not None and make.made:
        names = ", ".join(map(repr, make.made))
        warnings.append(f"{weights.path}: has no weights for {names}: they start from the net's fillers")
    return Prepared(graph, net, {}, notes, warnings, metadata, make.with_file(weights), training)


def _warnings(graph: Graph) -> list[str]:
    """What looks wrong though Caffe would run it: one sentence each, with its first layer."""
    nodes: dict[str, list[Node]] = {}
    for node in graph.nodes:
        if node.layer.caution:
            nodes.setdefault(node.layer.caution, []).append(node)
    found = []
    for caution, (first, *others) in nodes.items():
        origin, more = first.origins[0], f" and {len(others)} more" if others else ""
        found.append(f"{origin.position}: layer {origin}{more}: {caution}")
    return found


def weight_warnings(weights: Weights | None, graph: Graph) -> list[str]:
    """Layers of the graph with NaN or infinite weights."""
    if weights is None:
        return []
    names = {origin.name for node in graph.nodes for origin in node.origins}
    return [
        f"{weights.path}: layer {found.layer.name!r}: blob {found.blob} holds {found.nans} NaN and {found.infinities} "
        f"infinite values of {found.values}"
        for found in nonfinite(weights)
        if found.layer.name in names
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
    with converted(net, weights, to=to, output=output, opset=opset, options=options) as done:
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
) -> Iterator[Conversion]:
    """Like `convert`, with the weight file open until the block ends, for a check of what was written."""
    if to not in get_args(Target):
        raise RequestError(f"target {to!r}; expected {', '.join(get_args(Target))}")
    options = options or Options()
    target = Path(output) if output is not None else Path(default_output(net, to))
    parsed, weights = load_parsed(net, options, weights), weights_of(net, weights)
    with ExitStack() as stack:
        source = None if weights is None else stack.enter_context(open_weights(weights))
        ready = prepare(parsed, source, options)
        ready.warnings += weight_warnings(source, ready.graph)
        files = write(ready, to, target, opset)
        yield Conversion(files, ready.graph, parsed, ready.fired, ready.weights, ready.notes, ready.warnings)


def load_parsed(net: File, options: Options, weights: File | None = None) -> Net:
    """The prototxt, parsed, upgraded and filtered as the options say; of a caffemodel alone the net that it holds."""
    if is_caffemodel(net) and (weights is None or Path(weights) == Path(net)):
        return load_structure(net, dialects=options.dialects)
    return load_net(
        Path(net),
        phase=options.phase,
        level=options.level,
        stages=options.stages,
        allow_unknown=options.allow_unknown,
        dialects=options.dialects,
    )


def weights_of(net: File, weights: File | None) -> File | None:
    """The weight file: a caffemodel that stands in the prototxt's place brings its own."""
    return net if weights is None and is_caffemodel(net) else weights


def default_output(net: File, to: Target) -> str:
    """`deploy.prototxt` -> `deploy.onnx`; `net.tar.prototxt` -> `net.tar.onnx`."""
    name = Path(net).name
    stem = name[: -len(".prototxt")] if name.endswith(".prototxt") else Path(name).stem
    return f"{stem or 'model'}{SUFFIXES[to]}"


def write(ready: Prepared, to: Target, target: Path, opset: int | None) -> list[Path]:
    """Write a prepared net in one form; the files written."""
    from converter import writers

    if ready.training is not None and to != "torch":
        raise RequestError(f"--train goes with --to torch, not with {to}")
    if opset is not None and to != "onnx":
        raise RequestError(f"--opset goes with --to onnx, not with {to}")
    if to == "onnx":
        from converter.onnx_model import DEFAULT_OPSET, emit_onnx

        model = emit_onnx(ready.graph, opset=DEFAULT_OPSET if opset is None else opset, metadata=ready.metadata)
        return writers.write_onnx(model, target)
    if to == "torch":
        from converter.torch_model import emit_torch

        described = emit_torch(ready.graph, metadata=ready.metadata, training=ready.training)
        return writers.write_torch(described.source, described.state, described.metadata, target)
    if to == "caffe":
        from converter.caffe_model import write_caffe

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
    from converter.layers.normalization import BatchNorm, normalisation

    state: dict[str, Tensor] = {}
    for node in graph.nodes:
        tensors = node.tensors
        if isinstance(node.layer, BatchNorm):
            wanted = ("gamma", "beta", "mean", "variance") if "gamma" in tensors else ("mean", "variance")
            tensors = {name: tensor for name, tensor in normalisation(node).items() if name in wanted}
        for name, tensor in tensors.items():
            state[f"{node.name}.{name}"] = tensor
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
    `forward` gives a dict with all losses, `module.objective(outputs)` what they add up to. Layers that the weights
    lack start from the net's fillers.

    Raises:
        CaffeModelError: see `prototxt.errors` for the tree.
        MissingDependencyError: torch is not installed.
    """
    from converter.torch_model import emit_torch, live_module

    options = options or Options()
    if train:
        options = replace(options, train=True, phase="TRAIN")
    parsed, weights = load_parsed(net, options, weights), weights_of(net, weights)
    with ExitStack() as stack:
        source = None if weights is None else stack.enter_context(open_weights(weights))
        ready = prepare(parsed, source, options)
        module = live_module(emit_torch(ready.graph, metadata=ready.metadata, training=ready.training))
        return module.train(train)
