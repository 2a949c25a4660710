"""A weight file with other statistics in some layers and everything else as it was."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from converter.recalibration.stored import FACTOR, Stored
from converter.tensor import Tensor
from prototxt import Net
from prototxt.errors import Position, RequestError
from weights import (
    ArrayWeights,
    Blob,
    LayerRecord,
    LayerWeights,
    Weights,
    net_without_blobs,
    refuse_overwriting,
    write_caffemodel,
    write_hdf5,
)
from weights.sniff import sniff_weights
from weights.wire import LENGTH, Wire

LAYER, OLD_LAYER = 100, 2
"""Fields of NetParameter: layers of today's form, and of the forms before."""


def with_statistics(original: Weights, net: Net, found: Iterable[Stored]) -> Weights:
    """The weights with what the graph's layers store now: the same layers in the same order.

    A changed blob keeps its shape, and the old four-dimensional form if it was stored in that; a blob that the file
    leaves out, as another layer owns it, stays out. Blobs are read when they are asked for, the unchanged ones from
    `original`, which must be open then. A layer whose type the file does not say (HDF5) gets the net's. Layers of a
    `.caffemodel` bring their settings along, but those of the old V1 form do not, as only today's form is written.
    """
    changed = _changed(net, found)
    types = {layer.name: layer.type for layer in net.layers}
    settings = _settings(original)
    layers: list[LayerWeights] = []
    for index, layer in enumerate(original.layers):
        new = changed.get(layer.name, {}) if layer is original.get(layer.name) else {}
        blobs = tuple(_replaced(blob, new.get(i)) for i, blob in enumerate(layer.blobs))
        kind = layer.type or types.get(layer.name, "")
        if settings:
            layers.append(LayerRecord(layer.name, kind, blobs, settings[index]))
        else:
            layers.append(LayerWeights(layer.name, kind, blobs))
    return Weights(original.path, layers, name=original.name or net.name)


def _changed(net: Net, found: Iterable[Stored]) -> dict[str, dict[int, Tensor]]:
    """Layer -> index of the blob -> its values.

    Of layers outside of the graph too, which share a blob by `param { name }`: Caffe loads layer by layer into the
    shared memory, so that the values of the last one stay.
    """
    changed: dict[str, dict[int, Tensor]] = {}
    for stored in found:
        for site in stored.sites:
            tensors = site.node.tensors
            for index, (key, tensor) in enumerate(tensors.items()):
                if key in (site.kept.mean, site.kept.spread, FACTOR):
                    changed.setdefault(site.node.name, {})[index] = tensor
    shared: dict[str, Tensor] = {}
    for layer in net.layers:
        for index, param in enumerate(layer.param.param):
            if param.name and index in changed.get(layer.name, {}):
                shared[param.name] = changed[layer.name][index]
    for layer in net.layers:
        for index, param in enumerate(layer.param.param):
            if param.name in shared:
                changed.setdefault(layer.name, {}).setdefault(index, shared[param.name])
    return changed


def _replaced(blob: Blob, tensor: Tensor | None) -> Blob:
    if tensor is None or not blob.stored:
        return blob
    return Blob(blob.shape, blob.legacy, lambda: tensor.load().reshape(blob.shape))


def _settings(original: Weights) -> Sequence[bytes]:
    """Each layer's message without its blobs, as the file has it; empty where there is none of today's form."""
    if isinstance(original, ArrayWeights) or not os.path.isfile(original.path) or sniff_weights(original.path):
        return ()
    data = net_without_blobs(original.path)
    records = [record for record in Wire(data).records(0, len(data)) if record[1] == LENGTH]
    layers = [data[start:stop] for number, _, start, stop in records if number == LAYER]
    old = any(number == OLD_LAYER for number, *_ in records)
    return () if old or len(layers) != len(original.layers) else layers


def write_by_name(weights: Weights, path: str | os.PathLike[str]) -> Path:
    """Write weights as the name says, `.caffemodel` or `.caffemodel.h5`; returns the path.

    Raises:
        RequestError: another name, a place that cannot be written or that the weights are read from, or a `.caffemodel`
            of what an HDF5 file leaves out.
        WeightsError: a blob cannot be read.
        MissingDependencyError: h5py is not installed.
    """
    name = os.fspath(path)
    refuse_overwriting([path], [weights.path])
    if name.endswith(".h5"):
        write_hdf5(path, weights.layers)
    elif name.endswith(".caffemodel"):
        _refuse_holes(weights, name)
        write_caffemodel(path, weights.name, weights.layers)
    else:
        raise RequestError("expected a name that ends in .caffemodel or .caffemodel.h5", position=Position(name))
    return Path(path)


def _refuse_holes(weights: Weights, name: str) -> None:
    for layer in weights.layers:
        for index, blob in enumerate(layer.blobs):
            if not blob.stored:
                raise RequestError(
                    f"{weights.path} leaves blob {index} out, as another layer owns it, which only HDF5 can; name it "
                    ".caffemodel.h5",
                    position=Position(name),
                    layer=layer.name,
                )
