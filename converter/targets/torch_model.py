"""From a graph to a PyTorch module: one description, written out as readable source or run as a live module."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from converter.emission import TorchModule, TorchOps
from converter.graph import Graph, format_shape
from converter.node import Node, Value, placed
from converter.targets.identifiers import Names, identifier
from converter.targets.torch_constants import with_constants
from converter.targets.torch_memory import FROM_MEMORY, LEFT, MemoryPlaces
from converter.tensor import Tensor
from prototxt.errors import CaffeModelError, UnsupportedError
from prototxt.names import shown, utf8
from prototxt.optional import need_torch

if TYPE_CHECKING:
    import torch

WIDTH = 120

# What the generated source and nn.Module use themselves: no layer may take these names. Kept as a list, so that
# describing a net does not import torch; a test compares it with nn.Module.
_ATTRIBUTES = """
    T_destination add_module apply bfloat16 buffers call_super_init children compile cpu cuda double dump_patches
    eval extra_repr float forward get_buffer get_extra_state get_parameter get_submodule half ipu load_state_dict
    modules mtia named_buffers named_children named_modules named_parameters parameters register_backward_hook
    register_buffer register_forward_hook register_forward_pre_hook register_full_backward_hook
    register_full_backward_pre_hook register_load_state_dict_post_hook register_load_state_dict_pre_hook
    register_module register_parameter register_state_dict_post_hook register_state_dict_pre_hook requires_grad_
    set_extra_state set_submodule share_memory state_dict to to_empty train training type xpu zero_grad
"""
MODULE_ATTRIBUTES = frozenset(_ATTRIBUTES.split()) | {"loss_weights", "objective"}
VARIABLES = frozenset({"self", "torch", "nn", "F", "Path", "load", "load_file", "Model", "super", "list", "slice"})


@dataclass(eq=False, repr=False)
class EmittedModel:
    """A module, described.

    Attributes:
        source: the text of `model.py`.
        state: state_dict key -> values; a Tensor is read when it is written.
        metadata: what the weight file's header carries.
        keys: the first state_dict key of each layer's blob, by `id` of the blob's tensor.
    """

    source: str
    state: dict[str, Tensor | npt.NDArray[Any]]
    metadata: dict[str, str]
    keys: dict[int, str] = field(default_factory=dict)


class Training(NamedTuple):
    """How a module is trained.

    Attributes:
        loss_weights: of the blobs that make up the objective.
        force_backward: gradients flow everywhere, whatever `propagate_down` and `lr_mult` say.
    """

    loss_weights: Mapping[str, float]
    force_backward: bool = False


def emit_torch(
    graph: Graph,
    *,
    title: str = "",
    metadata: Mapping[str, str] | None = None,
    training: Training | None = None,
) -> EmittedModel:
    """Describe a graph as a PyTorch module.

    Args:
        graph: what to describe.
        title: first line of the generated module's docstring.
        metadata: entries for the weight file's header, beside those that name Caffe's blobs.
        training: makes it a module that is trained as Caffe's net was.

    Raises:
        UnsupportedError: a layer that has no PyTorch form for this net.
    """
    if training is None:
        graph = with_constants(graph)
    emitter = _emitted(graph, frozenset(), training)
    if emitter.helpers.keys() & emitter.names_given:
        # A blob named like a helper would hide it inside forward(); now that the helpers are known, none is.
        emitter = _emitted(graph, frozenset(emitter.helpers), training)
    tops = json.dumps(emitter.tops, ensure_ascii=False, separators=(",", ":"))
    header = {**(metadata or {}), "resnet_convert.source": graph.source, "resnet_convert.tops": tops}
    source = emitter.source(title or f"{graph.name}, converted from {graph.source}")
    return EmittedModel(source, emitter.state, header, emitter.first_key)


def _emitted(graph: Graph, reserved: frozenset[str], training: Training | None) -> _Emitter:
    emitter = _Emitter(graph, reserved, training)
    for index, node in enumerate(graph.nodes):
        emitter.add(node, index)
    return emitter


@dataclass(eq=False, repr=False)
class _Emitter:
    graph: Graph
    reserved: frozenset[str]
    training: Training | None = None
    attributes: Names = field(default_factory=lambda: Names(MODULE_ATTRIBUTES))
    variables: Names = field(init=False)
    places: MemoryPlaces = field(init=False)
    held: dict[int, str] = field(default_factory=dict)  # value -> variable
    last_use: dict[int, int] = field(default_factory=dict)
    needed_until: dict[str, int] = field(default_factory=dict)  # variable -> the last use of what it holds or held
    modules: list[TorchModule] = field(default_factory=list)
    helpers: dict[str, str] = field(default_factory=dict)
    statements: list[tuple[str, str, str]] = field(default_factory=list)  # variable, expression, comment
    tops: list[tuple[str, str] | None] = field(default_factory=list)
    state: dict[str, Tensor | npt.NDArray[Any]] = field(default_factory=dict)
    ties: list[tuple[str, str]] = field(default_factory=list)
    first_key: dict[int, str] = field(default_factory=dict)
    arguments: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.variables = Names(VARIABLES | self.reserved)
        self.places = MemoryPlaces(self.graph)
        for index, node in enumerate(self.graph.nodes):
            for value in node.inputs:
                self.last_use[id(value)] = index
        for value in self.graph.outputs:
            self.last_use[id(value)] = len(self.graph.nodes)
        for value in self.graph.inputs:
            name = self.variables.fresh(value.blob)
            self._hold(value, name)
            self.arguments.append(name)

    @property
    def names_given(self) -> set[str]:
        """Every variable of forward()."""
        return {*self.arguments, *(variable for variable, _, _ in self.statements)}

    def add(self, node: Node, index: int) -> None:
        t = TorchOps(self.attributes.fresh(node.name), self.variables.fresh)
        inputs = self._inputs(node)
        try:
            results = self._results(t, node, inputs)
        except CaffeModelError as error:
            raise placed(error, node) from None
        if not t.modules:
            self.attributes.free(t.name)
        self._add_modules(t.modules)
        self.helpers.update(t.helpers)
        for variable, expression in t.statements:
            self._assign(variable, expression, "", None)
        self._release(node, index)
        names = [self.variables.fresh(value.blob) for value in node.outputs]
        expressions = [results] if isinstance(results, str) else results
        for value, name, expression in zip(node.outputs, names, expressions, strict=True):
            self._hold(value, name)
            self._assign(name, expression, _comment(node, expression), value)
            left = self.places.filled(value, name)
            if left is not None:
                self.helpers["left"] = LEFT.strip("\n")
                self._assign(*left, "", None)

    def _results(self, t: TorchOps, node: Node, inputs: list[str]) -> str | list[str]:
        if self.training is None:
            return node.layer.torch(t, node, *inputs)
        if node.layer.untrainable:
            raise UnsupportedError(f"can't be trained: {node.layer.untrainable}")
        return self.places.emitted(t, node, inputs)

    def _inputs(self, node: Node) -> list[str]:
        """The variables that a node reads; cut off from their gradients where the net says so."""
        names = [self.held[id(v)] for v in node.inputs]
        source = node.origins[0].source if node.origins else None
        if id(node) in self.graph.cut:
            self.helpers["FromMemory"] = FROM_MEMORY.strip("\n")
            names[0] = f"FromMemory.apply({names[0]}, {names[0]}.detach(), torch.zeros_like)"
        if self.training is None or self.training.force_backward or source is None:
            return names
        flows = [*source.param.propagate_down, *[True] * len(names)]
        return [name if flow else f"{name}.detach()" for name, flow in zip(names, flows, strict=False)]

    def _assign(self, variable: str, expression: str, comment: str, value: Value | None) -> None:
        if expression == variable and value is not None:
            return
        self.statements.append((variable, expression, comment))
        self.tops.append(value.tops[-1] if value is not None and value.tops else None)

    def _release(self, node: Node, index: int) -> None:
        """Variables that nobody reads any more may be written again; a node with several tops still reads its own."""
        if len(node.outputs) > 1:
            return
        for value in node.inputs:
            if self.last_use[id(value)] == index and value.producer is not None:
                name = self.held[id(value)]
                if self.needed_until[name] <= index:
                    self.variables.free(name)

    def _hold(self, value: Value, name: str) -> None:
        self.held[id(value)] = name
        self.needed_until[name] = max(self.needed_until.get(name, -1), self.last_use.get(id(value), -1))

    def _add_modules(self, modules: list[TorchModule]) -> None:
        for module in modules:
            self.modules.append(module)
            for key, tensor in module.state.items():
                path = f"{module.name}.{key}"
                self.state[path] = tensor
                if not isinstance(tensor, Tensor):
                    continue
                first = self.first_key.setdefault(id(tensor.root), path)
                if first == path or not tensor.root.shared:
                    continue
                if tuple(map(int, self.state[first].shape)) == tuple(map(int, tensor.shape)):
                    self.ties.append((path, first))
                elif self.training is not None:
                    raise UnsupportedError(f"shares a blob with {first!r}, which has another shape there")

    def source(self, title: str) -> str:
        """The text of model.py."""
        body = "\n".join([*self._init(), "", *self._forward()])
        helpers = "".join(f"\n\n{text}\n" for _, text in sorted(self.helpers.items()))
        functional = "import torch.nn.functional as F\n" if "F." in body + helpers else ""
        return TEMPLATE.format(
            title=_docstring(title),
            functional=functional,
            helpers=helpers,
            body=body + (OBJECTIVE if self.training is not None else ""),
            load=_load(bool(self.ties)),
        )

    def _init(self) -> list[str]:
        lines = ["    def __init__(self):", "        super().__init__()"]
        lines += [f"        self.{m.name} = {m.source()}" for m in self.modules]
        lines += [f"        self.{there} = self.{here}  # shared" for there, here in self.ties]
        if self.training is not None:
            lines += [f"        self.{key}.requires_grad_(False)" for key in self._frozen()]
            lines.append(f"        self.loss_weights = {self._loss_weights()!r}")
        return lines

    def _loss_weights(self) -> dict[str, float]:
        """Of the blobs that the module gives."""
        assert self.training is not None
        weights = self.training.loss_weights
        return {_key(v): weights[v.blob] for v in self.graph.outputs if v.blob in weights}

    def _frozen(self) -> list[str]:
        """Parameters whose `lr_mult` is 0: Caffe computes no gradient for them."""
        assert self.training is not None
        if self.training.force_backward:
            return []
        frozen = {root for root, (rate, _) in learning_rates(self.graph).items() if rate == 0}
        roots: dict[int, None] = {}
        for node in self.graph.nodes:
            for role, tensor in node.tensors.items():
                if node.layer.learns(role):  # others are buffers
                    roots[id(tensor.root)] = None
        return [self.first_key[root] for root in roots if root in frozen and root in self.first_key]

    def _forward(self) -> list[str]:
        lines = [f"    def forward({', '.join(['self', *self.arguments])}):"]
        lines += [f"        {_input_comment(v, self.held[id(v)])}" for v in self.graph.inputs]
        for variable, expression, comment in self.statements:
            line = f"        {variable} = {expression}"
            fits = comment and len(line) + len(comment) + 4 <= WIDTH
            lines.append(f"{line}  # {comment}" if fits else line)
        names = [self.held[id(v)] for v in self.graph.outputs]
        if len(names) == 1 and self.training is None:
            return [*lines, f"        return {names[0]}"]
        pairs = [f"{_key(value)!r}: {name}" for value, name in zip(self.graph.outputs, names, strict=True)]
        return [*lines, f"        return {{{', '.join(pairs)}}}"]


def _key(value: Value) -> str:
    """Under what an output is given: its blob's name, or where that is no UTF-8 the value's."""
    return value.blob if utf8(value.blob) == value.blob else value.name


def _input_comment(value: Value, variable: str) -> str:
    return f"# {variable}: {format_shape(value.shape)}"


def _comment(node: Node, expression: str) -> str:
    """The Caffe layers where the expression doesn't show them; one line, whatever their names hold."""
    names = [o.name for o in node.origins]
    if len(names) == 1 and f"self.{identifier(names[0])}(" in expression:
        return ""
    return shown(" + ".join(names))


def _docstring(text: str) -> str:
    return shown(text).replace("\\", "\\\\").replace('"', "'")


def _load(tied: bool) -> str:
    return LOAD.format(assign="" if tied else ", assign=True")


TEMPLATE = '''"""{title}."""

from pathlib import Path

import torch
{functional}from safetensors.torch import load_file
from torch import nn
{helpers}

class Model(nn.Module):
{body}


{load}'''

LOAD = '''def load(weights=Path(__file__).with_name("model.safetensors")):
    """The model with its weights, in eval mode."""
    model = Model()
    model.load_state_dict(load_file(weights){assign})
    return model.eval()
'''


OBJECTIVE = '''

    def objective(self, outputs):
        """What training lowers: the losses of a forward pass by their weights."""
        return sum(weight * outputs[blob].sum() for blob, weight in self.loss_weights.items())'''


def learning_rates(graph: Graph) -> dict[int, tuple[float, float]]:
    """`lr_mult` and `decay_mult` of each layer's blob, by `id` of the blob's tensor; 1 where nobody states them.

    Of a blob that layers share, each is what the first of them states. Caffe leaves BatchNorm's alone (net.cpp).
    """
    stated: dict[int, dict[str, float]] = {}
    for node in graph.nodes:
        source = node.origins[0].source if node.origins else None
        specs = [] if source is None else list(source.param.param)
        for index, (role, tensor) in enumerate(node.tensors.items()):
            found = stated.setdefault(id(tensor.root), {})
            fixed = node.layer.fixed_rate(role)
            for name in ("lr_mult", "decay_mult"):
                if fixed is not None:
                    found[name] = fixed
                elif index < len(specs) and specs[index].HasField(name):
                    found.setdefault(name, getattr(specs[index], name))
    return {root: (found.get("lr_mult", 1.0), found.get("decay_mult", 1.0)) for root, found in stated.items()}


def live_module(model: EmittedModel) -> torch.nn.Module:
    """The described module with its weights, in eval mode: the generated source itself, run."""
    import linecache

    need_torch("a live module")
    import torch

    name = f"<resnet-convert {id(model):x}>"
    linecache.cache[name] = (len(model.source), None, model.source.splitlines(keepends=True), name)
    namespace: dict[str, Any] = {"__name__": "resnet_convert_model", "__file__": name}
    exec(compile(model.source, name, "exec"), namespace)
    module: torch.nn.Module = namespace["Model"]()
    state = {key: torch.from_numpy(np.array(_values(value))) for key, value in model.state.items()}
    module.load_state_dict(state)
    return module.eval()


def _values(value: Tensor | npt.NDArray[Any]) -> npt.NDArray[Any]:
    return value.load().reshape(tuple(map(int, value.shape))) if isinstance(value, Tensor) else value
