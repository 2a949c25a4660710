"""A PyTorch module's weights in a Caffe net's layers, matched by structure and proven by running both."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from converter.building.parameters import StartingParameters
from converter.graph import Graph
from converter.matching.caffe_side import caffe_skeleton
from converter.matching.differences import beyond
from converter.matching.inverse import Solved, giving, solve, wanting
from converter.matching.skeleton import Skeleton
from converter.node import Origin, Parameter
from converter.reading import load_parsed
from converter.tensor import Array
from prototxt import Net
from prototxt.caffe_pb2 import LayerParameter
from prototxt.errors import CaffeModelError, RequestError, raise_all
from prototxt.words import listed
from resnet_convert.guarding import guard
from resnet_convert.modules.keras_models import is_mirror, mirror_if_keras
from resnet_convert.modules.naming import built, file_of
from resnet_convert.modules.side_by_side import Laid, Matched, check_tensors, faults_of, graph_of
from resnet_convert.modules.state import fill_module
from resnet_convert.option import takes
from resnet_convert.plugins import load_plugins
from resnet_convert.requests import PortFromRequest
from weights import Blob, LayerRecord, Outputs, Weights, open_weights, write_caffemodel, write_hdf5
from weights.strings import message_bytes

if TYPE_CHECKING:
    from verify.parity import OnPart

SUFFIXES = (".caffemodel", ".caffemodel.h5")


@dataclass(repr=False, kw_only=True)
class PortedFrom(Laid):
    """What a port from a module into a Caffe net's layers did.

    Attributes:
        weights: the layers with their blobs, as a `.caffemodel` has them, but for those that `left` names; they are
            read from the module when they are asked for.
        unread: keys of the state dict that no pass through the module reads, and that no layer has therefore.
    """

    weights: Weights
    unread: list[str] = field(default_factory=list)

    @property
    def blobs(self) -> dict[str, list[Array]]:
        """The arrays by layer, in Caffe's order, as they are now."""
        filled = [layer for layer in self.weights.layers if layer.blobs]
        return {layer.name: [np.array(blob.array()) for blob in layer.blobs] for layer in filled}


@takes(PortFromRequest)
def port_from(request: PortFromRequest) -> PortedFrom:
    """Put a PyTorch module's weights into a Caffe net's layers, and compare the two by running them.

    Arguments are the fields of `PortFromRequest`.

    Raises:
        NetError, ErrorGroup: layers that cannot be paired, or that cannot hold the module's weights; nothing is written
            then, but with `force` what can be.
        UnsupportedError: a module that fails on such inputs, or that does something else for other numbers.
        CaffeModelError: a file that cannot be read, a state dict of another module, a module that cannot be built.

    Example:
        >>> net, weights = "examples/digits/deploy.prototxt", "examples/digits/digits_resnet.caffemodel"
        >>> module = resnet_convert.load(net, weights)
        >>> done = resnet_convert.port_from(net, module=module)
        >>> done.blobs["conv1"][0].shape, len(done.layers), done.report.ok
        ((16, 1, 3, 3), 13, True)
    """
    with Outputs() as outputs:
        return ported_from(request, outputs)


def ported_from(request: PortFromRequest, outputs: Outputs, progress: OnPart | None = None) -> PortedFrom:
    """What `port_from` does; the file gets its name when `outputs` ends."""
    _check(request)
    load_plugins(request.plugins)
    net = load_parsed(request.net, request.to_options())
    module = built(request.module) if isinstance(request.module, str) else request.module
    return port_module_back(net, module, request, outputs, progress)


def port_module_back(
    net: Net, module: Any, request: PortFromRequest, outputs: Outputs, progress: OnPart | None = None
) -> PortedFrom:
    """The same for a net that is loaded, and a module that is there."""
    module = mirror_if_keras(module)
    if request.weights is not None and is_mirror(module):
        raise RequestError("a Keras model brings its weights itself; load them where it is built")
    check_tensors(module)
    name = request.module if isinstance(request.module, str) else type(module).__name__
    faults: list[CaffeModelError] = []
    if request.weights is not None:
        faults += fill_module(module, name, request.weights)
        if not request.force:
            raise_all(faults)
    graph = graph_of(net, None, request, _no_values)
    work = _Back(graph, module)
    faults += faults_of(work, name, net.path)
    if not request.force:
        raise_all(faults)
    done = PortedFrom(
        module=module,
        name=name,
        pairing=work.pairing,
        bridges=work.bridged.bridges,
        mismatches=work.mismatches,
        beyond=beyond(work.pairing),
        left=[str(fault) for fault in faults],
        followed=work.traced.followed,
        weights=Weights(name, list(_records(net, graph, work.bridged, whole=not request.outputs)), name=net.name),
        unread=[key for key in work.traced.unused if not key.endswith("num_batches_tracked")],
    )
    with ExitStack() as stack:
        weights = done.weights
        if request.output is not None:
            written = _write(weights, Path(request.output), outputs)
            done.files = [Path(request.output)]
            weights = stack.enter_context(open_weights(written))  # what is compared is the file
        if request.verify:
            make = StartingParameters(0)
            graph_of(net, weights, request, make)
            done.report = work.compared(net, make.with_file(weights), graph, request, name, outputs, progress)
    return done


def _check(request: PortFromRequest) -> None:
    reading = []
    if isinstance(request.module, str):
        if not request.module:
            raise RequestError("no module to port from; name one (--from)")
        file = file_of(request.module)
        reading = [] if file is None else [file]
        if file is None and request.weights is None:
            raise RequestError(f"{request.module} is built without weights; name the file that has them")
    guard(request, reading=reading)
    if request.output is not None and not str(request.output).endswith(SUFFIXES):
        raise RequestError(f"{request.output}: expected a name that ends in {listed(SUFFIXES, 'or')}")


def _no_values(_: Origin, parameter: Parameter) -> Array:
    """What stands for values that are about to be found; it takes no memory."""
    return np.broadcast_to(np.float32(0), tuple(map(int, parameter.shape)))


class _Back(Matched):
    """A module and the net that gets its weights."""

    bridged: Solved
    refusal = "does not take what {} of {} holds: {}"

    def _skeletons(self, graph: Graph) -> tuple[Skeleton, Skeleton]:
        held = {key: value.detach() for key, value in self.module.state_dict().items() if hasattr(value, "detach")}
        state = {key: value.numpy() for key, value in held.items()}
        return wanting(caffe_skeleton(graph), graph), giving(self.traced.skeleton, state)

    def _across(self) -> Solved:
        return solve(self.pairing)


def _records(net: Net, graph: Graph, solved: Solved, *, whole: bool) -> Iterator[LayerRecord]:
    """The layers to write: of those with weights the ones that have all of them, since Caffe takes a layer whole."""
    nodes = {node.name: node for node in graph.nodes if node.origins}
    made = {*nodes, *(layer for value in graph.inputs for layer, _ in value.tops)}
    for layer in net.layers:
        node = nodes.get(layer.name)
        tensors = solved.of(node) if node is not None else []
        if tensors is not None and (whole or layer.name in made):
            blobs = tuple(Blob(tuple(map(int, tensor.shape)), False, tensor.load) for tensor in tensors)
            yield LayerRecord(layer.name, layer.type, blobs, message_bytes(_plain(layer.param)))


def _plain(param: LayerParameter) -> LayerParameter:
    layer = LayerParameter()
    layer.CopyFrom(param)
    for name in ("blobs", "include", "exclude"):
        layer.ClearField(name)
    return layer


def _write(weights: Weights, path: Path, outputs: Outputs) -> Path:
    written = outputs.file(path)
    if path.suffix == ".h5":
        write_hdf5(written, [layer for layer in weights.layers if layer.blobs])
    else:
        write_caffemodel(written, weights.name, weights.layers)
    return written


__all__ = ["PortedFrom", "port_from", "port_module_back", "ported_from"]
