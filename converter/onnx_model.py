"""From a graph to an ONNX model: one description of nodes and values, with weights still to be read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from converter.emission import OnnxBody, OnnxOp, OnnxOps, all_ops, placed
from converter.graph import Graph, Node, Shape, Tensor, Value, is_free
from prototxt.errors import CaffeModelError, Position, RequestError

if TYPE_CHECKING:
    import onnx

DEFAULT_OPSET = 13  # every runtime reads it, and every operator used here is exact in it
OLDEST_OPSET = 13


@dataclass
class OnnxModel:
    """A model without its weights.

    Attributes:
        proto: everything but the initializers.
        initializers: `(name, values)` in the order of first use; a Tensor is read when it is written.
    """

    proto: onnx.ModelProto
    initializers: list[tuple[str, Tensor | npt.NDArray[Any]]]


def newest_opset() -> int:
    """The newest opset of the default domain that the installed onnx knows."""
    import onnx

    return int(onnx.defs.onnx_opset_version())


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
    if not OLDEST_OPSET <= opset <= newest_opset():
        raise RequestError(f"opset {opset}; expected {OLDEST_OPSET} to {newest_opset()}, what the installed onnx knows")
    emitter = _Emitter(graph, opset)
    for node in graph.nodes:
        emitter.add(node)
    return emitter.model(dict(metadata or {}))


@dataclass
class _Emitter:
    graph: Graph
    opset: int
    names: dict[int, str] = field(default_factory=dict)  # value -> ONNX name, after aliases
    ops: list[tuple[OnnxOp, Node]] = field(default_factory=list)
    initializers: dict[str, Tensor | npt.NDArray[Any]] = field(default_factory=dict)
    tops: list[tuple[str, str, str]] = field(default_factory=list)
    produced: set[str] = field(default_factory=set)
    outputs: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.outputs = {id(v) for v in self.graph.outputs}
        for value in self.graph.inputs:
            self.names[id(value)] = value.name
            self.tops += [(value.name, *top) for top in value.tops]

    def add(self, node: Node) -> None:
        g = OnnxOps(self.opset, node.outputs[0].name if node.outputs else node.name)
        inputs = [self.names[id(v)] for v in node.inputs]
        try:
            results = node.layer.onnx(g, node, *inputs)
        except CaffeModelError as error:
            raise placed(error, node) from None
        bound: dict[str, str] = {}  # Two tops of a layer may be one value: the last state of a sequence of one step.
        for value, result in zip(node.outputs, [results] if isinstance(results, str) else results, strict=True):
            self._bind(g, value, bound.get(result, result))
            bound.setdefault(result, self.names[id(value)])
        for name, array in g.constants.items():
            self.initializers[name] = array
        self._add_weights(g)
        self.ops += [(op, node) for op in g.ops]

    def _bind(self, g: OnnxOps, value: Value, result: str) -> None:
        """Give the value's name to the operator result it is; a result that is another value already is shared."""
        fresh = any(result in op.outputs for op in g.ops) and result not in self.produced
        if fresh:
            for op in all_ops(g.ops):
                op.inputs = [value.name if i == result else i for i in op.inputs]
                op.outputs = [value.name if o == result else o for o in op.outputs]
            self.names[id(value)] = value.name
        elif id(value) in self.outputs:
            g.ops.append(OnnxOp("Identity", [result], [value.name], {}))
            self.names[id(value)] = value.name
        else:
            self.names[id(value)] = result
        self.produced.add(self.names[id(value)])
        self.tops += [(self.names[id(value)], *top) for top in value.tops]

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

    def model(self, metadata: dict[str, str]) -> OnnxModel:
        from onnx import helper

        proto = helper.make_model(
            helper.make_graph(
                [self._node(op, node, i) for i, (op, node) in enumerate(self.ops)],
                self.graph.name or "net",
                [_value_info(v.name, v.shape, "input") for v in self.graph.inputs],
                [_value_info(self.names[id(v)], v.shape, _made_by(v)) for v in self.graph.outputs],
                value_info=self._inner_values(),
            ),
            opset_imports=[helper.make_opsetid("", self.opset)],
            producer_name="resnet-convert",
            ir_version=helper.find_min_ir_version_for([helper.make_opsetid("", self.opset)]),
        )
        metadata = {**metadata, "resnet_convert.source": self.graph.source}
        metadata["resnet_convert.tops"] = json.dumps(self.tops, ensure_ascii=False, separators=(",", ":"))
        helper.set_model_props(proto, dict(sorted(metadata.items())))
        return OnnxModel(proto, list(self.initializers.items()))

    def _node(self, op: OnnxOp, node: Node, index: int | str) -> onnx.NodeProto:
        from onnx import helper

        name = f"{node.name}/{op.type}_{index}"
        attributes = {k: list(v) if isinstance(v, (tuple, range)) else v for k, v in op.attributes.items()}
        attributes = {k: self._body(v, node, name) if isinstance(v, OnnxBody) else v for k, v in attributes.items()}
        places = ", ".join(f"{o} {_place(o.position)}" for o in node.origins)
        made = helper.make_node(op.type, op.inputs, op.outputs, name=name, doc_string=places)
        made.attribute.extend(helper.make_attribute(key, value) for key, value in sorted(attributes.items()))
        return made

    def _body(self, body: OnnxBody, node: Node, name: str) -> onnx.GraphProto:
        from onnx import TensorProto, helper

        number, going = body.inputs
        still, made = body.outputs
        return helper.make_graph(
            [self._node(op, node, f"{index}_of_{name.rpartition('/')[2]}") for index, op in enumerate(body.ops)],
            name,
            [_scalar(number, TensorProto.INT64), _scalar(going, TensorProto.BOOL)],
            [_scalar(still, TensorProto.BOOL), helper.make_tensor_value_info(made, TensorProto.FLOAT, None)],
        )

    def _inner_values(self) -> list[onnx.ValueInfoProto]:
        outer = {v.name for v in self.graph.inputs} | {self.names[id(v)] for v in self.graph.outputs}
        seen: set[str] = set()
        infos = []
        for node in self.graph.nodes:
            for value in node.outputs:
                name = self.names[id(value)]
                if name not in outer and name not in seen:
                    seen.add(name)
                    infos.append(_value_info(name, value.shape, _made_by(value)))
        return infos


def _place(position: Position) -> str:
    """File name and line, without the folder: the same input gives the same bytes wherever it lies."""
    return f"{PurePath(position.path).name}:{position.line}"


def _made_by(value: Value) -> str:
    return str(value.producer.origins[-1]) if value.producer and value.producer.origins else ""


def _scalar(name: str, kind: int) -> onnx.ValueInfoProto:
    from onnx import helper

    return helper.make_tensor_value_info(name, kind, [])


def _value_info(name: str, shape: Shape, doc: str) -> onnx.ValueInfoProto:
    from onnx import TensorProto, helper

    dims: list[int | str] = [str(d) if is_free(d) else int(d) for d in shape]
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, dims, doc)


def initializer_header(name: str, values: Tensor | npt.NDArray[Any]) -> tuple[bytes, int]:
    """The TensorProto of an initializer without its raw data, and the number of bytes of that data."""
    from onnx import TensorProto

    dtype = np.dtype(np.float32) if isinstance(values, Tensor) else values.dtype
    kinds = {
        "float32": TensorProto.FLOAT,
        "float64": TensorProto.DOUBLE,
        "int64": TensorProto.INT64,
        "bool": TensorProto.BOOL,
    }
    proto = TensorProto(name=name, data_type=kinds[dtype.name], dims=[int(d) for d in values.shape])
    nbytes = values.nbytes
    return proto.SerializeToString(), nbytes
