"""A Caffe net's weights in a PyTorch module, matched by structure and proven by running both, as one request."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from converter.building.build import build
from converter.graph import Graph
from converter.matching.bridging import Bridge, Bridged, bridge
from converter.matching.caffe_side import caffe_skeleton
from converter.matching.differences import Mismatch, agreed, beyond, mismatches
from converter.matching.module_side import Traced, evaluating, trace
from converter.matching.pairing import Pairing, couples, pair
from converter.matching.plain import plain
from converter.matching.skeleton import NetPart
from converter.tensor import Tensor
from prototxt import Net
from prototxt.errors import CaffeModelError, NetError, Position, RequestError, raise_all
from prototxt.names import utf8
from prototxt.words import format_shape
from resnet_convert.guarding import guard
from resnet_convert.modules import built, file_of
from resnet_convert.option import takes
from resnet_convert.provenance import provenance
from resnet_convert.requests import PortIntoRequest
from resnet_convert.verification import compare_engine, opened
from verify import write_html
from weights import Outputs, Weights

if TYPE_CHECKING:
    from verify import Report
    from verify.parity import OnPart

SUFFIXES = (".safetensors", ".pth")


@dataclass(repr=False)
class PortedInto:
    """What a port into a module did.

    Attributes:
        module: the module, filled; with `patch` as it was changed.
        name: what it is called in reports.
        pairing: which part of the net is which of the module.
        bridges: differences of form that the numbers make up for.
        mismatches: differences of settings, and parts without a counterpart; of those, `patched` were set right.
        arrays: keys of the state dict that were filled.
        kept: keys that were not, since no pass through the module reads them; they keep their values.
        beyond: Caffe's softmax behind the module's outputs, where that gives scores.
        left: what could not be ported, in words; only with `force`.
        report: the comparison of both; None where none was asked for.
        files: what was written.
    """

    module: Any
    name: str
    pairing: Pairing
    bridges: list[Bridge]
    mismatches: list[Mismatch]
    patched: list[Mismatch]
    arrays: list[str]
    kept: list[str]
    beyond: list[NetPart]
    left: list[str]
    report: Report | None = None
    files: list[Path] = field(default_factory=list)

    @property
    def state_dict(self) -> dict[str, Any]:
        """The module's parameters and buffers by name."""
        found: dict[str, Any] = self.module.state_dict()
        return found

    @property
    def layers(self) -> list[tuple[NetPart, NetPart, bool]]:
        """Each part of the net that has weights, its counterpart, and whether only their order says so."""
        tied = {id(ours) for ours, _ in self.pairing.by_order}
        return [
            (ours.part, theirs.part, id(ours) in tied)
            for ours, theirs in self.pairing.pairs
            if any(part.parameters for part in (*ours.part.together, *theirs.part.together))
        ]

    @property
    def cause(self) -> Cause | None:
        """Where the numbers leave first; None where they don't, or were not compared."""
        bad = self.report.first_bad if self.report is not None else None
        if bad is None:
            return None
        for ours, theirs in couples(self.pairing):
            if (bad.layer, bad.top) in _tops(ours):
                return Cause(ours, theirs, self._nearest(ours, theirs))
        return None

    def _nearest(self, ours: NetPart, theirs: NetPart) -> Mismatch | None:
        """The difference at two parts, or the last one before them: until there the numbers are the same."""
        at = [each for each in self.mismatches if each.caffe is ours or each.module is theirs]
        before = [*_before(ours), *_before(theirs)]
        found = at or [each for each in self.mismatches if any(p in (each.caffe, each.module) for p in before)]
        return found[-1] if found else None


@dataclass(frozen=True)
class Cause:
    """Where the numbers of net and module part.

    Attributes:
        caffe, module: the first part whose numbers leave their bound, and its counterpart.
        why: what differs there, or last before it; None where no setting does.
    """

    caffe: NetPart
    module: NetPart
    why: Mismatch | None

    def __str__(self) -> str:
        said = f"the numbers leave at {self.caffe}, in the module {self.module}"
        if self.why is None:
            return f"{said}; no setting of the two differs"
        if self.why.advice:
            return f"{said}: {self.why}; equal with {self.why.advice} (--patch sets it)"
        return f"{said}: {self.why}; no attribute of the module makes them equal"


def _before(part: NetPart) -> list[NetPart]:
    """All that a part depends on."""
    reached: dict[int, NetPart] = {}
    waiting = list(part.inputs)
    while waiting:
        source = waiting.pop()
        if id(source) not in reached:
            reached[id(source)] = source
            waiting += source.inputs
    return list(reached.values())


def _tops(part: NetPart) -> set[tuple[str, str]]:
    """The tops of a Caffe part and of those that it took in, as a report has them."""
    keys: list[Any] = [key for each in part.together for key, _ in each.values]
    return {(utf8(layer), utf8(top)) for layer, top in keys}


@takes(PortIntoRequest)
def port_into(request: PortIntoRequest) -> PortedInto:
    """Put a Caffe net's weights into a PyTorch module, whatever its names are, and compare the two by running them.

    Arguments are the fields of `PortIntoRequest`.

    Raises:
        NetError, ErrorGroup: layers that cannot be paired, or whose weights the module cannot hold; nothing is filled
            or written then, but with `force` what can be.
        UnsupportedError: a module that `torch.export` cannot follow.
        CaffeModelError: a file that cannot be read, a module that cannot be built.
    """
    with Outputs() as outputs:
        return ported_into(request, outputs)


def ported_into(request: PortIntoRequest, outputs: Outputs, progress: OnPart | None = None) -> PortedInto:
    """What `port_into` does; the file gets its name when `outputs` ends."""
    _check_output(request)
    with opened(request) as (net, weights):
        if weights is None:
            raise RequestError(f"{request.net} brings no weights; name the .caffemodel")
        module = built(request.into) if isinstance(request.into, str) else request.into
        return port_module(net, weights, module, request, outputs, progress)


def port_module(
    net: Net,
    weights: Weights,
    module: Any,
    request: PortIntoRequest,
    outputs: Outputs,
    progress: OnPart | None = None,
) -> PortedInto:
    """The same for a net that is loaded, and a module that is there."""
    name = request.into if isinstance(request.into, str) and request.into else type(module).__name__
    _check_tensors(module)
    graph = _graph(net, weights, request)
    work = _Matched(graph, module)
    faults = list(_faults(work, name, net.path))
    if not request.force:
        raise_all(faults)
    patched = agreed(work.mismatches) if request.patch else []
    for each in patched:
        _patch(module, each)
    if patched:
        work = _Matched(graph, module)
        faults = list(_faults(work, name, net.path))
    kept = _fill(module, work)
    done = PortedInto(
        module,
        name,
        work.pairing,
        work.bridged.bridges,
        work.mismatches,
        patched,
        [key for key in module.state_dict() if key in work.bridged.tensors],
        kept,
        beyond(work.pairing),
        [str(fault) for fault in faults],
    )
    if request.verify:
        shapes = {value.blob: tuple(map(int, value.shape)) for value in graph.inputs}
        asked = replace(request, input_shapes={**shapes, **_without_free(request.input_shapes)})
        with evaluating(module):
            done.report = compare_engine(net, weights, work.engine(graph), name, asked, progress)
        if request.report is not None:
            write_html(done.report, outputs.file(request.report), provenance(request))
    if request.output is not None:
        _write(module, Path(request.output), outputs)
        done.files = [Path(request.output)]
    return done


def _without_free(shapes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: shape for name, shape in shapes.items() if all(isinstance(size, int) for size in shape)}


def _check_output(request: PortIntoRequest) -> None:
    reading = []
    if isinstance(request.into, str):
        if not request.into:
            raise RequestError("no module to port into; name one (--into)")
        file = file_of(request.into)
        reading = [] if file is None else [file]
    guard(request, reading=reading)
    if request.output is not None and not str(request.output).endswith(SUFFIXES):
        raise RequestError(f"{request.output}: expected a name that ends in {' or '.join(SUFFIXES)}")


def _check_tensors(module: Any) -> None:
    import torch

    if not isinstance(module, torch.nn.Module):
        raise RequestError(f"expected a torch.nn.Module to port into, or the name of one, not {type(module).__name__}")
    for key, value in module.state_dict().items():
        if not isinstance(value, torch.Tensor):
            continue
        if value.device.type != "cpu" or (value.is_floating_point() and value.dtype != torch.float32):
            raise RequestError(f"{key} is {value.dtype} on {value.device}; a module gets weights as float32 on the CPU")


def _graph(net: Net, weights: Weights, request: PortIntoRequest) -> Graph:
    """The net's graph, nothing folded, for a batch of one where the net can have one."""
    options = request.to_options()
    graph = build(net, weights, input_shapes=options.input_shapes, outputs=options.outputs)
    ones = {
        value.blob: (1, *map(int, value.shape[1:]))
        for value in graph.inputs
        if len(value.shape) > 1 and value.blob not in options.input_shapes
    }
    if any(value.shape[0] != 1 for value in graph.inputs if value.blob in ones):
        try:
            return build(net, weights, input_shapes={**options.input_shapes, **ones}, outputs=options.outputs)
        except NetError:  # a layer that names the batch: then the net's own
            return graph
    return graph


class _Matched:
    """A net and a module beside each other."""

    def __init__(self, graph: Graph, module: Any) -> None:
        shapes = [tuple(map(int, value.shape)) for value in graph.inputs]
        self.module = module
        self.traced: Traced = trace(module, shapes)
        self.caffe, self.skeleton = plain(caffe_skeleton(graph)), plain(self.traced.skeleton)
        self.pairing = pair(self.caffe, self.skeleton)
        self.mismatches = mismatches(self.pairing)
        self.bridged: Bridged = bridge(self.pairing)

    def engine(self, graph: Graph) -> Any:
        """The module as what the interpreter is compared with."""
        from verify.engines.live import LiveModule

        blobs: dict[str, list[Any]] = {}
        for ours, theirs in couples(self.pairing):
            for caffe, module in _same_values(ours, theirs, self.bridged):
                blobs.setdefault(module, []).extend(caffe)
        inputs = [(value.blob, tuple(map(int, value.shape))) for value in graph.inputs]
        outputs: list[Any] = []
        ours_of = {id(theirs): ours for ours, theirs in couples(self.pairing)}
        for part in self.skeleton.outputs:
            ours_made = ours_of[id(part)].made if id(part) in ours_of else []
            outputs.append(ours_made[-1] if ours_made else None)
        return LiveModule(self.module, self.traced.program, inputs, blobs, outputs)


def _same_values(ours: NetPart, theirs: NetPart, bridged: Bridged) -> Iterator[tuple[list[Any], str]]:
    """The tops of a Caffe part that are the value of a step of the module."""
    if ours.kind == "input" or not theirs.made:
        return
    yield list(ours.made), str(theirs.made[0][0])
    moved = any(each.caffe is ours for each in bridged.bridges)
    if ours.affine and theirs.affine and theirs.values and not moved:
        yield list(ours.values), str(theirs.values[0][0])


def _faults(work: _Matched, name: str, path: str) -> Iterator[CaffeModelError]:
    """Layers and modules that could not be paired, and pairs that do not fit."""

    def fault(part: NetPart, message: str) -> NetError:
        line = int(part.place.rpartition(":")[2] or 0)
        return NetError(message, position=Position(path, line), layer=part.label, layer_type=part.type)

    for ours, theirs in work.pairing.misfits:
        if ours.part.parameters or theirs.part.parameters:
            yield fault(ours.part, f"{_form(ours.part)}; {theirs.part} of {name} in its place: {_form(theirs.part)}")
    for each in work.bridged.refused:
        yield fault(each.caffe, f"its weights do not go into {each.module} of {name}: {each.what}")
    for knot in work.pairing.caffe_left:
        if knot.part.parameters:
            yield fault(knot.part, f"{name} has nothing in its place ({_form(knot.part)})")
    for knot in work.pairing.module_left:
        if knot.part.parameters:
            keys = ", ".join(held.name for held in knot.part.parameters.values())
            yield NetError(f"{name}: {knot.part}: the Caffe net has nothing in its place ({keys})")


def _form(part: NetPart) -> str:
    if part.kind != "weighted sum":
        return f"{part.kind} of {format_shape(part.shape)}"
    s = part.settings
    groups = f" in {s['groups']} groups" if s["groups"] != 1 else ""
    return f"{s['channels']} -> {s['features']}, {format_shape(s['kernel'])}{groups}"


def _patch(module: Any, mismatch: Mismatch) -> None:
    assert mismatch.module is not None
    target = module.get_submodule(mismatch.module.label)
    for name, value in mismatch.remedy.items():
        setattr(target, name, value)


def _fill(module: Any, work: _Matched) -> list[str]:
    """Put the parameters into the module; the keys of those that no pass reads."""
    state = module.state_dict()
    filled = set()
    for key, tensor in work.bridged.tensors.items():
        _copy(state[key].detach().numpy(), tensor)
        filled.add(state[key].data_ptr())
    unused = [key for key in work.traced.unused if state[key].data_ptr() not in filled]
    return [key for key in unused if not re.search(r"(^|\.)num_batches_tracked$", key)]


def _copy(place: Any, tensor: Tensor) -> None:
    """Part by part where the values are the file's own, so that no second copy of a large weight is made."""
    if not place.flags.c_contiguous:
        np.copyto(place, tensor.load().reshape(place.shape))
        return
    flat, start = place.reshape(-1), 0
    for part in tensor.parts():
        flat[start : start + part.size] = part
        start += part.size


def _write(module: Any, path: Path, outputs: Outputs) -> None:
    state = {key: value for key, value in module.state_dict().items() if hasattr(value, "detach")}
    written = outputs.file(path)
    if path.suffix == ".pth":
        import torch

        torch.save({key: value.detach() for key, value in state.items()}, written)
    else:
        from converter.targets.writers import write_safetensors

        write_safetensors({key: value.detach().numpy() for key, value in state.items()}, written)


__all__ = ["PortedInto", "port_into", "port_module", "ported_into"]
