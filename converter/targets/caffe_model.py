"""Back to Caffe: a prototxt and caffemodel pair that the original Caffe loads, folded as asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from google.protobuf.message import Message

from converter.graph import Graph, count, format_shape, is_free
from converter.layers.batch_norm import normalisation
from converter.layers.data import Input
from converter.layers.reshape import Reshape
from converter.layers.shared.fused import without_relu
from converter.node import Node, Origin, Value
from converter.tensor import Array, Tensor, constant
from prototxt import NetLayer
from prototxt.caffe_pb2 import LayerParameter, NetParameter
from prototxt.errors import RequestError
from prototxt.write import net_bytes
from weights import Blob, LayerRecord, write_caffemodel
from weights.strings import message_bytes


class _Layer(NamedTuple):
    """A layer to write: its message, its blobs, and the sections of plugins that it has by their names."""

    param: LayerParameter
    tensors: Mapping[str, Tensor]
    declared: Mapping[str, Message]


def write_caffe(graph: Graph, folder: Path) -> list[Path]:
    """Write `deploy.prototxt` and `model.caffemodel` into a folder.

    Folding `bn` leaves BatchNorm and Scale as two layers, as Caffe has no other form, with the scale factor divided
    out (1, as in MSRA's files); folding `conv` leaves neither.

    Raises:
        RequestError: the graph holds what Caffe has no layer for (baked preprocessing, a free axis).
    """
    layers: list[_Layer] = [_Layer(_input(value), {}, {}) for value in graph.inputs]
    # Where a layer wrote over memory that other blobs share, blobs are written once, and what changes is copied before.
    name = _own_name if any(not node.origins for node in graph.nodes) else _blob_name
    for node in graph.nodes:
        if node.layer.leads:  # The layer behind it does that itself.
            continue
        layers += _layers(node, name) if node.origins else [_Layer(_same_numbers(node), {}, {})]
    net = NetParameter(name=graph.name)
    net.layer.extend(layer.param for layer in layers)
    folder.mkdir(exist_ok=True)
    files = [folder / "deploy.prototxt", folder / "model.caffemodel"]
    files[0].write_bytes(net_bytes(net, [layer.declared for layer in layers]))
    write_caffemodel(files[1], graph.name, _records(layers))
    return files


def _records(layers: list[_Layer]) -> Iterator[LayerRecord]:
    """The layers of the weight file; without their settings where a plugin's are among them, which have no number."""
    whole = not any(layer.declared for layer in layers)
    for param, tensors, _ in layers:
        blobs = tuple(Blob(tuple(map(int, t.shape)), False, _Values(t)) for t in tensors.values())
        stored = param if whole else LayerParameter(name=param.name, type=param.type)
        yield LayerRecord(param.name, param.type, blobs, message_bytes(stored))


@dataclass(frozen=True)
class _Values:
    """A constant of the graph, read as a blob is."""

    tensor: Tensor

    def __call__(self) -> Array:
        return self.tensor.load()

    def parts(self) -> Iterator[Array]:
        """As of `Blob`."""
        return self.tensor.parts()


def _input(value: Value) -> LayerParameter:
    if any(map(is_free, value.shape)):
        raise RequestError(f"input {value.name!r} is {format_shape(value.shape)}; Caffe has no free axes")
    layer = LayerParameter(name=value.tops[0][0] if value.tops else value.name, type=Input.types[0], top=[value.blob])
    layer.input_param.shape.add().dim.extend(map(int, value.shape))
    return layer


def _blob_name(value: Value) -> str:
    return value.blob


def _own_name(value: Value) -> str:
    """Its own; of what a layer writes over a bottom before it reads it, the bottom's."""
    while value.producer is not None and value.producer.layer.leads:
        (value,) = value.producer.inputs
    return value.name


def _same_numbers(node: Node) -> LayerParameter:
    """What a blob's memory holds by now, as a blob of its own."""
    (read,), (made,) = node.inputs, node.outputs
    layer = LayerParameter(name=made.name, type=Reshape.types[0], bottom=[_own_name(read)], top=[made.name])
    layer.reshape_param.shape.dim.extend(map(int, made.shape))
    return layer


def _layers(node: Node, name: Callable[[Value], str]) -> list[_Layer]:
    first = _copy(node.origins[0])
    first.bottom[:] = map(name, node.inputs)
    without_relu(first)
    node.layer.make_plain(first)
    if node.layer.normalises and len(node.origins) > 1:
        return _batch_norm_and_scale(node, first, _copy(node.origins[1]), name)
    first.top[:] = map(name, node.outputs)
    scale = node.layer.scale_apart(first)
    if scale is not None:
        return _batch_norm_and_scale(node, first, scale, name)
    if "bias" in node.tensors and len(node.origins) > 1:
        for section in (first.inner_product_param, first.convolution_param, first.convolution3d_param):
            if section.HasField("bias_term"):
                section.ClearField("bias_term")
    source = node.origins[0].source
    return [_Layer(first, node.tensors, {} if source is None else source.declared)]


def _batch_norm_and_scale(
    node: Node, norm: LayerParameter, scale: LayerParameter, name: Callable[[Value], str]
) -> list[_Layer]:
    tensors = normalisation(node)
    if norm.batch_norm_param.HasField("add_eps_before_sqrt") and not norm.batch_norm_param.add_eps_before_sqrt:
        norm.batch_norm_param.ClearField("add_eps_before_sqrt")  # The variance holds it now.
        norm.batch_norm_param.eps = 0
    one = constant(f"{norm.name}.scale_factor", np.ones(1))
    none = constant(f"{norm.name}.none", np.zeros(int(count(tensors["gamma"].shape))))  # Of a batch's own statistics.
    statistics = {name: tensors.get(name, none) for name in ("mean", "variance")} | {"scale_factor": one}
    if name is _own_name:
        norm.top[:] = scale.bottom[:] = [f"{name(node.outputs[0])}/{norm.name}"]
        scale.top[:] = map(name, node.outputs)
    factors = {"weight": tensors["gamma"]} | ({"bias": tensors["beta"]} if "beta" in node.tensors else {})
    return [_Layer(norm, statistics, {}), _Layer(scale, factors, {})]


def _copy(origin: Origin) -> LayerParameter:
    source: NetLayer | None = origin.source
    if source is None:
        raise RequestError("--mean, --scale and --input-order can't be baked into Caffe's files")
    layer = LayerParameter()
    layer.CopyFrom(source.param)
    for name in ("blobs", "include", "exclude"):
        layer.ClearField(name)
    return layer


__all__ = ["write_caffe"]
