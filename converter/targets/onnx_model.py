"""From a graph to an ONNX model: one description of nodes and values, with weights still to be read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from converter.emission import OnnxBody, OnnxOp, OnnxOps, all_ops
from converter.graph import Graph, Shape, is_free
from converter.node import Node, Value, placed
from converter.targets import onnx_wire
from converter.targets.onnx_tidying import tidied
from converter.targets.onnx_wire import BOOL, FLOAT, INT64, KINDS, Subgraph, value_info
from converter.tensor import Tensor
from prototxt.errors import CaffeModelError, Position, RequestError
from prototxt.names import typed, utf8
from prototxt.version import VERSION
from weights.wire import prefixed

if TYPE_CHECKING:
    import onnx

DEFAULT_OPSET = 13  # every runtime reads it, and every operator used here is exact in it
OLDEST_OPSET = 13
_DEFAULT_IR = 7  # the oldest that has the default opset


@dataclass(frozen=True, eq=False, repr=False)
class OnnxModel:
    """A model without its weights, serialised.

    Attributes:
        opening, closing: the fields of the ModelProto before and behind its graph.
        nodes, values: the fields of the graph before and behind its initializers.
        initializers: `(name, values)` in the order of first use; a Tensor is read when it is written.
    """

    opening: bytes
    nodes: bytes
    initializers: list[tuple[str, Tensor | npt.NDArray[Any]]]
    values: bytes
    closing: bytes

    @cached_property
    def proto(self) -> onnx.ModelProto:
        """What is serialised, for whoever wants to look into it."""
        import onnx

        graph = prefixed(onnx_wire.GRAPH, self.nodes + self.values)
        return onnx.ModelProto.FromString(self.opening + graph + self.closing)


def newest_opset() -> int:
    """The newest opset of the default domain that the installed onnx knows."""
    import onnx

    return int(onnx.defs.onnx_opset_version())


def _ir_version(opset: int) -> int:
    """The oldest version of the format that has the opset; only for the default one is onnx not asked."""
    if opset == DEFAULT_OPSET:
        return _DEFAULT_IR
    if not OLDEST_OPSET <= opset <= newest_opset():
        raise RequestError(f"opset {opset}; expected {OLDEST_OPSET} to {newest_opset()}, what the installed onnx knows")
    from onnx import helper

    return int(helper.find_min_ir_version_for([helper.make_opsetid("", opset)]))


def emit_onnx(graph: Graph, *, opset: int = DEFAULT_OPSET, metadata: Mapping[str, str] | None = None) -> OnnxModel:
    """Describe a graph in ONNX operators.

    Args:
        graph: what to describe.
        opset: version of the default domain, 13 to the newest that the installed onnx knows.
        metadata: entries for the model's `metadata_props`, beside those that name Caffe's blobs.

    Raises:
        RequestError: an opset outside that range.
        UnsupportedError: a layer that has no exact form in ONNX for this net.
    """
    emitter = _Emitter(graph, opset, _ir_version(opset))
    for node in graph.nodes:
        emitter.add(node)
    emitter.tidy()
    return emitter.model(dict(metadata or {}))


@dataclass(eq=False, repr=False)
class _Emitter:
    graph: Graph
    opset: int
    ir_version: int
    names: dict[int, str] = field(default_factory=dict)  # value -> ONNX name, after aliases
    renamed: dict[str, str] = field(default_factory=dict)  # name of an inner value -> that of the output it became
    ops: list[tuple[OnnxOp, Node]] = field(default_factory=list)
    initializers: dict[str, Tensor | npt.NDArray[Any]] = field(default_factory=dict)
    known: dict[str, npt.NDArray[Any]] = field(default_factory=dict)  # those of them that are no weights
    tops: list[tuple[str, str, str]] = field(default_factory=list)
    made: set[str] = field(default_factory=set)  # names of what operators make
    produced: set[str] = field(default_factory=set)
    outputs: set[int] = field(default_factory=set)
    given: set[str] = field(default_factory=set)  # names of the outputs so far
    there: set[str] = field(default_factory=set)  # names of what the model holds in the end

    def __post_init__(self) -> None:
        self.outputs = {id(v) for v in self.graph.outputs}
        for value in self.graph.inputs:
            self._name(value, value.name)
            self.tops += [(value.name, *top) for top in value.tops]

    def add(self, node: Node) -> None:
        g = OnnxOps(self.opset, node.outputs[0].name if node.outputs else node.name, self.known)
        inputs = [self.names[id(v)] for v in node.inputs]
        try:
            results = node.layer.onnx(g, node, *inputs)
        except CaffeModelError as error:
            raise placed(error, node) from None
        self._bind(g, node, [results] if isinstance(results, str) else results)
        for name, array in g.constants.items():
            self.initializers[name] = self.known[name] = array
        self._add_weights(g)
        self.ops += [(op, node) for op in g.ops]

    def _bind(self, g: OnnxOps, node: Node, results: Sequence[str]) -> None:
        """Give each value's name to the operator result it is; a result that is another value already is shared."""
        fresh = {result for op in g.ops for result in op.outputs}
        self.made |= fresh
        bound: dict[str, str] = {}  # Two tops of a layer may be one value: the last state of a sequence of one step.
        own: dict[str, str] = {}  # operator result -> the value that it is
        copies: list[OnnxOp] = []
        for value, result in zip(node.outputs, results, strict=True):
            known = self._now(bound.get(result, result))
            is_fresh = known in fresh and known not in self.produced
            name = value.name if is_fresh or id(value) in self.outputs else known
            if is_fresh:
                own[known] = name
            elif name != known and known in self.made and known not in self.given:
                # An Identity would do, but onnxruntime 1.32 cannot load one whose input is read by a Pad too.
                self.renamed[known] = name
            elif name != known:
                copies.append(OnnxOp("Identity", [known], [name], {}))
            if name != known:
                self.made.add(name)
            self._name(value, name)
            bound.setdefault(result, name)
            self.produced.add(name)
            self.tops += [(name, *top) for top in value.tops]
        _rename(g.ops, own)
        g.ops += copies

    def _name(self, value: Value, name: str) -> None:
        self.names[id(value)] = name
        if id(value) in self.outputs:
            self.given.add(name)

    def _now(self, name: str) -> str:
        """The name of a value, which may have become that of an output."""
        return self.renamed.get(name, name)

    def _add_weights(self, g: OnnxOps) -> None:
        for name, tensor in g.weights.items():
            known = self.initializers.get(name)
            if known is None or known is tensor:
                self.initializers[name] = tensor
                continue
            unique = f"{g.prefix}/{name}"
            self.initializers[unique] = tensor
            for op in all_ops(g.ops):
                op.inputs = [unique if i == name else i for i in op.inputs]

    def tidy(self) -> None:
        """Give all values their last names; drop operators and constants that are not wanted, and the blobs of them."""
        ops, nodes = [op for op, _ in self.ops], {id(op): node for op, node in self.ops}
        _rename(ops, self.renamed)
        outputs = {self._now(self.names[id(v)]) for v in self.graph.outputs}
        ops, same = tidied(ops, self.initializers, outputs, {self._now(name) for name, *_ in self.tops})
        self.ops = [(op, nodes[id(op)]) for op in ops]
        last = {name: same.get(self._now(name), self._now(name)) for name in self.names.values()}
        self.names = {key: last[name] for key, name in self.names.items()}
        self.there = {name for op in ops for name in op.outputs} | self.initializers.keys()
        self.there |= {v.name for v in self.graph.inputs}
        self.tops = [(last[name], layer, top) for name, layer, top in self.tops if last[name] in self.there]

    def model(self, metadata: dict[str, str]) -> OnnxModel:
        metadata = {**metadata, "resnet_convert.source": self.graph.source}
        metadata["resnet_convert.tops"] = json.dumps(self.tops, ensure_ascii=False, separators=(",", ":"))
        nodes = (self._node(op, node, index) for index, (op, node) in enumerate(self.ops))
        inputs = [_value_info(v.name, v.shape, "input") for v in self.graph.inputs]
        outputs = [_value_info(self.names[id(v)], v.shape, _made_by(v)) for v in self.graph.outputs]
        return OnnxModel(
            opening=onnx_wire.model_opening(self.ir_version, "resnet-convert", VERSION),
            nodes=onnx_wire.nodes_and_name(nodes, utf8(self.graph.name) or "net"),
            initializers=list(self.initializers.items()),
            values=onnx_wire.values(inputs, outputs, self._inner_values()),
            closing=onnx_wire.model_closing(self.opset, dict(sorted(metadata.items()))),
        )

    def _node(self, op: OnnxOp, node: Node, index: int | str) -> bytes:
        name = utf8(f"{node.name}/{op.type}_{index}")
        attributes = {k: self._body(v, node, name) if isinstance(v, OnnxBody) else v for k, v in op.attributes.items()}
        places = utf8(", ".join(f"{o} {_place(o.position)}" for o in node.origins))
        return onnx_wire.node(op.type, op.inputs, op.outputs, name, attributes, places)

    def _body(self, body: OnnxBody, node: Node, name: str) -> Subgraph:
        (number, going, *carried), (still, *made) = body.inputs, body.outputs
        nodes = (self._node(op, node, f"{index}_of_{name.rpartition('/')[2]}") for index, op in enumerate(body.ops))
        inputs = [value_info(number, INT64, []), value_info(going, BOOL, []), *_floats(carried)]
        outputs = [value_info(still, BOOL, []), *_floats(made)]
        return Subgraph(onnx_wire.nodes_and_name(nodes, name) + onnx_wire.values(inputs, outputs))

    def _inner_values(self) -> Iterator[bytes]:
        seen = {v.name for v in self.graph.inputs} | {self.names[id(v)] for v in self.graph.outputs}
        for node in self.graph.nodes:
            for value in node.outputs:
                name = self.names[id(value)]
                if name in self.there and name not in seen:
                    seen.add(name)
                    yield _value_info(name, value.shape, _made_by(value))


def _rename(ops: Sequence[OnnxOp], names: Mapping[str, str]) -> None:
    """Give values other names wherever an operator makes or reads them."""
    if not names:
        return
    for op in all_ops(ops):
        op.inputs = [names.get(name, name) for name in op.inputs]
        op.outputs = [names.get(name, name) for name in op.outputs]


def _place(position: Position) -> str:
    """File name and line, without the folder: the same input gives the same bytes wherever it lies."""
    return f"{_file_name(position.path)}:{position.line}"


@lru_cache(1)  # all layers of a net stand in one file
def _file_name(path: str) -> str:
    return typed(PurePath(path).name)


def _made_by(value: Value) -> str:
    return utf8(str(value.producer.origins[-1])) if value.producer and value.producer.origins else ""


def _floats(names: Iterable[str]) -> list[bytes]:
    """Float32 values of any shape."""
    return [value_info(name, FLOAT, None) for name in names]


def _value_info(name: str, shape: Shape, doc: str) -> bytes:
    return value_info(name, FLOAT, [str(d) if is_free(d) else int(d) for d in shape], doc)


def initializer_head(name: str, values: Tensor | npt.NDArray[Any]) -> bytes:
    """The TensorProto of an initializer up to its numbers."""
    kind = FLOAT if isinstance(values, Tensor) else KINDS[values.dtype.name]
    return onnx_wire.tensor_head(name, kind, map(int, values.shape))
