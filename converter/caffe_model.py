"""Back to Caffe: a prototxt and caffemodel pair that the original Caffe loads, folded as asked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from converter.graph import Graph, Node, Origin, Tensor, Value, constant, format_shape, is_free
from converter.layers.normalization import BatchNorm, normalisation
from prototxt import NetLayer, format_net
from prototxt.caffe_pb2 import LayerParameter, NetParameter
from prototxt.errors import RequestError
from weights import Blob, LayerRecord, atomic_directory, write_caffemodel

_Layer = tuple[LayerParameter, dict[str, Tensor]]


def write_caffe(graph: Graph, folder: Path) -> list[Path]:
    """Write `deploy.prototxt` and `model.caffemodel` into a folder.

    Folding `bn` leaves BatchNorm and Scale as two layers, as Caffe has no other form, with the scale factor divided
    out (1, as in MSRA's files); folding `conv` leaves neither.

    Raises:
        RequestError: the graph holds what Caffe has no layer for (baked preprocessing, a free axis), or the target
            can't be written.
    """
    layers: list[_Layer] = [(_input(value), {}) for value in graph.inputs]
    for node in graph.nodes:
        layers += _layers(node)
    net = NetParameter(name=graph.name)
    net.layer.extend(layer for layer, _ in layers)
    with atomic_directory(folder) as target:
        (target / "deploy.prototxt").write_text(format_net(net), encoding="utf-8", errors="surrogateescape")
        write_caffemodel(target / "model.caffemodel", graph.name, _records(layers))
    return [folder / "deploy.prototxt", folder / "model.caffemodel"]


def _records(layers: list[_Layer]) -> Iterator[LayerRecord]:
    for layer, tensors in layers:
        blobs = tuple(Blob(tuple(map(int, t.shape)), False, t.load) for t in tensors.values())
        yield LayerRecord(layer.name, layer.type, blobs, layer.SerializeToString())


def _input(value: Value) -> LayerParameter:
    if any(map(is_free, value.shape)):
        raise RequestError(f"input {value.name!r} is {format_shape(value.shape)}; Caffe has no free axes")
    layer = LayerParameter(name=value.tops[0][0] if value.tops else value.name, type="Input", top=[value.blob])
    layer.input_param.shape.add().dim.extend(map(int, value.shape))
    return layer


def _layers(node: Node) -> list[_Layer]:
    first = _copy(node.origins[0])
    del first.bottom[:]
    first.bottom.extend(v.blob for v in node.inputs)
    if isinstance(node.layer, BatchNorm) and len(node.origins) > 1:
        return _batch_norm_and_scale(node, first)
    del first.top[:]
    first.top.extend(v.blob for v in node.outputs)
    if "bias" in node.tensors and len(node.origins) > 1:
        section = first.inner_product_param if first.type == "InnerProduct" else first.convolution_param
        section.ClearField("bias_term")
    return [(first, node.tensors)]


def _batch_norm_and_scale(node: Node, norm: LayerParameter) -> list[_Layer]:
    tensors = normalisation(node)
    if isinstance(node.layer, BatchNorm) and node.layer.eps_behind_root:  # The variance holds it now.
        norm.batch_norm_param.ClearField("add_eps_before_sqrt")
        norm.batch_norm_param.eps = 0
    one = constant(f"{norm.name}.scale_factor", np.ones(1))
    statistics = {"mean": tensors["mean"], "variance": tensors["variance"], "scale_factor": one}
    scale = _copy(node.origins[1])
    factors = {"weight": tensors["gamma"]} | ({"bias": tensors["beta"]} if "beta" in node.tensors else {})
    return [(norm, statistics), (scale, factors)]


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
